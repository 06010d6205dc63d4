"""What a model writes behind prompts, for behaviours that judge it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from probes.checks.saying import warn
from probes.data.examples import Examples
from probes.data.thoughts import decoded, lacks_answer, left_open
from probes.models.given import check_model
from probes.models.model import Model


@dataclass(frozen=True, eq=False)
class Completed:
    """Completions, and which of them are answers in a chat that the limit cut off. Plain texts have no end of
    their own, so there nothing is called cut.
    """

    texts: tuple[str, ...]
    cut: Bool[np.ndarray, " n"]


def completions(
    model: Model, prompts: Examples, max_new_tokens: int, given: Sequence[str] | None = None
) -> tuple[str, ...]:
    """What the model writes behind each prompt (greedy), unless completions are `given`."""
    return completed(model, prompts, max_new_tokens, given).texts


def completed(
    model: Model, prompts: Examples, max_new_tokens: int, given: Sequence[str] | None = None
) -> Completed:
    """What the model writes behind each prompt (greedy), unless completions are `given`.

    Where a prompt ends with the beginning of a thought, that stands in front. A warning counts completions
    that end within a thought, which have no answer.
    """
    if given is None:
        check_model(model, "a behaviour")
        asked = model.tokenise(prompts)
        ids = model.generate(asked, max_new_tokens, return_ids=True)
        written = [decoded(model.tokenizer, new) for new in ids]
        texts = tuple(left_open(e.text) + t for e, t in zip(asked.encoded, written, strict=True))
        unfinished = sum(map(lacks_answer, texts))
        if unfinished:
            warn(
                f"{unfinished} of {len(texts)} completions end within a thought, so they have no answer;"
                f" raise max_new_tokens (now {max_new_tokens}), or load the model with"
                " chat_template_kwargs={'enable_thinking': False}"
            )
        chats = np.array([e.chat is not None for e in asked.encoded])
        return Completed(texts, chats & (np.array(list(map(len, ids))) >= max_new_tokens))
    if len(given) != len(prompts):
        raise ValueError(
            f"{len(given)} completions for {len(prompts)} prompts; give one each, in the order of the prompts"
        )
    odd = next((i for i, text in enumerate(given) if not isinstance(text, str)), None)
    if odd is not None:
        raise TypeError(
            f"completion {odd} is {given[odd]!r:.60}, a {type(given[odd]).__name__}; give the text that was"
            ' written, "" where nothing was, or leave such prompts out: prompts.rows(mask)'
        )
    return Completed(tuple(given), np.zeros(len(given), dtype=bool))
