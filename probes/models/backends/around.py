"""Who is inside of what: the edits and readings that are under way around a pass, in this task, in this
thread, or where this thread was started or this job of a pool submitted.
"""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from probes.data.sites import Site
from probes.models.backends.starting import Begin, handing_on

Change = Callable[[Tensor], Tensor]


@dataclass(eq=False)
class Entry:
    """One `with hooked(...)`, and whose passes it is about: those of the tasks and threads that are inside of
    it.

    With `shared` those also count that are started inside (streaming generation), and jobs of a pool that are
    submitted inside, unless they have such a `with` of their own on this model; not those of somebody else.
    An own pass `carries` the edits around it, which then do not act a second time. `begun` says whether a
    pass met the edits or readings, or could have, had it not ended before.
    """

    inner: nn.Module
    shared: bool
    edits: tuple[Any, ...] = ()
    changes: tuple[tuple[Site, Change], ...] = ()
    carries: bool = False
    left: bool = False
    begun: bool = False

    def concerns_this_pass(self) -> bool:
        """Whether the pass being made here is read or changed by this."""
        return self.is_around() and not (self.edits and any(e.carries for e in self._since()))

    def is_around(self) -> bool:
        """Whether passes that are made here are meant."""
        if self.left:  # a deep copy of the model has kept the hooks
            return False
        if self in _inside.get():
            return True
        if _nobody.get() or any(e.shared for e in self._since()):
            return False
        return self in _handed.get()

    def _since(self) -> tuple["Entry", ...]:
        """What this task or thread has entered on the same model within."""
        mine = _inside.get()
        mine = mine[mine.index(self) + 1 :] if self in mine else mine
        return tuple(e for e in mine if e.inner is self.inner)


_inside: ContextVar[tuple[Entry, ...]] = ContextVar("hooked", default=())
_handed: ContextVar[tuple[Entry, ...]] = ContextVar("handed", default=())  # where its thread or job began
_nobody: ContextVar[bool] = ContextVar("nobody", default=False)
_aside_since: dict[int, float] = {}
_shared: list[Entry] = []  # those of all threads, in the order in which they were entered


def _with_edits(inner: nn.Module) -> list[Entry]:
    """Every `applied` around this task or thread, the innermost first."""
    return [e for e in reversed(_shared) if e.edits and e.inner is inner and e.is_around()]


def in_force(inner: nn.Module) -> tuple[Any, ...]:
    """The edits, innermost first, that act on passes of a model which are made here, besides its own: those
    of every `applied` that this task or thread is inside of, or was started in.
    """
    return tuple(edit for e in _with_edits(inner) for edit in e.edits)


def carried(inner: nn.Module) -> list[tuple[Site, Change]]:
    """The same as changes, for a pass of our own, which makes them itself: in front of its own, on whatever
    runs it, and to its end, also where it ends after the `with` was left.
    """
    around = _with_edits(inner)
    for entry in around:
        entry.begun = True
    return [change for entry in around for change in entry.changes]


def under_way(inner: nn.Module) -> bool:
    """Whether passes of a model which are made here are read or changed by somebody around them."""
    return any(e.inner is inner and e.is_around() for e in (*_inside.get(), *_shared))


@contextmanager
def outside() -> Generator[None]:
    """Passes within are nobody's: no reading or edit that is under way sees them."""
    before, nobody = _inside.get(), _nobody.get()
    _inside.set(())
    _nobody.set(True)
    try:
        yield
    finally:
        _inside.set(before)
        _nobody.set(nobody)


@contextmanager
def aside() -> Generator[None]:
    """Code of others, called in the midst of what is ours (a processor between two passes of a model that
    writes): passes that it makes are its own, which no reading or edit of ours is about. What concerns
    everybody's passes (`applied`) still does.
    """
    before, thread = _inside.get(), threading.get_ident()
    first = _aside_since.setdefault(thread, now := time.monotonic()) == now
    _inside.set(tuple(e for e in before if e.shared))
    try:
        yield
    finally:
        _inside.set(before)
        if first:
            _aside_since.pop(thread, None)


def aside_for(thread: int) -> float:
    """For how many seconds a thread has been in code of others that a pass of ours has called."""
    since = _aside_since.get(thread)
    return 0.0 if since is None else time.monotonic() - since


def _for_a_thread() -> Begin | None:
    """What puts a thread that is started here, or a job that is given to a pool, inside of what concerns the
    threads started inside: on a model the same that a pass made here would meet.
    """
    if _nobody.get():
        return None
    inside = tuple(e for e in _inside.get() if e.shared and not e.left)
    behind = {id(e.inner) for e in inside}
    above = tuple(e for e in _handed.get() if not e.left and id(e.inner) not in behind)
    return partial(_hand, (*above, *inside)) if above or inside else None


def _hand(entries: tuple[Entry, ...]) -> Callable[[], object]:
    """What is left behind a job: the worker, inside of nothing that the job brought."""
    return partial(_handed.reset, _handed.set(entries))


@contextmanager
def entered(
    inner: nn.Module, shared: bool, edits: Sequence[tuple[Any, Change]] = (), carries: bool = False
) -> Generator[Entry]:
    """Within, this task or thread is inside of something on a model; `edits` come with what they do."""
    told, changes = tuple(edit for edit, _ in edits), tuple((edit.site, change) for edit, change in edits)
    entry = Entry(inner, shared, told, changes, carries)
    _inside.set((*_inside.get(), entry))
    with ExitStack() as stack:
        if shared:
            _shared.append(entry)
            stack.callback(_shared.remove, entry)
            stack.enter_context(handing_on(_for_a_thread))
        try:
            yield entry
        finally:
            entry.left = True
            # Not by a token: a `with` may be left in another context than it was entered in.
            _inside.set(tuple(e for e in _inside.get() if e is not entry))
