"""Chat messages as one text: rendering them with the tokenizer's template, and where in it each
turn's content lies.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Private-use characters: templates change the case of text and strip white space, and leave these alone.
MARKER = "\ue0f0\ue0f1"


@dataclass(frozen=True)
class Turn:
    """One message of a rendered chat: its role, and the characters (start, end) of its content, or
    `problem`: why they are not known.
    """

    role: str
    span: tuple[int, int] | None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Chat:
    """Chat messages and the tokenizer whose template renders them, with arguments of that template."""

    tokenizer: Any
    messages: tuple[dict[str, Any], ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def render(self) -> str:
        """The messages as one text, with the generation prompt unless the last turn is the assistant's."""
        return _render(self, self.messages)

    def turns(self, text: str) -> tuple[Turn, ...]:
        """Where each message's content lies in `text`, the rendered chat."""
        return tuple(_locate(self, k, text) for k in range(len(self.messages)))


def _render(chat: Chat, messages: Sequence[dict[str, Any]]) -> str:
    tokenizer = chat.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            "the examples are chat messages but this tokenizer has no chat template; set one or pass plain"
            " texts"
        )
    continued = messages[-1]["role"] != "assistant"
    template = str(tokenizer.chat_template)
    for name in chat.arguments:
        if not re.search(rf"\b{re.escape(name)}\b", template):
            raise ValueError(f"the chat template does not read {name!r}, so giving it would change nothing")
    return tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=continued, **chat.arguments
    )


def _locate(chat: Chat, k: int, text: str) -> Turn:
    """Turn k, found by rendering the chat once more with a marker for its content.

    What stands before and after the marker also stands around the content, whatever the template does to the
    content (strip it, move it, fold it into another turn) and however often the same words occur elsewhere.
    """
    role, content = chat.messages[k]["role"], chat.messages[k]["content"]
    if not isinstance(content, str):
        return Turn(role, None, f"its content is {type(content).__name__}, not text")
    marker = MARKER
    while marker in text:
        marker += MARKER
    parts = _render(
        chat, [m | {"content": marker} if i == k else m for i, m in enumerate(chat.messages)]
    ).split(marker)
    if len(parts) != 2:
        return Turn(
            role,
            None,
            (
                "the chat template leaves it out"
                if len(parts) == 1
                else f"the chat template writes it {len(parts) - 1} times"
            ),
        )
    start, end = len(parts[0]), len(text) - len(parts[1])
    if not (text.startswith(parts[0]) and text.endswith(parts[1]) and start <= end):
        # The template looks into the content, so that the marker changed what stands around it.
        start, end = 0, len(text)
        others = [str(m["content"]) for i, m in enumerate(chat.messages) if i != k]
        if text.count(content.strip()) != 1 or any(content.strip() in other for other in others):
            return Turn(
                role,
                None,
                f"the chat template rewrites it, and {content.strip()!r:.60} does not stand exactly once in"
                f" {text!r:.80}",
            )
    return Turn(role, _narrowed(text, start, end, content.strip()))


def _narrowed(text: str, start: int, end: int, content: str) -> tuple[int, int]:
    """The content itself where it stands exactly once between start and end with something else
    around it; otherwise start and end.
    """
    inside = text[start:end]
    if inside.strip() == content or inside.count(content) != 1:
        return start, end
    first = start + inside.index(content)
    return first, first + len(content)
