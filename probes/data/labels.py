"""Two-valued columns as labels, so that a probe of one can be asked what else it reads."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from probes.data.rows import Rows

PLAIN = ("0", "1", "0.0", "1.0", "False", "True")


@dataclass(frozen=True)
class Label:
    """A column as a 0/1 label of any rows that have it: 1 where it holds the value `one`. "y" is the rows'
    own label.
    """

    name: str
    column: str
    one: Any = 1

    def of(self, rows: Rows) -> Int[np.ndarray, " n"]:
        """The label of every row; raises ValueError where the rows lack the column."""
        return (rows.column(self.column) == self.one).astype(int)

    def known(self, rows: Rows) -> bool:
        """Whether these rows have it."""
        return self.column in rows.columns or (self.column == "y" and rows.y is not None)


def two_valued(rows: Rows, leave_out: Collection[str] = ()) -> tuple[Label, ...]:
    """The columns with exactly two values; a column of words is named after the value that counts as 1."""
    found = []
    for name, column in rows.columns.items():
        values = np.unique(column) if name not in leave_out else ()
        if len(values) == 2:
            plain = np.isin(values.astype(str), PLAIN).all()
            found.append(Label(name if plain else f"{name}={values[1]}", name, values[1]))
    return tuple(found)


def other_labels(rows: Rows, leave_out: Collection[str] = ()) -> tuple[Label, ...]:
    """The two-valued columns that are not y under another name, nor its opposite."""
    y = np.asarray(rows.y)

    def is_y(label: Label) -> bool:
        values = label.of(rows)
        return np.array_equal(values, y) or np.array_equal(values, 1 - y)

    return tuple(label for label in two_valued(rows, leave_out) if not is_y(label))
