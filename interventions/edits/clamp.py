"""Hold the hidden state at a chosen value along a direction."""

from dataclasses import dataclass

from interventions.lowrank import LowRank, SiteEdit, site_edits
from probes.directions import Direction
from probes.models import Model
from probes.positions import Position
from probes.sites import SitesLike


@dataclass(frozen=True, eq=False)
class Clamp:
    """h + (to - h . u) u: every token gets the same amount `to` (raw units) along the direction; to=0 is ablation."""

    direction: Direction
    to: float | int
    sites: SitesLike | None = None
    at: str | int | Position = "all"

    def compile(self, model: Model) -> tuple[SiteEdit, ...]:
        self.direction.check_model(model)
        u = self.direction.unit
        return site_edits(model, self.direction.site, self.sites, self.at, LowRank(u[:, None], -u[None], float(self.to) * u), repr(self))

    def __repr__(self) -> str:
        return f"Clamp(to {self.to:g} along {self.direction!r})"
