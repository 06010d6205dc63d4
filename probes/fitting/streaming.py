"""Fitting from a store without holding its rows: what mass-mean probes, ridge, LEACE and principal components
need are sums over rows.

Everything here takes `StoredActivations` (or ordinary ones) and goes over the rows in chunks, in float64,
about the mean of the first chunk, so that a large common offset costs no digits. Results equal those of
fitting in memory up to rounding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.data.activations import Activations
from probes.fitting.leace import erasure
from probes.fitting.linear import LinearProbe
from probes.fitting.meaningless import exchanged_weights, of_length
from probes.fitting.nuisances import one_hot
from probes.fitting.recipe import Prepares, Recipe, Whitens
from probes.fitting.rows_of_fit import rows_of_fit
from probes.fitting.solving import solve_positive
from probes.fitting.spreads import rounding, spread
from probes.fitting.transforms import Fitted, Transform
from probes.fitting.whitening import whitened
from probes.reading.store import StoredActivations

Stored = StoredActivations | Activations
Prepare = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted means of the rows and, where asked for, their covariance and that with the weights'
    columns.
    """

    n: int
    mean: Float[Tensor, "site d"]
    variance: Float[Tensor, "site d"]
    by_column: Float[Tensor, "site c d"]
    covariance: Float[Tensor, "site d d"] | None


def streams(acts: Any, plan: Transform) -> bool:
    """Whether a recipe with this transform can be fitted on these activations chunk by chunk."""
    return (
        isinstance(acts, StoredActivations)
        and not plan.unit_rows
        and plan.centre != "median"
        and plan.by is None
        and not plan.clusters
    )


def moments(
    acts: Stored,
    columns: Float[Tensor, "n c"],
    prepare: Prepare,
    second: bool = False,
    of: np.ndarray | None = None,
) -> Moments:
    """Mean and variance of prepared rows, and sum over rows of column c times (row - mean); with `second` the
    covariance too.

    `of` limits the mean and covariance to some rows. Memory: one chunk, and d x d a site with `second`.
    """
    shift: Tensor | None = None
    total = square = product = cross = torch.zeros(())
    count, weight = 0, torch.zeros(())
    for index, part in _chunks(acts):
        x = prepare(part.x).double()
        c = columns[torch.from_numpy(index)].to(x)
        if of is not None:
            keep = torch.from_numpy(of[index])
            x, c = x[:, keep], c[keep]
        if not x.shape[1]:
            continue
        if shift is None:
            shift = x.mean(1)
        x = x - shift[:, None]
        total, square, cross = total + x.sum(1), square + x.pow(2).sum(1), cross + c.T @ x
        product = product + x.transpose(1, 2) @ x if second else product
        count, weight = count + x.shape[1], weight + c.sum(0)
    assert shift is not None
    off = total / count
    covariance = product / count - off[:, :, None] * off[:, None, :] if second else None
    return Moments(
        count,
        shift + off,
        (square / count - off.pow(2)).clamp_min(0),
        cross - weight[:, None] * off[:, None],
        covariance,
    )


def fit_transform(plan: Transform, acts: Stored) -> dict[str, Fitted]:
    """The transform that `plan.fit` would give on all rows, in one pass (two with an erasure)."""
    none = torch.zeros(len(acts), 0, dtype=torch.float64)
    raw = moments(acts, none, lambda x: x)
    shift = raw.mean if plan.centre == "mean" else torch.zeros_like(raw.mean)
    size = (raw.variance + raw.mean.pow(2)).sqrt()
    scale = (
        torch.ones(len(shift), 1) if plan.scale == "none" else spread(plan.scale, raw.variance, size).float()
    )
    made = Fitted(str(plan), shift.float()[:, None], scale)
    if not plan.erase:
        return {"all": made}
    named = np.stack([np.asarray(acts.column(c)).astype(str) for c in plan.erase], axis=1)
    z = one_hot(["|".join(["all", *row]) for row in named])
    found = moments(acts, z - z.mean(0), made, second=True)
    assert found.covariance is not None
    mean, read, write = erasure(found.mean, found.covariance, found.by_column.transpose(1, 2) / found.n, z)
    return {"all": Fitted(made.name, made.shift, made.scale, mean=mean, read=read, write=write)}


def mass_mean(recipe: Whitens, acts: StoredActivations) -> LinearProbe:
    """What `MassMean.fit` gives in memory."""
    y, _ = acts.classes
    fitted = fit_transform(Transform.parse(recipe.prepare), acts)
    z, labels = fitted["all"], y.double()
    shares = torch.stack([labels / labels.sum(), (1 - labels) / (1 - labels).sum()], dim=1)
    found = moments(acts, shares, z, second=recipe.whiten)
    high, low = found.by_column[:, 0], found.by_column[:, 1]
    size = (found.variance + found.mean.pow(2)).sqrt()
    weight = torch.where((high - low).abs() > rounding(size), high - low, 0)
    if found.covariance is not None:
        # The scatter within classes is the whole scatter less that of the class means.
        p = labels.mean()
        within = found.covariance - p * (1 - p) * (high - low)[:, :, None] * (high - low)[:, None, :]
        weight = whitened(weight, within, found.variance.sqrt(), found.n - 2)
    bias = -(((high + low) / 2 + found.mean) * weight).sum(1)

    def loss(margin: Tensor, at: Tensor) -> Tensor:
        return torch.nn.functional.softplus(torch.where(y[at], -margin, margin)).sum(1)

    return _finished(recipe, acts, weight, bias, fitted, loss)


