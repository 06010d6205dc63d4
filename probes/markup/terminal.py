"""The terminal door: text as it is, and nothing in it that a terminal would obey."""

from typing import Any

# Control characters of ASCII and Latin-1, but for tab and line break; half characters cannot be printed.
_CONTROL = [*(c for c in range(0x20) if chr(c) not in "\t\n"), *range(0x7F, 0xA0)]
_VISIBLE = {c: f"\\x{c:02x}" for c in _CONTROL} | {c: f"\\u{c:04x}" for c in range(0xD800, 0xE000)}


def terminal(text: Any) -> str:
    r"""The text with control characters as escapes such as \x1b; line breaks and tabs stay.

    An escape sequence in an answer could otherwise retitle the terminal, fill the clipboard or hide
    what was printed.
    """
    return str(text).translate(_VISIBLE)
