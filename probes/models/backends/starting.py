"""Threads that are started and jobs that are given to a pool inside of something, told apart from those that
merely begin meanwhile: they run without the context of whoever starts them, and are given what that one
hands on.
"""

import functools
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

Begin = Callable[[], Callable[[], object]]
"""Called where a thread or a job begins; what it returns is called where a job ends."""

_lock = threading.Lock()
_open: list[Callable[[], Begin | None]] = []
_put: list[tuple[type, str, Callable[..., Any], Callable[..., Any]]] = []  # what stood there, and ours
_of_a_pool = threading.local()


@contextmanager
def handing_on(what: Callable[[], Begin | None]) -> Generator[None]:
    """Within, in whatever thread, `what` is asked in the thread and context that starts another or submits a
    job to a ThreadPoolExecutor, and what it answers is called there before anything else. `Thread.start` and
    `ThreadPoolExecutor.submit` are put back behind the last.
    """
    with _lock:
        if not _open:
            start, submit = threading.Thread.start, ThreadPoolExecutor.submit
            _put[:] = [
                (threading.Thread, "start", start, _starting(start)),
                (ThreadPoolExecutor, "submit", submit, _submitting(submit)),
            ]
            for owner, name, _, ours in _put:
                setattr(owner, name, ours)
        _open.append(what)
    try:
        yield
    finally:
        with _lock:
            _open.remove(what)
            # Unless somebody has put another over it meanwhile; it then hands nothing on.
            for owner, name, plain, ours in [] if _open else _put:
                if getattr(owner, name) is ours:
                    setattr(owner, name, plain)


def _asked() -> list[Begin]:
    return [begin for ask in dict.fromkeys(_open) if (begin := ask()) is not None]


def _starting(plain: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(plain)
    def start(thread: threading.Thread) -> None:
        # A worker of a pool runs the jobs of others too: each brings its own.
        if not getattr(_of_a_pool, "submitting", False) and (begins := _asked()):
            _run_behind(thread, begins)
        plain(thread)

    return start


def _submitting(plain: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
    @functools.wraps(plain)
    def submit(pool: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        begins, before = _asked(), getattr(_of_a_pool, "submitting", False)
        _of_a_pool.submitting = True
        try:
            return plain(pool, _inside_of(fn, begins) if begins else fn, *args, **kwargs)
        finally:
            _of_a_pool.submitting = before

    return submit


def _inside_of(fn: Callable[..., Any], begins: list[Begin]) -> Callable[..., Any]:
    """A job that calls these before it runs, and leaves the worker as it was."""

    @functools.wraps(fn, updated=())
    def job(*args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            for begin in begins:
                stack.callback(begin())
            return fn(*args, **kwargs)

    return job


def _run_behind(thread: threading.Thread, begins: list[Begin]) -> None:
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
