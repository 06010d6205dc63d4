"""Whether a completion gives one of the known right answers, by matching text and numbers: no judge,
and the rule is in plain sight.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interventions.behaviours.answer_keys import keys_of
from interventions.behaviours.asked import asked_of
from interventions.behaviours.completing import completed
from interventions.behaviours.matching import matches, normalised
from interventions.behaviours.records import Records
from interventions.behaviours.refusing import MARKERS, check_phrases, refuses
from probes.checks.saying import warn
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


@dataclass(frozen=True)
class ExactMatch:
    """1 where the model's own completion gives a right answer, 0 elsewhere; labels are right, wrong, refused
    or empty.

    `answers` is `column:NAME`: a text, a number or a list of these (aliases) a row. Case, articles,
    punctuation, accents' encoding and white space do not matter, except for signs that are the answer (C++,
    x - 1, 1/5, 5:30), and a key that is a number is compared as a whole one: "1,000" is 1000.0, and 5 is not
    in 1/5 or -5 (`interventions.behaviours.matching`). `mode`: "exact", the whole completion is a key;
    "first", it begins with one; "contains", one occurs anywhere in it as whole words, which also lets through
    answers that name several candidates. Lists written as one text are no keys. A completion that opens with
    a refusal or with not knowing (`markers`) is refused, unless it is a key as a whole: words of the
    question, repeated there, are no answer.
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
        found = completed(model, prompts, self.max_new_tokens, given)
        texts = found.texts
        labels = np.array([self.label(text, own) for text, own in zip(texts, keys, strict=True)])
        cut = int((found.cut & (labels == "wrong")).sum())
        if cut and not model.writes:  # the unedited model says it once
            warn(
                f"{cut} of {len(texts)} answers were cut at max_new_tokens={self.max_new_tokens} before they"
                " gave a key and count as wrong; raise it, or ask for short answers"
            )
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
