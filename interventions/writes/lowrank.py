"""The one form that every linear edit takes: h + (h U) V + c."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from probes.data.positions import Position
from probes.data.sites import Site, SitesLike
from probes.fitting.directions import Direction
from probes.models.model import Model, Write


@runtime_checkable
class Change(Protocol):
    """What an edit does at one site: a pure function of the hidden state."""

    def delta(self, h: Tensor) -> Tensor:
        """What the edit adds to h, in h's precision and on its device."""
        ...

    def numbers(self) -> tuple[Tensor, ...]:
        """Everything that decides what it does, by which captures under it are told apart."""
        ...


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

    def numbers(self) -> tuple[Tensor, ...]:
        return self.U, self.V, self.c

    def scaled(self, by: float | int) -> "LowRank":
        """The same change, `by` times as large."""
        return self if by == 1 else LowRank(self.U, self.V * by, self.c * by)

    @classmethod
    def shift(cls, c: Float[Tensor, " d"]) -> "LowRank":
        return cls(c.new_zeros(len(c), 0), c.new_zeros(0, len(c)), c)

    @classmethod
    def holding(cls, directions: Float[Tensor, "k d"], to: Float[Tensor, " k"]) -> "LowRank":
        """Sets h's component along each direction to the given amount, and leaves what is orthogonal to all of them.

        The directions need not be orthogonal; raises ValueError when one lies in the span of the others.
        """
        D = directions.double()
        if torch.linalg.matrix_rank(D) < len(D):
            raise ValueError(f"the {len(D)} directions span fewer dimensions than there are directions; leave out those that the others already hold")
        back = torch.linalg.solve(D @ D.T, D)
        return cls(directions.T.contiguous(), -back.to(directions.dtype), (to.double() @ back).to(directions.dtype))


@dataclass(frozen=True, eq=False)
class SiteEdit:
    """One change at one site and position: what a model holds as a write."""

    site: Site
    at: Position
    change: Change
    label: str = field(default="edit")

    def __call__(self, h: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        return h + self.change.delta(h)

    def __repr__(self) -> str:
        return f"{self.label} at {self.site}, {self.at} tokens"


@runtime_checkable
class Edit(Protocol):
    """An edit is frozen data that knows what it does at each site of a model."""

    def compile(self, model: Model) -> tuple[Write, ...]:
        """The changes it makes, in forward order; raises ValueError when it does not belong on this model."""
        ...


@dataclass(frozen=True, eq=False)
class Fixed:
    """An edit given by its compiled changes, such as a matched random control."""

    changes: tuple[Write, ...]
    label: str

    def compile(self, model: Model) -> tuple[Write, ...]:
        return self.changes

    def __repr__(self) -> str:
        return self.label


def wrapped(edit: Edit, model: Model) -> tuple[SiteEdit, ...]:
    """The changes of an edit that another one wraps; raises ValueError for edits that differ from prompt to prompt, such as Patch."""
    changes = edit.compile(model)
    found = tuple(c for c in changes if isinstance(c, SiteEdit))
    if len(found) < len(changes):
        raise ValueError(f"{edit!r} is not a function of the hidden state alone, so it cannot be gated or scaled; use it beside the other edits instead")
    return found


def target_sites(model: Model, own: Site, sites: SitesLike | None) -> tuple[Site, ...]:
    """The sites an edit acts on: its direction's own by default, in forward order."""
    found = model.sites([own] if sites is None else sites)
    width = {s: model.width_at(s) for s in {own, *found}}
    other = [f"{s} has {width[s]}" for s in found if width[s] != width[own]]
    if other:
        raise ValueError(f"{own} has {width[own]} coordinates and {', '.join(other)}; an edit fits sites of one width")
    return tuple(sorted(found, key=lambda s: s.order))


def position_of(at: Any) -> Position:
    """Where an edit acts; raises ValueError for an average of tokens."""
    position = Position.parse(at)
    if position.kind == "mean":
        raise ValueError("an edit acts on tokens, and position 'mean' is an average of them; use at='all' or a single token")
    return position


def site_edits(model: Model, own: Site, sites: SitesLike | None, at: Any, change: Change, label: str) -> tuple[SiteEdit, ...]:
    """The same change at every target site."""
    return tuple(SiteEdit(site, position_of(at), change, label) for site in target_sites(model, own, sites))


def same_site(directions: Direction | Sequence[Direction]) -> tuple[Direction, ...]:
    """One or several directions as a tuple; raises ValueError unless all live at one site."""
    found = (directions,) if isinstance(directions, Direction) else tuple(directions)
    if not found:
        raise ValueError("no directions given; pass one, or several at one site")
    if len({d.site for d in found}) > 1:
        raise ValueError(f"directions edited together must live at one site, these live at {', '.join(sorted({str(d.site) for d in found}))}")
    return found


def stacked(directions: Sequence[Direction]) -> Float[Tensor, "k d"]:
    return torch.stack([d.unit for d in directions])


def named(directions: Sequence[Direction]) -> str:
    return repr(directions[0]) if len(directions) == 1 else f"{len(directions)} directions at {directions[0].site}"
