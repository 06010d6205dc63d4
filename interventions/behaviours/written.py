"""Numbers as people and LaTeX write them, in digits: minus 3, - 3 behind an equals sign, 3 and a half, 2-1/2,
\\frac{1}{2}.
"""

import re

DASHES = str.maketrans("\u2212\u2013\u2014\u2044\u2215", "---//")  # and slashes of fractions
FRACTION = re.compile(r"(?:(?<=(\d))\s?)?([\u00bc-\u00be\u2150-\u215e])")
# A whole number and a fraction below 1; a year is none (in 2020 1/2 of them).
_MIXED = re.compile(r"(?<![\w.,/])(\d{1,3})\s(?=(\d{1,2})[/\u2044\u2215](\d{1,2})(?![\w/]|[.,]\d))")
# With a hyphen it is one where nothing is reckoned.
_HYPHEN = re.compile(
    r"(?<![\w.,/*+^=-])(?<![-+*/=]\s)(\d{1,3})-(?=(\d{1,2})/(\d{1,2})(?![\w/]|[.,]\d|\s*[-+*/=^]\s*[\w(]))"
)
_FRAC = re.compile(r"\\[dt]?frac\s*(?:\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}|\s?(\d)\s?(\d))")
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "eighth": 8}
_PART = re.compile(
    rf"(\d)\s+and\s+(?:(a|an|one|1|two|2|three|3)[\s-]+)({'|'.join(_PARTS)}|halve)s?\b", re.IGNORECASE
)
_COUNT = {"two": 2, "2": 2, "three": 3, "3": 3}
_MINUS = re.compile(
    r"(?P<before>[^\W\d_]+|\S)?(?P<space>\s*)\b(?:minus|negative)\s+(?=[$\u20ac\u00a3\u00a5]?\.?\d)",
    re.IGNORECASE,
)
# What stands before a number that is negative; behind a number, a letter or a bracket minus takes away, and
# of any other word (the total minus 3) nobody can tell.
_SAYING = re.compile(
    "is|was|are|were|be|been|being|am|re|equals?|gives?|gave|given|makes?|made|of|at|to|from|about|exactly"
    "|answer|temperature|got|gets?|getting|have|has|had|having|so|thus|hence|therefore|then|obtain(?:s|ed)?|finds?"
    "|found|yields?|becomes?|became|reach(?:es|ed)?|return(?:s|ed)?|says?|said|think|believe|guess|as|and|or"
    "|than|below|above|by|for|with|only|just|roughly|around|approximately|nearly|almost|even|still|also"
    "|namely|between|yes|no|well|ok|okay|call|choose|pick|took|[is]"
)
_COUNTED = re.compile(
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|million|[^\W\d_]|.*\d|[)\]}%]"
)
# Behind what says what a number is, a minus may stand apart; elsewhere it lists, parts or takes away.
_APART = re.compile(
    r"(?:[=\u2248<>(]|\b(?:is|was|equals))\s*(?P<minus>[-\u2212]\s+)(?=[$\u20ac\u00a3\u00a5]?\.?\d)",
    re.IGNORECASE,
)


def in_digits(text: str, tell: bool = False) -> str:
    """The text with its numbers in digits, 2 1/2 as 2+1/2, as such with a sign for a half are read, so that
    neither is found as a 2 or as 1/2. With `tell`, a number behind a minus of which nobody can tell what it
    does is none: neither 3 nor -3.
    """
    text = _FRAC.sub(lambda m: f" {m[1] or m[3]}/{m[2] or m[4]}", text)
    text = _PART.sub(_with_part, text)
    text = _HYPHEN.sub(lambda m: f"{m[1]} " if 0 < int(m[2]) < int(m[3]) else m[0], text)
    text = _MIXED.sub(lambda m: f"{m[1]}+" if 0 < int(m[2]) < int(m[3]) else m[0], text)
    text = _APART.sub(lambda m: m.group()[: m.start("minus") - m.start()] + "-", text)
    return _MINUS.sub(lambda m: _signed(m, tell), text)


def _with_part(m: re.Match[str]) -> str:
    """3 and a half as 3 1/2."""
    of = 2 if m[3].lower() == "halve" else _PARTS[m[3].lower()]
    count = _COUNT.get(m[2].lower(), 1)
    return f"{m[1]} {count}/{of}" if count < of else m[0]


def _signed(m: re.Match[str], tell: bool) -> str:
    before, space = m["before"] or "", m["space"]
    word = before.lower()
    if not word or not (word[0].isalnum() or word in ")]}%") or _SAYING.fullmatch(word):
        return f"{before}{space}-"
    if _COUNTED.fullmatch(word):
        return m.group()
    return f"{before}{space}x-" if tell else m.group()
