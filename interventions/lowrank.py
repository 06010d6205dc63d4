"""The one form that every linear edit takes: h + (h U) V + c."""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from probes.models import Model
from probes.positions import Position
from probes.sites import Site, SitesLike


@dataclass(frozen=True, eq=False)
class LowRank:
    """The affine change h -> h + (h U) V + c of rank k; k = 0 is a pure shift. Hooks, weights and files all read this form."""

    U: Float[Tensor, "d k"]
    V: Float[Tensor, "k d"]
    c: Float[Tensor, " d"]

    def delta(self, h: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """What the edit adds to h, in h's precision and on its device."""
        to = {"device": h.device, "dtype": h.dtype}
        shift = self.c.to(**to)
        return shift.expand_as(h) if self.U.shape[1] == 0 else (h @ self.U.to(**to)) @ self.V.to(**to) + shift

    def scaled(self, by: float) -> "LowRank":
        """The same change, `by` times as large."""
        return LowRank(self.U, self.V * by, self.c * by)

    @classmethod
    def shift(cls, c: Float[Tensor, " d"]) -> "LowRank":
        return cls(c.new_zeros(len(c), 0), c.new_zeros(0, len(c)), c)


@dataclass(frozen=True, eq=False)
class SiteEdit:
    """One linear change at one site and position: what a model holds as a write."""

    site: Site
    at: Position
    change: LowRank
    label: str = field(default="edit")

    def __call__(self, h: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        return h + self.change.delta(h)

    def __repr__(self) -> str:
        return f"{self.label} at {self.site}, {self.at} tokens"


@runtime_checkable
class Edit(Protocol):
    """An edit is frozen data that knows what it does at each site of a model."""

    def compile(self, model: Model) -> tuple[SiteEdit, ...]:
        """The changes it makes, in forward order; raises ValueError when it does not belong on this model."""
        ...


@dataclass(frozen=True, eq=False)
class Fixed:
    """An edit given by its compiled changes, such as a matched random control."""

    changes: tuple[SiteEdit, ...]
    label: str

    def compile(self, model: Model) -> tuple[SiteEdit, ...]:
        return self.changes

    def __repr__(self) -> str:
        return self.label


def target_sites(model: Model, own: Site, sites: SitesLike | None) -> tuple[Site, ...]:
    """The sites an edit acts on: its direction's own by default, in forward order."""
    found = model.sites([own] if sites is None else sites)
    return tuple(sorted(found, key=lambda s: (s.block, s.kind == "resid_post")))


def site_edits(model: Model, own: Site, sites: SitesLike | None, at: Any, change: LowRank, label: str) -> tuple[SiteEdit, ...]:
    """The same change at every target site."""
    position = Position.parse(at)
    if position.kind == "mean":
        raise ValueError("an edit acts on tokens, and position 'mean' is an average of them; use at='all' or a single token")
    return tuple(SiteEdit(site, position, change, label) for site in target_sites(model, own, sites))
