"""One option of a search with what was measured of it, and the choice among options."""

from dataclasses import dataclass
from typing import Any

from interventions.behaviours.neutral_text import Cost
from interventions.behaviours.records import Records
from interventions.searching.goals import Goal
from interventions.writes.lowrank import Edit
from probes.data.sites import Site
from probes.markup.terminal import terminal
from probes.metrics.estimates import Estimate

Name = Any  # anything hashable: a text, or a tuple of what makes the option


@dataclass(frozen=True, eq=False)
class Option:
    """One option and what was measured of it: the behaviour under the edit and under its matched random
    edits, and the cost on neutral text.
    """

    name: Name
    edit: Edit
    sites: tuple[Site, ...]
    now: Records
    controls: tuple[Records, ...] = ()
    cost: Cost | None = None

    @property
    def earliest(self) -> tuple[int, int, int]:
        """Where the forward pass meets it first."""
        return self.sites[0].order

    @property
    def kl(self) -> Estimate:
        if self.cost is None:
            advice = "give search neutral texts, or settle ties without 'cheapest'"
            raise ValueError(f"the cost of {self.name} was not measured, so none is cheapest; {advice}")
        return self.cost.kl


@dataclass(frozen=True, eq=False)
class Choice:
    """The best option by a goal.

    `stands` says that it differs from the unedited model beyond noise and does better than every round of
    controls; where it does not, `doubts` say why and no option should be taken for an effect.
    `value` and `before` are the goal under the option and unedited; `equal` names the options that are as
    good within noise, among which ties were settled.
    """

    option: Option
    goal: Goal
    value: float
    before: float
    equal: tuple[Name, ...]
    doubts: tuple[str, ...]

    @property
    def stands(self) -> bool:
        return not self.doubts

    @property
    def name(self) -> Any:
        return self.option.name

    @property
    def edit(self) -> Edit:
        return self.option.edit

    @property
    def sites(self) -> tuple[Site, ...]:
        return self.option.sites

    def __repr__(self) -> str:
        others = [str(name) for name in self.equal if name != self.name]
        as_good = f"; as good: {', '.join(others)}" if others else ""
        standing = "" if self.stands else f"; but {' and '.join(self.doubts)}"
        moved = f"{self.goal.name} {self.before:.3f} -> {self.value:.3f}"
        return terminal(f"Choice({self.name}: {moved}{as_good}{standing})")
