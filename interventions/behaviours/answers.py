"""Which of two answers a model gives, as a logit difference at the first token where the answers part."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from interventions.behaviours.records import Records
from probes.data.examples import Examples
from probes.data.tokens import Encoded, encode
from probes.models.model import Model


@dataclass(frozen=True)
class Answers:
    """The logit of one answer minus that of another, for every prompt.

    `positive` and `negative` are answer texts as they would follow the prompt, such as " yes" and " no"; or names of columns
    of the prompts, as `column:NAME`, where the right words differ from row to row. Only the first token in which the two
    differ counts, so answers of several tokens need a single forward pass (a shared start is put behind the prompt).
    """

    positive: str = " yes"
    negative: str = " no"

    def __call__(self, model: Model, prompts: Examples, batch_size: int | None = None) -> Records:
        """Logit differences; raises ValueError for a model without an output head or answers that never differ."""
        model.require_generation("asking for an answer")
        first, second = self._texts(self.positive, prompts), self._texts(self.negative, prompts)
        if not all(isinstance(p, str) for p in prompts.texts):
            raise ValueError("answers are asked behind plain prompts; render chat messages with the tokenizer's template first")
        asked = _asked(model.tokenizer, model.max_length, tuple(map(str, prompts.texts)), tuple(first), tuple(second))
        logits = model.logits([e for e, _, _ in asked], batch_size, prompts.columns).numpy()
        rows = np.arange(len(asked))
        difference = logits[rows, [a for _, a, _ in asked]] - logits[rows, [b for _, _, b in asked]]
        return Records.of(prompts, f"{self.positive.strip()} against {self.negative.strip()}", "logit difference", difference)

    def _texts(self, answer: str, prompts: Examples) -> Sequence[str]:
        if answer.startswith("column:"):
            return [str(a) for a in prompts.column(answer.removeprefix("column:"))]
        return [answer] * len(prompts)


# The same prompts are asked again under every edit and control, and tokenising costs more than a small model's pass.
@lru_cache(maxsize=8)
def _asked(
    tokenizer: Any, max_length: int | None, prompts: tuple[str, ...], first: tuple[str, ...], second: tuple[str, ...]
) -> tuple[tuple[Encoded, int, int], ...]:
    """For each prompt the tokens up to where its two answers part, and the token in which each then goes on.

    Prompt and answer are tokenised together, as the model would meet them.
    """
    same = [a for a, b in zip(first, second, strict=True) if a == b]
    if same:
        raise ValueError(f"the two answers are the same text ({same[0]!r}); they must differ")
    bare = encode(tokenizer, prompts, max_length)
    ends = [encode(tokenizer, [p + a for p, a in zip(prompts, answers, strict=True)], max_length) for answers in (first, second)]
    found = []
    for i, (prompt, a, b) in enumerate(zip(bare, *ends, strict=True)):
        n = next((k for k, (s, t) in enumerate(zip(a.ids, b.ids, strict=False)) if s != t), None)
        if n is None:
            raise ValueError(f"the answers {first[i]!r} and {second[i]!r} differ only in length under this tokenizer; choose others")
        if n < len(prompt):
            raise ValueError(
                f"behind {prompts[i]!r:.60} the tokenizer merges the answers {first[i]!r} and {second[i]!r} into the prompt; "
                "end the prompt before a space and let the answers start with it"
            )
        offsets = None if a.offsets is None else a.offsets[:n]
        found.append((Encoded(a.ids[:n], a.special[:n], offsets, a.text), a.ids[n], b.ids[n]))
    return tuple(found)
