"""What may be said about a reading, in fixed words, and why not more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from probes.activations import Activations, PairActivations
from probes.controls.permutation import Null, shuffled_null
from probes.controls.surface import surface_scores
from probes.linear import LinearProbe
from probes.metrics import Estimate, auroc, auroc_difference, aurocs
from probes.sites import Site

Level = Literal["chance", "decodable", "decodable beyond the text"]
MARGIN = 0.05  # AUROC that hidden states have to add to the best classifier of the text


@runtime_checkable
class Moved(Protocol):
    """What a claim of use needs to know about an intervention; `interventions.effect` returns one."""

    def change(self) -> Estimate: ...
    def p_value(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Claim:
    """The strongest sentence the controls allow, and what stands in the way of a stronger one.

    `level` is chance, decodable, or decodable beyond the text. `used` says whether an edit moved behaviour more than matched random edits did
    (None: not asked). `surface` holds the AUROC of every baseline on the same rows, `difference` the probe's AUROC over the best of them.
    """

    level: Level
    sentence: str
    why_not_more: tuple[str, ...]
    site: Site
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
        return "\n".join([self.sentence, *(f"  not more: {reason}" for reason in self.why_not_more)])

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(self.sentence)}</b></p><p>Why not more:</p><ul>{''.join(f'<li>{escape(r)}</li>' for r in self.why_not_more)}</ul>"


def claim(
    recipe: Any,
    train: Activations | PairActivations,
    test: Activations | PairActivations,
    *,
    texts: tuple[Sequence[str], Sequence[str]] | None = None,
    baselines: Mapping[str, Float[np.ndarray, " n"]] | None = None,
    effect: Moved | None = None,
    what: str = "y",
    n: int = 199,
    alpha: float = 0.05,
    margin: float = MARGIN,
    seed: int = 0,
    progress: bool = True,
) -> Claim:
    """Fits, chooses the site within the train groups, tests, and says what may be claimed about held-out groups.

    "Decodable" needs p <= alpha under `n` shuffles of the labels with the best site paid for, and an interval above .5. "Beyond the text" needs an AUROC
    at least `margin` over the best baseline on the same rows, with the interval of the difference above 0; give the `texts` of the train and test rows, and further
    test scores as `baselines` (the embedding layer, `random_weights`). `effect` adds whether the model uses it. `what` names y in the sentence.
    Raises ValueError when train and test share a group, a pair or a text. The words follow the controls listed in docs/controls.md.
    """
    _separate(train, test, texts)
    probe = recipe.fit(train)
    null = shuffled_null(recipe, train, test, n, seed, progress, probe)
    at = _chosen(recipe, train, seed)
    site, p = train.sites[at], float(null.p_by_site[at])
    scores = probe.score(test)[at].detach().cpu().numpy()
    found = auroc(scores, test.y, test.groups)
    others = dict(baselines or {})
    if texts is not None:
        others = surface_scores(texts[0], train.y, texts[1]) | others
    surface = {name: auroc(s, test.y, test.groups) for name, s in others.items()}
    best = max(surface, key=lambda name: surface[name].value) if surface else None
    difference = None if best is None else auroc_difference(scores, others[best], test.y, test.groups)

    over = f"on {found.n_groups} held-out groups ({found.n} rows)"
    shuffles = f"p={p:.3f} over {n} shuffles of the labels, best of {len(train.sites)} sites each"
    linear = "linearly " if isinstance(probe, LinearProbe) else ""
    why: list[str] = []
    if p > alpha or found.low <= 0.5:
        level: Level = "chance"
        sentence = f"Nothing may be claimed: {what} is read at {site} with AUROC {found} {over}, as chance would have it ({shuffles})."
        why.append(f"shuffled labels reach {null.level():.2f} in the best site of one run in twenty" if p > alpha else "the interval reaches .5")
    elif best is not None and difference is not None and difference.low > 0 and difference.value >= margin:
        level = "decodable beyond the text"
        sentence = (
            f"{what} is {linear}decodable at {site} beyond the bare text: AUROC {found} {over}, {difference:+.2f} over the best baseline ({best}); {shuffles}."
        )
    else:
        level = "decodable"
        sentence = f"{what} is {linear}decodable at {site}: AUROC {found} {over}; {shuffles}."
        why.append(
            "no texts were given, so the words alone may say as much"
            if best is None
            else f"the best baseline ({best}) reaches {surface[best]}, a difference of {difference:+.2f}; {margin:.2f} and an interval above 0 are asked"
        )
    used = None if effect is None else bool(effect.p_value() <= alpha)
    if used and effect is not None:
        sentence += f" It is used: the edit moved behaviour by {effect.change():.2f}, more than matched random edits (p={effect.p_value():.3f})."
    elif level != "chance":
        why.append(
            "decodable is not used: no edit of this direction was measured against matched random edits"
            if effect is None
            else f"the edit moved behaviour by {effect.change():.2f}, no more than matched random edits do (p={effect.p_value():.3f})"
        )
    return Claim(level, sentence, tuple(why), site, found, null, surface, difference, used)


def seed_spread(recipe: Any, train: Activations | PairActivations, test: Activations | PairActivations, seeds: int = 10) -> Float[np.ndarray, "seed site"]:
    """Test AUROC under other random starts of the same recipe on the same rows; a wide spread means that the search is not done.

    Raises ValueError for recipes without a seed, which have none.
    """
    if not hasattr(recipe, "seed"):
        raise ValueError(f"{type(recipe).__name__} has no seed: on the same rows it always finds the same probe")
    return np.stack([aurocs(replace(recipe, seed=k).fit(train).score(test), np.asarray(test.y)) for k in range(seeds)])


def _chosen(recipe: Any, train: Activations | PairActivations, seed: int) -> int:
    """The site that does best on train groups held out for choosing."""
    if len(train.sites) == 1:
        return 0
    inner, held = train.split((0.7, 0.3), seed=seed)
    return int(np.argmax(aurocs(recipe.fit(inner).score(held), np.asarray(held.y))))


def _separate(train: Activations | PairActivations, test: Activations | PairActivations, texts: tuple[Sequence[str], Sequence[str]] | None) -> None:
    shared = {"groups": np.intersect1d(train.groups, test.groups)}
    if "pair_id" in train.columns and "pair_id" in test.columns:
        shared["pair_id"] = np.intersect1d(train.columns["pair_id"], test.columns["pair_id"])
    if texts is not None:
        for part, rows, name in ((texts[0], train, "train"), (texts[1], test, "test")):
            if len(part) != len(rows):
                raise ValueError(f"{len(part)} {name} texts were given for {len(rows)} {name} rows; give one text a row, in the same order")
        shared["texts"] = np.intersect1d(np.asarray(texts[0]), np.asarray(texts[1]))
    for name, both in shared.items():
        if len(both):
            raise ValueError(
                f"train and test share {len(both)} {name} (such as {both[0]!r}); split by groups that keep them apart: acts.split(sizes, groups=...)"
            )
