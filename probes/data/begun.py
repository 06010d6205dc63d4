"""How texts begin before their first word: with the token that the tokenizer puts there, or as the chat
template has it. Either is in every hidden state behind it.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from probes.data.chat import Chat
from probes.data.tokens import Encoded

TOLD = {"begins_with": "texts that begin with {}", "chat_template": "chats rendered by the template {}"}
"""What a receipt says of it, and how that reads."""


def beginning(encoded: Sequence[Encoded]) -> dict[str, str]:
    """What a receipt says of how these texts begin: what the tokenizer puts in front of every one, an empty
    text for nothing, or of chats a hash of the template with its arguments. Nothing where texts differ, and
    of token ids and special tokens that texts bring along.
    """
    told = {tuple(_begun(e).items()) for e in encoded}
    return dict(told.pop()) if len(told) == 1 else {}


def set_to(tokenizer: Any) -> dict[str, str]:
    """The same of plain texts that a tokenizer is given now; nothing where it does not say."""
    if tokenizer is None or not tokenizer.is_fast:
        return {}
    told = tokenizer("a", return_special_tokens_mask=True)
    put = any(told["special_tokens_mask"][:1])
    return {"begins_with": str(tokenizer.convert_ids_to_tokens(told["input_ids"][0])) if put else ""}


def begun_otherwise(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str] | None:
    """How the texts of either began, where both say and it is not the same."""
    for name, words in TOLD.items():
        own, theirs = one.get(name), other.get(name)
        if isinstance(own, str) and isinstance(theirs, str) and own != theirs:
            return words.format(own or "no special token"), words.format(theirs or "no special token")
    return None


def say_begun_otherwise(what: str, made: Mapping[str, Any], tokenizer: Any) -> None:
    """Warns where something made of texts is used with a tokenizer that begins texts otherwise now."""
    begun = begun_otherwise(made, set_to(tokenizer)) if isinstance(made.get("begins_with"), str) else None
    if begun:
        warnings.warn(
            f"{what} was made of {begun[0]}, and the model's tokenizer now gives {begun[1]}, which changes"
            " every hidden state; set the tokenizer alike, or, where this is meant, make it of bare numbers"
            " (from_arrays, Direction.from_vector), which do not say how they were read",
            stacklevel=5,
        )


def _begun(text: Encoded) -> dict[str, str]:
    if text.given:
        return {}
    if text.chat is not None:
        return {"chat_template": _template(text.chat)}
    if text.offsets is None:
        return {}
    if not text.special[0]:
        return {"begins_with": ""}
    start, end = text.offsets[0]
    put = start == end  # one that the text brings along has characters there
    return {"begins_with": str(text.tokenizer.convert_ids_to_tokens(text.ids[0]))} if put else {}


def _template(chat: Chat) -> str:
    """The template by a hash, with what it was given."""
    said = ", ".join(f"{name}={value!r}" for name, value in sorted(chat.arguments.items()))
    return _short(str(chat.tokenizer.chat_template)) + (f" ({said})" if said else "")


@lru_cache(maxsize=16)
def _short(template: str) -> str:
    return hashlib.sha256(template.encode()).hexdigest()[:8]
