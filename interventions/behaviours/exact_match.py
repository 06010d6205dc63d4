"""Whether a completion gives one of the known right answers, by matching text and numbers: no judge,
and the rule is in plain sight.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from interventions.behaviours.asked import asked_of
from interventions.behaviours.records import Records, completions
from interventions.behaviours.refusal import MARKERS, check_phrases, refuses
from probes.checks.settings import check_count
from probes.data.examples import Examples
from probes.data.thoughts import answer_of
from probes.models.model import Model

MODES = ("exact", "first", "contains")
LABELS = ("right", "wrong", "refused", "empty")
DONT_KNOW = (
    "I don't know",
    "I do not know",
    "I'm not sure",
    "I am not sure",
    "I'm unsure",
    "I am unsure",
    "I'm not aware",
    "I am not aware",
    "I'm not familiar",
    "I am not familiar",
    "I have no information",
    "I don't have information",
    "I do not have information",
    "I don't have enough information",
    "I do not have enough information",
    "There is not enough information",
    "There is no way to know",
    "It is not known",
    "It is unknown",
    "Unknown",
)
"""Openers of completions that decline to answer a question of knowledge."""

_APOSTROPHES = str.maketrans("", "", "'\u2019\u2018\u02bc")
# Not inside a word, a range (1990-95), a version (1.2.3) or a decimal comma; a unit may follow at once (5km).
_NUMBER = re.compile(
    r"(?<![\w.])(?<!\d[-\u2212,])[-+\u2212]?"
    r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?!\d|[.,]\d)"
)
_ARTICLES = {"a", "an", "the"}


@dataclass(frozen=True)
class ExactMatch:
    """1 where the model's own completion gives a right answer, 0 elsewhere; labels are right, wrong, refused
    or empty.

    `answers` is `column:NAME`: a text, a number or a list of these (aliases) a row. Case, articles,
    punctuation, accents' encoding and white space do not matter, and a key that is a number is compared as
    one, so that "1,000" is 1000.0. `mode`: "exact", the whole completion is a key; "first", it begins with
    one; "contains", one occurs anywhere in it as whole words, which also lets through answers that name
    several candidates. A completion that opens with a refusal or with not knowing (`markers`) is refused,
    unless it is a key as a whole: words of the question, repeated there, are no answer.
    """

    answers: str = "column:answer"
    mode: str = "contains"
    max_new_tokens: int = 20
    markers: tuple[str, ...] = (*MARKERS, *DONT_KNOW)

    def __post_init__(self) -> None:
        check_count("max_new_tokens", self.max_new_tokens)
        check_phrases("markers", self.markers, least=0)
        if self.mode not in MODES:
            raise ValueError(f"mode={self.mode!r}; expected one of {', '.join(MODES)}")
        if not self.answers.startswith("column:"):
            raise ValueError(
                f"answers={self.answers!r}; expected 'column:NAME', a column with the right answer (or a list"
                " of them) of every row"
            )

    def __call__(self, model: Model, prompts: Examples, given: Sequence[str] | None = None) -> Records:
        """One record a prompt, the completion in `texts`; raises ValueError for keys that are missing
        or hold no words.
        """
        keys = keys_of(prompts.column(self.answers.removeprefix("column:")))
        if self.mode == "contains" and (
            bare := [k for own in keys for k in own if isinstance(k, str) and not normalised(k)]
        ):
            raise ValueError(
                f"the key {bare[0]!r} is an article, which occurs in most texts; use mode='first' or"
                " mode='exact'"
            )
        texts = completions(model, prompts, self.max_new_tokens, given)
        labels = np.array([self.label(text, own) for text, own in zip(texts, keys, strict=True)])
        return Records.of(
            prompts,
            f"exact match ({self.mode})",
            "share right",
            labels == "right",
            labels=labels,
            classes=LABELS,
            texts=texts,
            receipt={} if given is not None else asked_of(self, model, prompts),
        )

    def label(self, text: str, keys: Sequence[str | float | int]) -> str:
        """The label of one completion; thoughts are no answer."""
        text = answer_of(text)
        if not text.strip():
            return "empty"
        if any(matches(text, key, "exact") for key in keys):
            return "right"
        if refuses(text, self.markers):
            return "refused"
        return "right" if any(matches(text, key, self.mode) for key in keys) else "wrong"


def matches(text: str, key: str | float | int, mode: str = "exact") -> bool:
    """Whether a text is, begins with or contains a key; see `ExactMatch`."""
    number = as_number(key)
    if number is not None:
        found = [float(m.group().replace(",", "").replace("\u2212", "-")) for m in _NUMBER.finditer(text)]
        if mode == "contains":
            return number in found
        # A unit or a currency may stand beside the number, but no other word in front and, for exact, no
        # words behind.
        start = _NUMBER.search(text)
        ahead = start is not None and not re.search(r"\w", text[: start.start()])
        if not ahead or found[0] != number:
            return False
        return mode == "first" or not re.search(r"\w", text[start.end() :])  # pyright: ignore
    keep = not normalised(str(key))
    wanted, said = normalised(str(key), keep).split(), normalised(text, keep).split()
    places = {
        "exact": [0] if len(said) == len(wanted) else [],
        "first": [0],
        "contains": range(len(said) - len(wanted) + 1),
    }[mode]
    return any(said[p : p + len(wanted)] == wanted for p in places)


@lru_cache(
    maxsize=4096
)  # under every edit and control the same keys are compared, mostly with the same completions
def normalised(text: str, articles: bool = False) -> str:
    """Lower case, single spaces, no punctuation (apostrophes and points inside a word close up) and,
    unless asked for, no articles.
    """
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_APOSTROPHES)
    plain = re.sub(r"(?<=\w)\.(?=\w)", "", plain)
    words = re.sub(r"[^\w\s]|_", " ", plain).split()
    return " ".join(w for w in words if articles or w not in _ARTICLES)


def as_number(key: Any) -> float | None:
    """The number that a key is, or None; "1,000", "-3.5" and "1e3" are numbers, "3 km" is not."""
    if isinstance(key, int | float | np.integer | np.floating) and not isinstance(key, bool):
        return float(key)
    found = _NUMBER.fullmatch(str(key).strip())
    return None if found is None else float(found.group().replace(",", "").replace("\u2212", "-"))


def keys_of(column: np.ndarray) -> list[list[str | float | int]]:
    """The keys of every row of a column of texts, numbers or lists of these; raises ValueError for a
    cell that is no key.
    """
    return [_keys(cell, i) for i, cell in enumerate(column)]


def _keys(cell: Any, i: int) -> list[str | float | int]:
    listed = list(cell) if isinstance(cell, list | tuple | np.ndarray) else [cell]
    found = [c.item() if isinstance(c, np.generic) else c for c in listed]
    bad = [
        k
        for k in found
        if not (isinstance(k, str) and normalised(k, articles=True))
        and not (isinstance(k, int | float) and np.isfinite(k))
    ]
    if bad or not found:
        raise ValueError(
            f"the answer key of prompt {i} is {cell!r:.60}; expected a text with words, a number, or a list"
            " of these"
        )
    return found
