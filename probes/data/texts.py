"""What counts as a text: a string or chat messages, as they come and out of a table."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import pandas as pd

_SURROGATE = re.compile("[\ud800-\udfff]")

Text = str | list[dict[str, str]]
"""A plain text, or chat messages such as `[{"role": "user", "content": "..."}]`."""


def words_of(text: str | Sequence[dict[str, str]]) -> str:
    """The text, or what the turns of chat messages say."""
    return text if isinstance(text, str) else "\n".join(str(turn["content"]) for turn in text)


def said_in_chat(messages: Sequence[dict[str, str]]) -> str:
    """Chat messages as they are compared: whatever the order of their fields, with line breaks and letters as
    they are in texts.
    """
    return json.dumps(messages, ensure_ascii=False, sort_keys=True, default=str).replace("\\n", "\n")


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


def listed_texts(texts: Any, what: str) -> tuple[Any, ...]:
    """The texts one by one; raises TypeError for a single one, whose characters would count as texts, for
    tables, which list the names of their columns, and for sets, which have no order.
    """
    if isinstance(texts, pd.DataFrame):
        raise TypeError(f"{what} is a table; name the column: Examples.from_pandas(table, text='text')")
    if isinstance(texts, str | bytes | Mapping | Set) or not isinstance(texts, Iterable):
        said = "one string" if isinstance(texts, str) else f"a {type(texts).__name__}"
        raise TypeError(f"{what} is {said}; give a list of texts")
    return tuple(texts)


def checked_text(text: Any, i: int) -> str:
    """A text, or chat messages as one; raises ValueError for an empty one and for half a character."""
    if half := _SURROGATE.search(words_of(text) if _is_text(text) else ""):
        raise ValueError(
            f"text {i} has half a character (the lone surrogate {half[0]!r}), which no tokenizer reads;"
            ' repair it where it was read, or drop it: text.encode("utf-8", "ignore").decode()'
        )
    if isinstance(text, str):
        if not text.strip():
            raise ValueError(
                f"text {i} is empty; a model cannot read it, so drop the row (its label and group too)"
            )
        return text
    if _is_text(text):
        return json.dumps(text)
    raise TypeError(
        f"text {i} is {type(text).__name__} {text!r:.60}; expected a string or chat messages with role and"
        " content"
    )


def _is_text(text: Any) -> bool:
    messages = isinstance(text, list) and text
    return isinstance(text, str) or bool(
        messages and all(isinstance(m, dict) and "role" in m and "content" in m for m in text)
    )
