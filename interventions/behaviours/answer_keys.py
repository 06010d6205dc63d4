"""Answer keys as they stand in a column: a text, a number or a list of these a row. Tables and CSV files know
no lists, so one that was written as a text is told apart from a text.
"""

import ast
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from interventions.behaviours.matching import normalised
from probes.checks.saying import warn

# One letter on both sides is mathematics: P(a|b).
_PARTED = re.compile(r"[^\W_][ \t]*([|;\n])\s*[^\W_]{2}|[^\W_]{2}[ \t]*([|;\n])\s*[^\W_]")

MAKE_LISTS = "keys as texts; make lists of them: [json.loads(key) for key in keys]"


def keys_of(column: np.ndarray) -> list[list[str | float | int]]:
    """The keys of every row of a column of texts, numbers or lists of these; raises ValueError for a
    cell that is no key, and for lists that are texts. Warns of texts with |, ; or a line break between words.
    """
    refuse_listed(column, MAKE_LISTS)
    parted = [(cell, m) for cell in column if isinstance(cell, str) and (m := _PARTED.search(cell))]
    if parted:
        cell, by = str(parted[0][0]), parted[0][1].group(1) or parted[0][1].group(2)
        warn(
            f"{len(parted)} answer keys hold {by!r} between words, such as {cell!r:.60}, and count as one"
            f" answer each; where it parts several, make lists: [key.split({by!r}) for key in keys]"
        )
    return [_keys(cell, i) for i, cell in enumerate(column)]


def refuse_listed(cells: Iterable[Any], what_to_do: str) -> None:
    """Raises ValueError where texts are lists of texts as JSON or Python write them, ["Paris", "Lutetia"]."""
    found = [(i, cell) for i, cell in enumerate(cells) if isinstance(cell, str) and listed_as_text(cell)]
    if found:
        raise ValueError(
            f"{len(found)} rows (first: {found[0][0]}) hold lists that were written as a text, such as"
            f" {str(found[0][1])!r:.60}, so the brackets would count as part of the answer; they are"
            f" {what_to_do}, with ast.literal_eval where the quotes are single, and [text] where it is the"
            " answer as it stands"
        )


def listed_as_text(text: str) -> bool:
    """Whether a text is a list of texts as JSON or Python write it; [1, 2] may be an answer."""
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "()") or not {"'", '"'} & set(text):
        return False
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return isinstance(found, list | tuple) and bool(found) and all(isinstance(f, str) for f in found)
    return False


def _keys(cell: Any, i: int) -> list[str | float | int]:
    listed = list(cell) if isinstance(cell, list | tuple | np.ndarray) else [cell]
    found = [c.item() if isinstance(c, np.generic) else c for c in listed]
    bad = [
        k
        for k in found
        if not (isinstance(k, str) and normalised(k, articles=True))
        and not (isinstance(k, int | float) and np.isfinite(k))
    ]
    if bad or not found:
        raise ValueError(
            f"the answer key of prompt {i} is {cell!r:.60}; expected a text with words, a number, or a list"
            " of these"
        )
    return found


def places_of(keys: np.ndarray, options: Sequence[tuple[str, ...]]) -> list[int]:
    """The number of every row's right option, given as its text or as its number from 0; raises ValueError
    for a key that is none, and for numbers that may all be texts and would then be other options.
    """
    places = [_place(key, own, i) for i, (key, own) in enumerate(zip(keys, options, strict=True))]
    texts = [[o.strip() for o in own] for own in options]
    numbers = [i for i, key in enumerate(keys) if not isinstance(key, str)]
    other = [i for i in numbers if texts[i][places[i]] != str(keys[i])]
    if other and all(str(keys[i]) in texts[i] for i in numbers):
        i = other[0]
        raise ValueError(
            f"the right option of prompt {i} is the number {keys[i]}, which counts from 0 and so is the"
            f" option {texts[i][places[i]]!r}, but another option is {str(keys[i])!r}; give texts, which"
            " cannot be mistaken: [str(k) for k in keys] where the keys are what the options say, [o[k] for"
            " o, k in zip(options, keys)] where they are numbers of options"
        )
    return places


def _place(key: Any, options: tuple[str, ...], i: int) -> int:
    if not isinstance(key, str):
        if not isinstance(key, int | np.integer) or isinstance(key, bool) or not 0 <= key < len(options):
            raise ValueError(
                f"the right option of prompt {i} is {key!r}; expected one of its texts or a number from 0 to"
                f" {len(options) - 1}"
            )
        return int(key)
    found = [k for k, o in enumerate(options) if o.strip() == key.strip()]
    if not found:
        raise ValueError(
            f"the right option of prompt {i} is {str(key)!r:.60}, which is none of {options!r:.100}"
        )
    return found[0]