def ridge(recipe: Prepares, l2: float, acts: StoredActivations) -> LinearProbe:
    """What `Ridge.fit` gives in memory; d x d numbers a site are held."""
    fitted = fit_transform(Transform.parse(recipe.prepare), acts)
    y = torch.from_numpy(np.asarray(acts.y, dtype=float))
    found = moments(acts, (y - y.mean())[:, None], fitted["all"], second=True)
    assert found.covariance is not None
    gram = found.covariance + l2 * torch.eye(acts.width, dtype=torch.float64)
    weight = solve_positive(gram, found.by_column[:, 0] / found.n)
    bias = y.mean() - (found.mean * weight).sum(1)
    binary = bool(np.isin(np.asarray(acts.y), (0, 1)).all())

    def loss(margin: Tensor, at: Tensor) -> Tensor:
        return (margin + 0.5 * binary - y[at]).pow(2).sum(1)

    return _finished(recipe, acts, weight, bias - 0.5 * binary, fitted, loss)


def principal_components(acts: Stored, k: int) -> tuple[Float[Tensor, "site k d"], Float[Tensor, "site k"]]:
    """The k directions of largest variance at each site and their share of all variance; the sign
    makes the largest coordinate positive.
    """
    width = acts.width if isinstance(acts, StoredActivations) else acts.x.shape[-1]
    if not 1 <= k <= width:
        raise ValueError(f"k must be from 1 to the width {width}, got {k}")
    found = moments(acts, torch.zeros(len(acts), 0, dtype=torch.float64), lambda x: x, second=True)
    assert found.covariance is not None
    values, vectors = torch.linalg.eigh(found.covariance)
    vectors = vectors.flip(2)[:, :, :k].transpose(1, 2)
    largest = vectors.gather(2, vectors.abs().argmax(2, keepdim=True))
    return (vectors * largest.sign()).float(), (values.flip(1)[:, :k] / values.sum(1, keepdim=True)).float()


def _finished(
    recipe: Recipe,
    acts: StoredActivations,
    weight: Tensor,
    bias: Tensor,
    fitted: dict[str, Fitted],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> LinearProbe:
    """Raw-space directions, gaps and losses, as for rows in memory; one more pass."""
    t = fitted["all"]
    columns, per, gap_from = _apart(np.asarray(acts.y, dtype=float))
    exchanges = exchanged_weights(acts)
    both = torch.cat([torch.from_numpy(columns), exchanges.T.double()], dim=1)
    raw = moments(acts, both, lambda x: x)
    by_class, drawn = raw.by_column.split([columns.shape[1], len(exchanges)], dim=1)
    size = (raw.variance + raw.mean.pow(2)).sum(1).sqrt()
    flat = (raw.variance.sqrt() <= rounding((raw.variance + raw.mean.pow(2)).sqrt())).all(1)
    weight = torch.where(flat[:, None], 0, weight).float()
    bias = torch.where(flat & ~torch.isfinite(bias), 0, bias).float()
    slopes = t.gradient(weight, weight[:, None])[:, 0]
    norm = slopes.norm(dim=1, keepdim=True)
    units = torch.where(norm > 0, slopes / norm.clamp_min(1e-30), 0)
    gaps = torch.einsum("scd,sd,c->s", by_class, units.double(), torch.from_numpy(per))
    losses = torch.zeros(len(weight), dtype=torch.float64)
    for index, part in _chunks(acts):
        losses += loss(
            torch.einsum("snd,sd->sn", t(part.x), weight).double() + bias[:, None], torch.from_numpy(index)
        )
    return LinearProbe(
        sites=acts.sites,
        transforms=fitted,
        sign_from="train labels",
        recipe=str(recipe),
        receipt={**acts.receipt, **rows_of_fit(acts)},
        weight=weight,
        bias=bias,
        sign=torch.ones_like(bias),
        units=units,
        gaps=gaps.float(),
        gap_from=gap_from,
        losses=(losses / len(acts)).float(),
        cosines=(norm[:, 0] > 0).float(),
        exchanged=of_length(drawn, exchanges.norm(dim=1), size).half(),
    )


def _apart(y: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Weights of the rows, and of their sums, whose gap is the distance between classes; or the shift that
    goes with one standard deviation of a real-valued y.
    """
    if np.isin(y, (0, 1)).all():
        classes = np.stack([y / y.sum(), (1 - y) / (1 - y).sum()], 1)
        return classes, np.array([1.0, -1.0]), "labels"
    return ((y - y.mean()) / len(y) / y.std())[:, None], np.array([1.0]), "standard deviation of y"


def _chunks(acts: Stored) -> Iterator[tuple[np.ndarray, Activations]]:
    if isinstance(acts, StoredActivations):
        yield from acts.chunks()
    else:
        yield np.arange(len(acts)), acts
