"""The permutation test: the whole pipeline on exchanged labels, with the choice of the best site paid for."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from probes.checks.settings import check_count
from probes.data.activations import Activations, PairActivations
from probes.data.shuffling import Exchanges, exchangeable
from probes.evidence.apart import require_apart
from probes.evidence.readout import asked, check_probe, scored
from probes.fitting.exactly import exactly
from probes.fitting.recipe import Recipe, SignFromLabels, SolvesLabels
from probes.fitting.rows_of_fit import require_fit_of
from probes.markup.progress import progress_bar
from probes.metrics.estimates import aurocs
from probes.metrics.floors import cannot_tell, least_p
from probes.metrics.scores import as_scores
from probes.recipes.inputs import single, singles

BATCH = 250  # labellings at a time
ROOM = 2**27  # bytes of train rows at a time


@dataclass(frozen=True, eq=False)
class Null:
    """AUROC of the same pipeline on shuffled labels: [shuffle, site], and its maximum over sites, [shuffle].

    `p_value` is the share of shuffles (plus one) whose best site reaches the best true one, so choosing the
    best layer is paid for. `labellings` is how many shuffles differ; few of them, or few draws, bound what p
    can be (`least_p`), and where that is above the level asked for nothing could have been found.
    """

    by_site: Float[np.ndarray, "b site"]
    observed: Float[np.ndarray, " site"]
    labellings: float = math.inf

    @property
    def best(self) -> Float[np.ndarray, " b"]:
        return self.by_site.max(1)

    @property
    def p_value(self) -> float:
        return float((1 + (self.best >= self.observed.max()).sum()) / (1 + len(self.best)))

    @property
    def least_p(self) -> float:
        return least_p(len(self.best), self.labellings)

    def cannot_tell(self, alpha: float = 0.05) -> bool:
        """Whether p could not have fallen to this level, whatever there is."""
        return cannot_tell(self.least_p, alpha)

    @property
    def p_by_site(self) -> Float[np.ndarray, " site"]:
        """Each site against the best site of every shuffle: corrected for looking at all of them."""
        return (1 + (self.best[:, None] >= self.observed).sum(0)) / (1 + len(self.best))

    def level(self, share: float = 0.95) -> float:
        """The AUROC that the best site exceeds in only 1 - `share` of the shuffles."""
        return float(np.quantile(self.best, share))

    def __repr__(self) -> str:
        return (
            f"Null(best of {self.by_site.shape[1]} sites under {len(self.best)} shuffles: mean"
            f" {self.best.mean():.3f}, 95% {self.level():.3f}; p={self.p_value:.3f})"
        )


@exactly()
def shuffled_null(
    recipe: Recipe,
    train: Activations | PairActivations,
    test: Activations | PairActivations,
    n: int = 199,
    seed: int = 0,
    progress: bool = True,
    probe: Any = None,
    unit: str | None = None,
) -> Null:
    """Refits the recipe on shuffled labels `n` times and scores each on equally shuffled test labels.

    Statistic: AUROC a site, and its maximum over sites. `n` bounds what p can be: 1 / (n + 1) at best.
    Shuffles in which a part would have one class are drawn again. `unit` names the column of rows that share
    a label or oppose each other within a group (default: `pair_id`, where there is one); without it such
    labels would be exchanged row by row, which makes the null too narrow. Recipes with `fit_labels`
    (MassMean, Logistic) solve all shuffles as one problem, recipes whose labels only give the sign are fitted
    once, and not at all if `probe` is what they made of these train rows. Raises ValueError for a `probe` of
    another recipe or of other rows, as far as its receipt tells, and where train and test share rows.
    """
    asked(recipe, train, test)
    check_count("n (how many labellings)", n)
    require_apart(train, test, "a null")
    rng = np.random.default_rng(seed)
    if probe is not None:
        check_probe(probe, "shuffled_null(probe=...)")
        require_fit_of(probe, recipe, train)
    parts = [
        exchangeable(
            np.asarray(part.y),
            part.groups,
            part.columns.get("pair_id") if unit is None else part.column(unit),
        )
        for part in (train, test)
    ]
    y, z = (np.concatenate([part.y[None], _two_classes(part, rng, n)]) for part in parts)
    scored(recipe.fit(train) if probe is None else probe, test)
    scores = scores_under(recipe, train, test, y.astype(bool), progress, probe)
    found = aurocs(scores, z[:, None])
    return Null(found[1:], found[0], math.prod(part.labellings() for part in parts))


@exactly()
def scores_under(
    recipe: Recipe,
    train: Activations | PairActivations,
    test: Activations | PairActivations,
    labels: Bool[np.ndarray, "b n"],
    progress: bool = True,
    probe: Any = None,
) -> Float[np.ndarray, "b site m"]:
    """Scores of the test rows by the recipe fitted on the train rows under each of b labellings;
    `probe` is the one under the first, where it is there already.
    """
    asked(recipe, train, test)
    if np.ndim(labels) != 2 or np.shape(labels)[1] != len(train):
        raise ValueError(
            f"labels has shape {np.shape(labels)}, expected lines of {len(train)} labels, one a train row"
        )
    if isinstance(recipe, SignFromLabels) and recipe.labels_give_sign and isinstance(train, PairActivations):
        return _signed(recipe.fit(train.with_y(labels[0])) if probe is None else probe, train, test, labels)
    with progress_bar("shuffled labels", progress, total=len(labels) * len(train.sites)) as bar:
        if isinstance(train, Activations) and isinstance(recipe, SolvesLabels) and recipe.solves_together:
            return _solved_together(recipe, train, test, labels, bar)
        rows = []
        for k, y in enumerate(labels):
            fitted = probe if k == 0 and probe is not None else recipe.fit(train.with_y(y))
            rows.append(fitted.score(test).detach().cpu().numpy())
            bar.update(len(train.sites))
        return np.stack(rows)


def _solved_together(
    recipe: SolvesLabels, train: Activations, test: Any, labels: np.ndarray, bar: Any
) -> np.ndarray:
    blocks = []
    for block in train.blocks(ROOM):
        rows, own = single(singles(block, recipe), recipe), test[block.sites]
        fitted = rows.transforms["all"]
        z = fitted(own.x, fitted.clusters(own.columns, own.x)).to(rows.z)
        parts = []
        for start in range(0, len(labels), BATCH):
            weight, bias = recipe.fit_labels(
                rows.z, torch.from_numpy(labels[start : start + BATCH]).to(rows.z.device)
            )
            parts.append(
                (weight.transpose(0, 1).to(z) @ z.transpose(1, 2) + bias.T.to(z)[..., None])
                .transpose(0, 1)
                .cpu()
                .numpy()
            )
            bar.update(parts[-1].shape[0] * len(block.sites))
        blocks.append(np.concatenate(parts))
    return np.concatenate(blocks, axis=1)


def _signed(probe: Any, train: PairActivations, test: Any, labels: np.ndarray) -> np.ndarray:
    """Labels that only decide which end is "true" turn the scores round and change nothing else."""
    credence, score = (as_scores(probe.score(acts)) for acts in (train, test))
    agreement = np.where(labels, 1.0, -1.0) @ credence.T
    # The probe is oriented by the first labelling, also where its agreement with it is nil.
    flips = np.where(agreement < 0, -1.0, 1.0) * np.where(agreement[:1] < 0, -1.0, 1.0)
    return flips[..., None] * score


def _two_classes(part: Exchanges, rng: np.random.Generator, n: int) -> Int[np.ndarray, "n rows"]:
    """n shuffles with both classes."""
    if not np.array_equal(np.unique(part.y), [0, 1]):
        raise ValueError(
            f"shuffling needs labels 0 and 1, both of them, got values {np.unique(part.y)[:5].tolist()}"
        )
    found = part.drawn(rng, n)
    for _ in range(1000):
        alike = found.min(1) == found.max(1)
        if not alike.any():
            return found
        found[alike] = part.drawn(rng, int(alike.sum()))
    raise ValueError(
        "a thousand shuffles gave one class only; there are too few groups to exchange labels between"
    )
