"""Where a generated text ends."""

from collections.abc import Set

from probes.models.model import Model
from probes.models.unwrap import inner_model


def end_tokens(model: Model) -> frozenset[int]:
    """The tokens that end a generated text, as the model's generation settings name them, or else its
    tokenizer.

    There are none where neither names one: texts then end at their limit only.
    """
    settings = getattr(inner_model(model.hf), "generation_config", None)
    ends = None if settings is None else settings.eos_token_id
    if ends is None:
        ends = model.tokenizer.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)


def until_end(tokens: list[int], ends: Set[int]) -> list[int]:
    """The tokens before the first that ends the text; what a batch was padded with lies behind it."""
    length = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[:length]
