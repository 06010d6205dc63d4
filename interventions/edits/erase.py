"""Remove everything a linear probe could read about a label, with the least change to the hidden state."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interventions.writes.lowrank import LowRank, SiteEdit
from probes.checks.settings import check_number
from probes.data.activations import Activations, check_states
from probes.data.positions import Position
from probes.data.sites import Site, SitesLike
from probes.data.stacks import refuse_endless
from probes.fitting.leace import leace
from probes.fitting.meaningless import exchanged_directions
from probes.models.model import Model


@dataclass(frozen=True, eq=False)
class Erase:
    """After the edit no linear probe beats chance on the rows it was fitted on (LEACE), and h moves as little
    as that allows.

    Fitted with `Erase.fit(acts)`, one eraser a site. The guarantee holds on the fitted rows and for linear
    probes only; later blocks may still rebuild the concept from what a linear probe cannot read. `exchanged`
    holds directions of the same rows under exchanged labels, which an effect compares it with. Source:
    Belrose et al., arXiv 2306.03819.
    """

    changes: Mapping[Site, LowRank]
    receipt: dict[str, Any]
    at: str | int | Position = "all"
    exchanged: Mapping[Site, Float[Tensor, "k d"]] = field(default_factory=dict)

    @classmethod
    def fit(cls, acts: Activations, at: str | int | Position = "all", shrinkage: float = 1e-4) -> "Erase":
        """One rank-1 eraser for y at every site of `acts`.

        `shrinkage` adds that share of the mean variance to every direction, so that directions without
        variance in the rows are not stretched; the erasure on these rows stays exact. Raises ValueError
        unless y has two classes.
        """
        check_states(acts, "Erase.fit", single=True)
        if not 0 <= check_number("shrinkage", shrinkage) < 1:
            raise ValueError(f"shrinkage must be a share from 0 to below 1, got {shrinkage!r}")
        refuse_endless(acts.x, "x")
        y, _ = acts.classes
        mean, read, write = leace(acts.x, y.to(acts.x.device).double()[:, None], shrinkage)
        shift = torch.einsum("sd,sdk,ske->se", mean, read, write)
        changes = {site: LowRank(read[i], -write[i], shift[i]) for i, site in enumerate(acts.sites)}
        exchanged = dict(zip(acts.sites, exchanged_directions(acts), strict=True))
        return cls(changes, dict(acts.receipt), at, exchanged)

    def only(self, sites: SitesLike, model: Model) -> "Erase":
        """The erasers of some of the sites."""
        wanted = model.sites(sites)
        missing = [str(s) for s in wanted if s not in self.changes]
        if missing:
            raise ValueError(
                f"nothing was fitted to erase at {', '.join(missing)}; fit on activations of those sites"
            )
        return replace(self, changes={s: self.changes[s] for s in wanted})

    def compile(self, model: Model) -> tuple[SiteEdit, ...]:
        model.refuse_foreign(self.receipt, "the eraser")
        position = Position.parse(self.at)
        order = sorted(model.sites(list(self.changes)), key=lambda s: s.order)
        return tuple(SiteEdit(s, position, self.changes[s], repr(self)) for s in order)

    def __repr__(self) -> str:
        return f"Erase({', '.join(map(str, self.changes))})"
