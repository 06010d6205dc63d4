"""The signs that people and programs write for a minus, and what may stand between it and its number."""

import re

_SIGNS = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
DASHES = str.maketrans(_SIGNS + "\u2044\u2215", "-" * len(_SIGNS) + "//")  # and slashes of fractions
MINUS = "[-\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d]"
"""What may be a minus; long dashes part sentences."""
LEAD = r"(?:\\boxed|\\[(\[]|\\?[$\u20ac\u00a3\u00a5{])"
"""What may stand between a minus and its number: a currency, and what LaTeX sets around numbers."""
FLUSH = rf"(?:{LEAD}|[(*_])"
"""What may stand there without a space: in "- **3** apples" and "- (3) apples" the dash begins a line."""

# Spaced, it is a minus behind something on its line: "= - $3"; at the beginning it begins an item of a list.
_LED = re.compile(rf"(?:(?<![\w)\]}}])-{FLUSH}+|(?<=[^\s\w)\]}}]\s)-\s{LEAD}+|\b(?:UTC|GMT)-)$")
_CLOSED = re.compile(r"\s*(?:[%\u00b0]|\u00b0?[^\W\d_]{1,3})?\s*\)")
_RECKONED = re.compile(r"[\w\s.+*/^\u00d7\u00f7{}\\-]*\)")


def led(before: str, behind: str) -> bool | None:
    """Whether a number between these stands behind a minus that is its own, -$3 and -(3); None where the
    minus is that of a whole bracket, -(3 - x), so that the number is neither.
    """
    found = _LED.search(before)
    if found is None:
        return False
    if "(" not in found.group().replace("\\(", "") or _CLOSED.match(behind):
        return True
    return None if _RECKONED.match(behind) and not re.match(r"\s*[^\W\d_]{2}", behind) else False
