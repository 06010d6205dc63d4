"""Labels, names and columns as they are given, one value a row: checked, and made arrays of their own."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import torch

from probes.checks.arrays import NUMBERS, one_kind, one_order, unmasked
from probes.checks.saying import warn
from probes.data.row_names import spelled_alike, text_ids, text_keys, whole_texts
from probes.data.tables import exact


def as_labels(values: Any, n: int) -> np.ndarray:
    """Labels as numbers, one a row; raises for a wrong count, text, or NaN."""
    array = as_column(values, n, "y")
    if array.dtype.kind not in NUMBERS:
        raise ValueError(
            f"y must be numbers (0/1, or real values for regression), got {array.dtype} such as"
            f" {array[:1].tolist()}"
        )
    if array.dtype.kind == "b":
        array = array.astype(np.int64)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            f"y has {int((~np.isfinite(array)).sum())} NaN or infinite values; drop or fill those rows"
        )
    return array.copy()


def as_names(values: Any, n: int, what: str, as_text: bool = False) -> np.ndarray:
    """Groups or ids, one a row; raises ValueError where some are missing, since such rows would fall out of
    every split, and for names of several kinds. With `as_text` numbers beside texts become texts, as ids may:
    two that become one are found.
    """
    array = as_cells(values, n, what)
    lacking = pd.isna(array)
    if lacking.any():
        raise ValueError(
            f"{what} lack {int(lacking.sum())} values (None or NaN, first at row {int(lacking.argmax())});"
            " name one for every row"
        )
    if as_text and array.dtype == object:
        array = as_column(values, n, what)
    if array.dtype == object:
        one_kind(array.tolist(), what)
    return array


def as_groups(values: Any, n: int, what: str = "groups") -> np.ndarray:
    """Names of groups, one a row, those made one that only look alike; raises as `as_names` does."""
    return spelled_alike(as_names(values, n, what))


def as_column(values: Any, n: int, name: str) -> np.ndarray:
    unmasked(values, name)
    if isinstance(values, torch.Tensor):
        values = (values.float() if values.dtype == torch.bfloat16 else values).detach().cpu().numpy()
    try:
        array = np.array(values)  # a copy: later changes of the source stay outside
    except ValueError:  # lists of different lengths, one a row
        array = np.fromiter(values, dtype=object)
    listed = array.dtype.kind == "f" and isinstance(values, list | tuple)
    if listed and not exact(v for v in values if isinstance(v, int)):
        array = np.fromiter(values, dtype=object)  # as they are: a fraction beside would round them
    if array.ndim == 0 and isinstance(values, Iterable) and not isinstance(values, str | bytes | np.ndarray):
        raise TypeError(
            f"{name} is a {type(values).__name__}, which does not say what belongs to which row; give a list"
            f" of {n} values in the order of the rows"
        )
    if array.ndim != 1:
        array = np.fromiter(values, dtype=object) if array.ndim > 1 else np.atleast_1d(array)
    if len(array) != n:
        raise ValueError(
            f"{name} has {len(array)} rows but there are {n}; give one value a row, in the same order"
        )
    return array


def as_cells(values: Any, n: int, name: str) -> np.ndarray:
    """A column of anything, each cell as it is: beside texts numpy would make "nan" of a missing cell."""
    found = as_column(values, n, name)
    listed = found.dtype.kind == "U" and isinstance(values, list | tuple)
    mixed = listed and not all(isinstance(v, str) for v in values)
    return np.fromiter(values, dtype=object) if mixed else found


def make_rows(
    n: int, y: Any, groups: Any, ids: Any, columns: Any, texts: Sequence[str] | None = None,
    said: Sequence[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The shared constructor arguments: checked, defaulted (each text its own group, ids from the text).

    `said` are the texts as they are compared, where that is not how they are named.
    """
    keys = None if texts is None else text_keys(said or texts)
    if ids is None:
        ids = text_ids(texts) if texts is not None else np.arange(n)
    ids = as_names(ids, n, "ids", as_text=True)
    if len(np.unique(ids)) != n:
        raise ValueError(f"ids must be unique, got {n - len(np.unique(ids))} repeats")
    return {
        "y": None if y is None else as_labels(y, n),
        "groups": whole_texts(
            ids if groups is None else as_groups(groups, n), texts, keys, groups is not None
        ),
        "ids": ids,
        "text_keys": keys,
        "columns": _columns(columns, n),
    }


