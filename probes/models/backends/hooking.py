"""Forward hooks for the time of one `with`: what is read and changed at points of a model, for whom, and
whether all were met.

Changes act before reads, so reading at a changed point gives the value after the change.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probes.models.backends.points import Change, Point, Unvisited
from probes.models.unwrap import without_head

Read = Callable[[Tensor], None]
Key = tuple[str, str]


class _Enough(Exception):
    """Raised by a hook when everything wanted was seen."""


@dataclass(eq=False)
class _Entry:
    """One `with hooked(...)`, and whose passes it is about: those of the tasks and threads that are inside of
    it.

    A thread begins outside of everything, so with `shared` also those started since count (streaming
    generation), unless they have hooks of their own on this model.
    """

    inner: nn.Module
    shared: bool
    edits: tuple[Any, ...] = ()
    elders: WeakSet[threading.Thread] = field(default_factory=lambda: WeakSet(threading.enumerate()))
    left: bool = False

    def concerns_this_pass(self) -> bool:
        if self.left:  # a deep copy of the model has kept the hooks
            return False
        mine = _inside.get()
        if self in mine:
            return True
        if not self.shared or any(e.inner is self.inner for e in mine):
            return False
        return threading.current_thread() not in self.elders


_inside: ContextVar[tuple[_Entry, ...]] = ContextVar("hooked", default=())


def in_force(inner: nn.Module) -> tuple[Any, ...]:
    """The edits, innermost first, that act on passes of a model which are made here, besides its own: those
    of every `applied` that this task or thread is inside of.
    """
    return tuple(edit for e in reversed(_inside.get()) if e.inner is inner for edit in e.edits)


def under_way(inner: nn.Module) -> bool:
    """Whether passes of a model which are made here are read or changed by somebody around them."""
    return any(e.inner is inner for e in _inside.get())


@contextmanager
def outside() -> Generator[None]:
    """Passes within are nobody's: no reading or edit that is under way sees them."""
    before = _inside.get()
    _inside.set(())
    try:
        yield
    finally:
        _inside.set(before)


class _Visits(threading.local):
    """What happens at each point, and which of them the pass has met. A pass is one thread's from
    beginning to end.
    """

    def __init__(
        self, reads: Sequence[tuple[Point, Read]], writes: Sequence[tuple[Point, Change]], stop: bool
    ) -> None:
        self.points = {p.key: p for p, _ in (*writes, *reads)}
        self.reads: dict[Key, list[tuple[Point, Read]]] = defaultdict(list)
        self.writes: dict[Key, list[tuple[Point, Change]]] = defaultdict(list)
        for point, read in reads:
            self.reads[point.key].append((point, read))
        for point, change in writes:
            self.writes[point.key].append((point, change))
        self.stop = stop
        self.met: set[Key] = set()
        self.shapes: dict[str, tuple[int, ...]] = {}

    def visit(self, h: Tensor, key: Key) -> Tensor:
        flat, shaped_by = h, self.points[key].shaped_by
        if shaped_by is not None:
            h = h.view(*self.shapes[shaped_by], h.shape[-1])
        if h.dim() > 3:
            raise ValueError(
                f"the hidden states at {key[0]} are of shape {tuple(h.shape)} and not (text, token, width):"
                " this architecture keeps several streams, which are not read or edited here"
            )
        h = changed(h, self.writes.get(key, ()))
        for point, read in self.reads.get(key, ()):
            read(columns_of(h, point))
        self.met.add(key)
        if self.stop and self.reads.keys() <= self.met:
            raise _Enough
        return h if shaped_by is None else h.reshape(flat.shape)

    def require(self, optional: Collection[Point] = ()) -> None:
        """Raises Unvisited where a point was not met that is not optional."""
        needless = {p.key for p in optional}
        missed = [p for key, p in self.points.items() if key not in self.met and key not in needless]
        if missed:
            raise Unvisited.at(missed)


