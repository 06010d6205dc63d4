"""Characters of a text: which are meant, and which tokens share them."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np


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
        raise ValueError(f"{source}: {wanted!r:.60} does not occur in the text {text!r:.80}")
    return [(start, start + len(wanted)) for start in found]


def overlapping(offsets: tuple[tuple[int, int], ...], start: int, end: int) -> tuple[int, ...]:
    """The tokens that share a character with text[start:end], by the characters of each token."""
    return tuple(i for i, (a, b) in enumerate(offsets) if a < end and b > start and b > a)