def columns_in_order(columns: Any, **given: Any) -> None:
    """Raises ValueError where what is given, the columns with it, names the same rows in two orders."""
    if isinstance(columns, Mapping):
        columns = {f"column {name!r}": values for name, values in columns.items()}
    else:
        columns = {"columns": columns}
    one_order(**given, **columns)


def _columns(columns: Any, n: int) -> dict[str, np.ndarray]:
    if not isinstance(columns, Mapping | pd.DataFrame | None):
        raise TypeError(
            f"columns are given by name, {{'length': [...]}} or a table, got a {type(columns).__name__}"
        )
    named = {} if columns is None else columns
    refuse_twice(list(named), "columns")
    return {str(k): as_cells(v, n, f"column {k!r}") for k, v in named.items()}


def joined_column(parts: Sequence[np.ndarray], name: str) -> np.ndarray:
    """A column of several parts; raises ValueError where it is numbers in one and text in another, of which
    numpy would make text.
    """
    firsts: dict[str, Any] = {}
    for part in parts:
        held = part[~np.asarray(pd.isna(part), dtype=bool)].tolist()
        kinds = {"number" if isinstance(c, Real) else "text" if isinstance(c, str) else "" for c in held}
        if len(kinds) == 1:  # mixed cells are told apart wherever they stand
            firsts.setdefault(kinds.pop(), held[0])
    if {"number", "text"} <= set(firsts):
        raise ValueError(
            f"column {name!r} is numbers in one part ({firsts['number']!r}) and text in another"
            f" ({firsts['text']!r:.40}); say which is meant, such as dataclasses.replace(part,"
            f" columns=part.columns | {{{name!r}: part.columns[{name!r}].astype(str)}})"
        )
    if "text" in firsts and any(part.dtype.kind == "f" for part in parts):
        parts = [part.astype(object) for part in parts]  # numpy would write the word nan for what is missing
    return np.concatenate(parts)


def refuse_twice(names: Sequence[Any], what: str) -> None:
    """Raises ValueError where two columns have one name, or are 1 and "1", of which one would be lost."""
    known = [str(name) for name in names]
    twice = sorted({name for name in known if known.count(name) > 1})
    if twice:
        raise ValueError(f"{what} have the name {twice[0]!r} twice; give every column a name of its own")


def beside(own: Mapping[str, Any], given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Columns of our own with given ones behind; a given one whose name is taken is called `column.NAME`, and
    a warning says so.
    """
    taken = sorted(set(own) & set(given))
    if taken:
        warn(
            f"{what} has a column {taken[0]!r} of its own, so the given one is called 'column.{taken[0]}'"
            f" there; to keep its name, rename it before ({', '.join(taken)})"
        )
    found = dict(own) | {f"column.{name}" if name in own else name: c for name, c in given.items()}
    if len(found) < len(own) + len(given):
        raise ValueError(f"{what} would hold two columns called 'column.{taken[0]}'; rename one of them")
    return found


def set_apart(table: pd.DataFrame, own: Sequence[str], what: str) -> pd.DataFrame:
    """A table to which columns of these names will be added; see `beside` for those that it has."""
    refuse_twice(list(table.columns), "the table's columns")
    given = {str(name): table[name] for name in table.columns}
    found = beside(dict.fromkeys(own), given, what)
    return pd.DataFrame({name: cells for name, cells in found.items() if name not in own})


def with_pair(columns: Any, pair_id: Any, negated: Any) -> dict[str, Any]:
    """The columns with `pair_id` and `negated` where they are given; raises ValueError where the columns hold
    others of that name.
    """
    found = {} if columns is None else dict(columns)
    for name, value in (("pair_id", pair_id), ("negated", negated)):
        if value is None:
            continue
        if name in found and not np.array_equal(np.asarray(found[name]), np.asarray(value)):
            raise ValueError(f"{name} is given twice, by itself and in columns, and the two differ; give one")
        found[name] = value
    return found
