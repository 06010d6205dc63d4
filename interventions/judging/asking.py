"""Asking for every item that the ledger lacks: several at a time, on an event loop of its own, each
answer written down as it comes.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import shuffle
from typing import Any, TypeVar

from interventions.judging.answers import FINAL, Answered
from interventions.judging.client import Chat
from interventions.judging.ledger import Entry, Ledger
from interventions.judging.replies import Reply, RequestFailed
from probes.markup.progress import progress_bar
from probes.markup.terminal import terminal

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One question: how many rows it answers (the same prompt and completion may come twice), and what is
    asked.

    `reseed` asks every further try with the next seed: a sample that could not be read would be the same
    again with its own.
    """

    id: str
    request: Mapping[str, Any]
    rows: int = 1
    reseed: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a run came to: `failed` are reasons by key of items that got no answer, `last` is the last
    error in full.
    """

    failed: Mapping[str, str]
    last: str = ""


async def ask_all(
    todo: Mapping[str, Item],
    ledger: Ledger,
    chat: Callable[[], Chat],
    read: Callable[[str, Reply], Answered],
    judge: str,
    tries: int,
    allowed: int,
    progress: bool,
    name: str = "judge",
) -> Outcome:
    """Asks until all items are answered, more than `allowed` rows have failed, or every further request is
    bound to fail.

    Entries of `todo` that the ledger knows already (failures that are asked again) are replaced.
    """
    before = {key: ledger.known.get(key) for key in todo}
    with ledger.working() as first:
        keys = list(todo)
        if not first:
            shuffle(keys)
        total = sum(item.rows for item in todo.values())
        async with chat() as open_chat:
            run = _Run(todo, before, ledger, open_chat, read, judge, tries, allowed)
            waiting = iter(keys)
            with progress_bar(name, progress, total=total, unit="text") as bar:
                try:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(min(open_chat.limits.concurrency, len(keys))):
                            group.create_task(run.work(waiting, bar))
                except ExceptionGroup as several:  # a full disk, say; the first one ended the others
                    raise several.exceptions[0] from None
    return Outcome(run.failed, run.last)


@dataclass(eq=False)
class _Run:
    """What the workers of one run share: what is asked and how, and what has failed so far."""

    todo: Mapping[str, Item]
    before: Mapping[str, Entry | None]
    ledger: Ledger
    chat: Chat
    read: Callable[[str, Reply], Answered]
    judge: str
    tries: int
    allowed: int
    failed: dict[str, str] = field(default_factory=dict)
    lost: int = 0
    stopped: bool = False
    last: str = ""

    async def work(self, waiting: Iterator[str], bar: Any) -> None:
        """Answers one item after the other until none waits or the run is stopped."""
        for key in waiting:
            if self.stopped:
                return
            entry = await self._answered(key)
            rows = self.todo[key].rows
            self.lost += rows if key in self.failed or (entry is not None and entry.failure) else 0
            self.stopped = self.stopped or self.lost > self.allowed
            if self.stopped:
                self.chat.stop()
            bar.update(rows)
            bar.set_postfix({"failed": self.lost} if self.lost else {}, refresh=False)

    async def _answered(self, key: str) -> Entry | None:
        """The ledger's entry for an item, asked for where nobody has answered it meanwhile."""
        self.ledger.catch_up()  # another process may have been here
        entry, before = self.ledger.known.get(key), self.before[key]
        if entry != before:
            return entry
        try:
            made = await _ask(key, self.todo[key], self.chat, self.read, self.judge, self.tries)
        except RequestFailed as failure:
            self.failed[key] = failure.reason
            self.last = self.last if self.stopped else str(failure)
            self.stopped = self.stopped or failure.ends_run
            return entry
        return self.ledger.add(made, instead=before)


async def _ask(
    key: str, item: Item, chat: Chat, read: Callable[[str, Reply], Answered], judge: str, tries: int
) -> Entry:
    """One item, asked the same again while its answers cannot be read."""
    entry = Entry(key, judge, terminal(item.id), None, None, "", None, None, None, 0, 0, 0, "", chat.server)
    for n in range(1, tries + 1):
        seed = {"seed": item.request["seed"] + n - 1} if item.reseed and "seed" in item.request else {}
        reply = await chat.ask({**item.request, **seed})
        answered = read(key, reply)
        raw = reply.content if reply.content is not None else reply.refusal
        entry = replace(
            entry,
            label=answered.label,
            score=answered.score,
            failure=answered.failure,
            raw=raw,
            model=reply.model,
            finish_reason=reply.finish_reason,
            tokens_in=entry.tokens_in + reply.tokens_in,
            tokens_out=entry.tokens_out + reply.tokens_out,
            tries=n,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        if not answered.failure or answered.failure in FINAL:
            break
    return entry


def counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())


def on_own_loop(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in a thread with its own loop, as a notebook's loop is taken; an interrupt
    (Ctrl-C) cancels it and is raised after its clean-up.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="judge", daemon=True)
    thread.start()

    async def end() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        return asyncio.run_coroutine_threadsafe(main, loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
