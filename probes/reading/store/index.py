"""rows.parquet: one line a row with its shard, place, label, group, id and columns, and a checksum
that readers of Parquet skip over.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probes.reading.store.plan import Plan

TAIL = 8  # a Parquet file ends with the length of its footer (4 bytes) and PAR1
DIGEST = 32


def places(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Shard of every row and its place there, rows in the order of the examples."""
    counts = np.asarray(plan.counts)
    first = np.concatenate([[0], np.cumsum(counts)])
    shard, place = np.zeros(first[-1], dtype=np.int64), np.zeros(first[-1], dtype=np.int64)
    for s, texts in enumerate(plan.texts):
        if texts:
            rows = np.concatenate([np.arange(first[t], first[t + 1]) for t in texts])
            shard[rows], place[rows] = s, np.arange(len(rows))
    return shard, place


def index_bytes(plan: Plan, row_data: Mapping[str, Any], width: int) -> bytes:
    """The index as a file; the same rows always make the same bytes."""
    shard, place = places(plan)
    columns = {"id": row_data["ids"], "group": row_data["groups"]} | {
        f"column.{k}": v for k, v in row_data["columns"].items()
    }
    numbers = {k: row_data[k] for k in ("example", "token", "y", "text_keys") if row_data[k] is not None}
    as_json = [k for k, v in columns.items() if _mixed(v)]
    cells = {
        k: np.array([json.dumps(v, default=_plain) for v in values], dtype=object) if k in as_json else values
        for k, values in columns.items()
    }
    table = pd.DataFrame(cells | numbers | {"shard": shard, "place": place})
    receipt = {k: v for k, v in row_data["receipt"].items() if k != "sites"}  # sites may be added later
    if isinstance(
        receipt.get("self_check"), dict
    ):  # names only: the differences are rounding, and the file must be the same every time
        receipt["self_check"] = receipt["self_check"] | {
            "differences": {k: "passed" for k in receipt["self_check"]["differences"]}
        }
    table.attrs = {
        "receipt": json.dumps(receipt, sort_keys=True),
        "width": width,
        "layout": plan.layout,
        "json": as_json,
    }
    out = io.BytesIO()
    table.to_parquet(out, index=False)
    return _sealed(out.getvalue())


def read_index(folder: Path, plan: Plan) -> tuple[dict[str, Any], int]:
    """The row data and the width of the hidden states; raises ValueError for an index that is
    damaged, missing or of another plan.
    """
    path = folder / "rows.parquet"
    mend = "capture again into this store to have it mended"
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); {mend}") from error
    if not _whole(body):
        raise ValueError(
            f"{path} is damaged: its content does not have the checksum it was written with; {mend}"
        )
    table = pd.read_parquet(io.BytesIO(body))
    if table.attrs["layout"] != plan.layout or len(table) != sum(plan.rows):
        raise ValueError(f"{path} belongs to another capture than the manifest beside it; {mend}")
    as_json = table.attrs["json"]
    cells = {str(k): _cells(column, k in as_json) for k, column in table.items()}
    row_data = {
        "y": cells.get("y"),
        "groups": cells["group"],
        "ids": cells["id"],
        "columns": {k.removeprefix("column."): v for k, v in cells.items() if k.startswith("column.")},
        "example": cells["example"],
        "token": cells.get("token"),
        "text_keys": cells.get("text_keys"),
        "receipt": json.loads(table.attrs["receipt"]),
    }
    return row_data, int(table.attrs["width"])


def _mixed(values: np.ndarray) -> bool:
    """Whether Parquet has no type for these cells: lists, dicts, or several types in one column."""
    return values.dtype.kind == "O" and {type(v) for v in values} != {str}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _cells(column: pd.Series, as_json: bool) -> np.ndarray:
    """A column as it was given, but for tuples and arrays in cells, which come back as lists."""
    if as_json:
        return np.fromiter((json.loads(v) for v in column), dtype=object, count=len(column))
    return np.array(column.tolist()) if pd.api.types.is_string_dtype(column) else column.to_numpy()


def _sealed(body: bytes) -> bytes:
    """A Parquet file with its own checksum before the footer, where nothing points to."""
    footer = len(body) - TAIL - int.from_bytes(body[-TAIL:-4], "little")
    return body[:footer] + hashlib.sha256(body).digest() + body[footer:]


def _whole(sealed: bytes) -> bool:
    """Whether a sealed file has the content it was written with."""
    footer = len(sealed) - TAIL - int.from_bytes(sealed[-TAIL:-4], "little")
    if footer < DIGEST:
        return False
    return (
        hashlib.sha256(sealed[: footer - DIGEST] + sealed[footer:]).digest()
        == sealed[footer - DIGEST : footer]
    )
