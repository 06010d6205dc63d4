"""What is done to hidden states before a probe sees them, fitted on train rows only and kept with the probe.

A `Transform` is the plan, `Fitted` what train rows made of it: rows to unit length, then centring and scaling
(over all rows, within the values of a column, or within clusters), then erasure of a nuisance, in this order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.checks.settings import check_choices
from probes.data.artefacts import laid_out
from probes.data.stored import Form, Stored
from probes.fitting.clusters import by_column, centres, column_of, kmeans, nearest, picked, values_by_row
from probes.fitting.leace import leace
from probes.fitting.nuisances import nuisances
from probes.fitting.spreads import mean_squares, no_spread, spread

NAMES = ("none", "mean", "median", "rms", "zscore", "l2", "l2+mean", "l2+median")


@dataclass(frozen=True)
class Transform:
    """A plan for preparing hidden states; most are short enough to be a name, such as "zscore" or
    "l2+median".

    `by` centres each value of a column by itself (a template, a negation flag); `clusters` does so within
    that many k-means clusters (cluster normalisation, arXiv 2407.18712, without its scale per cluster).
    `erase` removes what a linear probe could read of the named columns (LEACE, arXiv 2306.03819): a column of
    floats as a number, any other as classes. On pairs it erases them crossed with the side, which is where
    negation hides from a plain erasure. Each side of pairs is centred by itself; the scale is shared, so that
    a step along a direction means the same on either side.
    """

    unit_rows: bool = False
    centre: Literal["none", "mean", "median"] = "none"
    scale: Literal["none", "rms", "zscore"] = "none"
    by: str | None = None
    clusters: int = 0
    erase: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choices(self)
        if isinstance(self.erase, str):
            raise ValueError(
                f"erase is a tuple of column names, got {self.erase!r}; write erase=({self.erase!r},)"
            )
        if self.by is not None and self.clusters:
            raise ValueError("centre by a column or by clusters, not both: leave by or clusters out")
        if (self.by is not None or self.clusters) and self.centre == "none":
            raise ValueError(
                'by and clusters say what to centre within, so centre must be "mean" or "median"'
            )

    @classmethod
    def parse(cls, plan: "str | Transform") -> "Transform":
        if isinstance(plan, Transform):
            return plan
        if plan not in NAMES:
            raise ValueError(
                f"unknown transform {plan!r}; choose {', '.join(NAMES)} or build a Transform(...)"
            )
        last = plan.split("+")[-1]
        centre: Any = {"mean": "mean", "median": "median", "rms": "mean", "zscore": "mean"}.get(last, "none")
        scale: Any = last if last in ("rms", "zscore") else "none"
        return cls(plan.startswith("l2"), centre, scale)

    def __str__(self) -> str:
        parts = ["l2"] * self.unit_rows + [self.centre] * (self.centre != "none")
        if self.by is not None or self.clusters:
            parts[-1] += f" by {self.by or f'{self.clusters} clusters'}"
        parts += [self.scale] * (self.scale != "none") + [f"erase {' x '.join(self.erase)}"] * bool(
            self.erase
        )
        return "+".join(parts) or "none"

    def fit(
        self, sides: Mapping[str, Float[Tensor, "site n d"]], columns: Mapping[str, np.ndarray]
    ) -> "dict[str, Fitted]":
        """One fitted transform a side ("all" for single texts); raises ValueError for a column that
        is not there.
        """
        x = {side: unit(v.float()) if self.unit_rows else v.float() for side, v in sides.items()}
        any_side = next(iter(x.values()))
        sites = len(any_side)
        clusters, values, centroids = None, (), None
        if self.by is not None:
            values = tuple(np.unique(values_by_row(columns, self.by)).tolist())
            clusters = by_column(columns, self.by, values, sites).to(any_side.device)
        elif self.clusters:
            middle = torch.stack(list(x.values())).mean(0)
            centroids = kmeans(middle, self.clusters, no_spread(middle).tolist())
            clusters = nearest(middle, centroids)
        count = len(values) or self.clusters or 1
        shifts = {side: centres(v, clusters, count, self.centre) for side, v in x.items()}
        scale = (
            torch.ones(sites, 1, device=any_side.device)
            if self.scale == "none"
            else self._spread(x, shifts, clusters, count)
        )
        made = {
            side: Fitted(str(self), shifts[side], scale, self.unit_rows, self.by, values, centroids)
            for side in x
        }
        if not self.erase:
            return made
        z = torch.cat([made[side](v, clusters) for side, v in sides.items()], dim=1)
        mean, read, write = leace(
            z,
            nuisances({c: column_of(columns, c) for c in self.erase}, tuple(x), *any_side.shape[1:]).to(
                z.device
            ),
        )
        return {
            s: Fitted(f.name, f.shift, f.scale, f.unit_rows, f.by, f.values, f.centroids, mean, read, write)
            for s, f in made.items()
        }

    def _spread(
        self, x: Mapping[str, Tensor], shifts: Mapping[str, Tensor], clusters: Tensor | None, count: int
    ) -> Float[Tensor, "site s"]:
        """One scale for all sides, about the centres: a number a site (rms) or a coordinate (zscore)."""
        about = (
            shifts
            if self.centre != "none"
            else {side: centres(v, clusters, count, "mean") for side, v in x.items()}
        )
        squares = [mean_squares(v, about[side], clusters) for side, v in x.items()]
        variance = torch.stack(squares).mean(0)
        level = torch.stack([about[side].square().mean(1) for side in x]).mean(0)
        return spread(self.scale, variance, (level + variance).sqrt())


@dataclass(frozen=True, eq=False)
class Fitted:
    """z = (x - shift[cluster]) / scale at each site, after rows were scaled to unit length if so planned,
    then erased.

    `shift` has one row a cluster: one for all rows, one a value of the column `by`, or one a centroid, whose
    nearest rows take it.
    """

    name: str
    shift: Float[Tensor, "site c d"]
    scale: Float[Tensor, "site s"]
    unit_rows: bool = False
    by: str | None = None
    values: tuple[str, ...] = ()
    centroids: Float[Tensor, "site c d"] | None = None
    mean: Float[Tensor, "site d"] | None = None
    read: Float[Tensor, "site d k"] | None = None
    write: Float[Tensor, "site k d"] | None = None

    def __post_init__(self) -> None:
        laid_out(self)

    @property
    def exact(self) -> bool:
        """Whether the gradient is the same for every row."""
        return not self.unit_rows

    def clusters(
        self, columns: Mapping[str, np.ndarray], middle: Float[Tensor, "site n d"]
    ) -> Int[Tensor, "site n"] | None:
        """Which shift each row takes; `middle` is the row itself, or the mean of the two texts of a pair."""
        if self.centroids is not None:
            return nearest(
                unit(middle.float()) if self.unit_rows else middle.float(), self.centroids.to(middle.device)
            )
        return (
            None
            if self.by is None
            else by_column(columns, self.by, self.values, len(self.shift)).to(middle.device)
        )

    def __call__(
        self, x: Float[Tensor, "site n d"], clusters: Int[Tensor, "site n"] | None = None
    ) -> Float[Tensor, "site n d"]:
        if clusters is None and self.shift.shape[1] > 1:
            raise ValueError(f"the transform {self.name!r} needs to know which cluster each row lies in")
        h = x.to(self.shift.dtype)
        z = ((unit(h) if self.unit_rows else h) - picked(self.shift, clusters)).div_(self.scale[:, None])
        if self.read is None or self.write is None or self.mean is None:
            return z
        return z - ((z - self.mean[:, None]) @ self.read) @ self.write

    def gradient(
        self, weight: Float[Tensor, "site d"], x: Float[Tensor, "site n d"]
    ) -> Float[Tensor, "site m d"]:
        """The gradient of weight . z with respect to the raw row: one for all rows where it is exact,
        else one a row.
        """
        g = weight
        if self.read is not None and self.write is not None:
            g = g - torch.einsum("sdk,ske,se->sd", self.read, self.write, g)
        g = (g / self.scale)[:, None]
        if not self.unit_rows:
            return g
        norm = x.float().norm(dim=2, keepdim=True).clamp_min(1e-30)
        u = x.float() / norm
        return (g - (g * u).sum(2, keepdim=True) * u) / norm

    def at(self, index: Sequence[int]) -> "Fitted":
        """The transform of some of the sites."""
        return self._each(lambda t: t[list(index)])

    def to(self, device: Any) -> "Fitted":
        return self._each(lambda t: t.to(device))

    def _each(self, change: Any) -> "Fitted":
        tensors = {name: change(t) for name, t in self.tensors().items()}
        return Fitted(**{**self.header(), **tensors})

    @classmethod
    def unpacked(cls, stored: Stored, side: str, sizes: Mapping[str, int]) -> "Fitted":
        """The transform of one side of what a file holds; raises ValueError for fields that do not fit each
        other.
        """
        at, own = f"transforms.{side}", stored.within(f"{side}.")
        given = own.built(cls, Form(positive=("scale",)), lengths := dict(sizes), at)
        names, width = set(stored.plain(at, dict[str, Any])), lengths["s"]
        if strange := sorted(names - {"name", "unit_rows", "by", "values"}):
            raise stored.fault(f"{at}.{strange[0]}", "is unknown to this version")
        if width not in (1, lengths["d"]):
            raise stored.fault(f"the tensor '{side}.scale'", f"has {width} numbers a site")
        found = cls(**given)
        clusters = 1 if found.by is None else len(found.values)
        if found.centroids is None and clusters != lengths["c"]:
            raise stored.fault(f"the tensor '{side}.shift'", f"has {lengths['c']} rows for {clusters} values")
        if len({t is None for t in (found.mean, found.read, found.write)}) == 2:
            raise stored.fault(at, "erases with some of mean, read and write, expected all or none")
        return found

    def tensors(self) -> dict[str, Tensor]:
        """What is saved as numbers."""
        named = {k: getattr(self, k) for k in ("shift", "scale", "centroids", "mean", "read", "write")}
        return {k: t for k, t in named.items() if t is not None}

    def header(self) -> dict[str, Any]:
        """What is saved as text."""
        return {"name": self.name, "unit_rows": self.unit_rows, "by": self.by, "values": tuple(self.values)}


def unit(x: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
    """Rows scaled to unit length; a row of zeros stays."""
    return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-30)
