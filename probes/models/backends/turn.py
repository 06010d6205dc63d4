"""Backends on which one pass at a time can be made: a trace would take in the passes of other threads, and
leaving a bridge's hooks takes away theirs too.
"""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from probes.models.backends.around import aside_for

WAITS = 0.1  # seconds for a thread that may be waiting for this one
PATIENCE = 300.0  # and for one that computes


class Turn:
    """Whose turn it is. Nobody waits for what may wait for him: who cannot have it is told so, and runs on
    plain hooks, which give the same numbers.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._holder: int | None = None
        self._in_a_pass = False

    def __deepcopy__(self, memo: dict[int, Any]) -> "Turn":
        raise TypeError(
            "a model value on nnsight or TransformerLens holds a second model on the weights of the first,"
            " which no copy would share; copy the Hugging Face model and load that:"
            " load_model(copy.deepcopy(model.hf), tokenizer=model.tokenizer, backend=model.backend.name)"
        )

    @contextmanager
    def taken(self, always: bool = False) -> Generator[bool]:
        """Whether it is the caller's turn within: not in the midst of a pass of its own thread, nor, unless
        `always`, where other people's code that another thread's pass has called does not come back.
        """
        if not self._acquired(always):
            yield False
            return
        if self._in_a_pass:
            self._lock.release()
            yield False
            return
        before, self._holder = self._holder, threading.get_ident()
        try:
            yield True
        finally:
            self._holder = before
            self._lock.release()

    @contextmanager
    def passing(self) -> Generator[None]:
        """Within, the thread whose turn it is makes its pass."""
        self._in_a_pass = True
        try:
            yield
        finally:
            self._in_a_pass = False

    def _acquired(self, always: bool) -> bool:
        begun = time.monotonic()
        while not self._lock.acquire(timeout=-1 if always else WAITS):
            holder = self._holder
            if (holder is not None and aside_for(holder) > WAITS) or time.monotonic() - begun > PATIENCE:
                return False
        return True
