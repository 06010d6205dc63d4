"""What travels with every row: label, group, id and columns. Examples, Pairs and Activations share it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from probes.checks.arrays import real_array, unmasked
from probes.checks.choices import positions
from probes.checks.settings import check_count
from probes.data.cells import as_groups, as_labels, joined_column
from probes.data.row_names import joined, text_names
from probes.markup.values import Displayed

R = TypeVar("R", bound="Rows")


@dataclass(frozen=True, eq=False)
class Rows(Displayed):
    """Row data: `y` (0/1 or real), `groups` (the unit that must not cross a split), `ids`, named
    `columns`. `text_keys`, where texts are known, are the same for rows whose text counts as one, whatever
    their ids.
    """

    y: np.ndarray | None
    groups: np.ndarray
    ids: np.ndarray
    columns: dict[str, np.ndarray]
    text_keys: np.ndarray | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.ids)

    def _take(self: R, index: np.ndarray) -> R:
        """The rows at integer positions `index`; subclasses extend it with what else they hold per row."""
        return replace(
            self,
            y=None if self.y is None else self.y[index],
            groups=self.groups[index],
            ids=self.ids[index],
            columns={name: column[index] for name, column in self.columns.items()},
            text_keys=None if self.text_keys is None else self.text_keys[index],
        )

    def __getitem__(self, key: Any) -> Any:
        rows = "" if isinstance(key, str) else f".rows({key!r:.40}) for rows, "
        raise TypeError(
            f"{type(self).__name__} is a table and not a list, so [{key!r:.40}] says nothing here; use {rows}"
            ".column(name) for a column, or its fields"
        )

    def rows(self: R, which: Any) -> R:
        """The rows where a boolean mask holds, or at given positions, in that order; one position is one row.

        Raises ValueError for positions that are not there, for as many zeros and ones as there are rows (a
        mask is boolean), and for anything else.
        """
        return self._take(positions(which, len(self)))

    def some(self: R, n: int, seed: int = 0) -> R:
        """At most `n` rows drawn at random, in their order."""
        drawn = np.random.default_rng(check_count("seed", seed, 0)).permutation(len(self))[:n]
        return self.rows(np.sort(drawn))

    def column(self, name: str) -> np.ndarray:
        if name == "y" and self.y is not None:
            return self.y
        if name not in self.columns:
            raise ValueError(f"no column {name!r}; there are {sorted(self.columns) or 'no columns'}")
        return self.columns[name]

    def to_pandas(self) -> pd.DataFrame:
        """One row a row: id, what else the rows hold, y, group and every column; a column that would take one
        of these names gets "column " before it.
        """
        return pd.DataFrame(self._beside({}))

    def _beside(self, numbers: dict[str, Any]) -> dict[str, Any]:
        """What a data frame has of the rows, their columns and numbers of theirs, each under a name of its
        own.
        """
        own, given = self._named(), {}
        for name, column in self.columns.items():
            free = name
            while free in own or free in numbers or (free != name and free in self.columns):
                free = f"column {free}"
            given[free] = column
        return own | given | numbers

    def _named(self) -> dict[str, Any]:
        """What a data frame has of the rows before their columns; subclasses extend it."""
        return {"id": self.ids} | ({} if self.y is None else {"y": self.y}) | {"group": self.groups}

    def with_y(self: R, label: str | Sequence[Any] | np.ndarray) -> R:
        """The same rows with another label: a column's name, or one value a row."""
        values = self.column(label) if isinstance(label, str) else label
        return replace(self, y=as_labels(values, len(self)))

    def with_groups(self: R, groups: str | Sequence[Any] | np.ndarray) -> R:
        """The same rows with another unit of splitting: a column's name, or one value a row."""
        values = self.column(groups) if isinstance(groups, str) else groups
        return replace(self, groups=as_groups(values, len(self)))

    def split(
        self: R, sizes: Sequence[float] = (0.5, 0.5), groups: Any = None, seed: int = 0
    ) -> tuple[R, ...]:
        """Parts of about the given shares in which no group and no text occurs twice.

        Groups are shuffled by `seed` and dealt out by count of groups; `groups` overrides the rows' own.
        Groups that hold the same text are dealt out as one. Raises ValueError when there are fewer groups
        than parts, or when rows of one `pair_id` would come into different parts.
        """
        rows = self if groups is None else self.with_groups(groups)
        units = joined(rows.groups, text_names(rows.ids))
        units = units if self.text_keys is None else joined(units, self.text_keys)
        shares = real_array(sizes, "sizes").astype(float)
        if shares.ndim != 1 or not len(shares) or not (shares > 0).all() or shares.sum() > 1 + 1e-9:
            raise ValueError(
                f"sizes are positive shares with a sum of at most 1, got {shares.tolist()}; give one a"
                " part, such as (0.6, 0.4)"
            )
        names = np.unique(units)
        if len(names) < len(shares):
            lost = len(np.unique(rows.groups)) - len(names)
            shared = f" ({lost} more hold a text that another holds too)" if lost else ""
            raise ValueError(
                f"{len(names)} groups{shared} cannot make {len(shares)} parts; give groups with more than"
                f" {len(names)} values"
            )
        # None would deal otherwise every time, and what was held out once would be trained on the next.
        shuffled = np.random.default_rng(check_count("seed", seed, 0)).permutation(names)
        ends = np.rint(np.cumsum(shares) * len(names)).astype(int)
        # Rounding must not leave a part empty.
        ends = np.maximum(ends, np.arange(1, len(shares) + 1))
        ends = np.minimum(ends, len(names) - np.arange(len(shares))[::-1])
        starts = np.concatenate([[0], ends[:-1]])
        part = np.full(len(self), -1)
        for k, (a, b) in enumerate(zip(starts, ends, strict=True)):
            part[np.isin(units, shuffled[a:b])] = k
        self._pairs_together(part)
        return tuple(self.rows(part == k) for k in range(len(shares)))

    def _pairs_together(self, part: np.ndarray) -> None:
        if "pair_id" not in self.columns:
            return
        _, first, member = np.unique(self.columns["pair_id"], return_index=True, return_inverse=True)
        torn = part != part[first][member]
        if torn.any():
            raise ValueError(
                f"groups tear {len(np.unique(member[torn]))} pairs apart (such as pair_id"
                f" {self.columns['pair_id'][torn][0]!r}), so a statement and its opposite would come into"
                " different parts; split by the pairs, .split(sizes, groups='pair_id'), or by groups that"
                " hold whole pairs"
            )

    @property
    def classes(self) -> tuple[torch.Tensor, int]:
        """y as a bool tensor plus its count of ones, for recipes that need two classes; raises otherwise."""
        if self.y is None:
            raise ValueError("this needs labels but y is None; give y, or choose labels with .with_y(...)")
        y = np.asarray(self.y)
        if not len(y):
            raise ValueError(
                "there are no rows (an empty choice of them), so there are no classes to tell apart"
            )
        ones = y == 1
        if not (ones | (y == 0)).all():
            raise ValueError(
                f"y must be 0 or 1 here, got values {np.unique(y)[:5].tolist()}; choose a binary column with"
                " .with_y(...), or use one_vs_rest(recipe) for several classes"
            )
        if (count := int(ones.sum())) in (0, len(y)):
            raise ValueError(f"y has one class only (all {len(y)} rows are {y[0]:g}); two classes are needed")
        return torch.from_numpy(ones), count


