"""Which of two answers a model gives, as a logit difference at the first token where the answers part."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from probes.examples import Examples, Text
from probes.models import Model
from probes.tokens import Encoded


@dataclass(frozen=True)
class Answers:
    """The logit of one answer minus that of another, for every prompt.

    `positive` and `negative` are answer texts as they would follow the prompt, such as " yes" and " no"; or names of columns
    of the prompts, as `column:NAME`, where the right words differ from row to row. Only the first token in which the two
    differ counts, so answers of several tokens need a single forward pass (a shared start is put behind the prompt).
    """

    positive: str = " yes"
    negative: str = " no"

    def __call__(self, model: Model, prompts: Examples, batch_size: int | None = None) -> Float[np.ndarray, " n"]:
        """Logit differences, [n]; raises ValueError for a model without an output head or answers that never differ."""
        model.require_generation("asking for an answer")
        first, second = self._texts(self.positive, prompts), self._texts(self.negative, prompts)
        asked = [_parting(model, p, a, b) for p, a, b in zip(prompts.texts, first, second, strict=True)]
        logits = model.logits([e for e, _, _ in asked], batch_size, prompts.columns).numpy()
        rows = np.arange(len(asked))
        return logits[rows, [a for _, a, _ in asked]] - logits[rows, [b for _, _, b in asked]]

    def _texts(self, answer: str, prompts: Examples) -> Sequence[str]:
        if answer.startswith("column:"):
            return [str(a) for a in prompts.column(answer.removeprefix("column:"))]
        return [answer] * len(prompts)


def _parting(model: Model, prompt: Text, first: str, second: str) -> tuple[Encoded, int, int]:
    """The tokens up to where the two answers part, and the token in which each goes on, tokenised together with the prompt."""
    if not isinstance(prompt, str):
        raise ValueError("answers are asked behind plain prompts; render chat messages with the tokenizer's template first")
    if first == second:
        raise ValueError(f"the two answers are the same text ({first!r}); they must differ")
    bare, a, b = model.encode([prompt, prompt + first, prompt + second])
    n = next((i for i, (s, t) in enumerate(zip(a.ids, b.ids, strict=False)) if s != t), None)
    if n is None:
        raise ValueError(f"the answers {first!r} and {second!r} differ only in length under this tokenizer; choose others")
    if n < len(bare):
        raise ValueError(
            f"behind {prompt!r:.60} the tokenizer merges the answers {first!r} and {second!r} into the prompt; "
            "end the prompt before a space and let the answers start with it"
        )
    offsets = None if a.offsets is None else a.offsets[:n]
    return Encoded(a.ids[:n], a.special[:n], offsets, a.text), a.ids[n], b.ids[n]
