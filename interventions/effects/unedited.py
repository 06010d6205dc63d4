"""What the unedited model leaves for an edit to do: of answers at chance, and of behaviour that never shows,
nothing can be taken out.
"""

from collections.abc import Mapping
from typing import Literal

from probes.metrics.estimates import Estimate

AT_CHANCE = 0.55
"""Balanced accuracy whose interval reaches down to this is no behaviour that could be removed."""
NEAR = 0.1  # balanced accuracy from chance within which answers are called at chance

Word = Literal["wrong way round", "at chance", "cannot be told", "never", "always"]
SENTENCES: Mapping[Word, str] = {
    "wrong way round": "The unedited model answers the wrong way round ({name} {base}), so {so}; are the"
    " answers exchanged?",
    "at chance": "The unedited model answers at chance ({name} {base}), so there is no behaviour for an"
    " edit to remove.",
    "cannot be told": "Whether the unedited model answers beyond chance cannot be told ({name} {base}), so"
    " {so}; give more groups.",
    "never": "The {name} is 0 unedited, so {so}; only more of it could be seen.",
    "always": "The {name} is 1 unedited, so nothing could be added to it; only less of it could be seen.",
}


def not_above_chance(base: Estimate) -> bool:
    """Whether answers are too near chance, by their balanced accuracy, for anything to be removed."""
    return bool(base.low <= AT_CHANCE)


def unedited_word(name: str, base: Estimate) -> Word | None:
    """What is in the way of seeing an edit act, by an unedited measure; None where nothing is."""
    if name == "balanced accuracy" and not_above_chance(base):
        if base.high < 0.5:
            return "wrong way round"
        near = abs(base.value - 0.5) < NEAR and base.high - base.low < 4 * NEAR
        return "at chance" if near else "cannot be told"
    if "share" in name.split() and base.value in (0, 1):
        return "always" if base.value else "never"
    return None


def said_of_unedited(name: str, base: Estimate, so: str = "there was nothing to take out") -> str | None:
    """That in a sentence, with what follows from it."""
    word = unedited_word(name, base)
    return None if word is None else SENTENCES[word].format(name=name, base=base, so=so)
