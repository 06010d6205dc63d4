"""What behaviours give a prompt at a time, lists and arrays alike, brought into the one form of Records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from probes.checks.arrays import unmasked
from probes.data.cells import as_cells


def as_values(values: Any) -> Float[np.ndarray, " n"]:
    """One number a prompt; NaN and None are what could not be measured."""
    try:
        found = np.asarray(unmasked(values, "values"), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"values are numbers, one a prompt: {error}") from error
    if found.ndim != 1:
        raise ValueError(f"values are one number a prompt, got an array of shape {found.shape}")
    return found


def as_strings(given: Any, what: str) -> tuple[str, ...]:
    """Texts as a tuple; raises TypeError for one text alone, and for what is no text."""
    if isinstance(given, str | bytes | Mapping | set | frozenset) or not isinstance(given, Iterable):
        raise TypeError(f"{what} are several texts in an order, got a {type(given).__name__}, {given!r:.60}")
    found = tuple(given)
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise TypeError(f"{what} are texts, got a {type(text).__name__}, {text!r:.60}, at row {i}")
    return tuple(map(str, found))  # numpy's texts too


def as_kinds(labels: Any, classes: Sequence[str], n: int) -> np.ndarray:
    """One kind a prompt; raises ValueError for kinds that are not among the classes."""
    found = as_cells(labels, n, "labels")
    known = set(classes)
    other = sorted({str(label) for label in found.tolist() if label not in known})
    if other:
        raise ValueError(f"labels {other} are not among the classes {tuple(classes)}; name all in classes=")
    return found


def as_named(columns: Mapping[str, Any], n: int) -> dict[str, np.ndarray]:
    """Columns by name, one cell a prompt."""
    return {name: as_cells(cells, n, f"column {name!r}") for name, cells in columns.items()}
