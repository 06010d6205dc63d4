"""Take one or several directions out of the hidden state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from interventions.writes.held import HoldsRows
from interventions.writes.lowrank import (
    LowRank,
    SiteEdit,
    check_rows,
    named,
    position_of,
    same_site,
    stacked,
    target_sites,
)
from probes.checks.settings import check_number
from probes.data.activations import Activations, check_states
from probes.data.positions import Position
from probes.data.sites import SitesLike
from probes.fitting.directions import Direction
from probes.models.model import Model


@dataclass(frozen=True, eq=False)
class Ablate(HoldsRows):
    """h - (h . u) u: afterwards nothing is left along the direction, for positive and negative rows alike.

    With several directions at one site their whole span is taken out. To zero also removes the mean along u,
    which may move h to where it never is; with `mean_of` every token gets the mean of those activations along
    u instead (at every target site, so they must hold it). At one site later blocks may write the concept
    back; `sites="resid_post"` takes it out after every block, and `sites=WRITERS` out of everything that is
    ever added to the stream. `strength` is 1 for all of it; less takes a part, and more takes away more than
    there was, which is no ablation any longer (published "ablations" with factors of 5 to 20 are of this
    kind). Source: Arditi et al., arXiv 2406.11717.
    """

    HELD: ClassVar[str] = "mean_of"

    direction: Direction | Sequence[Direction]
    sites: SitesLike | None = None
    at: str | int | Position = "all"
    mean_of: Activations | None = None
    strength: float | int = 1

    def __post_init__(self) -> None:
        check_number("strength", self.strength)
        same_site(self.direction)
        if self.mean_of is not None:
            check_states(self.mean_of, "Ablate(mean_of=...)", single=True)
        self._counted()

    def compile(self, model: Model) -> tuple[SiteEdit, ...]:
        self._as_made()
        directions = same_site(self.direction)
        for d in directions:
            d.check_model(model)
        if self.mean_of is not None:
            check_rows(model, self.mean_of, "mean_of", [self.at])
        units = stacked(directions)
        found = []
        for site in target_sites(model, directions[0].site, self.sites):
            to = (
                torch.zeros(len(units))
                if self.mean_of is None
                else self.mean_of[site].x[0].float().mean(0).cpu() @ units.T
            )
            found.append(
                SiteEdit(
                    site, position_of(self.at), LowRank.holding(units, to).scaled(self.strength), repr(self)
                )
            )
        return tuple(found)

    def __repr__(self) -> str:
        to = "" if self.mean_of is None else ", to the mean"
        strength = "" if self.strength == 1 else f", strength {self.strength:g}"
        return f"Ablate({named(same_site(self.direction))}{to}{strength})"
