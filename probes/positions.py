"""Which tokens: one small language for reading and for editing, made absolute before a backend sees it.

`last` is the last token the tokenizer returned, special tokens included; `last_content` skips those; `first`;
`all`; `mean` averages over all tokens (reading only); an integer counts tokens from the start (negative: from the
end); `span:NAME` is every token of the substring that column NAME holds for the row, and `span_end:NAME` its last.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from probes.tokens import Encoded

WORDS = ("last", "last_content", "first", "mean", "all")
SPANS = ("span", "span_end")


@dataclass(frozen=True)
class Position:
    """A rule that picks tokens of a text; `Position.parse` reads what users write."""

    kind: str
    index: int | None = None
    column: str | None = None

    def __str__(self) -> str:
        if self.kind == "index":
            return str(self.index)
        return self.kind if self.column is None else f"{self.kind}:{self.column}"

    @classmethod
    def parse(cls, at: "str | int | Position") -> "Position":
        if isinstance(at, Position):
            return at
        if isinstance(at, int) and not isinstance(at, bool):
            return cls("index", index=at)
        if isinstance(at, str):
            if at in WORDS:
                return cls(at)
            if re.fullmatch(r"-?[0-9]+", at):
                return cls("index", index=int(at))
            kind, _, column = at.partition(":")
            if kind in SPANS and column:
                return cls(kind, column=column)
        raise ValueError(f"unknown position {at!r}; use {', '.join(WORDS)}, a token index, span:COLUMN or span_end:COLUMN")

    @property
    def one_per_text(self) -> bool:
        return self.kind not in ("all", "span")

    def tokens(self, encoded: Encoded, columns: dict[str, Any]) -> np.ndarray:
        """The picked token indices of one text, counted from its first token; raises if there is none."""
        n = len(encoded)
        match self.kind:
            case "last":
                return np.array([n - 1])
            case "first":
                return np.array([0])
            case "mean" | "all":
                return np.arange(n)
            case "last_content":
                content = np.flatnonzero(~np.asarray(encoded.special))
                if not len(content):
                    raise ValueError(f"{encoded.text!r:.60} consists of special tokens only, so it has no last_content")
                return content[-1:]
            case "index":
                assert self.index is not None
                if not -n <= self.index < n:
                    raise ValueError(f"token {self.index} does not exist: {encoded.text!r:.60} has {n} tokens")
                return np.array([self.index % n])
            case _:
                found = self._span(encoded, columns)
                return found[-1:] if self.kind == "span_end" else found

    def _span(self, encoded: Encoded, columns: dict[str, Any]) -> np.ndarray:
        if self.column not in columns:
            raise ValueError(f"position {self} needs a column {self.column!r}; there are {sorted(columns) or 'no columns'}")
        if encoded.offsets is None:
            raise ValueError(f"position {self} needs a fast tokenizer, which says where each token lies in the text")
        try:
            return np.array(_overlapping(encoded.text, encoded.offsets, str(columns[self.column])))
        except LookupError as error:
            raise ValueError(f"column {self.column}: {error}") from None


# The same prompts are read and edited again under every edit and control.
@lru_cache(maxsize=2**16)
def _overlapping(text: str, offsets: tuple[tuple[int, int], ...], wanted: str) -> tuple[int, ...]:
    """The tokens that share characters with the last occurrence of `wanted`."""
    start = text.rfind(wanted)
    if start < 0 or not wanted:
        raise LookupError(f"{wanted!r:.60} does not occur in the text {text!r:.80}")
    end = start + len(wanted)
    hits = tuple(i for i, (a, b) in enumerate(offsets) if a < end and b > start and b > a)
    if not hits:
        raise LookupError(f"{wanted!r:.60} lies in no token of {text!r:.80}")
    return hits
