"""What may be said about a reading, in fixed words, and why not more."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from probes.checks.settings import check_count, check_level, check_size
from probes.data.activations import Activations, PairActivations
from probes.data.rows import Rows
from probes.data.sites import Site
from probes.evidence.apart import copies_joined, require_apart
from probes.evidence.claim_rivals import chosen_within, rival_lines
from probes.evidence.claim_rows import Texts, claim_rows, read_apart, require_separate, texts_of
from probes.evidence.claim_rule import ClaimNumbers, Level, Use, reasons, ruled, sentence
from probes.evidence.finding import MARGIN
from probes.evidence.permutation import Null, shuffled_null
from probes.evidence.readout import asked, scored
from probes.evidence.rivals import Rivals, compared
from probes.fitting.directions import Direction
from probes.fitting.linear import LinearProbe
from probes.fitting.recipe import Recipe, Seeded
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, auroc, auroc_difference, aurocs
from probes.recipes.concatenated import ConcatenatedProbe


@runtime_checkable
class Said(Protocol):
    """What may be said about an edit, and whether that is that it moves behaviour."""

    @property
    def sentence(self) -> str: ...

    @property
    def moves(self) -> bool: ...


@runtime_checkable
class Moved(Protocol):
    """What a claim of use needs to know about an intervention; `interventions.effect` returns one."""

    def verdict(self) -> Said:
        """What may be said about the edit."""
        ...

    def cosine_to(self, direction: Direction) -> float | None:
        """|Cosine| of the edit's direction to one at its site, None where it has none there."""
        ...


@dataclass(frozen=True, eq=False)
class Claim(Displayed):
    """The strongest sentence the controls allow, and what stands in the way of a stronger one.

    `level` is chance, decodable, or decodable beyond the text. `used` says whether an edit along the probe's
    direction moved behaviour (None: not asked). `surface` holds the AUROC of every baseline on the same rows,
    `difference` the probe's AUROC over the best of them.
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
    texts: str | Texts | None = None,
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
    """Fits, chooses the site within the train groups, tests, and says what may be claimed of held-out ones.

    "Decodable" needs p <= alpha under `n` shuffles of the labels with the best site paid for, and an
    interval above .5. "Beyond the text" needs the texts and an AUROC at least `margin` over the best
    baseline on the same rows, with the interval of the difference above 0; give the `texts` of the train
    and test rows (a column of theirs, two lists in their order, or the Examples that were captured: lists are
    checked against the texts that were read, Examples by any ids), and further `baselines` by
    name: train and test rows as read elsewhere (in the embedding layer, in `random_weights`), on which the
    recipe is fitted and its site chosen as here, or test scores of your own. `effect` adds whether the
    model uses it, where the edit was along this probe's direction. `what` names y in the sentence, `unit`
    is as in `shuffled_null`. Raises ValueError when train and test share a group, a pair or a text, when
    a baseline is of other rows, or without shuffles (docs/controls.md).
    """
    asked(recipe, train, test)
    _check_rule(n, alpha, margin)
    read = None if texts is None else texts_of(train, test, texts)
    require_separate(train, test, read)
    rows = claim_rows(train, test, read)
    if baselines is not None and not isinstance(baselines, Mapping):
        raise TypeError(f"baselines are given by name, a dict, got a {type(baselines).__name__}")
    if effect is not None and not isinstance(effect, Moved):
        raise TypeError(f"effect is what interventions.effect returns, got a {type(effect).__name__}")
    others = rival_lines(recipe, train, test, baselines or {}, read, seed)
    train, test = (copies_joined(part) for part in rows.parts(train, test))
    found = _fitted(recipe, train, test, n, seed, progress, unit)
    numbers = ClaimNumbers(
        what=what,
        site=str(found.site),
        linear=found.linear,
        auroc=auroc(found.line, test.y, test.groups),
        p=found.p,
        least_p=found.null.least_p,
        shuffles=n,
        n_sites=found.n_sites,
        null_level=found.null.level(),
        rivals=_compared(found.line, {name: line[rows.kept] for name, line in others.items()}, test),
        with_texts=read is not None,
        with_baselines=bool(baselines),
        use=None if effect is None else _use(effect, found.probe),
        alpha=alpha,
        margin=margin,
        seen=rows.seen,
        read=read_apart(train.receipt, test.receipt),
    )
    return _said(numbers, found.site, found.null)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """The test scores at the site that was chosen on train rows, beside what shuffled labels reach."""

    site: Site | str
    line: Float[np.ndarray, " n"]
    p: float
    null: Null
    n_sites: int
    linear: bool
    probe: Any


def _use(effect: Moved, probe: Any) -> Use:
    """What an effect says about use: whether the edit is along the probe's direction at any of its sites,
    and what it did.
    """
    cosines: list[float] = []
    if isinstance(probe, LinearProbe):
        found = [effect.cosine_to(probe.direction(site)) for site in probe.sites]
        cosines = [c for c in found if c is not None]
    said = effect.verdict()
    return Use(said.sentence, said.moves, max(cosines, default=None))


def _fitted(
    recipe: Recipe,
    train: Activations | PairActivations,
    test: Activations | PairActivations,
    n: int,
    seed: int,
    progress: bool,
    unit: str | None,
) -> _Fitted:
    probe = recipe.fit(train)
    lines, names = scored(probe, test)
    null = shuffled_null(recipe, train, test, n, seed, progress, probe, unit)
    at = chosen_within(recipe, train, seed) if len(names) > 1 else 0
    linear = isinstance(probe, LinearProbe | ConcatenatedProbe)
    return _Fitted(names[at], lines[at], float(null.p_by_site[at]), null, len(names), linear, probe)


def _said(n: ClaimNumbers, site: Site | str, null: Null) -> Claim:
    found = ruled(n)
    return Claim(
        level=found.word,
        sentence=sentence(found),
        why_not_more=reasons(found),
        site=site,
        auroc=n.auroc,
        null=null,
        surface=n.rivals.values,
        difference=n.rivals.difference,
        used=found.checks.get("used"),
    )


def seed_spread(
    recipe: Recipe, train: Activations | PairActivations, test: Activations | PairActivations, seeds: int = 10
) -> Float[np.ndarray, "seed site"]:
    """Test AUROC under other random starts of the same recipe on the same rows; a wide spread means that the
    search is not done.

    Raises ValueError for recipes without a seed, which have none, and where train and test share rows.
    """
    asked(recipe, train, test)
    check_count("seeds", seeds)
    if not isinstance(recipe, Seeded):
        raise ValueError(
            f"{type(recipe).__name__} has no seed: on the same rows it always finds the same probe"
        )
    require_apart(train, test, "a spread over starts")
    return np.stack(
        [aurocs(replace(recipe, seed=k).fit(train).score(test), np.asarray(test.y)) for k in range(seeds)]
    )


def _compared(line: np.ndarray, others: Mapping[str, np.ndarray], test: Rows) -> Rivals:
    return compared(
        others,
        value=lambda other: auroc(other, test.y, test.groups),
        over=lambda best: auroc_difference(line, best, test.y, test.groups),
    )


def _check_rule(n: int, alpha: float, margin: float) -> None:
    check_count("a claim rests on shuffled labels (199 for p down to .005): n", n)
    check_level("alpha", alpha)
    check_size("margin", margin)
