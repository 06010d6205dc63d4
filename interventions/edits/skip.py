"""Leave out what a sublayer or a head contributes."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from interventions.writes.changes import Constant
from interventions.writes.held import HoldsRows
from interventions.writes.lowrank import SiteEdit, check_rows, position_of
from probes.data.activations import Activations, check_states
from probes.data.positions import Position
from probes.data.sites import Site, SitesLike
from probes.models.model import Model


@dataclass(frozen=True, eq=False)
class Skip(HoldsRows):
    """The sublayers (attn_out, mlp_out) or heads (z) at `sites` add nothing to the residual stream; with
    `mean_of`, what they add on average.

    Zero is a value that a head may never give, so the mean over activations of ordinary text (`mean_of`,
    which must hold the sites) is the gentler test of what it does. Raises ValueError for the residual stream
    itself. Source: zero and mean ablation, as in Wang et al., arXiv 2211.00593.
    """

    HELD: ClassVar[str] = "mean_of"

    sites: SitesLike
    at: str | int | Position = "all"
    mean_of: Activations | None = None

    def __post_init__(self) -> None:
        if self.mean_of is not None:
            check_states(self.mean_of, "Skip(mean_of=...)", single=True)
        self._counted()

    def compile(self, model: Model) -> tuple[SiteEdit, ...]:
        self._as_made()
        sites = sorted(model.sites(self.sites), key=lambda s: s.order)
        stream = [str(s) for s in sites if s.kind.startswith("resid")]
        if stream:
            raise ValueError(
                f"{', '.join(stream)} is the residual stream, which nothing can skip; name attn_out, mlp_out"
                " or z"
            )
        if self.mean_of is not None:
            check_rows(model, self.mean_of, "mean_of", [self.at])
        values = [
            (
                torch.zeros(model.width_at(s))
                if self.mean_of is None
                else self.mean_of[s].x[0].float().mean(0).cpu()
            )
            for s in sites
        ]
        return tuple(
            SiteEdit(s, position_of(self.at), Constant(v), repr(self))
            for s, v in zip(sites, values, strict=True)
        )

    def __repr__(self) -> str:
        sites = str(self.sites) if isinstance(self.sites, str | Site) else ", ".join(map(str, self.sites))
        return f"Skip({sites}{'' if self.mean_of is None else ', to the mean'})"
