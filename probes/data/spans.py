"""Characters of a text: which are meant, and which tokens share them."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

# Thai to Khmer, Japanese, Chinese, Korean: words that no space parts, or that particles follow at once.
_UNPARTED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
)


def characters(value: Any, column: str | None, text: str) -> tuple[int, int]:
    """The two ends of a character span; raises unless it is one of this text."""
    ends = list(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else []
    whole = all(isinstance(end, int | np.integer) and not isinstance(end, bool) for end in ends)
    if len(ends) != 2 or not whole or not 0 <= ends[0] < ends[1] <= len(text):
        raise ValueError(
            f"column {column}: {value!r:.60} is no character span; expected (start, end) with 0 <= start <"
            f" end <= {len(text)}, the number of characters of {text!r:.80}"
        )
    return int(ends[0]), int(ends[1])


def occurrences(text: str, wanted: str, source: str) -> list[tuple[int, int]]:
    """Every place of a substring, also where two overlap."""
    found = [m.start() for m in re.finditer(f"(?={re.escape(wanted)})", text)] if wanted else []
    if not found:
        plain, own = (unicodedata.normalize("NFC", t) for t in (text, wanted))
        if wanted and own in plain:
            raise ValueError(
                f"{source}: {wanted!r:.60} stands in the text {text!r:.80}, but the two differ in how letters"
                " with accents are encoded; make both one, unicodedata.normalize('NFC', text), before"
                " anything is read"
            )
        raise ValueError(f"{source}: {wanted!r:.60} does not occur in the text {text!r:.80}")
    return [(start, start + len(wanted)) for start in found]


def whole_words(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The places at which a substring neither begins nor ends within a word or a number."""
    return [span for span in spans if not any(_within(text, end) for end in span)]


def _within(text: str, at: int) -> bool:
    before, behind = text[max(at - 1, 0) : at], text[at : at + 1]
    if not before or not behind:
        return False
    if before.isdigit() and behind.isdigit():
        return True
    letters = before.isalpha() and (behind.isalpha() or unicodedata.combining(behind) > 0)
    return letters and not _UNPARTED.match(before) and not _UNPARTED.match(behind)


def overlapping(offsets: tuple[tuple[int, int], ...], start: int, end: int) -> tuple[int, ...]:
    """The tokens that share a character with text[start:end], by the characters of each token."""
    return tuple(i for i, (a, b) in enumerate(offsets) if a < end and b > start and b > a)
