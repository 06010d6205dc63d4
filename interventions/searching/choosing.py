"""How the best option is found: the highest gain, what equals it within noise, ties settled in order, and
whether it stands at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from interventions.searching.goals import Goal, GoalLike, Outcome, as_goal
from interventions.searching.option import Choice, Option
from probes.evidence.choose import BOOTSTRAPS, SURE, Ranked, equal_to_best
from probes.metrics.floors import cannot_tell, least_p
from probes.metrics.resampling import bootstrapped

TieLike = GoalLike
ALPHA = 0.05  # how often options that mean nothing may stand
CHEAPEST, FEWEST, EARLIEST = "cheapest", "fewest sites", "earliest"


@dataclass(frozen=True, eq=False)
class Candidates:
    """Options with their outcomes on the same rows, the unedited outcome, and each round of controls,
    one an option.
    """

    options: tuple[Option, ...]
    outcomes: tuple[Outcome, ...]
    unedited: Outcome
    rounds: tuple[tuple[Outcome, ...], ...]
    groups: Shaped[np.ndarray, " n"]

    def at(self, kept: Sequence[int]) -> "Candidates":
        """Some of them."""
        options = tuple(self.options[i] for i in kept)
        return replace(self, options=options, outcomes=tuple(self.outcomes[i] for i in kept))


@dataclass(frozen=True)
class Noise:
    """What counts as equal: a difference of at most `within`, or one whose `level` interval over groups
    reaches 0.
    """

    within: float | int
    level: float | int
    seed: int


def chosen(candidates: Candidates, goal: Goal, noise: Noise, ties: str | Sequence[TieLike] | None) -> Choice:
    """The best option by the goal; see `Searched.best`."""
    rules = _rules(candidates.options, ties)
    ranked = _ranked(candidates, goal, noise)
    equal = np.flatnonzero(ranked.equal).tolist()
    left = candidates.at(equal)
    for rule in rules:
        left = left.at(rule(left, noise))
    option, outcome = left.options[0], left.outcomes[0]
    value, before = goal.value(outcome), goal.value(candidates.unedited)
    doubts = _doubts(candidates, outcome, goal, noise.seed)
    return Choice(option, goal, value, before, tuple(candidates.options[i].name for i in equal), doubts)


Statistic = Callable[[np.ndarray], Float[np.ndarray, "b k"]]


def _changes(goal: Goal, outcomes: Sequence[Outcome], unedited: Outcome) -> Statistic:
    """The goal under every outcome minus unedited, for each row of weights [b, n]."""

    def under(weights: np.ndarray) -> np.ndarray:
        found = []
        for weight in weights:
            rows = np.repeat(np.arange(len(weight)), weight.astype(int))
            base = goal.value(unedited.rows(rows))
            found.append([goal.value(o.rows(rows)) - base for o in outcomes])
        return np.array(found)

    return under


def _ranked(candidates: Candidates, goal: Goal, noise: Noise) -> Ranked:
    changes = _changes(goal, candidates.outcomes, candidates.unedited)

    def gains(weights: np.ndarray) -> np.ndarray:
        return goal.gain(changes(weights), 0.0)

    n = len(candidates.unedited)
    return equal_to_best(gains, n, candidates.groups, within=noise.within, level=noise.level, seed=noise.seed)


def _doubts(candidates: Candidates, outcome: Outcome, goal: Goal, seed: int) -> tuple[str, ...]:
    """Why the option does not stand: the difference from unedited is within noise, or edits of its size along
    directions that mean nothing do as well, or are too few to tell.
    """
    found = []
    change = _changes(goal, [outcome], candidates.unedited)
    e = bootstrapped(change, (), len(outcome), candidates.groups, SURE, BOOTSTRAPS, seed)
    beyond = {"highest": e.low > 0, "lowest": e.high < 0, "farthest": e.low > 0 or e.high < 0}
    if not beyond[goal.better]:
        found.append(f"its difference from the unedited model is within noise ({e:.3f})")
    before, now = goal.value(candidates.unedited), goal.value(outcome)
    random = [max(float(goal.gain(goal.value(o), before)) for o in each) for each in candidates.rounds]
    as_good = sum(r >= float(goal.gain(now, before)) for r in random)
    if as_good:
        rounds = f"in {as_good} of {len(random)} rounds"
        found.append(f"{rounds} the best of the controls does as well")
    elif cannot_tell(least_p(len(random)), ALPHA):
        found.append(f"{len(random)} rounds of controls cannot tell: ask `effect`, on other prompts")
    return tuple(found)


Rule = Callable[[Candidates, Noise], list[int]]


def _rules(options: Sequence[Option], ties: str | Sequence[TieLike] | None) -> list[Rule]:
    """The rules that settle ties, in order; each gives the positions of the options it keeps."""
    if ties is None:
        measured = all(o.cost is not None for o in options)
        ties = [*([CHEAPEST] if measured else []), FEWEST, EARLIEST]
    listed: Sequence[TieLike] = [word.strip() for word in ties.split(",")] if isinstance(ties, str) else ties
    return [_rule(tie) for tie in listed]


def _rule(tie: TieLike) -> Rule:
    words: dict[Any, Rule] = {CHEAPEST: _cheapest, FEWEST: _fewest, EARLIEST: _earliest}
    if isinstance(tie, str) and tie in words:
        return words[tie]
    try:
        goal = as_goal(tie)
    except ValueError as error:
        expected = f"expected {', '.join(words)}, or a goal"
        raise ValueError(f"ties cannot be settled by {tie!r}; {expected}. {error}") from error
    return lambda left, noise: np.flatnonzero(_ranked(left, goal, noise).equal).tolist()


def _cheapest(left: Candidates, _: Noise) -> list[int]:
    """Those whose KL on neutral text lies within the interval of the smallest."""
    cheapest = min((o.kl for o in left.options), key=lambda kl: kl.value)
    most = cheapest.value if np.isnan(cheapest.high) else cheapest.high
    return [i for i, o in enumerate(left.options) if o.kl.value <= most]


def _fewest(left: Candidates, _: Noise) -> list[int]:
    fewest = min(len(o.sites) for o in left.options)
    return [i for i, o in enumerate(left.options) if len(o.sites) == fewest]


def _earliest(left: Candidates, _: Noise) -> list[int]:
    first = min(o.earliest for o in left.options)
    return [i for i, o in enumerate(left.options) if o.earliest == first]
