"""Numbers and names that come in anybody's arrays: tensors, numpy, pandas, lists."""

from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import torch

KINDS = {
    "U": "text",
    "S": "bytes",
    "c": "complex numbers",
    "M": "dates",
    "m": "spans of time",
    "V": "records",
}
NUMBERS = "biuf"


def unmasked(values: Any, what: str) -> Any:
    """The values as given; raises ValueError for numpy's masked arrays with masked cells, whose masks numpy
    leaves behind wherever it makes a plain array.
    """
    for part in values if isinstance(values, list | tuple) else (values,):
        mask = part.mask if isinstance(part, np.ma.MaskedArray) else np.False_
        if np.any(mask):
            raise ValueError(
                f"{what} has {int(np.sum(mask))} masked cells (first at"
                f" {np.argwhere(np.atleast_1d(mask))[0].tolist()}), and what is under a mask would count as a"
                " value; drop those rows, or say what stands there: values.filled(...)"
            )
    return values


def one_order(**given: Any) -> None:
    """Raises ValueError where two of pandas' objects name the same rows in two orders: here rows go by their
    place, so those of one would meet others of the other. Indices that name other rows pass.
    """
    indexed = [(n, v.index) for n, v in given.items() if isinstance(v, pd.Series | pd.DataFrame)]
    for (first, a), (second, b) in combinations(indexed, 2):
        if len(a) == len(b) and not a.equals(b) and Counter(a) == Counter(b):
            at = next(i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
            raise ValueError(
                f"{first} and {second} are pandas objects with the same index in two orders (row {at} is"
                f" {a[at]!r} in one and {b[at]!r} in the other), and rows are taken by their place; take both"
                f" from one table, or say that the places are right: {first}.to_numpy(), or"
                f" {first}.reset_index(drop=True) of both"
            )


def real_array(values: Any, what: str) -> np.ndarray:
    """Values as an array of real numbers, of the kind and precision they come in; NaN passes.

    Raises TypeError for None, text, complex numbers, dates and other objects, which numpy would turn into
    numbers or keep for later, and ValueError for rows of several lengths and for masked cells.
    """
    unmasked(values, what)
    if isinstance(values, torch.Tensor):
        half = values.dtype == torch.bfloat16  # which numpy does not know
        values = (values.float() if half else values).detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{what} has rows of several lengths; expected one block of numbers") from None
    if array.dtype.kind in NUMBERS:
        # In the order of bytes of this machine, which torch asks for.
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    cells = array.ravel().tolist() if array.dtype.kind == "O" else []
    if cells and all(isinstance(c, Real) for c in cells):  # as pandas keeps mixed columns
        return array.astype(float)
    odd = next((c for c in cells if not isinstance(c, Real)), None)
    kind = KINDS.get(array.dtype.kind) or f"a {type(odd).__name__}"
    shown = repr(odd if cells else array.ravel()[:1].tolist())
    raise TypeError(
        f"{what} must be real numbers, got {kind} such as {shown:.60}; turn them into floats first"
    )


def one_kind(values: Iterable[Any], what: str) -> None:
    """Raises ValueError for names of several kinds, which numpy would make one ("1" of 1), and for objects
    that cannot be told apart or put in order.
    """
    first: dict[str, Any] = {}
    for value in values:
        kind = (
            "number"
            if isinstance(value, Real)
            else "text"
            if isinstance(value, str)
            else type(value).__name__
        )
        first.setdefault(kind, value)
    if len(first) > 1:
        seen = " and ".join(f"{kind} ({value!r:.40})" for kind, value in first.items())
        raise ValueError(f"{what} are of several kinds, {seen}; give them as one, such as text: str(value)")
    for kind, value in first.items():
        try:
            hash(value)
            sorted([value, value])
        except TypeError:
            raise ValueError(
                f"{what} are {kind} objects ({value!r:.60}), which cannot be told apart and put in order;"
                " give numbers or text"
            ) from None
