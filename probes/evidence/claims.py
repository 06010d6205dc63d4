"""What may be said about a reading, in fixed words, and why not more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from probes.data.activations import Activations, PairActivations
from probes.data.rows import Rows, text_ids
from probes.data.sites import Site
from probes.evidence.choose import best_site
from probes.evidence.finding import FEWEST, MARGIN
from probes.evidence.permutation import Null, shuffled_null
from probes.evidence.readout import halves, scored
from probes.evidence.surface import surface_scores
from probes.fitting.linear import LinearProbe
from probes.fitting.recipe import Recipe, Seeded
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, auroc, auroc_difference, aurocs
from probes.metrics.scores import as_scores
from probes.recipes.concatenated import ConcatenatedProbe

Level = Literal["chance", "decodable", "decodable beyond the text"]


@runtime_checkable
class Moved(Protocol):
    """What a claim of use needs to know about an intervention; `interventions.effect` returns one."""

    def change(self) -> Estimate: ...
    def p_value(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Claim(Displayed):
    """The strongest sentence the controls allow, and what stands in the way of a stronger one.

    `level` is chance, decodable, or decodable beyond the text. `used` says whether an edit moved behaviour
    more than matched random edits did (None: not asked). `surface` holds the AUROC of every baseline on the
    same rows, `difference` the probe's AUROC over the best of them.
    """

    level: Level
    sentence: str
    why_not_more: tuple[str, ...]
    site: Site | str
    auroc: Estimate
    null: Null
    surface: dict[str, Estimate]
    difference: Estimate | None
    used: bool | None

    @property
    def made(self) -> bool:
        """Whether anything is claimed at all."""
        return self.level != "chance"

    def __repr__(self) -> str:
        reasons = (f"  not more: {reason}" for reason in self.why_not_more)
        return terminal("\n".join([self.sentence, *reasons]))


def claim(
    recipe: Recipe,
    train: Activations | PairActivations,
    test: Activations | PairActivations,
    *,
    texts: str | tuple[Sequence[str], Sequence[str]] | None = None,
    baselines: Mapping[str, Any] | None = None,
    effect: Moved | None = None,
    what: str = "y",
    unit: str | None = None,
    n: int = 199,
    alpha: float = 0.05,
    margin: float = MARGIN,
    seed: int = 0,
    progress: bool = True,
) -> Claim:
    """Fits, chooses the site within the train groups, tests, and says what may be claimed about held-out
    groups.

    "Decodable" needs p <= alpha under `n` shuffles of the labels with the best site paid for, and an interval
    above .5. "Beyond the text" needs the texts and an AUROC at least `margin` over the best baseline on the
    same rows, with the interval of the difference above 0; give the `texts` of the train and test rows (a
    column of theirs, or two lists in their order), and further `baselines` by name: train and test rows as
    read elsewhere (in the embedding layer, in `random_weights`), on which the recipe is fitted and its site
    chosen as here, or test scores of your own. `effect` adds whether the model uses it. `what` names y in the
    sentence, `unit` is as in `shuffled_null`. Raises ValueError when train and test share a group, a pair or
    a text, when a baseline is of other rows, or without shuffles. The words follow the controls listed in
    docs/controls.md.
    """
    if n < 1:
        raise ValueError(
            f"a claim rests on shuffled labels: n must be at least 1 (199 for p down to .005), got {n}"
        )
    read = None if texts is None else _texts(train, test, texts)
    _separate(train, test, read)
    probe = recipe.fit(train)
    lines, names = scored(probe, test)
    null = shuffled_null(recipe, train, test, n, seed, progress, probe, unit)
    at = _chosen(recipe, train, seed) if len(names) > 1 else 0
    site, p, scores = names[at], float(null.p_by_site[at]), lines[at]
    found = auroc(scores, test.y, test.groups)
    others = {
        name: _upright(name, _read_elsewhere(name, recipe, b, (train, test), seed), test)
        for name, b in (baselines or {}).items()
    }
    if read is not None:
        others = surface_scores(read[0], train.y, read[1]) | others
    surface = {name: auroc(s, test.y, test.groups) for name, s in others.items()}
    best = max(surface, key=lambda name: surface[name].value) if surface else None
    difference = None if best is None else auroc_difference(scores, others[best], test.y, test.groups)

    over = f"on {found.n_groups} held-out groups ({found.n} rows)"
    shuffles = f"p={p:.3f} over {n} shuffles of the labels, best of {len(names)} sites each"
    linear = "linearly " if isinstance(probe, LinearProbe | ConcatenatedProbe) else ""
    why: list[str] = []
    few = found.n_groups < FEWEST
    if few or p > alpha or not found.low > 0.5:
        level: Level = "chance"
        chance = p > alpha or not found.low > 0.5
        because = "as chance would have it" if chance else "from too few groups to tell"
        sentence = (
            f"Nothing may be claimed: {what} is read at {site} with AUROC {found} {over}, {because}"
            f" ({shuffles})."
        )
        if few:
            why.append(
                f"{found.n_groups} held-out groups cannot carry an interval; at least {FEWEST} are asked"
            )
        if p > alpha:
            why.append(f"shuffled labels reach {null.level():.2f} in the best site of one run in twenty")
        if not found.low > 0.5:
            why.append("the interval reaches .5")
    elif read is not None and difference is not None and difference.low > 0 and difference.value >= margin:
        level = "decodable beyond the text"
        sentence = (
            f"{what} is {linear}decodable at {site} beyond the baselines of the text: AUROC {found} {over},"
            f" {difference:+.2f} over the best baseline ({best}); {shuffles}."
        )
    else:
        level = "decodable"
        sentence = f"{what} is {linear}decodable at {site}: AUROC {found} {over}; {shuffles}."
        why.append(
            "no texts were given, so the words alone may say as much"
            if read is None
            else (
                f"the best baseline ({best}) reaches {surface[str(best)]}, a difference of {difference:+.2f};"
                f" {margin:.2f} and an interval above 0 are asked"
            )
        )
    if level == "decodable beyond the text" and not baselines:
        why.append(
            "the baselines are classifiers of words and characters; an untrained network (random_weights) or"
            " the embedding layer may read as much"
        )
    used = None if effect is None else bool(effect.p_value() <= alpha)
    if used and effect is not None and level != "chance":
        sentence += (
            f" It is used: the edit moved behaviour by {effect.change():.2f}, more than matched random edits"
            f" (p={effect.p_value():.3f})."
        )
    elif used and effect is not None:
        why.append(
            f"the edit moved behaviour by {effect.change():.2f}, but nothing shows that what it changed is"
            f" {what}"
        )
    elif level != "chance":
        why.append(
            "decodable is not used: no edit of this direction was measured against matched random edits"
            if effect is None
            else (
                f"the edit moved behaviour by {effect.change():.2f}, no more than matched random edits do"
                f" (p={effect.p_value():.3f})"
            )
        )
    return Claim(level, sentence, tuple(why), site, found, null, surface, difference, used)


def seed_spread(
    recipe: Recipe, train: Activations | PairActivations, test: Activations | PairActivations, seeds: int = 10
) -> Float[np.ndarray, "seed site"]:
    """Test AUROC under other random starts of the same recipe on the same rows; a wide spread means that the
    search is not done.

    Raises ValueError for recipes without a seed, which have none.
    """
    if not isinstance(recipe, Seeded):
        raise ValueError(
            f"{type(recipe).__name__} has no seed: on the same rows it always finds the same probe"
        )
    return np.stack(
        [aurocs(replace(recipe, seed=k).fit(train).score(test), np.asarray(test.y)) for k in range(seeds)]
    )


def _chosen(recipe: Recipe, train: Activations | PairActivations, seed: int) -> int:
    """The site that does best on train groups held out for choosing."""
    inner, held = halves(train, 0.7, seed)
    lines, sites = scored(recipe.fit(inner), held)
    return best_site(lines, np.asarray(held.y), sites, held.groups, seed=seed).index


def _texts(
    train: Rows, test: Rows, texts: str | tuple[Sequence[str], Sequence[str]]
) -> tuple[Sequence[str], Sequence[str]]:
    """The texts of the train and of the test rows; raises ValueError where they are not the texts of
    these rows.
    """
    if isinstance(texts, str):
        return train.column(texts).tolist(), test.column(texts).tolist()
    for part, rows, name in ((texts[0], train, "train"), (texts[1], test, "test")):
        if len(part) != len(rows):
            raise ValueError(
                f"{len(part)} {name} texts were given for {len(rows)} {name} rows; give one text a row, in"
                " the same order"
            )
        # Rows captured from Examples carry ids made from their texts, which tell when the order differs.
        made, ids = np.asarray(text_ids([str(t) for t in part])).astype(str), rows.ids.astype(str)
        if np.isin(made, ids).any() and not np.array_equal(made, ids):
            raise ValueError(
                f"the {name} texts are not in the order of the {name} rows; split the Examples with the same"
                " sizes and seed, or keep the texts in a column: texts='text'"
            )
    return texts


def _read_elsewhere(name: str, recipe: Recipe, baseline: Any, rows: tuple[Any, Any], seed: int) -> Any:
    """Test scores of the recipe fitted on the same rows as they were read elsewhere; scores that are
    already there pass.
    """
    if isinstance(baseline, Activations | PairActivations):
        raise ValueError(
            f"baseline {name!r} is one set of rows; give a tuple, the train rows and the test rows, since the"
            " recipe is fitted on the former"
        )
    if not (
        isinstance(baseline, tuple | list)
        and len(baseline) == 2
        and all(isinstance(part, Activations | PairActivations) for part in baseline)
    ):
        return baseline
    for part, here, which in zip(baseline, rows, ("train", "test"), strict=True):
        if not all(
            np.array_equal(getattr(part, name), getattr(here, name)) for name in ("ids", "groups", "y")
        ):
            raise ValueError(
                f"the {which} rows of baseline {name!r} ({len(part)}) are not those of the claim"
                f" ({len(here)}) in the same order; capture the same Examples and split with the same sizes"
                " and seed"
            )
    train, test = baseline
    lines, _ = scored(recipe.fit(train), test)
    return lines[_chosen(recipe, train, seed) if len(lines) > 1 else 0]


def _upright(name: str, scores: Any, test: Rows) -> np.ndarray:
    """A user's baseline as one vector that ranks positives above negatives: whoever reads the label
    upside down reads it too.
    """
    line = as_scores(scores)
    if line.shape != (len(test),):
        raise ValueError(
            f"baseline {name!r} has shape {line.shape}; give one score for each of the {len(test)} test rows,"
            " such as probe.score(acts)[0], or a tuple of the train and test rows as read elsewhere"
        )
    return line if aurocs(line[None], np.asarray(test.y))[0] >= 0.5 else -line


def _separate(
    train: Activations | PairActivations,
    test: Activations | PairActivations,
    texts: tuple[Sequence[str], Sequence[str]] | None,
) -> None:
    shared = {"groups": np.intersect1d(train.groups, test.groups)}
    if "pair_id" in train.columns and "pair_id" in test.columns:
        shared["pair_id"] = np.intersect1d(train.columns["pair_id"], test.columns["pair_id"])
    if texts is not None:
        shared["texts"] = np.intersect1d([str(t) for t in texts[0]], [str(t) for t in texts[1]])
    for name, both in shared.items():
        if len(both):
            raise ValueError(
                f"train and test share {len(both)} {name} (such as {both[0]!r}); split by groups that keep"
                " them apart, acts.split(sizes, groups=...), and give groups to arrays that are wrapped one"
                " by one"
            )
