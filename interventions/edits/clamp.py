"""Hold the hidden state at a chosen value along one or several directions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from interventions.writes.lowrank import LowRank, SiteEdit, named, same_site, site_edits, stacked
from probes.checks.settings import check_number
from probes.data.positions import Position
from probes.data.sites import SitesLike
from probes.fitting.directions import Direction
from probes.models.model import Model


@dataclass(frozen=True, eq=False)
class Clamp:
    """h + (to - h . u) u: every token gets the same amount `to` (raw units) along the direction; to=0 is
    ablation.

    With several directions at one site `to` has one amount each, and all of them hold afterwards, also when
    the directions are not orthogonal.
    """

    direction: Direction | Sequence[Direction]
    to: float | int | Sequence[float | int]
    sites: SitesLike | None = None
    at: str | int | Position = "all"

    def __post_init__(self) -> None:
        same_site(self.direction)
        for amount in self.to if isinstance(self.to, Sequence) else (self.to,):
            check_number("to", amount)

    def compile(self, model: Model) -> tuple[SiteEdit, ...]:
        directions, to = same_site(self.direction), self.amounts
        if len(to) != len(directions):
            raise ValueError(f"{len(directions)} directions need as many amounts, got to={self.to}")
        for d in directions:
            d.check_model(model)
        change = LowRank.holding(stacked(directions), torch.tensor(to))
        return site_edits(model, directions[0].site, self.sites, self.at, change, repr(self))

    @property
    def amounts(self) -> tuple[float, ...]:
        """One amount a direction."""
        return tuple(float(t) for t in (self.to if isinstance(self.to, Sequence) else (self.to,)))

    def __repr__(self) -> str:
        return (
            f"Clamp(to {', '.join(f'{t:g}' for t in self.amounts)} along {named(same_site(self.direction))})"
        )
