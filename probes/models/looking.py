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
    list, where Hugging Face counts within the batch; objects of one's own are as they were given.
    """
    given = list(decoding.passed.get("logits_processor") or ())
    allowed: Callable[..., Any] | None = decoding.passed.get("prefix_allowed_tokens_fn")
    own = [*given, *decoding.criteria, *([] if allowed is None else [allowed])]
    now = decoding.memory.for_batch(own)
    passed = {**decoding.passed} | ({"logits_processor": now[: len(given)]} if given else {})
    if allowed is not None:
        asked = now[-1]
        passed["prefix_allowed_tokens_fn"] = lambda row, ids: asked(int(rows[row]), ids)
    criteria = now[len(given) : len(given) + len(decoding.criteria)]
    return replace(decoding, passed=passed, criteria=tuple(criteria))
