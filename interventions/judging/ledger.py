"""Verdicts on disk the moment they arrive: one JSON line an item, appended under a lock, so that a
killed run has lost nothing it was given.
"""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout


@dataclass(frozen=True)
class Entry:
    """One graded item. `label` or `score` is the verdict (a rewriter's `label` is the rewrite); where the
    answers could not be read both are None and `failure` says why.

    `key` is the hash of everything that was asked, `judge` that of the question without the texts. Tokens are
    summed over all `tries` of the item; `raw` is the last answer, `model` what the server called itself.
    """

    key: str
    judge: str
    id: str
    label: str | None
    score: float | None
    failure: str
    raw: str | None
    model: str | None
    finish_reason: str | None
    tokens_in: int
    tokens_out: int
    tries: int
    time: str


class Ledger:
    """The entries of a ledger file, kept up with what other processes append.

    A last line without its end is a write that was cut off: it does not count, and the next append closes it.
    Lines that cannot be read are counted in `damaged` and their items are asked again. An item that several
    lines speak of counts once: the first verdict, or the last failure while there is none.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(f"{self.path}.lock", timeout=120)
        self._forget()
        self.catch_up()

    def _forget(self) -> None:
        self.lines: list[Entry] = []
        self.known: dict[str, Entry] = {}
        self.damaged = self._read = 0

    def catch_up(self) -> None:
        """Reads the complete lines that were appended since the last look."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._read:  # replaced by a shorter file
            self._forget()
        if size == self._read:
            return
        with open(self.path, "rb") as file:
            file.seek(self._read)
            body = file.read()
        body = body[: body.rfind(b"\n") + 1]
        self._read += len(body)
        for line in body.split(b"\n"):
            entry = parsed(line)
            if entry is None:
                self.damaged += bool(line.strip())
                continue
            self.lines.append(entry)
            before = self.known.get(entry.key)
            if before is None or before.failure:
                self.known[entry.key] = entry

    def add(self, entry: Entry, instead: Entry | None = None) -> Entry:
        """Appends an entry and gives what now counts for its item: another process may have been first.

        An item that is known is not written again, unless what is known is the failure that was asked again
        (`instead`).
        """
        with self.lock:
            self.catch_up()
            known = self.known.get(entry.key)
            if known is not None and known != instead:
                return known
            line = json.dumps(asdict(entry)).encode() + b"\n"
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if (
                    os.fstat(file).st_size > self._read
                ):  # nobody is writing, so whoever began that line is dead
                    line = b"\n" + line
                while line:
                    line = line[os.write(file, line) :]
                os.fsync(file)
            finally:
                os.close(file)
            self.catch_up()
            return self.known[entry.key]

    @contextmanager
    def working(self) -> Generator[bool]:
        """Whether this process is the first at work on the ledger; others take the items in another
        order, so that they meet rather than race.
        """
        first = FileLock(f"{self.path}.first.lock", timeout=0)
        try:
            first.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            first.release()


def parsed(line: bytes) -> Entry | None:
    """The entry in a line; None when the line is damaged or says nothing definite."""
    try:
        found = Entry(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    counts = (found.tokens_in, found.tokens_out, found.tries)
    if (
        not isinstance(found.key, str)
        or not all(isinstance(c, int) for c in counts)
        or (found.label is None and found.score is None) != bool(found.failure)
    ):
        return None
    return found
