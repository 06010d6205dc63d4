"""One forward pass as nnsight takes it: what is done where, as data, and the traced block that does it.

The block may run on a server that does not have this package, so all that it is given are builtins, tensors
and nnsight's own handles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from probes.data.sites import Site
from probes.models.backends.points import Average, Change, Pick, Point, Select, whole
from probes.models.writes import Bound, Linear


@dataclass(frozen=True, eq=False)
class ColumnChange:
    """A change of some columns: a function, or what a server takes in its place."""

    first: int
    last: int | None
    act: Change | Linear


@dataclass(frozen=True, eq=False)
class ColumnRead:
    """A reading of some columns, by the number of the site it is for."""

    number: int
    first: int
    last: int | None
    select: Select | tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Visit:
    """What is done where a pass meets one side of a module; `handle` is nnsight's, `shaped_by` a
    module whose input has the batch shape.
    """

    point: Point
    handle: Any
    changes: list[ColumnChange] = field(default_factory=list)
    reads: list[ColumnRead] = field(default_factory=list)

    def plain(self) -> tuple[Any, ...]:
        """The same as builtins and tensors, which is all that travels to a server without this package."""
        changes = [
            (c.first, c.last, c.act.parts() if isinstance(c.act, Linear) else c.act) for c in self.changes
        ]
        reads = [(r.number, r.first, r.last, r.select) for r in self.reads]
        return self.point.name, self.point.side, self.point.shaped_by, self.handle, changes, reads


def trace(
    root: Any, call: Mapping[str, Any], plan: Sequence[tuple[Any, ...]], logits: bool, every_step: bool
) -> tuple[dict[int, Tensor], Tensor | None]:
    """The picked states by number and the logits, if asked for; without them the pass ends behind the
    last visit. Raises nnsight's errors for places that the pass does not meet: every handle waits for
    its module.
    """
    import nnsight

    states: dict[int, Tensor] = {}
    scores: Tensor | None = None
    # nnsight reads the source of this block and may run it on a server without this package: only
    # torch, no helpers.
    with root.trace(**call) as tracer:
        states = nnsight.save({})
        shapes = {}
        for _ in tracer.iter[:] if every_step else (0,):
            for name, side, shaped_by, handle, changes, reads in plan:
                args, kwargs = handle.inputs if side == "in" else ((handle.output,), {})
                given = args[0] if args else kwargs["hidden_states"]
                flat = given if isinstance(given, torch.Tensor) else given[0]
                shapes[name, side] = flat.shape[:-1]
                h = flat if shaped_by is None else flat.view(*shapes[shaped_by, "in"], flat.shape[-1])
                for first, last, change in changes:
                    part = h[..., first:last]
                    if isinstance(change, tuple):
                        U, V, c = (t.to(part) for t in change[:3])
                        gate = change[3].to(part.device)[..., None]
                        part = torch.where(gate, part + part @ U @ V + c, part)
                    else:
                        part = change(part)
                    h = part if last is None else torch.cat([h[..., :first], part, h[..., last:]], dim=-1)
                new = h.reshape(flat.shape)
                if changes and side == "in":
                    named = {} if args else {"hidden_states": new}
                    handle.inputs = ((new, *args[1:]) if args else args, kwargs | named)
                elif changes:
                    handle.output = new if isinstance(given, torch.Tensor) else (new, *given[1:])
                for i, first, last, select in reads:
                    part = h[..., first:last].detach()
                    if not isinstance(select, tuple):
                        states[i] = select(part)
                    elif select[0] == "pick":
                        states[i] = part[select[1].to(part.device), select[2].to(part.device)]
                    elif select[0] == "average":
                        here = select[1].to(part.device)[..., None]
                        states[i] = torch.where(here == 1, part.float(), 0).sum(1) / here.sum(1)
                    else:
                        states[i] = part.clone()
        if not logits:
            tracer.stop()
        scores = nnsight.save(tracer.result.logits.detach())
    return states, scores


def sendable_read(select: Select) -> tuple[Any, ...]:
    """A reading as a server takes it; raises ValueError for a function of the user's own."""
    if isinstance(select, Pick):
        return "pick", select.row.cpu(), select.column.cpu()
    if isinstance(select, Average):
        return "average", select.mask.cpu()
    if select is whole:
        return ("whole",)
    raise ValueError(
        f"NDIF runs no code of yours, so it cannot select with {select!r}; use Pick, Average or whole"
        " (probes.models.backends.points), or backend='hooks'"
    )


def sendable_change(site: Site, change: Any) -> Linear:
    """A change as a server takes it; raises ValueError for one that is not linear."""
    data = change.as_data() if isinstance(change, Bound) else None
    if data is None:
        raise ValueError(
            f"NDIF runs no code of yours, so it cannot apply {change!r} at {site}; use an edit of the form h"
            " + (h U) V + c, or backend='hooks'"
        )
    return data