def whole_groups(groups: Any, limit: int, seed: int = 0) -> np.ndarray:
    """A mask of at most `limit` rows that keeps drawn groups whole; one group at least, however large."""
    column = pd.Series(np.asarray(unmasked(groups, "groups")))
    names = np.random.default_rng(seed).permutation(np.asarray(column.unique()))
    sizes = column.value_counts().loc[names].cumsum()
    kept = names[: max(1, int((sizes <= limit).sum()))]
    return column.isin(kept).to_numpy()


def parts_of(parts: Any, kind: type[R]) -> "Sequence[R]":
    """Parts to be put under one another; raises ValueError for none, TypeError for other kinds."""
    listed: list[Any] = [parts] if isinstance(parts, Rows) or not isinstance(parts, Iterable) else list(parts)
    odd = next((p for p in listed if not isinstance(p, kind)), None)
    if odd is not None:
        raise TypeError(f"concat takes a list of {kind.__name__}, got a {type(odd).__name__}")
    if not listed:
        raise ValueError(f"concat got nothing (an empty list); give at least one {kind.__name__}")
    return listed


def concat_rows(parts: Sequence[Rows]) -> dict[str, Any]:
    """Row data of several tables under one another; columns must agree."""
    names = {tuple(sorted(p.columns)) for p in parts}
    if len(names) > 1:
        raise ValueError(f"the parts have different columns: {' and '.join(str(list(n)) for n in names)}")
    if len({p.y is None for p in parts}) > 1:
        raise ValueError("some parts have y and some do not")
    ids, keys = np.concatenate([p.ids for p in parts]), [p.text_keys for p in parts]
    return {
        "y": None if parts[0].y is None else np.concatenate([p.y for p in parts if p.y is not None]),
        "groups": _groups_of([p.groups for p in parts]),
        "ids": ids,
        "columns": {k: joined_column([p.columns[k] for p in parts], k) for k in parts[0].columns},
        "text_keys": None if any(k is None for k in keys) else np.concatenate(keys),  # pyright: ignore
    }


def _groups_of(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Groups of several parts; raises ValueError where a number of one part and a text of another would
    become one name.
    """
    names = [g for p in parts for g in np.unique(p).tolist()]
    numbers, texts = ({str(g) for g in names if isinstance(g, Real) == number} for number in (True, False))
    if both := sorted(numbers & texts):
        raise ValueError(
            f"group {both[0]!r} is a number in one part and text in another; say which is meant, such as"
            " part.with_groups(part.groups.astype(str))"
        )
    return np.concatenate(parts)
