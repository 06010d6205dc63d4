"""What counts as a text: a string or chat messages, as they come and out of a table."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

Text = str | list[dict[str, str]]
"""A plain text, or chat messages such as `[{"role": "user", "content": "..."}]`."""


def words_of(text: str | Sequence[dict[str, str]]) -> str:
    """The text, or what the turns of chat messages say."""
    return text if isinstance(text, str) else "\n".join(str(turn["content"]) for turn in text)


def cell_text(value: Any, column: str) -> Any:
    """A table's cell as a text: chat messages stay messages (`datasets` gives them as an array),
    numbers become text. Raises TypeError for an object that is neither.
    """
    if isinstance(value, dict | set | bytes):
        raise TypeError(
            f"column {column!r} holds a {type(value).__name__} ({value!r:.60}); expected a text, or a list of"
            " chat messages with role and content"
        )
    return list(value) if isinstance(value, list | tuple | np.ndarray) else str(value)


def checked_text(text: Any, i: int) -> str:
    if isinstance(text, str):
        if not text.strip():
            raise ValueError(
                f"text {i} is empty; a model cannot read it, so drop the row (its label and group too)"
            )
        return text
    if (
        isinstance(text, list)
        and text
        and all(isinstance(m, dict) and "role" in m and "content" in m for m in text)
    ):
        return json.dumps(text)
    raise TypeError(
        f"text {i} is {type(text).__name__} {text!r:.60}; expected a string or chat messages with role and"
        " content"
    )
