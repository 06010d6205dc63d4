"""Captured hidden states as values: `Activations` (rows of one or more sites) and `PairActivations`
(yes and no sides).
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.checks.arrays import real_array
from probes.data.cells import as_column, make_rows, with_pair
from probes.data.receipts import common_receipt
from probes.data.rows import Rows, concat_rows, parts_of
from probes.data.sites import Site, SiteLike, as_sites

Side = Literal["yes", "no"]
LARGEST = 1e15
"""Beyond it sums of squares may leave the range of float32, in which probes are fitted."""
NOISE = 1e-12
"""Share of its size within which a number in double precision is taken to be constant."""
BLURRED = 0.1
"""Share of a coordinate's spread from which on rounding it is worth a word."""


def _sites_of(stack: Tensor, sites: Sequence[SiteLike] | SiteLike | None) -> tuple[Site, ...]:
    if sites is None:
        return tuple(Site("array", i) for i in range(stack.shape[0]))
    named = tuple(as_sites(sites))
    if len(named) != stack.shape[0] or len(set(named)) != len(named):
        raise ValueError(
            f"x holds {stack.shape[0]} sites but {len(named)} were named ({', '.join(map(str, named))}); name"
            " each once"
        )
    return named


def _stacked(x: Any, what: str) -> Tensor:
    """[n, d] or [site, n, d] numbers as a float tensor of their own, [site, n, d]; raises on NaN."""
    if not isinstance(x, torch.Tensor):
        x = torch.from_numpy(np.ascontiguousarray(real_array(x, what)))
    if x.is_complex():
        raise TypeError(f"{what} must be real numbers, got {x.dtype}; give the parts that you mean, x.real")
    values = x.detach().clone()
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(
            f"{what} has shape {tuple(values.shape)}; expected [n, d] or [site, n, d] with at least one row"
        )
    whole = not values.is_floating_point()
    wide = values.double() if whole else values
    refuse_endless(wide, what)
    if wide.dtype == torch.float64:
        _say_rounding(wide, whole, what)
    return values.float() if whole else values


def _say_rounding(values: Tensor, whole: bool, what: str) -> None:
    """Warns of numbers that float32, in which probes are fitted, cannot tell apart: whole ones that it does
    not hold, and others where rounding blurs what differs between the rows.
    """
    lost = (values - values.float().double()).abs()
    if whole:
        blurred = lost > 0
    else:
        size, spread = values.abs().amax(-2, keepdim=True), values.std(-2, correction=0, keepdim=True)
        blurred = (lost > BLURRED * spread) & (spread > NOISE * size)
    if blurred.any():
        one = values[blurred][0].item()
        warnings.warn(
            f"{what} has {int(blurred.sum())} numbers (such as {one:.17g}) that float32, in"
            " which probes are fitted, rounds by as much as rows differ or to another whole number; take"
            " the mean of each coordinate off, or scale them, before you wrap them",
            stacklevel=4,
        )


def refuse_endless(values: Float[Tensor, "site n d"], what: str) -> None:
    """Raises ValueError naming the first row with NaN, infinite or all too large numbers."""
    if not values.numel():
        return
    low, high = values.aminmax()  # one pass without a copy; NaN is never within
    if low >= -LARGEST and high <= LARGEST:
        return
    bad = ~(values.abs() <= LARGEST).all(dim=2)
    site, row = bad.nonzero()[0].tolist()
    if torch.isfinite(values).all():
        raise ValueError(
            f"{what} has values beyond {LARGEST:g} in {int(bad.sum())} rows (first: site index {site}, row"
            f" {row}), whose squares float32 does not hold, in which probes are fitted; scale them, or drop"
            " those rows"
        )
    raise ValueError(
        f"{what} has NaN or infinite values in {int(bad.sum())} rows (first: site index {site}, row"
        f" {row}); half-precision overflow is the usual cause, so capture in float32 or bfloat16, or drop"
        " those rows"
    )


class Sited(Rows):
    """Rows whose numbers lie at named sites."""

    sites: tuple[Site, ...]
    receipt: dict[str, Any]

    def _rows_apart(self) -> dict[str, Any]:
        """The row data for a value of its own: what is written into one is not written into the other."""
        found = {name: getattr(self, name) for name in ("y", "groups", "ids")}
        copies: dict[str, Any] = {k: None if v is None else v.copy() for k, v in found.items()}
        copies["columns"] = {name: column.copy() for name, column in self.columns.items()}
        return copies | {"receipt": dict(self.receipt)}

    def index_of(self, sites: SiteLike | Sequence[SiteLike]) -> list[int]:
        wanted = as_sites(sites)
        missing = [str(s) for s in wanted if s not in self.sites]
        if missing:
            raise ValueError(
                f"these activations have no site {', '.join(missing)}; they have"
                f" {', '.join(map(str, self.sites))}"
            )
        return [self.sites.index(s) for s in wanted]


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
        labels, groups or sites, and on ids that repeat.
        """
        stack = _stacked(x, "x")
        n = stack.shape[1]
        text, token = np.arange(n), None
        if example is not None:
            text = np.unique(as_column(example, n, "example"), return_inverse=True)[1]
            order = np.argsort(text, kind="stable")
            token = np.empty(n, dtype=int)
            token[order] = np.arange(n) - np.searchsorted(text[order], text[order])
        rows = make_rows(n, y, example if groups is None and example is not None else groups, ids, columns)
        return cls(x=stack, sites=_sites_of(stack, sites), example=text, token=token, receipt={}, **rows)

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

    def blocks(self, max_bytes: int = 2**28) -> "Iterator[Activations]":
        """Stacks of sites that fit into `max_bytes` each."""
        step = max(1, max_bytes // max(1, self.x[0].nbytes))
        for start in range(0, len(self.sites), step):
            yield self[self.sites[start : start + step]]

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
        first, second = _stacked(yes, "yes"), _stacked(no, "no")
        if first.shape != second.shape:
            raise ValueError(
                f"yes has shape {tuple(first.shape)} and no has {tuple(second.shape)}; row i of both is one"
                " statement"
            )
        columns = with_pair(columns, pair_id, negated)
        groups = columns.get("pair_id") if groups is None else groups
        rows = make_rows(first.shape[1], y, groups, ids, columns)
        return cls(yes=first, no=second, sites=_sites_of(first, sites), receipt={}, **rows)

    def __getitem__(self, site: SiteLike | Sequence[SiteLike]) -> "PairActivations":
        index = self.index_of(site)
        sites, rows = tuple(self.sites[i] for i in index), self._rows_apart()
        return replace(self, yes=self.yes[index], no=self.no[index], sites=sites, **rows)

    def _take(self, index: np.ndarray) -> "PairActivations":
        at = torch.from_numpy(index).to(self.yes.device)
        return replace(super()._take(index), yes=self.yes[:, at], no=self.no[:, at])

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
