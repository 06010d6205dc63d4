"""How much of a score is the probe's own doing: selectivity and description length."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from probes.checks.settings import check_count
from probes.data.activations import Activations
from probes.data.sites import Site
from probes.data.tables import filled
from probes.evidence.apart import require_apart
from probes.evidence.calibration import platt
from probes.evidence.readout import asked
from probes.fitting.exactly import exactly
from probes.fitting.recipe import Recipe
from probes.markup.progress import progress_bar
from probes.metrics.estimates import Estimate, accuracy
from probes.recipes.logistic import fold_of

PORTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class Selectivity:
    """Accuracy on the task minus accuracy on random labels that only memorising can learn, each one
    value a site.
    """

    task: Estimate
    control: Float[np.ndarray, "seed site"]

    @property
    def value(self) -> Float[np.ndarray, " site"]:
        """High: the probe reads the representation. Near 0: a probe this flexible could have learnt
        anything.
        """
        return np.asarray(self.task.value) - self.control.mean(0)

    def __repr__(self) -> str:
        return (
            f"Selectivity({', '.join(f'{v:.2f}' for v in self.value)}; {len(self.control)} control"
            " labellings)"
        )


@exactly()
def selectivity(
    recipe: Recipe, train: Activations, test: Activations, key: str, seeds: int = 5
) -> Selectivity:
    """Balanced accuracy on y against accuracy on a random label per value of the column `key` (a template, a
    first word, a topic).

    The control label is the same in train and test, so a probe that can memorise keys learns it. Raises
    ValueError when train and test share rows, or fewer than four keys. Source: Hewitt and Liang, arXiv
    1909.03368.
    """
    asked(recipe, train, test)
    check_count("seeds", seeds)
    require_apart(train, test, "selectivity")
    ours, theirs = (filled(part.column(key), key, "selectivity").astype(str) for part in (train, test))
    shared = np.intersect1d(ours, theirs)
    if len(shared) < 4:
        raise ValueError(
            f"train and test share {len(shared)} values of {key!r}; the control task needs at least 4 keys"
            " that occur in both"
        )
    seen = test.rows(np.isin(theirs, shared))
    controls = []
    for seed in range(seeds):
        keys = np.unique(ours)
        balanced = np.random.default_rng(seed).permutation(np.arange(len(keys)) % 2)
        label = dict(zip(keys, balanced, strict=True))
        of = [np.array([label[k] for k in rows.column(key).astype(str)]) for rows in (train, seen)]
        if len(np.unique(of[1])) == 2:  # the shared keys may by chance have drawn one label
            controls.append(accuracy(recipe.fit(train.with_y(of[0])).score(seen), of[1], balanced=True).value)
    if not controls:
        raise ValueError(
            f"the shared values of {key!r} got one control label in every draw; use a column with more values"
        )
    task = accuracy(recipe.fit(train).score(test), test.y, test.groups, balanced=True)
    return Selectivity(task, np.stack(controls))


@dataclass(frozen=True, eq=False)
class Codelength:
    """Bits needed to send the labels to someone who has the hidden states, by ordering and site.

    `compression` is the bits of coding with the share of ones alone (`uniform`) over these. `control` is the
    same on shuffled labels: compare with it, since a code that reads nothing lies somewhat below 1, the more
    so the rarer one class is (the first labels are sent at one bit each).
    """

    sites: tuple[Site | str, ...]
    bits: Float[np.ndarray, "ordering site"]
    control: Float[np.ndarray, "ordering site"]
    uniform: float

    @property
    def compression(self) -> Float[np.ndarray, " site"]:
        return self.uniform / self.bits.mean(0)

    def __repr__(self) -> str:
        best = int(self.compression.argmax())
        return (
            f"Codelength({self.uniform:.0f} bits from the share of ones alone; best"
            f" {self.bits.mean(0)[best]:.0f} at {self.sites[best]} (compression"
            f" {self.compression[best]:.2f}), shuffled labels {self.control.mean(0)[best]:.0f};"
            f" {len(self.bits)} orderings)"
        )


@exactly()
def online_codelength(
    recipe: Recipe, acts: Activations, orderings: int = 5, seed: int = 0, progress: bool = True
) -> Codelength:
    """Minimum description length by the online code: portions of the rows are sent one after the other, each
    coded by a probe fitted on those before it.

    Rewards probes that need few rows, which accuracy does not. Whole groups stay together; the first portion
    is sent without a model and has at least four rows of either class. Probabilities are calibrated by Platt
    scaling on cross-fitted scores of the rows already sent and kept above 1e-6. Source: Voita and Titov,
    arXiv 2003.12298.
    """
    asked(recipe, acts)
    check_count("orderings", orderings)
    y, _ = acts.classes
    kinds: dict[str, list[np.ndarray]] = {"task": [], "control": []}
    with progress_bar("online code", progress, total=2 * orderings) as bar:
        for k in range(orderings):
            rng = np.random.default_rng([seed, k])
            names = rng.permutation(np.unique(acts.groups))
            at = {g: i for i, g in enumerate(names.tolist())}
            order = np.argsort([at[g] for g in acts.groups.tolist()], kind="stable")
            ordered = acts.rows(order)
            for kind, labels in (("task", y.numpy()[order]), ("control", rng.permutation(y.numpy()))):
                kinds[kind].append(_one_code(recipe, ordered.with_y(labels.astype(int))))
                bar.update()
    names = acts.sites if len(kinds["task"][0]) == len(acts.sites) else ("all sites",)
    return Codelength(
        names,
        np.stack(kinds["task"]),
        np.stack(kinds["control"]),
        float(_entropy(y.double().mean().item()) * len(acts)),
    )


def _entropy(share: float) -> float:
    """Bits a label when only the share of ones is known."""
    return -share * np.log2(share) - (1 - share) * np.log2(1 - share)


def _one_code(recipe: Recipe, acts: Activations) -> Float[np.ndarray, " site"]:
    n, y = len(acts), np.asarray(acts.y)
    enough = [i + 1 for i in range(n) if min(y[: i + 1].sum(), i + 1 - y[: i + 1].sum()) >= 4]
    if not enough:
        raise ValueError("the online code starts from four rows of either class, and there are fewer")
    ends = _whole_groups(acts.groups, sorted({max(enough[0], round(p * n)) for p in PORTIONS}))
    bits: Any = float(ends[0])
    for start, end in pairwise(ends):
        sent, new = acts.rows(np.arange(start)), acts.rows(np.arange(start, end))
        p = _calibrated(recipe, sent)(new).clip(1e-6, 1 - 1e-6)
        bits = bits - np.log2(np.where(np.asarray(new.y) == 1, p, 1 - p)).sum(1)
    return np.atleast_1d(bits)


def _whole_groups(groups: np.ndarray, ends: list[int]) -> list[int]:
    """Ends moved up so that no group is cut; the groups lie together."""
    last = np.flatnonzero(np.append(groups[1:] != groups[:-1], True)) + 1
    return sorted({int(last[np.searchsorted(last, end)]) for end in ends})


def _calibrated(recipe: Recipe, sent: Activations) -> Callable[[Activations], Float[np.ndarray, "site m"]]:
    probe = recipe.fit(sent)
    fold = fold_of(sent, 2) if len(np.unique(sent.groups)) > 1 else np.zeros(len(sent))
    halves = [sent.rows(fold == k) for k in (0, 1)]
    if any(len(np.unique(np.asarray(h.y))) < 2 for h in halves):
        # Too few groups to cross-fit: the share of ones so far is all that can be coded with.
        return lambda new: np.full((len(new.sites), len(new)), float(np.asarray(sent.y).mean()))
    crossed = [(recipe.fit(halves[1 - k]).score(halves[k]), halves[k].y) for k in (0, 1)]
    scores, labels = (
        torch.cat([c[0] for c in crossed], dim=1),
        np.concatenate([np.asarray(c[1]) for c in crossed]),
    )
    slope, offset = platt(scores, labels)
    return lambda new: torch.sigmoid(
        slope[:, None] * probe.score(new).double().cpu() + offset[:, None]
    ).numpy()
