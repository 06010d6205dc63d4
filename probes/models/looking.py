"""What looks at the tokens of the prompts while texts are written, and would take padding for theirs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from probes.models.decoding import Decoding, in_force

LOOKING = (
    *("repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size"),
    *("encoder_no_repeat_ngram_size", "watermarking_config", "prefix_allowed_tokens_fn", "logits_processor"),
)
"""Settings and objects that are shown a row from its first column on."""


def looks_at_prompts(decoding: Decoding) -> bool:
    """Whether anything of this way of writing reads the prompts, so that no row may be padded.

    A processor or a criterion of one's own may: it is taken to, unless its attribute `reads_prompts` is
    False.
    """
    both = {**decoding.settings, **decoding.passed}
    named = [k for k in LOOKING if k != "logits_processor" and in_force(k, both.get(k))]
    own = [*(both.get("logits_processor") or ()), *decoding.criteria]
    strings = "StopStringCriteria"  # reads a text's end, and only after a new token
    return bool(named) or any(getattr(o, "reads_prompts", type(o).__name__ != strings) for o in own)


def of_batch(decoding: Decoding, rows: Sequence[int]) -> Decoding:
    """The same for one batch: functions that are told a row's number get that of the prompt in the whole
    list, where Hugging Face counts within the batch. Warns of objects that remember the batch before.
    """
    passed = decoding.passed
    allowed: Callable[..., Any] | None = passed.get("prefix_allowed_tokens_fn")
    own = [*(passed.get("logits_processor") or ()), *decoding.criteria]
    decoding.memory.batch_begins([*own, *([] if allowed is None else [allowed])])
    if allowed is None:
        return decoding
    told = {"prefix_allowed_tokens_fn": lambda row, ids: allowed(int(rows[row]), ids)}
    return replace(decoding, passed={**passed, **told})
