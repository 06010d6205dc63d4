"""Colours, and what tells more things apart than there are colours."""

from collections.abc import Sequence
from typing import Any

# Okabe-Ito: told apart by colour-blind readers and in grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#8a8a8a"
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def again(k: int, of: Sequence[str]) -> str:
    """The dashes or marker of the k-th thing: another one each time the colours begin again."""
    return of[k // len(COLOURS) % len(of)]


def line_look(k: int) -> dict[str, Any]:
    """How the k-th curve of a picture looks."""
    return {"color": colour_of(k), "ls": again(k, DASHES), "marker": again(k, MARKERS), "ms": 4}


def colour_of(k: int) -> str:
    return COLOURS[k % len(COLOURS)]
