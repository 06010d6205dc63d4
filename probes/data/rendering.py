"""What a chat template makes of chats that never change, by which templates are told apart: two that write
the same are the same, whatever their text, and one that writes the date is another one every day.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from probes.data.chat import Chat

_ASKED = {"role": "user", "content": " What is it? "}  # white space, which some templates strip
_CHATS: tuple[tuple[dict[str, Any], ...], ...] = (
    (_ASKED,),
    ({"role": "system", "content": "Be brief."}, _ASKED),
    (_ASKED, {"role": "assistant", "content": "<think>\nWell.\n</think>\n\nThis."}),
    (_ASKED, {"role": "assistant", "content": "This."}, _ASKED),
)
_REFUSED = "\0refused by "


def rendering(tokenizer: Any, arguments: Mapping[str, Any]) -> str:
    """A hash of what the tokenizer's chat template makes of fixed chats; empty where it takes none."""
    made = [_made(Chat(tokenizer, chat, arguments)) for chat in _CHATS]
    if all(each.startswith(_REFUSED) for each in made):
        return ""
    return hashlib.sha256("\0".join(made).encode(errors="replace")).hexdigest()[:8]


def template(tokenizer: Any, arguments: Mapping[str, Any]) -> str:
    """The template by a hash of its text, with what it was given."""
    said = ", ".join(f"{name}={value!r}" for name, value in sorted(arguments.items()))
    text = hashlib.sha256(str(tokenizer.chat_template).encode(errors="replace")).hexdigest()[:8]
    return text + (f" ({said})" if said else "")


def _made(chat: Chat) -> str:
    """What is written, or which error refused the chat: templates refuse roles with errors of any kind."""
    try:
        return chat.render()
    except Exception as error:
        return f"{_REFUSED}{type(error).__name__}"
