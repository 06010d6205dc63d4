"""What a chat template makes of chats that never change, by which templates are told apart: two that write
the same are the same, whatever their text, and one that writes the date is another one every day.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from probes.data.chat import Chat

_ASKED = {"role": "user", "content": " What is it? "}  # white space, which some templates strip
_ANSWERED = {"role": "assistant", "content": "This."}
_SYSTEM = {"role": "system", "content": "Be brief."}
_CHATS: tuple[tuple[dict[str, Any], ...], ...] = (
    (_ASKED,),
    (_SYSTEM, _ASKED),
    (_ASKED, {"role": "assistant", "content": "<think>\nWell.\n</think>\n\nThis."}),
    (_ASKED, _ANSWERED, _ASKED),
)
# Told one by one, where receipts from before tell the first ones in one.
_MORE = (
    (_SYSTEM, _ASKED, _ANSWERED, _ASKED),
    (_ASKED, _ANSWERED, _ASKED, _ANSWERED, _ASKED),
    (_ASKED, {"role": "assistant", "content": "It is."}, {"role": "tool", "content": "3"}),
    (_SYSTEM, _ASKED, _ANSWERED),
)
_REFUSED = "\0refused by "
_NONE, _PARTS = "-", ":"


def rendering(tokenizer: Any, arguments: Mapping[str, Any]) -> str:
    """What the tokenizer's chat template makes of fixed chats, as a hash of the first and one of each, with a
    dash for those it refuses; empty where it takes none.
    """
    made = [as_written(Chat(tokenizer, chat, arguments)) for chat in (*_CHATS, *_MORE)]
    if all(each.startswith(_REFUSED) for each in made):
        return ""
    each = [_NONE if m.startswith(_REFUSED) else _hash(m)[:6] for m in made]
    return _PARTS.join((_hash("\0".join(made[: len(_CHATS)]))[:8], *each))


def rendered_otherwise(one: str, other: str) -> bool:
    """Whether two templates, by their `rendering`, make something else of a chat that both take."""
    (first, *mine), (second, *theirs) = (said.split(_PARTS) for said in (one, other))
    if not mine or not theirs:  # of a file from before
        return first != second
    return any(a != b for a, b in zip(mine, theirs, strict=False) if _NONE not in (a, b))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def template(tokenizer: Any, arguments: Mapping[str, Any]) -> str:
    """The template by a hash of its text, with what it was given."""
    said = ", ".join(f"{name}={value!r}" for name, value in sorted(arguments.items()))
    text = hashlib.sha256(str(tokenizer.chat_template).encode(errors="replace")).hexdigest()[:8]
    return text + (f" ({said})" if said else "")


def as_written(chat: Chat) -> str:
    """What is written, or which error refused the chat: templates refuse roles with errors of any kind."""
    try:
        return chat.render()
    except Exception as error:
        return f"{_REFUSED}{type(error).__name__}"
