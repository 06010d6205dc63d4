"""Captured hidden states as values: `Activations` (rows of one or more sites) and `PairActivations`
(yes and no sides).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from probes.data.cells import as_column, columns_in_order, make_rows, with_pair
from probes.data.label_among import say_label_among
from probes.data.receipts import common_receipt
from probes.data.rows import Rows, concat_rows, parts_of
from probes.data.sited import Sited
from probes.data.sites import Site, SiteLike
from probes.data.stacks import sites_of, stacked

Side = Literal["yes", "no"]


def check_states(given: Any, what: str, single: bool = False) -> None:
    """Raises TypeError for what holds no hidden states: arrays that are not wrapped, texts, a model. With
    `single` also for pairs.
    """
    if isinstance(given, Sited) and (isinstance(given, Activations) or not single):
        return
    if isinstance(given, PairActivations):
        raise TypeError(f"{what} reads single texts, got contrast pairs; give one side, pairs.side('yes')")
    if isinstance(given, Sited):
        return  # stored rows say themselves that they have to be loaded
    todo = "wrap arrays with Activations.from_arrays(x, y, sites=...)"
    if isinstance(given, Rows):  # texts or pairs
        todo = "capture(model, ...) reads them first"
    raise TypeError(f"{what} takes Activations, got a {type(given).__name__}; {todo}")


def check_pairs(given: Any, what: str) -> None:
    """Raises TypeError for what is no `PairActivations`."""
    if not isinstance(given, PairActivations):
        raise TypeError(
            f"{what} takes PairActivations, got a {type(given).__name__}; make them with capture_pairs(model,"
            " Pairs(...)) or PairActivations.from_arrays(yes, no)"
        )


@dataclass(frozen=True, eq=False)
class Activations(Sited):
    """Hidden states of some rows at some sites, with the row data and the receipt of how they were captured.

    `x` is [site, n, d]. `acts[site]` has one site, `acts.rows(mask)` fewer rows. With several tokens a text,
    `example` and `token` say which text and which of its tokens a row is. `receipt` records model, position
    and data.
    """

    x: Float[Tensor, "site n d"]
    sites: tuple[Site, ...]
    example: np.ndarray
    token: np.ndarray | None
    receipt: dict[str, Any]

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        y: Any = None,
        groups: Any = None,
        sites: Any = None,
        columns: Any = None,
        ids: Any = None,
        example: Any = None,
    ) -> "Activations":
        """Wraps your own numbers, [n, d] or [site, n, d], numpy or torch; sites default to `array.0`,
        `array.1`, ...

        Rows that are tokens of texts say which text they belong to, in the order of its tokens: `example`,
        one number a row, which is then the default group. Raises ValueError on NaN, on a wrong number of
        labels, groups or sites, and on ids that repeat; warns of a feature that is y.
        """
        columns_in_order(columns, x=x, y=y, groups=groups, ids=ids, example=example)
        stack = stacked(x, "x")
        n = stack.shape[1]
        text, token = np.arange(n), None
        if example is not None:
            text = np.unique(as_column(example, n, "example"), return_inverse=True)[1]
            order = np.argsort(text, kind="stable")
            token = np.empty(n, dtype=int)
            token[order] = np.arange(n) - np.searchsorted(text[order], text[order])
        rows = make_rows(n, y, example if groups is None and example is not None else groups, ids, columns)
        say_label_among(rows["y"], x=(stack, x))
        return cls(x=stack, sites=sites_of(stack, sites), example=text, token=token, receipt={}, **rows)

    def __getitem__(self, site: SiteLike | Sequence[SiteLike]) -> "Activations":
        index = self.index_of(site)
        rows = self._rows_apart()
        return replace(self, x=self.x[index], sites=tuple(self.sites[i] for i in index), **rows)

    def _take(self, index: np.ndarray) -> "Activations":
        base = super()._take(index)
        at = torch.from_numpy(index).to(self.x.device)
        return replace(
            base,
            x=self.x[:, at],
            example=self.example[index],
            token=None if self.token is None else self.token[index],
        )

    def with_y(self, label: str | Sequence[Any] | np.ndarray) -> "Activations":
        found = super().with_y(label)
        if not self.receipt:  # of arrays, whose features may be anything
            say_label_among(found.y, x=(self.x, None))
        return found

    def blocks(self, max_bytes: int = 2**28) -> "Iterator[Activations]":
        """Stacks of sites that fit into `max_bytes` each."""
        step = max(1, max_bytes // max(1, self.x[0].nbytes))
        for start in range(0, len(self.sites), step):
            yield self[self.sites[start : start + step]]

    def to_pandas(self, site: SiteLike | None = None) -> pd.DataFrame:
        """One row a row: id, text and token it is of, y, group, columns; with `site` also its numbers there,
        h0, h1 and so on. Raises ValueError for several sites.
        """
        if site is None:
            return super().to_pandas()
        found = self.index_of(site)
        if len(found) != 1:
            raise ValueError(f"a data frame holds the numbers of one site, got {len(found)}; name one")
        x = self.x[found[0]].float().cpu().numpy()
        return pd.DataFrame(self._beside({f"h{i}": x[:, i] for i in range(x.shape[1])}))

    def _named(self) -> dict[str, Any]:
        token = {} if self.token is None else {"example": self.example, "token": self.token}
        return super()._named() | token

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> "Activations":
        return replace(self, x=self.x.to(device=device, dtype=dtype))

    @staticmethod
    def concat(parts: Sequence["Activations"]) -> "Activations":
        """Rows of several captures under one another; sites, model, place and edits must agree, ids must not
        clash.
        """
        parts = parts_of(parts, Activations)
        if len({p.sites for p in parts}) > 1:
            raise ValueError("the parts have different sites; choose common ones first, acts[sites]")
        receipt = common_receipt([p.receipt for p in parts])
        rows = concat_rows(parts)
        if len(np.unique(rows["ids"])) != len(rows["ids"]):
            raise ValueError("ids clash between the parts; give the Examples distinct ids")
        starts = np.cumsum([0] + [int(p.example.max()) + 1 for p in parts[:-1]])
        tokens = [p.token for p in parts]
        return Activations(
            x=torch.cat([p.x for p in parts], dim=1),
            sites=parts[0].sites,
            example=np.concatenate([p.example + s for p, s in zip(parts, starts, strict=True)]),
            token=None if any(t is None for t in tokens) else np.concatenate(tokens),  # pyright: ignore
            receipt=receipt,
            **rows,
        )

    def __repr__(self) -> str:
        span = str(self.sites[0]) if len(self.sites) == 1 else f"{self.sites[0]} to {self.sites[-1]}"
        at = f", at {self.receipt['at']}" if "at" in self.receipt else ""
        return (
            f"Activations({len(self)} rows, width {self.x.shape[-1]}, {len(self.sites)} sites: {span}{at}, y"
            f" {'given' if self.y is not None else 'none'})"
        )


@dataclass(frozen=True, eq=False)
class PairActivations(Sited):
    """Hidden states of contrast pairs: `yes` and `no` are [site, n, d]; row i of both is one statement."""

    yes: Float[Tensor, "site n d"]
    no: Float[Tensor, "site n d"]
    sites: tuple[Site, ...]
    receipt: dict[str, Any]

    @classmethod
    def from_arrays(
        cls, yes: Any, no: Any, y: Any = None, groups: Any = None, pair_id: Any = None, negated: Any = None,
        sites: Any = None, columns: Any = None, ids: Any = None,
    ) -> "PairActivations":  # fmt: skip
        """Wraps your own numbers; `pair_id` joins a statement with its opposite and is the default group."""
        columns_in_order(
            columns, yes=yes, no=no, y=y, groups=groups, ids=ids, pair_id=pair_id, negated=negated
        )
        first, second = stacked(yes, "yes"), stacked(no, "no")
        if first.shape != second.shape:
            raise ValueError(
                f"yes has shape {tuple(first.shape)} and no has {tuple(second.shape)}; row i of both is one"
                " statement"
            )
        columns = with_pair(columns, pair_id, negated)
        groups = columns.get("pair_id") if groups is None else groups
        rows = make_rows(first.shape[1], y, groups, ids, columns)
        say_label_among(rows["y"], yes=(first, yes), no=(second, no))
        return cls(yes=first, no=second, sites=sites_of(first, sites), receipt={}, **rows)

    def __getitem__(self, site: SiteLike | Sequence[SiteLike]) -> "PairActivations":
        index = self.index_of(site)
        sites, rows = tuple(self.sites[i] for i in index), self._rows_apart()
        return replace(self, yes=self.yes[index], no=self.no[index], sites=sites, **rows)

    def _take(self, index: np.ndarray) -> "PairActivations":
        at = torch.from_numpy(index).to(self.yes.device)
        return replace(super()._take(index), yes=self.yes[:, at], no=self.no[:, at])

    def with_y(self, label: str | Sequence[Any] | np.ndarray) -> "PairActivations":
        found = super().with_y(label)
        if not self.receipt:
            say_label_among(found.y, yes=(self.yes, None), no=(self.no, None))
        return found

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> "PairActivations":
        return replace(
            self, yes=self.yes.to(device=device, dtype=dtype), no=self.no.to(device=device, dtype=dtype)
        )

    @property
    def middle(self) -> Float[Tensor, "site n d"]:
        """The mean of the two texts of every pair."""
        return (self.yes.float() + self.no.float()) / 2  # halves of large half-precision numbers have no sum

    def side(self, side: Side) -> Activations:
        """One side as plain Activations, rows as here."""
        x = self.yes if side == "yes" else self.no
        return Activations(
            self.y,
            self.groups,
            self.ids,
            self.columns,
            x,
            self.sites,
            np.arange(len(self)),
            None,
            self.receipt,
            text_keys=self.text_keys,
        )

    def __repr__(self) -> str:
        return (
            f"PairActivations({len(self)} statements, width {self.yes.shape[-1]}, {len(self.sites)} sites, y"
            f" {'given' if self.y is not None else 'none'})"
        )
