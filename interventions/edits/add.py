"""Push the hidden state along a direction."""

from dataclasses import dataclass

from interventions.writes.lowrank import LowRank, SiteEdit, site_edits
from probes.checks.settings import check_number
from probes.data.positions import Position
from probes.data.sites import SitesLike
from probes.fitting.directions import Direction, check_direction
from probes.models.model import Model


@dataclass(frozen=True, eq=False)
class Add:
    """h + strength * direction: makes the model see more (or with a negative strength less) of the concept.

    Strength is stated in `gaps`: 1 is the distance between the class means along the direction, so it means
    the same at any site of any model. A direction without a gap takes `norm` instead, in raw units. `sites`
    defaults to the direction's own. Source: Turner et al., arXiv 2308.10248; Rimsky et al., arXiv 2312.06681.
    """

    direction: Direction
    gaps: float | int | None = None
    norm: float | int | None = None
    sites: SitesLike | None = None
    at: str | int | Position = "all"

    def __post_init__(self) -> None:
        if (self.gaps is None) == (self.norm is None):
            raise ValueError(
                f"give the strength once, as gaps=... or as norm=..., got gaps={self.gaps} and"
                f" norm={self.norm}"
            )
        check_direction(self.direction, "Add")
        name, strength = ("norm", self.norm) if self.gaps is None else ("gaps", self.gaps)
        check_number(name, strength)
        has_gap = self.direction.gap is not None
        finite = has_gap and abs(self.direction.gap) < float("inf")  # pyright: ignore
        if self.gaps is not None and not finite:
            raise ValueError(
                "this direction has no gap to measure strength in; use direction.calibrated(acts) with"
                " labelled acts, or norm=..."
            )
        gap = self.direction.gap
        if self.norm is not None and has_gap and gap is not None:
            raise ValueError(
                f"this direction has a gap of {gap:.3g}; state the strength in gaps={self.norm / gap:.3g}"
            )

    @property
    def length(self) -> float:
        """How far h moves, in raw units."""
        if self.gaps is None:
            return float(self.norm)  # pyright: ignore
        return float(self.gaps * self.direction.gap)  # pyright: ignore

    def compile(self, model: Model) -> tuple[SiteEdit, ...]:
        self.direction.check_model(model)
        return site_edits(
            model,
            self.direction.site,
            self.sites,
            self.at,
            LowRank.shift(self.direction.unit * self.length),
            repr(self),
        )

    def __repr__(self) -> str:
        strength = (
            f"{self.gaps:g} gaps"
            if self.gaps is not None
            else f"norm {self.norm:g} (direction without a gap)"
        )
        return f"Add({strength} of {self.direction!r})"
