"""What is done to hidden states before a probe sees them, fitted on train rows only and kept with the probe.

A `Transform` is the plan, `Fitted` what train rows made of it: rows to unit length, then centring and scaling
(over all rows, within the values of a column, or within clusters), then erasure of a nuisance, in this order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probes.data.artefacts import laid_out
from probes.data.checks import check_choices
from probes.fitting.leace import leace

FEWEST_PER_CELL = 3  # rows a class that is to be erased has on average
NOISE = 1e-6  # relative spread below which float32 values count as constant
NAMES = ("none", "mean", "median", "rms", "zscore", "l2", "l2+mean", "l2+median")


@dataclass(frozen=True)
class Transform:
    """A plan for preparing hidden states; most are short enough to be a name, such as "zscore" or
    "l2+median".

    `by` centres each value of a column by itself (a template, a negation flag); `clusters` does so within
    that many k-means clusters (cluster normalisation, arXiv 2407.18712, without its scale per cluster).
    `erase` removes what a linear probe could read of the named columns (LEACE, arXiv 2306.03819): a column of
    floats as a number, any other as classes. On pairs it erases their cells crossed with the side, which is
    where negation hides from a plain erasure. Each side of pairs is centred by itself; the scale is shared,
    so that a step along a direction means the same on either side.
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
        cells, values, centroids = None, (), None
        if self.by is not None:
            values = tuple(np.unique(_column(columns, self.by).astype(str)).tolist())
            cells = _column_cells(columns, self.by, values, sites).to(any_side.device)
        elif self.clusters:
            middle = torch.stack(list(x.values())).mean(0)
            centroids = _kmeans(middle, self.clusters)
            cells = _nearest(middle, centroids)
        count = len(values) or self.clusters or 1
        shifts = {side: _centres(v, cells, count, self.centre) for side, v in x.items()}
        scale = (
            torch.ones(sites, 1, device=any_side.device)
            if self.scale == "none"
            else self._spread(x, shifts, cells, count)
        )
        made = {
            side: Fitted(str(self), shifts[side], scale, self.unit_rows, self.by, values, centroids)
            for side in x
        }
        if not self.erase:
            return made
        z = torch.cat([made[side](v, cells) for side, v in sides.items()], dim=1)
        mean, read, write = leace(
            z,
            _nuisances({c: _column(columns, c) for c in self.erase}, tuple(x), *any_side.shape[1:]).to(
                z.device
            ),
        )
        return {
            s: Fitted(f.name, f.shift, f.scale, f.unit_rows, f.by, f.values, f.centroids, mean, read, write)
            for s, f in made.items()
        }

    def _spread(
        self, x: Mapping[str, Tensor], shifts: Mapping[str, Tensor], cells: Tensor | None, count: int
    ) -> Float[Tensor, "site s"]:
        """One scale for all sides, about the centres: a number a site (rms) or a coordinate (zscore)."""
        about = (
            shifts
            if self.centre != "none"
            else {side: _centres(v, cells, count, "mean") for side, v in x.items()}
        )
        rest = torch.cat([v - _picked(about[side], cells) for side, v in x.items()], dim=1)
        size = torch.stack([v.pow(2).mean((1, 2)) for v in x.values()]).mean(0).sqrt()[:, None]
        return spread(self.scale, rest.pow(2).mean(1), size)


