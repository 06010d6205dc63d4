"""Which of two answers a model gives, as a logit difference at the first token where the answers part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from interventions.behaviours.measures import MeanValue, TwoSided
from interventions.behaviours.records import Records
from probes.data.examples import Examples, Text
from probes.data.tokenised import Tokenised
from probes.data.tokens import Encoded
from probes.models.model import Model


@dataclass(frozen=True)
class Answers:
    """The logit of one answer minus that of another, for every prompt.

    `positive` and `negative` are answer texts as they would follow the prompt, such as " yes" and " no"; or
    names of columns of the prompts, as `column:NAME`, where the right words differ from row to row. Only the
    first token in which the two differ counts, so answers of several tokens need a single forward pass (a
    shared start is put behind the prompt). By default a model is judged by which answer it prefers, and an
    edit by how many answers it changes; with `judged_by="mean"` by the mean logit difference, for prompts on
    which the preferred answer stays the same.
    """

    positive: str = " yes"
    negative: str = " no"
    judged_by: Literal["answers", "mean"] = "answers"

    def __post_init__(self) -> None:
        if self.judged_by not in ("answers", "mean"):
            raise ValueError(f"judged_by={self.judged_by!r}; expected 'answers' or 'mean'")
        for answer in (self.positive, self.negative):
            if not isinstance(answer, str) or not answer.strip():
                raise ValueError(
                    f"an answer is text that is not empty, such as ' yes', got {answer!r}; answers that"
                    " differ from prompt to prompt stand in columns: Answers('column:right', 'column:wrong')"
                )

    def __call__(
        self, model: Model, prompts: Examples | Sequence[Text], batch_size: int | None = None
    ) -> Records:
        """Logit differences; raises ValueError for a model without an output head or answers that
        never differ.
        """
        model.require_generation("asking for an answer")
        prompts = prompts if isinstance(prompts, Examples) else Examples(prompts)
        if not all(isinstance(p, str) for p in prompts.texts):
            raise ValueError(
                "answers are asked behind plain prompts; render chat messages with the tokenizer's template"
                " first"
            )
        prompts = model.tokenise(prompts)
        asked = prompts.derived(repr(self), lambda: self._asked(model, prompts))
        logits = model.logits(asked.prompts, batch_size).numpy()
        rows = np.arange(len(logits))
        difference = logits[rows, asked.first] - logits[rows, asked.second]
        name = f"{self.positive.strip()} against {self.negative.strip()}"
        measure = TwoSided() if self.judged_by == "answers" else MeanValue()
        return Records.of(prompts, name, "logit difference", difference, judged_by=measure)

    def _asked(self, model: Model, prompts: Tokenised) -> "_Asked":
        first, second = self._texts(self.positive, prompts), self._texts(self.negative, prompts)
        texts = tuple(map(str, prompts.texts))
        cut, a, b = _parted(model, texts, prompts.encoded, first, second)
        return _Asked(Tokenised(prompts, cut, model.tokenizer), a, b)

    def _texts(self, answer: str, prompts: Examples) -> Sequence[str]:
        if answer.startswith("column:"):
            return [str(a) for a in prompts.column(answer.removeprefix("column:"))]
        return [answer] * len(prompts)


@dataclass(frozen=True, eq=False)
class _Asked:
    """Prompts up to where their two answers part, and the token in which each answer then goes on."""

    prompts: Tokenised
    first: list[int]
    second: list[int]


def _parted(
    model: Model, prompts: Sequence[str], bare: Sequence[Encoded], first: Sequence[str], second: Sequence[str]
) -> tuple[list[Encoded], list[int], list[int]]:
    """For each prompt the tokens up to where its two answers part, and the tokens that follow there.

    Prompt and answer are tokenised together, as the model would meet them.
    """
    same = [a for a, b in zip(first, second, strict=True) if a == b]
    if same:
        raise ValueError(f"the two answers are the same text ({same[0]!r}); they must differ")
    ends = [
        model.encode([p + a for p, a in zip(prompts, answers, strict=True)]) for answers in (first, second)
    ]
    cut, on, off = [], [], []
    for i, (prompt, a, b) in enumerate(zip(bare, *ends, strict=True)):
        n = next((k for k, (s, t) in enumerate(zip(a.ids, b.ids, strict=False)) if s != t), None)
        if n is None:
            raise ValueError(
                f"the answers {first[i]!r} and {second[i]!r} differ only in length under this tokenizer;"
                " choose others"
            )
        if n < len(prompt):
            raise ValueError(
                f"behind {prompts[i]!r:.60} the tokenizer merges the answers {first[i]!r} and {second[i]!r}"
                " into the prompt; end the prompt before a space and let the answers start with it"
            )
        offsets = None if a.offsets is None else a.offsets[:n]
        cut.append(Encoded(a.ids[:n], a.special[:n], offsets, a.text))
        on.append(a.ids[n])
        off.append(b.ids[n])
    return cut, on, off
