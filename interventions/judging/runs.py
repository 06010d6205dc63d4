"""A run over many items with a ledger behind it: what is known, what is asked, what is missing, and
when that is too much. Judges and rewriters share it.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from interventions.judging.answers import Answered
from interventions.judging.asking import Item, Outcome, ask_all, counted, on_own_loop
from interventions.judging.client import Chat, Limits
from interventions.judging.ledger import Entry, Ledger, anything
from interventions.judging.replies import Reply
from interventions.judging.secret import Secret
from probes.checks.saying import warn

SECRET_NAME = re.compile(
    r"(^|[-_])(api[-_]?key|(access|auth|bearer)[-_]?token|authorization|password|passwd|secret"
    r"|subscription-key"
    r"|sig|signature)$|^(key|token|auth)$",
    re.IGNORECASE,
)
"""Names of parameters whose values are keys; `max_tokens` and `keep_alive` are none."""


class JudgeError(RuntimeError):
    """Too many items have no verdict (or no rewrite). `kept` is how many rows the ledger has one for,
    `reasons` counts rows without one by reason.
    """

    def __init__(self, message: str, kept: int, reasons: Mapping[str, int]) -> None:
        super().__init__(message)
        self.kept, self.reasons = kept, dict(reasons)


@dataclass(frozen=True)
class Usage:
    """What a model has used so far, over all runs with its ledger: items answered, answers read,
    tokens, and their cost where prices are known.
    """

    items: int
    answers: int
    tokens_in: int
    tokens_out: int
    cost: float | None


@dataclass(frozen=True)
class Words:
    """How a run speaks of its work: what rows are when it is done, what they have then, what becomes
    of the others, and how failures are asked again.
    """

    bar: str
    done: str
    result: str
    results: str
    missing: str
    again: str


JUDGING = Words(
    "judge", "judged", "a verdict", "Verdicts", "they are NaN in the records", "grade(..., again=True)"
)


def ask_items(
    keys: Sequence[str],
    items: Mapping[str, Item],
    path: str | Path,
    server: str,
    chat: Callable[[int], Callable[[], Chat]],
    read: Callable[[str, Reply], Answered],
    name: str,
    tries: int,
    max_failed: float | int,
    progress: bool,
    again: bool,
    words: Words,
    fault: Callable[[Entry], str] = anything,
) -> tuple[list[Entry | None], list[str]]:
    """The ledger's entry for every row's key (None where no answer came) and the reason why it holds no
    result ("" where it does).

    What the ledger lacks is asked first: `chat` gives the endpoint for a number of items, `read` reads the
    answer to a key, `fault` says what is wrong with an entry of the ledger. `again` asks anew for known
    failures. Warns when results that the ledger holds are of another `server` than this one, and when rows
    have no result, raises JudgeError when they are more than the share
    `max_failed`. To be called by what the user calls.
    """
    ledger = Ledger(path, fault)
    if ledger.damaged:
        warn(
            f"{ledger.damaged} lines of {path} cannot be read (the first one: {ledger.why}); their items are"
            " asked again"
        )
    done = {k for k in items if k in ledger.known and not (again and ledger.known[k].failure)}
    lost = sum(items[k].rows for k in done if ledger.known[k].failure)
    allowed = int(max_failed * len(keys) + 1e-9)
    todo = {k: item for k, item in items.items() if k not in done}
    outcome = Outcome({})
    if todo and lost <= allowed:
        outcome = on_own_loop(
            ask_all(todo, ledger, chat(len(todo)), read, name, tries, allowed - lost, progress, words.bar)
        )
    entries = [ledger.known.get(key) for key in keys]
    elsewhere = Counter(e.server for e in entries if e is not None and e.server not in ("", server))
    if elsewhere:
        warn(
            f"{sum(elsewhere.values())} of {len(keys)} rows have what {', '.join(elsewhere)} answered"
            f" earlier, which {path} holds, and {server} was not asked for them; if it is not the same model"
            " that answers there, give each a ledger of its own"
        )
    failures = [
        outcome.failed.get(k, "not asked") if e is None else e.failure
        for k, e in zip(keys, entries, strict=True)
    ]
    _report(Counter(filter(None, failures)), len(keys), outcome, allowed, path, max_failed, words)
    return entries, failures


def _report(
    reasons: Counter[str],
    n: int,
    outcome: Outcome,
    allowed: int,
    path: str | Path,
    max_failed: float | int,
    words: Words,
) -> None:
    missing = sum(reasons.values())
    if not missing:
        return
    said = f"{missing} of {n} rows are not {words.done} ({counted(reasons)})"
    if missing <= allowed:
        warn(f"{said}; {words.missing}")
        return
    last = f" Last error: {outcome.last}." if outcome.last else ""
    on = (
        f"{words.results} in the ledger are kept: call again and only what is missing is asked; unreadable"
        f" answers are asked again with {words.again}."
    )
    raise JudgeError(
        f"{said}, more than max_failed={max_failed} allows.{last} {n - missing} have {words.result} in"
        f" {path}. {on}",
        n - missing,
        reasons,
    )


def usage_of(lines: Sequence[Entry], price: tuple[float | int, float | int] | None) -> Usage:
    """Tokens of all these lines, and their cost at dollars for a million tokens in and out."""
    tokens = sum(e.tokens_in for e in lines), sum(e.tokens_out for e in lines)
    cost = None if price is None else (tokens[0] * price[0] + tokens[1] * price[1]) / 1e6
    return Usage(len({e.key for e in lines}), sum(e.tries for e in lines), *tokens, cost)


def check_settings(
    base_url: str | None,
    options: Mapping[str, Any],
    tries: int,
    max_failed: float | int,
    reserved: Collection[str] = (),
    who: str = "the judge",
) -> None:
    """Raises ValueError for settings that cannot work, would write a key down, or that the caller
    sets itself.
    """
    if tries < 1 or not 0 <= max_failed <= 1:
        raise ValueError(
            f"tries must be 1 or more and max_failed a share between 0 and 1, got {tries} and {max_failed}"
        )
    said, address = _secrets(options), urlsplit(base_url or "")
    if "@" in (base_url or "") or address.query or "extra_headers" in options or said:
        what = f" (found: {said})" if said else ""
        raise ValueError(
            "base_url and options are written down, so they must hold no password, query or header, and no"
            f" parameter that is named like a key{what}; give the key as api_key or api_key_env, and other"
            " parameters of the address as options={'extra_query': {...}}"
        )
    if taken := set(options) & {"model", "messages", "stream", "n", *reserved}:
        raise ValueError(f"options may not hold {sorted(taken)}: {who} sets them itself")


def _secrets(options: Mapping[str, Any]) -> str:
    """The name of a parameter, at any depth, that looks as if its value were a key; "" for none."""
    for name, value in options.items():
        if SECRET_NAME.search(str(name)):
            return str(name)
        if isinstance(value, Mapping) and (found := _secrets(value)):
            return found
    return ""


def chat_at(
    base_url: str | None, api_key: str | Secret | None, api_key_env: str | None, limits: Limits, n: int
) -> Callable[[], Chat]:
    """Opens the endpoint for n items; raises ValueError when the environment variable that should
    hold the key does not.
    """
    key = api_key
    env = api_key_env or (None if base_url else "OPENAI_API_KEY")
    if key is None and env is not None:
        if not os.environ.get(env):
            raise ValueError(
                f"{n} items are to be asked, but the environment variable {env} holds no key; set it, give"
                " api_key, or the base_url of a local server"
            )
        key = Secret(os.environ[env])
    # The openai client wants some key even where the server wants none.
    secret = key if isinstance(key, Secret) else Secret(key or "none")
    return lambda: Chat(base_url, secret, limits)
