"""Formulas as LaTeX and Markdown write them: what they set around a number is taken off, so that its sign
stands beside it, and numbers within a root, a power or a fraction of something else are none of their own.
"""

import re

from interventions.behaviours.dashes import MINUS

# \\text{3} is {3}, and \\left( is (; words in \\text stay as they stand.
_TYPE = re.compile(
    r"\\(?:text(?:bf|it|rm|tt|sf|normal)?|math(?:bf|rm|it|bb|sf|tt|normal)|mbox|hbox|bm|boldsymbol)\s*"
    rf"\{{(?=\s*{MINUS}?\s*(?:\\?[$\u20ac\u00a3\u00a5])?\.?\d)"
)
_SIZE = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?=\s*[()\[\]|])\s*|\\displaystyle(?![a-z])\s*")
_THIN = re.compile(rf"(?<={MINUS})\s*\\(?:[,;:! ]|quad|thinspace)\s*(?=[\d\\({{])")
# **minus** 3; in **minus 3** the stars stand around both.
_BOLD = re.compile(r"(\*\*|\*|__|_)(minus|negative)\1(?=\s)", re.IGNORECASE)
_SLANTED = re.compile(rf"(?<!\w)(__?)({MINUS}?\.?\d[\d.,]*)\1(?!\w)")
_DASH = re.compile(rf"[\u2014\u2015\ufe58](?={MINUS})")  # parts, and no minus takes away from it
_EITHER = re.compile(r"\bplus[\s-]+(?:or[\s-]+)?minus\b\s*(?=\W*\d)|\+\s?/\s?-(?=\s?\.?\d)", re.IGNORECASE)

_GROUP = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
_PART = re.compile(
    rf"\\(?:[dtcs]|nice)?frac\s*{_GROUP}\s*{_GROUP}|\\sqrt\s*(?:\[[^\[\]]*\])?\s*(?:{_GROUP}|\d)"
    rf"|(?:\u221a\s*|\bsqrt\s*(?=\())(?:\d+(?:\.\d+)?|\([^()]*\))|\^\s*(?:{_GROUP}|\([^()]*\))"
)
_DIGIT = re.compile(r"\d")


def unwrapped(text: str) -> str:
    """The text without what stands only for type and size between a minus and its number."""
    text = _THIN.sub("", _SIZE.sub("", _TYPE.sub("{", text)))
    text = _DASH.sub(" ", _SLANTED.sub(r"\2", text))
    return _EITHER.sub("\u00b1", _BOLD.sub(r"\2", text))


def without_parts(text: str) -> str:
    """The text, as long as before, with letters for digits within a root, a power or a fraction."""
    return _PART.sub(lambda m: _DIGIT.sub("n", m.group()), text)
