"""What an option is judged by: a number of what the model did, and which way is better."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from interventions.behaviours.records import Records
from probes.data.examples import Examples
from probes.metrics.estimates import aurocs

BETTER = ("highest", "lowest", "farthest")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a model did under one option, row by row, and what it did unedited.

    `values` and `base` are in the behaviour's unit; `labels` and `base_labels` are the kinds of answers,
    where the behaviour sorts them. `y` and `columns` are the prompts' own.
    """

    values: Float[np.ndarray, " n"]
    base: Float[np.ndarray, " n"]
    labels: Shaped[np.ndarray, " n"] | None = None
    base_labels: Shaped[np.ndarray, " n"] | None = None
    y: Shaped[np.ndarray, " n"] | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, now: Records, before: Records, prompts: Examples) -> "Outcome":
        return cls(now.values, before.values, now.labels, before.labels, prompts.y, prompts.columns)

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, which: np.ndarray) -> "Outcome":
        """The rows at these positions; a position may come several times."""
        parts = {"labels": self.labels, "base_labels": self.base_labels, "y": self.y}
        taken = {name: None if part is None else part[which] for name, part in parts.items()}
        columns = {name: column[which] for name, column in self.columns.items()}
        return Outcome(self.values[which], self.base[which], columns=columns, **taken)

    def column(self, name: str) -> np.ndarray:
        if name not in self.columns:
            there = sorted(self.columns) or "no columns"
            raise ValueError(f"the prompts have no column {name!r}; they have {there}")
        return self.columns[name]

    def answers(self) -> np.ndarray:
        """The right answers, as booleans; raises ValueError for prompts without y."""
        if self.y is None:
            advice = "give the Examples y, or choose by another goal"
            raise ValueError(f"this goal compares with the right answer, but the prompts have no y; {advice}")
        return self.y == 1

    def kinds(self) -> np.ndarray:
        """The kinds of answers; raises ValueError for a behaviour that does not sort them."""
        if self.labels is None:
            advice = "choose by another goal, such as 'change'"
            raise ValueError(f"this goal counts kinds of answers, but the behaviour gives none; {advice}")
        return self.labels


@dataclass(frozen=True)
class Goal:
    """A number of an outcome and which way is better: highest, lowest, or farthest from that of the unedited
    model.

    `of` gives NaN for rows that it cannot judge, such as rows of one class. With `cells` (columns of the
    prompts) it is taken in every cell of their values, and the worst cell counts.
    """

    name: str
    of: Callable[[Outcome], float]
    better: str = "highest"
    cells: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not callable(self.of):
            raise TypeError(f"a goal is a function, a Goal or one of {', '.join(GOALS)}, got {self.of!r:.60}")
        if self.better not in BETTER:
            raise ValueError(f"better={self.better!r}; expected {', '.join(BETTER)}")
        if self.cells and self.better == "farthest":
            rule = "the worst cell is taken where higher or lower is better"
            raise ValueError(f"{self.name}: {rule}, not for the farthest from before")

    def in_cells(self, *columns: str) -> "Goal":
        """The same goal, counted in the worst cell of these columns."""
        return replace(self, cells=columns)

    def value(self, outcome: Outcome) -> float:
        """The number itself."""
        if not self.cells:
            return float(self.of(outcome))
        parts = [float(self.of(outcome.rows(rows))) for rows in _cells(outcome, self.cells)]
        return max(parts) if self.better == "lowest" else min(parts)

    def gain(self, now: Any, before: Any) -> Any:
        """How much better than unedited, in the goal's unit."""
        change = np.asarray(now) - np.asarray(before)
        return np.abs(change) if self.better == "farthest" else -change if self.better == "lowest" else change


def _cells(outcome: Outcome, columns: tuple[str, ...]) -> list[np.ndarray]:
    """Positions of the rows of every cell."""
    number = np.zeros(len(outcome), dtype=int)
    for name in columns:
        codes = np.unique(outcome.column(name), return_inverse=True)[1]
        number = number * (codes.max() + 1) + codes
    return [np.flatnonzero(number == k) for k in np.unique(number)]


def _distance(outcome: Outcome) -> float:
    y = outcome.answers()
    if len(np.unique(y)) < 2:
        return float("nan")
    right = (outcome.values > 0) == y
    balanced = (right[y].mean() + right[~y].mean()) / 2
    ranked = float(aurocs(outcome.values[None], y)[0])
    return max(abs(balanced - 0.5), abs(ranked - 0.5))


def _turned(outcome: Outcome) -> float:
    was, now = outcome.base > 0, outcome.values > 0
    return float(np.mean([(now[was == side] != side).mean() for side in np.unique(was)]))


distance_from_chance: Goal = Goal("distance from chance", _distance, "lowest")
"""How far balanced accuracy or AUROC of the answers is from .5, the farther of the two: 0 when nothing about
y is left in them.
"""

change: Goal = Goal("mean", lambda outcome: float(outcome.values.mean()), "farthest")
"""The mean of the behaviour, as far as possible from where it was, either way."""

turned: Goal = Goal("share turned", _turned)
"""The share of answers that crossed to the other side of 0, mean over the two sides they came from."""


def share(*kinds: str, better: str = "highest") -> Goal:
    """The share of answers of these kinds."""
    if not kinds:
        raise ValueError("name at least one kind of answer, such as share('factual')")

    def of(outcome: Outcome) -> float:
        return float(np.isin(outcome.kinds(), kinds).mean())

    return Goal(f"share {' or '.join(kinds)}", of, better)


GOALS: Mapping[str, Goal] = {
    "distance_from_chance": distance_from_chance,
    "change": change,
    "turned": turned,
    "highest mean": replace(change, better="highest"),
    "lowest mean": replace(change, better="lowest"),
}
"""Goals that can be called by name."""

GoalLike = str | Goal | Callable[[Outcome], float]


def as_goal(by: GoalLike) -> Goal:
    """A goal from its name or from a function of the outcome, of which higher is better; raises ValueError
    for unknown names.
    """
    if isinstance(by, Goal):
        return by
    if isinstance(by, str):
        if by not in GOALS:
            there = f"there are {', '.join(GOALS)}"
            raise ValueError(
                f"no goal is called {by!r}; {there}, or give a function of the outcome or a Goal"
            )
        return GOALS[by]
    return Goal(getattr(by, "__name__", repr(by)), by)
