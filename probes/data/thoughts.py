"""Thoughts told apart from answers: what a reasoning model writes between tags before it answers."""

from collections.abc import Sequence
from typing import Any

TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
"""How thoughts begin and end in the chat templates of reasoning models."""

# Parts of tags that some tokenizers mark as special, which decoding would leave out.
_PARTS = {part for tags in TAGS for part in tags} | {"<|channel|>", "<|message|>"}


def answer_span(text: str) -> tuple[int, int]:
    """Where the answer stands in a completion: behind the last end of a thought, and before one that was not
    ended. An end alone counts, since many templates write the beginning into the prompt.
    """
    start = max((at + len(end) for _, end in TAGS if (at := text.rfind(end)) >= 0), default=0)
    begun = [at for begin, _ in TAGS if (at := text.find(begin, start)) >= 0]
    return start, min(begun, default=len(text))


def answer_of(text: str) -> str:
    """A completion without its thoughts: all of it where there are none, nothing where one was not ended."""
    return text[slice(*answer_span(text))]


def lacks_answer(text: str) -> bool:
    """Whether a completion is all thought, such as one that ran out of tokens before it answered."""
    return bool(text.strip()) and not answer_of(text).strip()


def left_open(prompt: str) -> str:
    """The tag with which a prompt ends and a thought begins; empty for all other prompts."""
    return next((begin for begin, _ in TAGS if prompt.rstrip().endswith(begin)), "")


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """Token ids as text without special tokens, but with those that part a thought from the answer."""
    parts = {
        i for i, token in tokenizer.added_tokens_decoder.items() if token.special and str(token) in _PARTS
    }
    if parts.isdisjoint(ids):
        return tokenizer.decode(list(ids), skip_special_tokens=True)
    special = set(tokenizer.all_special_ids) | {
        i for i, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    return tokenizer.decode([i for i in ids if i not in special - parts], skip_special_tokens=False)


def in_thought(tokenizer: Any, prompt: str, ids: Sequence[int]) -> bool:
    """Whether the last token written so far belongs to a thought, its tags included, as far as can be told
    before the text goes on: a thought is known from its first tag on, in the text or at the prompt's end.
    """
    whole = left_open(prompt) + decoded(tokenizer, ids)
    start, stop = answer_span(whole)
    return bool(whole) and (len(whole) <= start or len(whole) > stop)


def thinking(tokenizer: Any, prompt: str, ids: Sequence[int]) -> list[bool]:
    """Which of the tokens written behind a prompt belong to a thought, its tags included."""
    lead = left_open(prompt)
    whole = lead + decoded(tokenizer, ids)
    start, stop = answer_span(whole)
    if (start, stop) == (0, len(whole)):
        return [False] * len(ids)
    ends = [len(lead + decoded(tokenizer, ids[: n + 1])) for n in range(len(ids))]
    return [end <= start or end > stop for end in ends]
