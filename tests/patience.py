"""Waits that end: a test that waits for what never comes fails, and the tests behind it are run."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def ends_within(seconds: float) -> Generator[None]:
    """The block raises TimeoutError once it has lasted this long, and again every second that it goes on
    (waiting in its clean-up, say). For the main thread. Far above what the block needs: no measurement.
    """

    def give_up(*signal_and_frame: Any) -> None:
        raise TimeoutError(f"still waiting after {seconds} s for something that does not come")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
