"""How far a long loop is where no bar can be drawn, in a log file or a pipe: one plain line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

from probes.markup.terminal import terminal

EVERY = 30.0
"""Seconds from the start to the first line, and from one to the next."""


class ProgressLines:
    """Takes the place of a tqdm bar: `.update(n)` within a `with`, or iterated.

    Work that is done sooner prints nothing. A line comes after a step, so long steps make it late.
    """

    def __init__(self, over: Iterable[Any] | None, total: int | None, what: str, unit: str, initial: int):
        self.over, self.what, self.unit = over, what, unit
        self.total = len(over) if total is None and isinstance(over, Sized) else total
        self.done = self.initial = initial
        self.said = self.began = clock()
        self.more = ""

    def __enter__(self) -> "ProgressLines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        for each in self.over or ():
            yield each
            self.update()

    def update(self, n: int = 1) -> None:
        """So many more are done."""
        self.done += n
        now = clock()
        if now - self.said >= EVERY and self.done != self.total:
            self.said = now
            print(terminal(self.line(now - self.began)), file=sys.stderr, flush=True)

    def set_postfix(self, values: Mapping[str, Any], refresh: bool = True) -> None:
        self.more = ", ".join(f"{name} {value}" for name, value in values.items())

    def set_postfix_str(self, text: str) -> None:
        self.more = text

    def line(self, seconds: float) -> str:
        """What is done, and how long the rest takes if it goes on like this."""
        unit = "" if self.unit == "it" else f" {self.unit}s"
        more, new = f" ({self.more})" if self.more else "", self.done - self.initial
        if not self.total or not new:
            return f"{self.what}: {self.done}{unit} done after {lasting(seconds)}{more}"
        left = lasting(seconds / new * max(self.total - self.done, 0))
        share = f"{self.done}/{self.total}{unit}, {self.done / self.total:.0%}"
        return f"{self.what}: {share}, about {left} left{more}"


def lasting(seconds: float) -> str:
    """A time in the unit that people would say it in."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def clock() -> float:
    return time.monotonic()
