"""Threads that are started inside of something, told apart from those that merely start meanwhile: a thread
begins without the context of whoever starts it, and is given what that one hands on.
"""

import functools
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

_lock = threading.Lock()
_open: list[Callable[[], Callable[[], None] | None]] = []
_put: list[Callable[..., None]] = []  # what stood there, and ours


@contextmanager
def handing_on(what: Callable[[], Callable[[], None] | None]) -> Generator[None]:
    """Within, in whatever thread, `what` is asked in the thread and context that starts another, and what it
    answers is called in the new one before anything else. `Thread.start` is put back behind the last.
    """
    with _lock:
        if not _open:
            _put[:] = threading.Thread.start, _starting(threading.Thread.start)
            threading.Thread.start = _put[1]
        _open.append(what)
    try:
        yield
    finally:
        with _lock:
            _open.remove(what)
            # Unless somebody has put another over it meanwhile; it then hands nothing on.
            if not _open and threading.Thread.start is _put[1]:
                threading.Thread.start = _put[0]


def _starting(plain: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(plain)
    def start(thread: threading.Thread) -> None:
        begins = [first for ask in dict.fromkeys(_open) if (first := ask()) is not None]
        if begins:
            _run_behind(thread, begins)
        plain(thread)

    return start


def _run_behind(thread: threading.Thread, begins: list[Callable[[], None]]) -> None:
    """Has a thread call these before it runs; nothing of it stays on the thread."""
    own, put = thread.run, vars(thread).get("run")

    def run() -> None:
        if put is None:
            vars(thread).pop("run", None)
        else:
            thread.run = put
        for begin in begins:
            begin()
        own()

    thread.run = run