@contextmanager
def hooked(
    inner: nn.Module,
    reads: Sequence[tuple[Point, Read]],
    writes: Sequence[tuple[Point, Change]] = (),
    *,
    stop: bool = False,
    shared: bool = False,
    optional: Collection[Point] = (),
    edits: Sequence[Any] = (),
) -> Generator[None]:
    """Within the `with`, forward passes of `inner` are changed by `writes` (in order) and shown to `reads`.

    Only passes of the task or thread that is inside count; with `shared`, for passes that other people's code
    makes, also those of threads started inside. With `stop`, the pass ends once every read was served
    (`forward_until_enough` swallows that ending). Raises Unvisited, naming the points, when a whole pass did
    not meet one that is not `optional`, and at the end of the `with` where no pass met it at all (not if
    `shared`: other people's code need not make a pass). `edits` is what `in_force` tells of.
    """
    entry, visits = _Entry(inner, shared, tuple(edits)), _Visits(reads, writes, stop)
    handles: list[RemovableHandle] = []
    _inside.set((*_inside.get(), entry))
    try:
        _attach(handles, entry, visits)
        if not stop:
            _attach_checks(handles, entry, visits, optional)
        yield
    finally:
        entry.left = True
        # Not by a token: a `with` may be left in another context than it was entered in.
        _inside.set(tuple(e for e in _inside.get() if e is not entry))
        for handle in handles:
            handle.remove()
    if not shared:
        visits.require(optional)


def _attach(handles: list[RemovableHandle], entry: _Entry, visits: _Visits) -> None:
    """Hooks at every point."""

    def before(key: Key) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not entry.concerns_this_pass():
                return None
            if args:
                return (visits.visit(args[0], key), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": visits.visit(kwargs["hidden_states"], key)}

        return hook

    def after(key: Key) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            return (
                _replaced(output, visits.visit(hidden(output), key)) if entry.concerns_this_pass() else None
            )

        return hook

    def shape(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if entry.concerns_this_pass():
                visits.shapes[name] = tuple((args[0] if args else kwargs["hidden_states"]).shape[:-1])

        return hook

    for name in {p.shaped_by for p in visits.points.values() if p.shaped_by is not None}:
        module = entry.inner.get_submodule(name)
        handles.append(module.register_forward_pre_hook(shape(name), with_kwargs=True))
    for key in visits.points:
        name, side = key
        module = entry.inner.get_submodule(name)
        first = key in visits.writes  # in front of a recording's hooks, which then see the changed value
        if side == "in":
            handles.append(module.register_forward_pre_hook(before(key), with_kwargs=True, prepend=first))
        else:
            handles.append(module.register_forward_hook(after(key), prepend=first))


def _attach_checks(
    handles: list[RemovableHandle], entry: _Entry, visits: _Visits, optional: Collection[Point]
) -> None:
    """Every whole pass of the body, whoever makes it, must meet all points. One that an exception
    ends is not whole.
    """
    body = without_head(entry.inner)

    def begin(module: nn.Module, args: tuple[Any, ...]) -> None:
        if entry.concerns_this_pass():
            visits.met.clear()

    def end(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if entry.concerns_this_pass() and not _drops_blocks(entry.inner):
            visits.require(optional)

    handles.append(body.register_forward_pre_hook(begin, prepend=True))
    handles.append(body.register_forward_hook(end))


def _drops_blocks(inner: nn.Module) -> bool:
    """Whether blocks are left out at random, as some models do while they are trained."""
    return inner.training and bool(getattr(inner.config, "layerdrop", 0))


def forward_until_enough(run: Callable[[], Any]) -> Any:
    """Calls `run` and returns its output, or None when a hook ended the pass early."""
    try:
        return run()
    except _Enough:
        return None


def hidden(output: Any) -> Tensor:
    """The hidden state in a module's output: a bare tensor in transformers 5, the first of a tuple
    before it.
    """
    return output if isinstance(output, Tensor) else output[0]


def _replaced(output: Any, h: Tensor) -> Any:
    return h if isinstance(output, Tensor) else (h, *output[1:])


def changed(h: Tensor, changes: Sequence[tuple[Point, Change]]) -> Tensor:
    """The tensor after changes of the whole or of some of its columns, in order."""
    for point, change in changes:
        if point.columns is None:
            h = change(h)
        else:
            first, last = point.columns
            h = torch.cat([h[..., :first], change(h[..., first:last]), h[..., last:]], dim=-1)
    return h


def columns_of(h: Tensor, point: Point) -> Tensor:
    return h if point.columns is None else h[..., slice(*point.columns)]
