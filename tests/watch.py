"""Time for tests of waiting: it stands still while a request is under way and then moves on to the
first moment that somebody waits for.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

from interventions.judging.client import Chat
from interventions.judging.replies import Reply


class Watch:
    """A clock and a sleep for `Chat`, and what happened by them.

    `sent` holds every request with the time at which it left, `waits` how long each wait was asked to be.
    Requests take no time.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[tuple[Mapping[str, Any], float]] = []
        self.waits: list[float] = []
        self.busy = self.most_busy = 0
        self.somebody_waits = threading.Event()
        self._waking: list[float] = []
        self._alarms: list[tuple[float, Callable[[], None]]] = []

    def at(self, moment: float, act: Callable[[], None]) -> None:
        """Does something once that much time has passed."""
        self._alarms.append((moment, act))

    @property
    def times(self) -> list[float]:
        """When the requests left, in order."""
        return [time for _, time in self.sent]

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float, unless: asyncio.Event) -> None:
        if seconds <= 0:
            return
        wake = self.now + seconds
        self.waits.append(seconds)
        self._waking.append(wake)
        self.somebody_waits.set()
        while self.now < wake and not unless.is_set():
            await asyncio.sleep(0.001)  # answers arrive in real time
            if not self.busy:
                self._move_on()
        self._waking.remove(wake)

    def _move_on(self) -> None:
        self.now = max(self.now, min(self._waking))
        due = [act for moment, act in self._alarms if moment <= self.now]
        self._alarms = [(moment, act) for moment, act in self._alarms if moment > self.now]
        for act in due:
            act()

    def chat(self, *given: Any) -> Chat:
        """What stands in for `Chat` where a run opens its endpoint."""
        return _Watched(self, *given)


class _Watched(Chat):
    def __init__(self, watch: Watch, *given: Any) -> None:
        super().__init__(*given, clock=watch.time, sleep=watch.sleep)
        self.watch = watch

    async def _send(self, request: Mapping[str, Any]) -> Reply:
        watch = self.watch
        watch.sent.append((request, watch.now))
        watch.busy += 1
        watch.most_busy = max(watch.most_busy, watch.busy)
        try:
            return await super()._send(request)
        finally:
            watch.busy -= 1