@dataclass(frozen=True, eq=False)
class Fitted:
    """z = (x - shift[cell]) / scale at each site, after rows were scaled to unit length if so planned, then
    erased.

    `shift` has one row a cell: one for all rows, one a value of the column `by`, or one a cluster (nearest of
    `centroids`).
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

    def cells(
        self, columns: Mapping[str, np.ndarray], middle: Float[Tensor, "site n d"]
    ) -> Int[Tensor, "site n"] | None:
        """Which shift each row takes; `middle` is the row itself, or the mean of the two texts of a pair."""
        if self.centroids is not None:
            return _nearest(
                unit(middle.float()) if self.unit_rows else middle.float(), self.centroids.to(middle.device)
            )
        return (
            None
            if self.by is None
            else _column_cells(columns, self.by, self.values, len(self.shift)).to(middle.device)
        )

    def __call__(
        self, x: Float[Tensor, "site n d"], cells: Int[Tensor, "site n"] | None = None
    ) -> Float[Tensor, "site n d"]:
        if cells is None and self.shift.shape[1] > 1:
            raise ValueError(f"the transform {self.name!r} needs to know which cell each row lies in")
        h = x.to(self.shift.dtype)
        z = ((unit(h) if self.unit_rows else h) - _picked(self.shift, cells)) / self.scale[:, None]
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


def spread(
    scale: str, variance: Float[Tensor, "site d"], size: Float[Tensor, "site 1"]
) -> Float[Tensor, "site s"]:
    """Root of the variance, a coordinate (zscore) or a site (rms). A coordinate that never moves
    would be divided by rounding noise, so it is left.
    """
    found = variance.sqrt() if scale == "zscore" else variance.mean(1).sqrt()[:, None]
    return torch.where(found > NOISE * size, found, 1.0)


def no_spread(x: Float[Tensor, "site n d"]) -> Bool[Tensor, " site"]:
    """Sites at which all rows are the same, up to rounding."""
    x = x.float()
    return (x - x.mean(1, keepdim=True)).pow(2).mean((1, 2)).sqrt() <= NOISE * x.pow(2).mean((1, 2)).sqrt()


def _picked(table: Tensor, cells: Tensor | None) -> Tensor:
    return table if cells is None else torch.gather(table, 1, cells[..., None].expand(-1, -1, table.shape[2]))


def _centres(x: Tensor, cells: Tensor | None, count: int, kind: str) -> Float[Tensor, "site c d"]:
    sites, _, width = x.shape
    if kind == "none":
        return torch.zeros(sites, 1, width, device=x.device).expand(-1, count, -1).clone()
    if cells is None:
        return _middle(x, kind)[:, None]
    centres = _middle(x, kind)[:, None].repeat(
        1, count, 1
    )  # a cluster can stay empty where rows do not differ
    for s in range(sites):
        for c in torch.unique(cells[s]).tolist():
            centres[s, c] = _middle(x[s : s + 1, cells[s] == c], kind)[0]
    return centres


def _middle(x: Tensor, kind: str) -> Tensor:
    if kind == "mean":
        return x.mean(1)
    # torch.median takes the lower of two middle values, and torch.quantile refuses more than 16 million
    # numbers.
    ranked, n = x.sort(dim=1).values, x.shape[1]
    return (ranked[:, (n - 1) // 2] + ranked[:, n // 2]) / 2


def _column(columns: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in columns:
        raise ValueError(
            f"the transform needs a column {name!r}; there are {sorted(columns) or 'no columns'}"
        )
    return np.asarray(columns[name])


def _column_cells(
    columns: Mapping[str, np.ndarray], name: str, values: Sequence[str], sites: int
) -> Int[Tensor, "site n"]:
    column = _column(columns, name).astype(str)
    new = sorted(set(column.tolist()) - set(values))
    if new:
        raise ValueError(
            f"column {name!r} has values the transform was not fitted on: {new[:5]}; it knows"
            f" {list(values)[:5]}"
        )
    at = {v: i for i, v in enumerate(values)}
    return torch.tensor([at[v] for v in column.tolist()]).expand(sites, -1)


def _nuisances(named: Mapping[str, np.ndarray], sides: Sequence[str], n: int, d: int) -> Float[Tensor, "m c"]:
    """What is to be erased: the cells of all class columns and the side, and every column of floats
    on each side.
    """
    numbers = [c.astype(float) for c in named.values() if c.dtype.kind == "f"]
    classes = [c.astype(str) for c in named.values() if c.dtype.kind != "f"]
    cells = ["|".join(row) for row in zip(*classes, strict=True)] if classes else [""] * n
    if (count := len(set(cells))) > max(2, min(n // FEWEST_PER_CELL, d)):
        raise ValueError(
            f"erase={tuple(named)} makes {count} classes of {n} rows of width {d}, and erasing them would"
            " take most else along; give a number as a column of floats, which is erased as one number, or"
            " put values together"
        )
    parts = [one_hot([f"{side}|{cell}" for side in sides for cell in cells])]
    for number in numbers:
        size = (number - number.mean()) / max(number.std(), 1e-300)
        parts.append(torch.block_diag(*[torch.from_numpy(size)[:, None]] * len(sides)))
    return torch.cat(parts, dim=1)


def one_hot(labels: Sequence[str]) -> Float[Tensor, "n c"]:
    index = np.unique(np.asarray(labels), return_inverse=True)[1]
    return torch.nn.functional.one_hot(torch.from_numpy(index)).double()


def _kmeans(x: Float[Tensor, "site n d"], k: int) -> Float[Tensor, "site c d"]:
    from sklearn.cluster import KMeans

    if k > x.shape[1]:
        raise ValueError(f"{k} clusters need at least as many rows, got {x.shape[1]}")

    def means(rows: np.ndarray) -> np.ndarray:
        search: Any = KMeans(k, n_init=10, random_state=0)  # pyright: ignore[reportArgumentType]
        return search.fit(rows).cluster_centers_

    # Where rows do not differ there is one cluster, and k-means would warn about the others.
    fits = [
        site[:1].expand(k, -1).cpu().double().numpy() if flat else means(site.cpu().double().numpy())
        for site, flat in zip(x, no_spread(x).tolist(), strict=True)
    ]
    return torch.from_numpy(np.stack(fits)).float().to(x.device)


def _nearest(x: Float[Tensor, "site n d"], centroids: Float[Tensor, "site c d"]) -> Int[Tensor, "site n"]:
    return torch.cdist(x, centroids).argmin(2)
