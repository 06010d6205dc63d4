"""Put the concept at a stated level, counted from where the hidden states without it lie."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from interventions.writes.held import HoldsRows
from interventions.writes.lowrank import LowRank, SiteEdit, check_rows, position_of, target_sites
from probes.checks.settings import check_number
from probes.data.activations import Activations, check_states
from probes.data.positions import Position
from probes.data.sites import SitesLike
from probes.fitting.directions import Direction, check_direction
from probes.models.model import Model


@dataclass(frozen=True, eq=False)
class Affine(HoldsRows):
    """h - (h . u) u + (r + level * gap) u: level 0 gives every token the mean component of the negative
    class, level 1 that of the positive one.

    `reference` holds labelled activations (y 0/1) at every target site, from which r and the gap are taken
    site by site. Unlike `Ablate` it goes to a place where hidden states are found, and unlike `Add` the
    result does not depend on how much was there. Raises ValueError for activations without two classes or of
    another model; those read under other edits or at another token are warned of.
    Source: affine concept editing, Marshall et al., arXiv 2411.09003.
    """

    HELD: ClassVar[str] = "reference"

    direction: Direction
    reference: Activations
    level: float | int = 0
    sites: SitesLike | None = None
    at: str | int | Position = "all"

    def __post_init__(self) -> None:
        check_direction(self.direction, "Affine")
        check_states(self.reference, "Affine(reference=...)", single=True)
        check_number("level", self.level)
        self._counted()

    def compile(self, model: Model) -> tuple[SiteEdit, ...]:
        self._as_made()
        self.direction.check_model(model)
        places = [*self.direction.places, *(() if self.at == "all" else (self.at,))]
        check_rows(model, self.reference, "the reference", places)
        y, _ = self.reference.classes
        u = self.direction.unit
        found = []
        for site in target_sites(model, self.direction.site, self.sites):
            along = self.reference[site].x[0].float().cpu() @ u
            absent, present = along[~y].mean(), along[y].mean()
            to = absent + self.level * (present - absent)
            found.append(
                SiteEdit(
                    site, position_of(self.at), LowRank.holding(u[None], torch.atleast_1d(to)), repr(self)
                )
            )
        return tuple(found)

    def __repr__(self) -> str:
        return f"Affine(level {self.level:g} of {self.direction!r})"
