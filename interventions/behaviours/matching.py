"""Whether a text gives a known answer: words against words, numbers against whole numbers, and signs where
they are the answer (C++, x - 1, 5:30, 1/5).
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from interventions.behaviours.dashes import DASHES, FLUSH, LEAD, led
from interventions.behaviours.formulas import without_parts
from interventions.behaviours.written import in_digits, says_minus

_APOSTROPHES = str.maketrans("", "", "'\u2019\u2018\u02bc")
# Not inside a word, a range (1990-95, -3--5), a version (1.2.3) or a decimal comma, which has no sign; a unit
# may follow at once (5km).
_NUMBER = re.compile(
    r"(?<![\w.])(?:(?<!-)[-+]|(?<!\d[-,])(?<!\d--))"
    r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?(?!\d|[.,]\d)",
    re.IGNORECASE,
)
# Thousands parted by spaces: those that do not break and thin ones part nothing else, nor does any space
# before a group that begins with 0. 5 100 may be one number or two.
_THIN = re.compile(r"(?<![\w.,])[1-9]\d{0,2}(?:[\u00a0\u2007\u2009\u202f]\d{3})+(?!\s?\d)")
_SPACED = re.compile(r"(?<![\w.,])[1-9]\d{0,2}(?: \d{3})+(?!\s?\d)")
_ORDINAL = re.compile(r"(?:(?<=1)st|(?<=2)nd|(?<=3)rd|th)s?\b", re.IGNORECASE)
_DECADE = re.compile(r"\d{3}0['\u2019]?s\b")
# What makes a number a part of another answer: a fraction, a time, a power, a sum, a product, a size. Spaces
# stand on both sides or on none, since * alone also makes words bold.
_TIED_BEFORE = re.compile(r"\^\s?$|\d(?:[/*^\u00d7\u00f7+]|\*\*|\s[/*\u00d7\u00f7+x]\s|:)$|\b[^\W\d_][-+]$")
_TIED_BEHIND = re.compile(
    r"(?:[/*^\u00d7\u00f7+]|\*\*|\s[/*\u00d7\u00f7+x]\s|:|x)\d|[/^\u00d7\u00f7]-\d|\^[({][-+\w]|\u207b"
    r"|\s?(?:\\sqrt|\u221a|\\[dtcs]?frac)"
)
_PARTED = re.compile(
    r"(?<![\w./^\u00d7\u00f7])(?:(?=[-+])|(?<!,))(?<!\d--)(?<![\w)][*+])(?<![\w)]\*\*)(?<!\d[-:\s])"
    r"(?P<sign>[-+]?)(?:(?P<whole>\d{1,3})\+)?"
    r"(?P<part>\d{1,2})/(?P<of>\d{1,2})(?![\w/]|[.,:]\d|\s?[-+*/^\u00d7\u00f7]\s?\d)"
)
_POINT = re.compile(r"(?<![\w.])\.(?=\d)")  # .5 is no 5
_ARTICLES = {"a", "an", "the"}
# A digit, a letter alone, or one that LaTeX has a word for.
_OPERAND = (
    r"(?:\d|\b[^\W\d_]\b|\\(?:[dtcs]?frac|sqrt|pi|theta|alpha|beta|gamma|lambda|phi|infty|ln|log|exp|sin|cos"
    r"|tan)(?![a-z]))"
)
# Where a minus begins a number: behind an opening bracket or quote, a currency, a relation, a comma.
_BEGINS = r"(?<![^\s(=<>${\[*\"\u201c`,;|~\u2248\u2264\u2265\u00b1\u20ac\u00a3\u00a5])"
_BETWEEN = rf"(?:[-+*/^\u00d7\u00f7]+|\s+[-+*/^\u00d7\u00f7]+\s+)(?={_OPERAND})"
_SIGN = re.compile(
    r"(?<=\w)[+#]+|\+(?=\w)|[<>=\u2264\u2265\u2260\u00b1\u221a]|(?<=\d)[.,:](?=\d)"
    rf"|(?<=\d){_BETWEEN}|(?<=\b[^\W\d_]){_BETWEEN}"
    rf"|(?:{_BEGINS}|(?<=[^\W\d_]:))-(?={FLUSH}+\.?\d|{FLUSH}*{_OPERAND}|\.\d|\u221a)"
    rf"|(?<=[^\s\w)\]}}]\s)-(?=\s{LEAD}+\.?\d)"
    rf"|(?<=\b[^\W\d_])-(?=\s*(?:[.,;!?)]|$))"
)
_RELATIONS = set("<>=\u2264\u2265\u2260")


def matches(text: str, key: str | float | int, mode: str = "exact") -> bool:
    """Whether a text is ("exact"), begins with ("first") or contains a key.

    A key that is a number is found as a whole number: 5 is not in 1/5, 5:30, -5, 5.5, 10^5 or 5th, nor
    1990 in 1990s, but 5 is in 5km and in 2 + 3 = 5, 1 000 000 is 1,000,000, minus 3 and -(3) are -3 and
    2 1/2 is 2.5; numbers within a root, a power or a fraction of something else are no answers. A key with
    signs that change what it says (C++, x - 1, 1/5, 2 1/2) is found with those signs; a key without is not
    found where such signs are tied to it. All else about punctuation, case, articles, apostrophes and
    spacing does not matter. Raises ValueError for a key that holds none of these ("?").
    """
    number, spelled = as_number(key), says_minus(key)
    if number is not None:
        readings = _readings(text) + (_readings(text, "minus") if spelled else [])
        return any(_number_matches(reading, number, mode) for reading in readings)
    wanted, said = signed(str(key), "none"), signed(text, "none")
    if spelled and (also := signed(text, "minus")) != said and _holds(also, wanted, mode):
        return True
    if not wanted.tokens:
        raise ValueError(
            f"the key {key!r} holds no word, no number and no sign that could be found in a text"
        )
    return _holds(said, wanted, mode)


def _holds(said: "Signed", wanted: "Signed", mode: str) -> bool:
    keep = all(token in _ARTICLES for token in wanted.tokens)
    wanted, said = (parts if keep else parts.without_articles() for parts in (wanted, said))
    if not wanted.signs:
        return _words_match(wanted.tokens, said, mode)
    n = len(wanted.tokens)
    return any(
        said.tokens[p : p + n] == wanted.tokens and not said.tied(p, p + n)
        for p in _starts(len(said.tokens), n, mode)
    )


def _starts(there: int, n: int, mode: str) -> Sequence[int]:
    """Where n of the tokens there are may begin."""
    if mode == "exact":
        return [0] if there == n else []
    return [0] if mode == "first" else range(there - n + 1)


def _readings(text: str, undecided: Literal["none", "minus"] = "none") -> list[str]:
    """The text, thousands closed up; and as it stands where these may be two numbers."""
    plain = _THIN.sub(_closed_up, in_digits(text, undecided))
    plain = _SPACED.sub(lambda m: _closed_up(m) if " 0" in m.group() else m.group(), plain)
    closed = _SPACED.sub(_closed_up, plain)
    return [plain] if closed == plain else [plain, closed]


def _closed_up(number: re.Match[str]) -> str:
    return "".join(number.group().split())


def _number_matches(text: str, number: float | int, mode: str) -> bool:
    text = without_parts(text.translate(DASHES))
    found = _numbers(text)
    if mode == "contains":
        return any(value == number for value, _, _ in found)
    if not found or found[0][0] != number:
        return False
    # A unit or a currency may stand beside the number, but no other word in front and, for exact, no words
    # behind.
    _, start, end = found[0]
    return not re.search(r"\w", text[:start]) and (mode == "first" or not re.search(r"\w", text[end:]))


def _numbers(text: str) -> list[tuple[float | int, int, int]]:
    """The numbers that stand in a text for themselves, and where."""
    found: list[tuple[float | int, int, int]] = []
    for m in _PARTED.finditer(text):  # 2+1/2, as 2 1/2 and 2\u00bd are read, and 1/2
        whole, part, of = (int(m[k] or 0) for k in ("whole", "part", "of"))
        away = led(text[: m.start()], text[m.end() :])
        if 0 < part < of and away is not None:
            sign = -1 if (m["sign"] == "-") != away else 1
            found.append((sign * (whole + part / of), m.start(), m.end()))
    for m in _NUMBER.finditer(text):
        before, behind = text[: m.start()], text[m.end() :]
        added = m.group()[0] == "+" and before[-1:].isdigit()
        if added or _TIED_BEFORE.search(before) or _TIED_BEHIND.match(behind) or behind[:1].isnumeric():
            continue
        if _ORDINAL.match(text, m.end()) or _DECADE.match(text, max(m.end() - 4, m.start())):
            continue
        value, away = _value(m.group()), led(before, behind)
        if away is not None:
            found.append((-value if away else value, m.start(), m.end()))
    return sorted(found, key=lambda each: each[1])


def _value(number: str) -> float | int:
    """Whole numbers as they are: floats are no longer told apart from 2^53 on."""
    plain = number.replace(",", "")
    return int(plain) if plain.lstrip("+-").isdecimal() else float(plain)


@dataclass(frozen=True)
class Signed:
    """A text as words and the signs that change what it says, in their order."""

    tokens: tuple[str, ...]
    signs: frozenset[int]

    def tied(self, start: int, end: int) -> bool:
        """Whether a sign stands beside the tokens from start to end that makes them part of another answer:
        a relation (x = 5) does not, nor does a range (1990-95).
        """
        return any(self._ties(k) for k in (start - 1, end))

    def _ties(self, k: int) -> bool:
        if k not in self.signs or self.tokens[k] in _RELATIONS:
            return False
        beside = "".join(token[:1] for token in self.tokens[max(k - 1, 0) : k + 2 : 2])
        return not (self.tokens[k] == "-" and len(beside) == 2 and beside.isdigit())

    def without_articles(self) -> "Signed":
        """Articles are names where a sign stands beside them: a + b."""
        kept = [
            k for k, token in enumerate(self.tokens) if token not in _ARTICLES or {k - 1, k + 1} & self.signs
        ]
        return Signed(
            tuple(self.tokens[k] for k in kept),
            frozenset(i for i, k in enumerate(kept) if k in self.signs),
        )


# Under every edit and control the same keys are compared, mostly with the same completions.
@lru_cache(maxsize=4096)
def signed(text: str, undecided: Literal["kept", "none", "minus"] = "kept") -> Signed:
    """The words of a text, lower case, and its signs; apostrophes, and points between letters, close up."""
    digits = in_digits(text, undecided)
    plain = unicodedata.normalize("NFKC", digits).casefold().replace("i\u0307", "i")
    plain = _POINT.sub("0.", plain.translate(_APOSTROPHES).translate(DASHES))
    plain = re.sub(r"(?<=[^\W\d])\.(?=[^\W\d])", "", plain).strip()
    tokens: list[str] = []
    signs: list[int] = []
    end = 0
    for m in _SIGN.finditer(plain):
        tokens += re.sub(r"[^\w\s]|_", " ", plain[end : m.start()]).split()
        signs.append(len(tokens))
        tokens.append("".join(m.group().split()))
        end = m.end()
    tokens += re.sub(r"[^\w\s]|_", " ", plain[end:]).split()
    return Signed(tuple(tokens), frozenset(signs))


def _words_match(wanted: Sequence[str], said: Signed, mode: str) -> bool:
    """Whether words without signs occur, and no sign is tied to them or between them."""
    places = [k for k in range(len(said.tokens)) if k not in said.signs]
    words = tuple(said.tokens[k] for k in places)
    n = len(wanted)
    starts = {"exact": [0] if len(words) == n else [], "first": [0], "contains": range(len(words) - n + 1)}[
        mode
    ]
    for p in starts:
        if words[p : p + n] != tuple(wanted):
            continue
        ends = places[p : p + n]
        parted = any(said.tokens[k] not in _RELATIONS for a, b in pairwise(ends) for k in range(a + 1, b))
        if not parted and not said.tied(ends[0], ends[-1] + 1):
            return True
    return False


def normalised(text: str, articles: bool = False) -> str:
    """Lower case, single spaces, no punctuation (apostrophes and points between letters close up) and, unless
    asked for, no articles.
    """
    words = signed(text)
    kept = (token for k, token in enumerate(words.tokens) if k not in words.signs)
    return " ".join(w for w in kept if articles or w not in _ARTICLES)


def as_number(key: Any) -> float | int | None:
    """The number that a key is, or None; "1,000", "1 000", "-3.5" and "1e3" are numbers, "3 km" is not."""
    if isinstance(key, int | float | np.integer | np.floating) and not isinstance(key, bool):
        return int(key) if isinstance(key, int | np.integer) else float(key)
    found = _NUMBER.fullmatch(_readings(str(key).strip())[-1].translate(DASHES))
    return None if found is None else _value(found.group())
