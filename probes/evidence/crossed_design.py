"""Which rows stand in which cell of a crossed design of context and format."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from probes.data.cells import as_groups, as_names

CONTEXTS, FORMATS = ("evaluation", "deployment"), ("benchmark", "casual")

Rows = Bool[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class CrossedDesign:
    """The context and the format of every row, and the group that it belongs to.

    A cell is one context in one format. `grouped` is False where nobody said which rows belong together, so
    that every row is a group of its own and none can stand in both contexts.
    """

    contexts: tuple[str, str]
    formats: tuple[str, str]
    first_context: Rows
    first_format: Rows
    groups: Shaped[np.ndarray, " n"]
    grouped: bool

    def __len__(self) -> int:
        return len(self.groups)

    def of_context(self, name: str) -> Rows:
        return self.first_context == (name == self.contexts[0])

    def of_format(self, name: str) -> Rows:
        return self.first_format == (name == self.formats[0])

    @cached_property
    def cells(self) -> dict[tuple[str, str], Rows]:
        """The rows of each of the four cells, by context and format."""
        return {(c, f): self.of_context(c) & self.of_format(f) for c in self.contexts for f in self.formats}

    @property
    def full(self) -> bool:
        """Whether every cell has rows."""
        return all(rows.any() for rows in self.cells.values())

    @property
    def corners(self) -> Rows:
        """The two cells in which context and format point to different answers."""
        first = self.cells[self.contexts[0], self.formats[1]]
        return first | self.cells[self.contexts[1], self.formats[0]]

    @cached_property
    def with_both_contexts(self) -> dict[str, Rows]:
        """The rows of every format in which both contexts occur."""
        parts = {f: self.of_format(f) for f in self.formats}
        return {f: rows for f, rows in parts.items() if _both(self.first_context[rows])}

    @property
    def with_both_formats(self) -> dict[str, Rows]:
        """The rows of every context in which both formats occur."""
        parts = {c: self.of_context(c) for c in self.contexts}
        return {c: rows for c, rows in parts.items() if _both(self.first_format[rows])}

    @property
    def matched(self) -> tuple[int, int]:
        """How many groups stand in both contexts, and how many there are."""
        here, there = (np.unique(self.groups[self.of_context(c)]) for c in self.contexts)
        shared = len(np.intersect1d(here, there)) if self.grouped else 0
        return shared, len(np.unique(self.groups))

    def unseen_by(self, fold: Any) -> dict[str, Rows]:
        """The rows of every fold in which both contexts occur in both formats.

        Raises ValueError unless there is one fold a row.
        """
        names = as_names(fold, len(self), "fold").astype(str)
        parts = {str(name): names == name for name in np.unique(names)}
        return {name: rows for name, rows in parts.items() if self._crossed_within(rows)}

    def _crossed_within(self, rows: Rows) -> bool:
        return all(_both(self.first_context[rows & self.of_format(f)]) for f in self.formats)


def crossed_design(
    context: Any, format: Any, group: Any, n: int, contexts: tuple[str, str], formats: tuple[str, str]
) -> CrossedDesign:
    """The design of n rows; raises ValueError where context, format or group do not fit them."""
    first_context, contexts = _two_of(context, n, contexts, "context")
    first_format, formats = _two_of(format, n, formats, "format")
    groups = np.arange(n) if group is None else as_groups(group, n, "group")
    return CrossedDesign(contexts, formats, first_context, first_format, groups, group is not None)


def _two_of(values: Any, n: int, names: tuple[str, str], what: str) -> tuple[Rows, tuple[str, str]]:
    """Which rows are of the first name."""
    array = as_names(values, n, what)
    if array.dtype.kind in "biuf" and np.isin(array, (0, 1)).all():
        return array.astype(bool), names
    seen = sorted(set(array.astype(str).tolist()))
    if not set(seen) <= set(names):
        others = f"name others with {what}s=(first, second)"
        expected = f"expected {names[0]!r} and {names[1]!r} ({others}), or 1 and 0"
        raise ValueError(f"{what} holds {seen[:5]}; {expected}")
    return array.astype(str) == names[0], names


def _both(labels: Rows) -> bool:
    return len(np.unique(labels)) == 2
