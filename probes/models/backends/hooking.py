"""Forward hooks for the time of one `with`: what is read and changed at points of a model, for whom, and
whether all were met.

Changes act before reads, so reading at a changed point gives the value after the change.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probes.models.backends.around import Entry, entered
from probes.models.backends.points import Change, Point, Unvisited
from probes.models.unwrap import of_every_pass

Read = Callable[[Tensor], None]
Key = tuple[str, str]


class _Enough(Exception):
    """Raised by a hook when everything wanted was seen."""


class _Visits(threading.local):
    """What happens at each point, and which of them the pass has met. A pass is one thread's from beginning
    to end; one that is made within it, by a hook of other code, is another, and not ours.
    """

    def __init__(
        self,
        entry: Entry,
        reads: Sequence[tuple[Point, Read]],
        writes: Sequence[tuple[Point, Change]],
        stop: bool,
    ) -> None:
        self.entry = entry
        self.around: list[tuple[set[Key], dict[str, tuple[int, ...]]]] = []
        self.points = {p.key: p for p, _ in (*writes, *reads)}
        self.reads: dict[Key, list[tuple[Point, Read]]] = defaultdict(list)
        self.writes: dict[Key, list[tuple[Point, Change]]] = defaultdict(list)
        for point, read in reads:
            self.reads[point.key].append((point, read))
        for point, change in writes:
            self.writes[point.key].append((point, change))
        self.stop = stop
        self.met: set[Key] = set()
        self.served: set[Key] = set()
        self.shapes: dict[str, tuple[int, ...]] = {}

    def concern(self) -> bool:
        """Whether the pass being made here is read or changed."""
        return self.entry.concerns_this_pass() and (self.entry.shared or len(self.around) < 2)

    def begin(self) -> None:
        """A pass begins, perhaps within another."""
        self.around.append((self.met, self.shapes))
        if len(self.around) > 1:
            self.met, self.shapes = set(), {}
        elif self.entry.concerns_this_pass():
            self.met.clear()

    def end(self) -> None:
        """What the pass around it has met counts again."""
        before = self.around.pop() if self.around else None
        if self.around and before is not None:
            self.met, self.shapes = before

    def change(self, h: Tensor, key: Key) -> Tensor:
        """What goes on from a point in place of what came."""
        new = changed(self._shaped(h, key), self.writes[key])
        self.met.add(key)
        return new if self.points[key].shaped_by is None else new.reshape(h.shape)

    def read(self, h: Tensor, key: Key) -> None:
        """Shows what goes on from a point to those who read there."""
        h = self._shaped(h, key)
        for point, read in self.reads[key]:
            read(columns_of(h, point))
        self.met.add(key)
        self.served.add(key)
        if self.stop and self.reads.keys() <= self.served:
            raise _Enough

    def _shaped(self, h: Tensor, key: Key) -> Tensor:
        shaped_by = self.points[key].shaped_by
        if shaped_by is not None:
            h = h.view(*self.shapes[shaped_by], h.shape[-1])
        if h.dim() > 3:
            raise ValueError(
                f"the hidden states at {key[0]} are of shape {tuple(h.shape)} and not (text, token, width):"
                " this architecture keeps several streams, which are not read or edited here"
            )
        return h

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
    edits: Sequence[tuple[Any, Change]] = (),
    carries: bool = False,
) -> Generator[Entry]:
    """Within the `with`, forward passes of `inner` are changed by `writes` (in order) and shown to `reads`.

    Only passes of the task or thread that is inside count; with `shared`, for passes that other people's code
    makes, also those of threads started inside. With `stop`, the pass ends once every read was served
    (`forward_until_enough` swallows that ending). Raises Unvisited, naming the points, when a whole pass did
    not meet one that is not `optional`, and at the end of the `with` where no pass met it at all (not if
    `shared`: other people's code need not make a pass). `edits` is what `in_force` and `carried` tell of,
    with the changes that they come to; with `carries`, the `writes` begin with those of the edits around.
    """
    handles: list[RemovableHandle] = []
    with entered(inner, shared, edits, carries) as entry:
        visits = _Visits(entry, reads, writes, stop)
        try:
            _attach(handles, entry, visits)
            _attach_checks(handles, entry, visits, None if stop else optional)
            yield entry
        finally:
            entry.left = True
            for handle in handles:
                handle.remove()
    if not shared:
        visits.require(optional)


def _attach(handles: list[RemovableHandle], entry: Entry, visits: _Visits) -> None:
    """Hooks at every point."""

    def before(key: Key, visit: Callable[[Tensor, Key], Tensor | None]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not visits.concern():
                return None
            if (new := visit(args[0] if args else kwargs["hidden_states"], key)) is None:
                return None
            return ((new, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": new})

        return hook

    def after(key: Key, visit: Callable[[Tensor, Key], Tensor | None]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if not visits.concern() or (new := visit(hidden(output), key)) is None:
                return None
            return _replaced(output, new)

        return hook

    def shape(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if visits.concern():
                visits.shapes[name] = tuple((args[0] if args else kwargs["hidden_states"]).shape[:-1])

        return hook

    for name in {p.shaped_by for p in visits.points.values() if p.shaped_by is not None}:
        module = entry.inner.get_submodule(name)
        handles.append(module.register_forward_pre_hook(shape(name), with_kwargs=True))
    # Changes in front of whatever hooks are there, and reads behind, which see what goes on from here.
    places = [(key, visits.change, True) for key in visits.writes]
    places += [(key, visits.read, False) for key in visits.reads]
    for key, visit, first in places:
        name, side = key
        module = entry.inner.get_submodule(name)
        if side == "in":
            handles.append(
                module.register_forward_pre_hook(before(key, visit), with_kwargs=True, prepend=first)
            )
        else:
            handles.append(module.register_forward_hook(after(key, visit), prepend=first))


def _attach_checks(
    handles: list[RemovableHandle], entry: Entry, visits: _Visits, optional: Collection[Point] | None
) -> None:
    """Every whole pass of the body, whoever makes it, must meet all points but the `optional` ones, or none
    where that is None. One that an exception ends is not whole.
    """
    body = of_every_pass(entry.inner)

    def begin(module: nn.Module, args: tuple[Any, ...]) -> None:
        visits.begin()
        if optional is not None and visits.concern():
            entry.begun = True

    def end(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        try:
            whole = output is not None and optional is not None
            if whole and visits.concern() and not _drops_blocks(entry.inner):
                visits.require(optional or ())
        finally:
            visits.end()

    handles.append(body.register_forward_pre_hook(begin, prepend=True))
    # Also where an exception ends the pass.
    handles.append(body.register_forward_hook(end, always_call=True))


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
