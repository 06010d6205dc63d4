"""The HTTP client of judges: texts go to the server that was named, and answers have a greatest length."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai

from interventions.judging.replies import RequestFailed

LONGEST = 16 * 2**20
"""Bytes of an answer. The longest that is of use, 8,000 tokens with 20 alternatives each, has about ten
million.
"""
_PORTS = {"http": 80, "https": 443}


def opened(base_url: str | None, key: str, timeout: float | int) -> openai.AsyncOpenAI:
    """The client of one server, without the retries of the openai package.

    Raises RequestFailed inside a request for a redirect to another server, which would be sent the texts, and
    for an answer of more than `LONGEST` bytes. Answers are asked for unpacked, and packed ones are refused: a
    few kilobytes may unpack to gigabytes.
    """
    plain: Any = openai.DefaultAsyncHttpxClient
    http = plain(timeout=timeout, headers={"Accept-Encoding": "identity"})
    client = openai.AsyncOpenAI(
        base_url=base_url, api_key=key, max_retries=0, timeout=timeout, http_client=http
    )

    async def here(request: httpx2.Request) -> None:
        if not _same_server(client.base_url, request.url):
            there = f"{request.url.scheme}://{request.url.netloc.decode('ascii', 'replace')}"
            raise RequestFailed(
                "redirected",
                f"the server sends the texts on to {there}, where nobody said they may go; if that is right,"
                " give its address as base_url",
                ends_run=True,
            )

    http.event_hooks = {"request": [here], "response": [_bounded]}
    return client


async def _bounded(response: httpx2.Response) -> None:
    packed = response.headers.get("content-encoding", "identity").strip().lower()
    if packed not in ("", "identity"):
        raise RequestFailed(
            "packed answer",
            f"the server packs its answers ({packed[:20]!r}) though asked not to; tell it, or the proxy"
            " before it, to send them as they are",
            ends_run=True,
        )
    response.stream = _Bounded(response.stream)


def _same_server(own: httpx2.URL, other: httpx2.URL) -> bool:
    """Whether both are one server; the change from http to https on its usual ports counts as none."""

    def place(url: httpx2.URL) -> tuple[str, str, int | None]:
        return url.scheme, url.host, url.port or _PORTS.get(url.scheme)

    if place(own) == place(other):
        return True
    return place(own) == ("http", other.host, 80) and place(other) == ("https", own.host, 443)


class _Bounded(httpx2.AsyncByteStream):
    """The bytes of an answer, up to `LONGEST`."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        length = 0
        async for part in self.inner:
            length += len(part)
            if length > LONGEST:
                raise RequestFailed("too long", f"the answer has more than {LONGEST >> 20} MiB")
            yield part

    async def aclose(self) -> None:
        await self.inner.aclose()
