"""Take a direction out of the hidden state."""

from dataclasses import dataclass

from interventions.lowrank import LowRank, SiteEdit, site_edits
from probes.directions import Direction
from probes.models import Model
from probes.positions import Position
from probes.sites import SitesLike


@dataclass(frozen=True, eq=False)
class Ablate:
    """h - (h . u) u: afterwards nothing is left along the direction, for positive and negative rows alike.

    At one site later blocks may write the concept back; `sites="resid_post"` takes it out after every block.
    It removes the mean along u as well as the difference between the classes. Source: Arditi et al., arXiv 2406.11717.
    """

    direction: Direction
    sites: SitesLike | None = None
    at: str | int | Position = "all"

    def compile(self, model: Model) -> tuple[SiteEdit, ...]:
        self.direction.check_model(model)
        u = self.direction.unit
        return site_edits(model, self.direction.site, self.sites, self.at, LowRank(u[:, None], -u[None], 0 * u), repr(self))

    def __repr__(self) -> str:
        return f"Ablate({self.direction!r})"
