"""Asking a chat endpoint so that a slow, busy or broken server costs time and not answers.

The openai package's own retries are switched off. They pass no rate limit (each retry is a request that the
server counts), stop growing at 8 seconds, pause one request where a Retry-After is meant for all, and refuse
a Retry-After above two minutes; so the few lines of waiting are here.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from interventions.judging.replies import Passing, Reply, RequestFailed, read_reply
from interventions.judging.secret import Secret

HOPELESS = {
    401: "the key is not accepted",
    402: "the account has no credit",
    403: "the key may not use this model",
    404: "no such model or address",
}
PASSING = (408, 409, 425, 429)


@dataclass(frozen=True)
class Limits:
    """How the endpoint is treated: requests under way at once, requests a minute (spaced evenly; None for no
    limit), and patience.

    `timeout` is seconds for a whole answer, not between its bytes. A request that fails in passing (429, 5xx,
    timeout, broken connection) is sent again up to `retries` times, after `first_wait`, twice that and so on
    up to `longest_wait` seconds, each shortened by chance by up to a half. A Retry-After is obeyed by all
    requests of the run; one above `patience` seconds ends the run.
    """

    concurrency: int = 8
    requests_per_minute: float | int | None = None
    timeout: float | int = 60.0
    retries: int = 6
    first_wait: float | int = 0.5
    longest_wait: float | int = 60.0
    patience: float | int = 600.0

    def __post_init__(self) -> None:
        if (
            self.concurrency < 1
            or self.retries < 0
            or self.timeout <= 0
            or (self.requests_per_minute is not None and self.requests_per_minute <= 0)
        ):
            raise ValueError(
                f"{self} cannot work: concurrency is 1 or more, retries 0 or more, timeout and"
                " requests_per_minute above 0"
            )


async def sleep_unless(seconds: float, stopped: asyncio.Event) -> None:
    """Waits for these seconds, or for less where the event is set meanwhile."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), max(seconds, 0.0))


def address_of(base_url: str | None) -> str:
    """Where requests go, without what might be secret in it."""
    address = urlsplit(base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1")
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path.rstrip('/')}"


class Chat:
    """A chat endpoint under limits; use as `async with Chat(...) as chat: await chat.ask(request)`.

    Its waits go by `clock` and `sleep`, so that tests can bring a time of their own. Raises ImportError
    without the openai package.
    """

    def __init__(
        self,
        base_url: str | None,
        key: Secret,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float, asyncio.Event], Awaitable[None]] = sleep_unless,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise ImportError(
                'judges and rewriters ask through the openai package: pip install "hookprobe[judge]"'
            ) from error
        # Only asking needs the HTTP library, which comes with the openai package.
        from interventions.judging.wire import opened

        self.openai, self.limits, self.key = openai, limits, key
        self.server = address_of(base_url)
        self.client = opened(base_url, key.reveal(), limits.timeout)
        self.interval = 60 / limits.requests_per_minute if limits.requests_per_minute else 0.0
        self.next_slot = self.paused_until = 0.0
        self.stopped = asyncio.Event()
        self.clock, self.sleep = clock, sleep

    async def __aenter__(self) -> "Chat":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.client.close()

    async def ask(self, request: Mapping[str, Any]) -> Reply:
        """Sends one request, again where that may help; raises RequestFailed when it does not."""
        for attempt in range(self.limits.retries + 1):
            await self._turn()
            if self.stopped.is_set():
                raise RequestFailed("not asked", "the run was ended")
            try:
                return await self._send(request)
            except Passing as failure:
                detail = failure.detail
                if failure.after is not None and failure.after > self.limits.patience:
                    raise RequestFailed(
                        failure.reason,
                        f"the server asks to wait {failure.after:.0f} s; patience is"
                        f" {self.limits.patience} s",
                        True,
                    ) from None
                if attempt == self.limits.retries:
                    # A server nobody can reach for that long is down for all; any other failure may be this
                    # item's own.
                    raise RequestFailed(
                        failure.reason,
                        f"{detail} ({attempt + 1} times)".strip(),
                        failure.reason == "no connection",
                    ) from None
                await self._back_off(attempt, failure.after)
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """Sends nothing more; requests under way may still be answered, those that wait give up."""
        self.stopped.set()

    async def _turn(self) -> None:
        """Waits for this request's place under the rate limit and for the end of a pause."""
        while True:
            slot = max(self.clock(), self.next_slot, self.paused_until)
            self.next_slot = slot + self.interval
            await self.sleep(slot - self.clock(), self.stopped)
            if self.stopped.is_set() or self.clock() >= self.paused_until:  # a pause may have begun meanwhile
                return

    async def _back_off(self, attempt: int, after: float | None) -> None:
        if after is not None:
            self.paused_until = max(self.paused_until, self.clock() + after)
        wait = min(self.limits.first_wait * 2.0**attempt, self.limits.longest_wait)
        await self.sleep(wait * random.uniform(0.5, 1), self.stopped)

    async def _send(self, request: Mapping[str, Any]) -> Reply:
        errors = self.openai
        try:
            # The client's own timeout starts anew with every byte, so a dripping server would hold the
            # request for ever.
            async with asyncio.timeout(self.limits.timeout):
                response = await self.client.chat.completions.with_raw_response.create(**request)
            body = response.content
        except (TimeoutError, errors.APITimeoutError):
            raise Passing("timeout", f"no answer in {self.limits.timeout} s") from None
        except errors.APIConnectionError as error:
            cause = type(error.__cause__).__name__
            raise Passing(
                "no connection" if cause == "ConnectError" else "broken connection", cause
            ) from None
        except errors.APIStatusError as error:
            raise self._judged(error) from None
        return read_reply(body, self.key.hide)

    def _judged(self, error: Any) -> Exception:
        """Whether an HTTP error is worth another request, fails this item, or fails the run."""
        status, detail = error.status_code, " ".join(self.key.hide(error.response.text).split())[:300]
        if status in HOPELESS or error.code == "insufficient_quota":
            return RequestFailed(
                f"HTTP {status}",
                f"{HOPELESS.get(status, 'the account has no credit')} ({detail})",
                ends_run=True,
            )
        if status in PASSING or status >= 500:
            return Passing(f"HTTP {status}", detail, retry_after(error.response.headers))
        return RequestFailed(f"HTTP {status}", detail)


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Seconds to wait as the server asks for them, in number or as a date; None when it does not say
    or what it says cannot be read.
    """
    said = headers.get("retry-after")
    if said is None:
        return None
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - now()
        except ValueError:
            return None
    return max(seconds, 0.0) if seconds == seconds else None
