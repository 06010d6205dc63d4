"""Verdicts on disk the moment they arrive: one JSON line an item, appended under a lock, so that a
killed run has lost nothing it was given.
"""

import json
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from filelock import FileLock, Timeout
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from interventions.judging.replies import Count, first_fault


@dataclass(frozen=True)
class Entry:
    """One graded item. `label` or `score` is the verdict (a rewriter's `label` is the rewrite); where the
    answers could not be read both are None and `failure` says why.

    `key` is the hash of everything that was asked, `judge` that of the question without the texts. Tokens are
    summed over all `tries` of the item; `raw` is the last answer, `model` what the server called itself and
    `server` its address ("" in older ledgers, and where no server was asked).
    """

    # The form of a line of the file: these fields, of these types, and no others.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")

    key: str
    judge: str
    id: str
    label: str | None
    score: Annotated[float, Field(allow_inf_nan=False)] | None
    failure: str
    raw: str | None
    model: str | None
    finish_reason: str | None
    tokens_in: Count
    tokens_out: Count
    tries: Count
    time: str
    server: str = ""


_LINE = TypeAdapter(Entry)


def anything(entry: Entry) -> str:
    """No fault, whatever an entry's verdict is."""
    return ""


class Ledger:
    """The entries of a ledger file, kept up with what other processes append.

    A last line without its end is a write that was cut off: it does not count, and the next append closes it.
    Lines that cannot be read, or whose entry has a `fault`, are counted in `damaged` and their items asked
    again; `why` says what is wrong with the first of them. An item that several lines speak of counts once:
    the first verdict, or the last failure while there is none.
    """

    def __init__(self, path: str | Path, fault: Callable[[Entry], str] = anything) -> None:
        self.path, self.fault = Path(path), fault
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(f"{self.path}.lock", timeout=120)
        self._forget()
        self.catch_up()

    def _forget(self) -> None:
        self.lines: list[Entry] = []
        self.known: dict[str, Entry] = {}
        self.damaged = self._read = 0
        self.why = ""

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
        for line in filter(bytes.strip, body.split(b"\n")):
            entry, why = parsed(line)
            why = why or ("" if entry is None else self.fault(entry))
            if entry is None or why:
                self.damaged += 1
                self.why = self.why or why
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


def parsed(line: bytes) -> tuple[Entry | None, str]:
    """The entry in a line, or None and what is wrong: the line is damaged or says nothing definite."""
    try:
        found = _LINE.validate_json(line)
    except ValidationError as error:
        return None, first_fault(error)
    if (found.label is not None) + (found.score is not None) + bool(found.failure) != 1:
        return None, "failure: a line has either a label, a score or a reason why there is none"
    return found, ""
