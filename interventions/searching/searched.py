"""What a search measured, option by option, and the best of the options."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from interventions.behaviours.records import Records
from interventions.searching.choosing import Candidates, Noise, TieLike, chosen
from interventions.searching.goals import Goal, GoalLike, Outcome, as_goal
from interventions.searching.option import Choice, Name, Option
from probes.data.examples import Examples
from probes.evidence.choose import ONE_ERROR
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import mean_difference


@dataclass(frozen=True, eq=False)
class Searched(Displayed):
    """Every option's records on the same validation prompts, beside the unedited ones."""

    prompts: Examples
    before: Records
    options: tuple[Option, ...]

    def __len__(self) -> int:
        return len(self.options)

    @property
    def about(self) -> str:
        """What was searched, in a line."""
        return f"Searched({len(self)} options, {self.before.behaviour}, {len(self.before)} prompts)"

    @property
    def names(self) -> tuple[Name, ...]:
        return tuple(o.name for o in self.options)

    def __getitem__(self, name: Name) -> Option:
        found = [o for o in self.options if o.name == name]
        if not found:
            raise KeyError(f"no option is called {name!r}; there are {', '.join(map(str, self.names))}")
        return found[0]

    @cached_property
    def rows(self) -> np.ndarray:
        """The prompts measured every time; raises ValueError when there are none."""
        every = [self.before, *(r for o in self.options for r in (o.now, *o.controls))]
        whole = np.flatnonzero(np.logical_and.reduce([r.measured for r in every]))
        if not len(whole):
            none = f"none of the {len(self.before)} prompts was measured under every option"
            raise ValueError(f"{none}, so options cannot be compared")
        return whole

    def outcome(self, records: Records) -> Outcome:
        """What goals look at, on the prompts measured every time."""
        return Outcome.of(records, self.before, self.prompts).rows(self.rows)

    def only(self, names: Iterable[Name]) -> "Searched":
        """Some of the options."""
        wanted = list(names)
        return replace(self, options=tuple(self[name] for name in wanted))

    def with_options_of(self, other: "Searched") -> "Searched":
        """These options and others measured on the same prompts."""
        if not np.array_equal(self.before.ids, other.before.ids):
            advice = "search on the same validation prompts"
            raise ValueError(f"the two searches asked other prompts, so options cannot be compared; {advice}")
        self.before.same_measure(other.before)
        return replace(self, options=(*self.options, *other.options))

    def with_rows_of(self, other: "Searched") -> "Searched":
        """The same options, measured on these prompts in one way and on others in another, such as pushed up
        and down.
        """
        if self.names != other.names:
            both = " and ".join(", ".join(map(str, each.names)) for each in (self, other))
            raise ValueError(f"the two searches have other options: {both}")
        pairs = zip(self.options, other.options, strict=True)
        options = tuple(replace(a, now=Records.concat([a.now, b.now]), controls=()) for a, b in pairs)
        prompts = Examples.concat([self.prompts, other.prompts])
        return Searched(prompts, Records.concat([self.before, other.before]), options)

    def values(self, by: GoalLike) -> dict[Name, float]:
        """The goal's number under every option."""
        goal = as_goal(by)
        return {o.name: goal.value(self.outcome(o.now)) for o in self.options}

    def best(
        self,
        by: GoalLike,
        *,
        within: float | int = 0,
        level: float | int = ONE_ERROR,
        ties: str | Sequence[TieLike] | None = None,
        seed: int = 0,
    ) -> Choice:
        """The option that does best by a goal, a name of one (`GOALS`), or a function of the outcome of which
        higher is better.

        Options are as good as the best when they are at most `within` below it, or when the central `level`
        interval of the paired difference, over groups of prompts, reaches 0 (by default one standard error;
        `level=0` takes differences at their face). Ties among these are settled by `ties` in order:
        "cheapest" (KL on neutral text; as cheap is what lies within the interval of the cheapest), "fewest
        sites", "earliest", or further goals, each with its own noise; what is left is in the order given.
        Default: cheapest where the cost was measured, fewest sites, earliest.

        An option stands when the 95% interval of its difference from the unedited model excludes 0 and when,
        in each round of controls, it does better than the best of them over all options, which
        pays for having chosen. See `Choice.stands`: without it the option is only the first among those that
        do nothing shown.
        """
        rounds = min(len(o.controls) for o in self.options)
        candidates = Candidates(
            self.options,
            tuple(self.outcome(o.now) for o in self.options),
            self.outcome(self.before),
            tuple(tuple(self.outcome(o.controls[k]) for o in self.options) for k in range(rounds)),
            self.before.groups[self.rows],
        )
        return chosen(candidates, as_goal(by), Noise(within, level, seed), ties)

    def table(self, *by: GoalLike) -> pd.DataFrame:
        """One row an option: mean before and after, the change with its interval, any goals, random edits,
        cost, number of sites and the first of them.
        """
        goals = [as_goal(g) for g in by]
        return pd.DataFrame([self._line(o, goals) for o in self.options])

    def _line(self, o: Option, goals: Sequence[Goal]) -> dict[str, Any]:
        base, now = self.before.values[self.rows], o.now.values[self.rows]
        change = mean_difference(now, base, self.before.groups[self.rows])
        line: dict[str, Any] = {"option": str(o.name), "before": base.mean(), "after": now.mean()}
        line |= {"change": change.value, "low": change.low, "high": change.high}
        line |= {goal.name: goal.value(self.outcome(o.now)) for goal in goals}
        if o.controls:
            random = [float((r.values[self.rows] - base).mean()) for r in o.controls]
            line |= {"random low": min(random), "random high": max(random)}
        if o.cost is not None:
            line |= {"KL": float(o.cost.kl.value), "loss rise": float(o.cost.loss.value)}
        return line | {"sites": len(o.sites), "earliest": str(o.sites[0])}

    def __repr__(self) -> str:
        shown = self.table().to_string(index=False, float_format=lambda v: f"{v:.3f}")
        return terminal(f"{self.about}\n{shown}")
