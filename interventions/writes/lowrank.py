"""What an edit is: frozen data that says, for a model, which changes it makes at which sites and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from interventions.writes.own import code_of, has_fields, untold
from probes.data.activations import Activations
from probes.data.lowrank import LowRank
from probes.data.positions import Position
from probes.data.receipts import warn_of_other_reading
from probes.data.sites import Site, SitesLike
from probes.fitting.directions import Direction, check_direction
from probes.models.model import Model
from probes.models.reached import reached
from probes.models.writes import Act, Chosen, Identity, Write


@runtime_checkable
class Change(Protocol):
    """What an edit does at one site: a pure function of the hidden state."""

    @property
    def width(self) -> int:
        """Coordinates of the hidden states it changes."""
        ...

    @property
    def keeps_norm(self) -> bool:
        """Whether h keeps its length."""
        ...

    @property
    def kind(self) -> str:
        """What it is, from the outside in: the same numbers mean something else in another kind."""
        ...

    def delta(self, h: Tensor) -> Tensor:
        """What the edit adds to h, in h's precision and on its device."""
        ...

    def numbers(self) -> tuple[Tensor, ...]:
        """Everything that decides what it does, by which captures under it are told apart; none at all only
        of a change without fields.
        """
        ...


@dataclass(frozen=True, eq=False)
class SiteEdit:
    """One change at one site and position: what a model holds as a write."""

    site: Site
    at: Position
    change: Change
    label: str = field(default="edit")

    @property
    def needs_prompts(self) -> bool:
        """Where it does not act on all tokens alike."""
        return self.at.kind != "all"

    @property
    def width(self) -> int:
        return self.change.width

    @property
    def keeps_norm(self) -> bool:
        return self.change.keeps_norm

    def __call__(self, h: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        return h + self.change.delta(h)

    def on(self, batch: Chosen | None) -> Act:
        """The same function whatever the prompts are."""
        return lambda h, first: self(h)

    def as_data(self) -> LowRank | None:
        return self.change if isinstance(self.change, LowRank) else None

    def identity(self) -> Identity | None:
        kind = _kind(self.change) if _told(self.change) else None
        return None if kind is None else (kind, self.change.numbers())

    def untold(self) -> str:
        """Why it has no identity."""
        if not _told(self.change):
            return f"{type(_layers(self.change)[-1]).__name__} has fields, and its numbers() are none"
        found = [why for each in _layers(self.change) if (why := untold(each))]
        return found[0] if found else "its numbers() hold more than numbers"

    def __repr__(self) -> str:
        return f"{self.label} at {self.site}, {self.at} tokens"


def _kind(change: Change) -> str | None:
    """What it is called, with a hash of what is not ours of it, where that can be told, and of its numbers,
    which otherwise count in float32 and without their shape.
    """
    codes = [code_of(each) for each in _layers(change)]
    if None in codes:
        return None
    own = [code for code in codes if code]
    if not own:
        return change.kind
    exact = reached(list(change.numbers()), lasting=True).told
    return " ".join([change.kind, *own, exact[:8]]) if exact else None


def _told(change: Change) -> bool:
    """Whether its numbers can say what a change does: of one that holds anything they cannot be none."""
    within = _layers(change)[-1]
    return bool(within.numbers()) or not has_fields(within)


def _layers(change: Change) -> list[Change]:
    """A change and the one it holds, and so on."""
    within = getattr(change, "change", None)
    return [change, *(_layers(within) if isinstance(within, Change) else ())]


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


HINT = "say what to do along a direction: Ablate(direction), Add(direction, gaps=1)"
HINTS = {
    "Tensor": f"make a direction of it, Direction.from_vector(vector, 'resid_post.8', model), and {HINT}",
    "LinearProbe": f"take its direction, probe.direction('resid_post.8'), and {HINT}",
}


def as_edit(given: Any) -> Edit:
    """The edit; raises TypeError for what is none: a direction, a vector, a class of edits."""
    if isinstance(given, type):
        raise TypeError(
            f"{given.__name__} is a kind of edit; give an instance, such as {given.__name__}(direction)"
        )
    if not isinstance(given, Edit):
        raise TypeError(f"a {type(given).__name__} is no edit; {HINTS.get(type(given).__name__, HINT)}")
    return given


def wrapped(edit: Edit, model: Model) -> tuple[SiteEdit, ...]:
    """The changes of an edit that another one wraps; raises ValueError for edits that differ from
    prompt to prompt, such as Patch.
    """
    changes = as_edit(edit).compile(model)
    found = tuple(c for c in changes if isinstance(c, SiteEdit))
    if len(found) < len(changes):
        raise ValueError(
            f"{edit!r} is not a function of the hidden state alone, so it cannot be gated or scaled; use it"
            " beside the other edits instead"
        )
    return found


def target_sites(model: Model, own: Site, sites: SitesLike | None) -> tuple[Site, ...]:
    """The sites an edit acts on: its direction's own by default, in forward order."""
    found = model.sites([own] if sites is None else sites)
    width = {s: model.width_at(s) for s in {own, *found}}
    other = [f"{s} has {width[s]}" for s in found if width[s] != width[own]]
    if other:
        raise ValueError(
            f"{own} has {width[own]} coordinates and {', '.join(other)}; an edit fits sites of one width"
        )
    return tuple(sorted(found, key=lambda s: s.order))


def check_rows(model: Model, rows: Activations, what: str, places: Sequence[Any]) -> None:
    """Raises ValueError for rows of another model than the one whose states they shall stand for; warns of
    those read under other edits than act there, or at none of the places meant.
    """
    model.refuse_foreign(rows.receipt, what)
    warn_of_other_reading(what, rows.receipt, {"edits": [repr(w) for w in model.acting]}, places)


def position_of(at: Any) -> Position:
    """Where an edit acts; raises ValueError for an average of tokens."""
    position = Position.parse(at)
    if position.kind == "mean":
        raise ValueError(
            "an edit acts on tokens, and position 'mean' is an average of them; use at='all' or a single"
            " token"
        )
    return position


def site_edits(
    model: Model, own: Site, sites: SitesLike | None, at: Any, change: Change, label: str
) -> tuple[SiteEdit, ...]:
    """The same change at every target site."""
    return tuple(SiteEdit(site, position_of(at), change, label) for site in target_sites(model, own, sites))


def same_site(directions: Direction | Sequence[Direction]) -> tuple[Direction, ...]:
    """One or several directions as a tuple; raises ValueError unless all live at one site."""
    found: tuple[Any, ...] = (directions,)
    if not isinstance(directions, Direction) and isinstance(directions, Sequence):
        found = tuple(directions)
    for each in found:
        check_direction(each, "an edit")
    if not found:
        raise ValueError("no directions given; pass one, or several at one site")
    if len({d.site for d in found}) > 1:
        raise ValueError(
            "directions edited together must live at one site, these live at"
            f" {', '.join(sorted({str(d.site) for d in found}))}; give an edit for each,"
            " edited(model, Ablate(first), Ablate(second)), or say that both are meant at one site,"
            " Direction.from_vector(second.unit, first.site)"
        )
    return found


def stacked(directions: Sequence[Direction]) -> Float[Tensor, "k d"]:
    return torch.stack([d.unit for d in directions])


def named(directions: Sequence[Direction]) -> str:
    return (
        repr(directions[0])
        if len(directions) == 1
        else f"{len(directions)} directions at {directions[0].site}"
    )
