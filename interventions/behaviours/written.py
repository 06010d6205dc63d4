"""Numbers as people and LaTeX write them, in digits: minus 3, - 3 behind an equals sign, 3 and a half, 2-1/2,
\\frac{1}{2}.
"""

import re
import unicodedata
from typing import Literal

from interventions.behaviours.dashes import FLUSH, MINUS
from interventions.behaviours.formulas import unwrapped

_FRACTION = re.compile(r"(?:(?<=(\d))\s?)?([\u00bc-\u00be\u2150-\u215e])")
# A whole number and a fraction below 1; a year is none (in 2020 1/2 of them).
_MIXED = re.compile(r"(?<![\w.,/])(\d{1,3})\s(?=(\d{1,2})[/\u2044\u2215](\d{1,2})(?![\w/]|[.,]\d))")
# With a hyphen it is one where nothing is reckoned.
_HYPHEN = re.compile(
    r"(?<![\w.,/*+^=-])(?<![-+*/=]\s)(\d{1,3})-(?=(\d{1,2})/(\d{1,2})(?![\w/]|[.,]\d|\s*[-+*/=^]\s*[\w(]))"
)
_FRAC = re.compile(
    rf"(?P<minus>(?<![\w)\]}}%]){MINUS})?\\(?:[dtcs]|nice)?frac\s*"
    r"(?:\{\s*(-?)(\d+)\s*\}\s*\{\s*(-?)(\d+)\s*\}|\s?(\d)\s?(\d))"
)
_SIGN_BEFORE = re.compile(rf"(?<![\w)\]}}%]){MINUS}$")
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "eighth": 8}
_PART = re.compile(
    rf"(\d)\s+and\s+(?:(a|an|one|1|two|2|three|3)[\s-]+)({'|'.join(_PARTS)}|halve)s?\b", re.IGNORECASE
)
_COUNT = {"two": 2, "2": 2, "three": 3, "3": 3}
_MINUS = re.compile(
    rf"(?P<before>[^\W\d_]+|\S)?(?P<space>\s*)\b(?:minus|negative)\s+(?={FLUSH}*\.?\d)",
    re.IGNORECASE,
)
# What stands before a number that is negative; behind a number, a letter or a bracket minus takes away, and
# of any other word (the total minus 3) nobody can tell.
_SAYING = re.compile(
    "is|was|are|were|be|been|being|am|re|equals?|gives?|gave|given|makes?|made|of|at|to|from|about|exactly"
    "|answer|temperature|got|gets?|getting|have|has|had|having|so|thus|hence"
    "|therefore|then|obtain(?:s|ed)?|finds?"
    "|found|yields?|becomes?|became|reach(?:es|ed)?|return(?:s|ed)?|says?|said|think|believe|guess|as|and|or"
    "|than|below|above|by|for|with|only|just|roughly|around|approximately|nearly|almost|even|still|also"
    "|namely|between|yes|no|well|ok|okay|call|choose|pick|took|[is]"
    "|owe[sd]?|owing|means?|meant|leaves|leaving|hit|scored|dropp?(?:s|ed)|fell|falls|fallen"
    "|sank|rose|remains?"
    "|stays?|stands?|shows?|showed|reads|reported|recorded|measured|gained|lost|earned|writes?|wrote|prints?"
    "|printed|outputs?|computes?|computed"
)
_COUNTED = re.compile(
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|million|[^\W\d_]|.*\d|[)\]}%]"
)
# Behind what says what a number is, a minus may stand apart; elsewhere it lists, parts or takes away.
_APART = re.compile(
    r"(?:(?:[=\u2248<>({]|\b(?:is|was|equals))\s*(?:\*\*?|\\\()?|(?<![\w)\]}.,!?])\$)"
    rf"(?P<minus>[-\u2212\ufe63\uff0d]\s+)(?={FLUSH}*\.?\d)",
    re.IGNORECASE,
)


def in_digits(text: str, undecided: Literal["kept", "none", "minus"] = "kept") -> str:
    """The text with its numbers in digits, 2 1/2 and 2 with a sign for a half as 2+1/2, so that neither is
    found as a 2 or as 1/2. A number behind a minus of which nobody can tell what it does ("the total minus
    3") is `kept` as it stands, is no number ("none": neither 3 nor -3), or negative ("minus").
    """
    text = _FRAC.sub(_in_line, unwrapped(text))
    text = _FRACTION.sub(_apart, text)
    text = _PART.sub(_with_part, text)
    text = _HYPHEN.sub(lambda m: f"{m[1]} " if 0 < int(m[2]) < int(m[3]) else m[0], text)
    text = _MIXED.sub(lambda m: f"{m[1]}+" if 0 < int(m[2]) < int(m[3]) else m[0], text)
    text = _APART.sub(lambda m: m.group()[: m.start("minus") - m.start()] + "-", text)
    return _MINUS.sub(lambda m: _signed(m, undecided), text)


def says_minus(key: object) -> bool:
    """Whether a key is a number, or begins with one, whose minus is a word."""
    return isinstance(key, str) and _MINUS.match(key.strip()) is not None


def _in_line(m: re.Match[str]) -> str:
    """\\frac{1}{2} as 1/2, with its sign in front."""
    minus = (m["minus"] is not None) + (m[2] == "-") + (m[4] == "-")
    sign = "-" if minus % 2 else ""
    return f"{_gap(m.string[: m.start()])}{sign}{m[3] or m[6]}/{m[5] or m[7]}"


def _apart(m: re.Match[str]) -> str:
    """A sign for a half as 1/2, behind a whole number as +1/2."""
    part = unicodedata.normalize("NFKC", m[2]).replace("\u2044", "/")
    if m[1]:
        return f"+{part}"
    before = m.string[: m.start()]
    return ("" if _SIGN_BEFORE.search(before) else _gap(before)) + part


def _gap(before: str) -> str:
    """What parts a fraction from what stands in front of it, which is no part of it."""
    return "" if before[-1:].isspace() or before[-1:] in ("", *"$({[") else " "


def _with_part(m: re.Match[str]) -> str:
    """3 and a half as 3 1/2."""
    of = 2 if m[3].lower() == "halve" else _PARTS[m[3].lower()]
    count = _COUNT.get(m[2].lower(), 1)
    return f"{m[1]} {count}/{of}" if count < of else m[0]


def _signed(m: re.Match[str], undecided: str) -> str:
    before, space = m["before"] or "", m["space"]
    word = before.lower()
    if word in ("-", "\u2010", "\u2011") and not space and m.string[: m.start("before")][-1:].isalpha():
        return m.group()  # a part of another word, such as non-negative
    if not word or not (word[0].isalnum() or word in ")]}%") or _SAYING.fullmatch(word):
        return f"{before}{space}-"
    if _COUNTED.fullmatch(word):
        return m.group()
    return m.group() if undecided == "kept" else f"{before}{space}{'x' if undecided == 'none' else ''}-"
