"""Tables as they stand in files: a cell is what was written there, and a column is numbers only where each of
its cells is written as one.
"""

import csv
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")  # 007 is a name; 19 digits may not fit
DECIMAL = re.compile(r"[+-]?((0|[1-9][0-9]{0,17})(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
TRUTH = {"True": True, "False": False, "true": True, "false": False, "TRUE": True, "FALSE": False}


def read_csv(path: str | Path, as_text: str | None = None) -> pd.DataFrame:
    """A CSV file with a header. "NA", "None" and "nan" are words, an empty cell is an empty text. The column
    named stays text also where it holds numbers.

    Raises ValueError, naming the line, where a row has more or fewer cells than the header (empty cells at
    its end may be too many), for a header that names a column twice, and for a file without rows.
    """
    header, lines = _lines(path)
    if not lines:
        raise ValueError(f"{path} has no rows; expected a header and one line a row")
    while len(header) > 1 and not header[-1].strip():
        header.pop()
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has the column {twice[0]!r} twice; name every column once")
    rows = [_as_wide(cells, len(header), path, number) for number, cells in lines]
    columns = {name: [row[k] for row in rows] for k, name in enumerate(header)}
    return pd.DataFrame(
        {n: np.array(c, dtype=object) if n == as_text else _column(c) for n, c in columns.items()}
    )


def _lines(path: str | Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and every line that is not empty with its number; raises ValueError unless it is UTF-8."""
    advice = "read it with pandas and hand the table over: Examples.from_pandas(pd.read_csv(path, ...))"
    try:
        # A file may begin with a byte order mark.
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            return next(reader, []), [(reader.line_num, cells) for cells in reader if cells]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not written in UTF-8 ({error.reason} at byte {error.start}); save it so, or say how"
            f" it is written, encoding='latin-1' or 'utf-16': {advice}"
        ) from error
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as a CSV file ({error}); {advice}") from error


def _as_wide(cells: list[str], width: int, path: str | Path, number: int) -> list[str]:
    if len(cells) < width or any(cells[width:]):
        raise ValueError(
            f"{path}, line {number}, has {len(cells)} cells where the header has {width}; quote cells that"
            ' hold a comma: "a, b"'
        )
    return cells[:width]


def _column(cells: Sequence[str]) -> np.ndarray:
    """Numbers or truth values where every cell is written as one and none would become another, else the
    texts.
    """
    if all(WHOLE.fullmatch(c) for c in cells):
        return np.array([int(c) for c in cells])
    if all(DECIMAL.fullmatch(c) for c in cells) and exact(int(c) for c in cells if WHOLE.fullmatch(c)):
        return np.array([float(c) for c in cells])
    if all(c in TRUTH for c in cells):
        return np.array([TRUTH[c] for c in cells])
    return np.array(cells, dtype=object)


def read_jsonl(path: str | Path) -> pd.DataFrame:
    """One JSON object a line; a name that a line does not have is a missing cell there.

    Raises ValueError, naming the line, for one that holds no object or names a thing twice, and for a file
    without rows.
    """
    rows = []
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=_named_once)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}, is no JSON: {error}") from error
            except _Twice as error:
                raise ValueError(
                    f"{path}, line {number}, names {error.args[0]!r} twice, of which one would be lost; name"
                    " it once"
                ) from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}, holds a {type(row).__name__}, expected an object")
            rows.append(row)
    if not rows:
        raise ValueError(f"{path} has no rows; expected one JSON object a line")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame({name: _values([row.get(name) for row in rows]) for name in names})


class _Twice(ValueError):
    """A JSON object has a name twice."""


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


def _values(cells: Sequence[Any]) -> np.ndarray:
    """Cells as JSON has them; numbers where all are and none would become another."""
    kinds = {type(c) for c in cells}
    if kinds in ({int}, {float}, {bool}) or (
        kinds == {int, float} and exact(c for c in cells if type(c) is int)
    ):
        return np.array(cells)
    found = np.empty(len(cells), dtype=object)
    found[:] = cells
    return found


def exact(whole: Iterable[int]) -> bool:
    """Whether whole numbers stay what they are beside fractions, which are 53 bits long."""
    return all(n.bit_length() <= 53 or (n.bit_length() < 1000 and int(float(n)) == n) for n in whole)


def missing(cell: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, pandas' NA, an empty text."""
    if isinstance(cell, str):
        return not cell
    return cell is None or (np.ndim(cell) == 0 and bool(pd.isna(cell)))


def filled(cells: np.ndarray, name: str, purpose: str) -> np.ndarray:
    """The cells of a column; raises ValueError where one is None, NaN or pandas' NA, which would pass for a
    value called "None" or "nan".
    """
    empty = np.asarray(pd.isna(cells), dtype=bool)
    if empty.any():
        raise ValueError(
            f"column {name!r} has {int(empty.sum())} missing cells (first: row {int(empty.argmax())},"
            f" {cells[int(empty.argmax())]!r}), and {purpose} needs a value in every row; fill them or drop"
            " those rows"
        )
    return cells


def texts_in(cells: np.ndarray, name: str, purpose: str) -> list[str]:
    """The cells of a column as texts; raises ValueError where one is missing."""
    empty = [i for i, cell in enumerate(cells) if missing(cell)]
    if empty:
        where = f"row {empty[0]}" if len(empty) == 1 else f"{len(empty)} rows, such as row {empty[0]}"
        raise ValueError(
            f"column {name!r} has a missing cell in {where} ({cells[empty[0]]!r}), and {purpose} needs a text"
            " there; fill it or drop the row"
        )
    return [str(cell) for cell in cells]
