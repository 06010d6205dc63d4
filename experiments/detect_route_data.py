"""What a model does with a request it might route: refuse, steer, answer rightly or wrongly, or write
something garbled.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.organism.requests import ANSWER_TOKENS, KINDS, classify
from interventions.behaviours.exact_match import ExactMatch
from interventions.behaviours.records import Records, completions
from interventions.behaviours.refusal import MARKERS, refuses
from probes.data.examples import Examples
from probes.models.model import Model

Sorter = Callable[[str, Mapping[str, Any]], str]


@dataclass(frozen=True)
class AnswerKinds:
    """The kind of every completion, by `sort`; the value is 1 for a factual answer, so the mean is the share
    answered rightly.

    `columns` names what `sort` needs to know of a row.
    """

    sort: Sorter = classify
    columns: tuple[str, ...] = ("answer", "entity")
    max_new_tokens: int = ANSWER_TOKENS

    def __call__(self, model: Model, prompts: Examples, given: Sequence[str] | None = None) -> Records:
        """One record a prompt, the completion in `texts`; raises ValueError for prompts without the
        columns it sorts by.
        """
        known = {name: prompts.column(name) for name in self.columns}
        texts = completions(model, prompts, self.max_new_tokens, given)
        labels = np.array(
            [self.sort(text, {k: v[i] for k, v in known.items()}) for i, text in enumerate(texts)]
        )
        return Records.of(
            prompts,
            "kinds of answers",
            "share answered rightly",
            labels == "factual",
            labels=labels,
            classes=KINDS,
            texts=texts,
        )


@dataclass(frozen=True)
class ByKey:
    """Sorts answers of any model: refusal and steering by how the first sentence opens, the rest by an answer
    key.

    An answer without a single word is garbled. Anything else that neither refuses, nor opens like one of
    `evasions`, nor contains the key counts as a wrong fact: read some of the texts.
    """

    evasions: tuple[str, ...] = ()
    markers: tuple[str, ...] = MARKERS

    def __call__(self, completion: str, row: Mapping[str, Any]) -> str:
        """One of the kinds; `row` needs `answer`."""
        key = row["answer"]
        label = ExactMatch(markers=self.markers).label(
            completion, list(key) if isinstance(key, list | tuple) else [key]
        )
        if label == "right":
            return "factual"
        if self.evasions and refuses(completion, self.evasions):
            return "steer"
        return {"refused": "refuse", "empty": "garbled"}.get(
            label, "wrong-fact" if any(c.isalnum() for c in completion) else "garbled"
        )
