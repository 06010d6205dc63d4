"""By how much rows differ, and from when on that is more than rounding."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probes.fitting.clusters import picked

NOISE = 1e-6  # share of its size by which a float32 value may move by rounding
# Where this many rows differ by this many times the rounding, ever so many more rows do by more than it.
FEW, CLEARLY = 32, 1e4
PIECE = 2**19  # numbers that are squared at once


def spread(
    scale: str, variance: Float[Tensor, "site d"], size: Float[Tensor, "site d"]
) -> Float[Tensor, "site s"]:
    """Root of the variance, a coordinate (zscore) or a site (rms). A coordinate that never moves
    would be divided by rounding noise, so it is left.
    """
    moves = variance.sqrt() > rounding(size)
    if scale == "zscore":
        return torch.where(moves, variance.sqrt(), 1.0)
    found = torch.where(moves, variance, 0.0).mean(1).sqrt()[:, None]
    return torch.where(found > 0, found, 1.0)


def rounding(size: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
    """Up to how much a coordinate may differ by rounding alone, from the sizes of all.

    From its own, or that of the middle one if larger, as matrix products mix coordinates; not from the
    largest, which in hidden states may be a thousand times as large and say nothing about the others.
    """
    return NOISE * torch.maximum(size, size.median(-1, keepdim=True).values)


def no_spread(x: Float[Tensor, "site n d"]) -> Bool[Tensor, " site"]:
    """Sites at which all rows are the same, up to rounding."""
    if x.shape[1] > 2 * FEW and not _flat(x[:, :FEW], CLEARLY).any():
        return torch.zeros(len(x), dtype=torch.bool, device=x.device)  # a few rows tell, as they mostly do
    return _flat(x, 1.0)


def _flat(x: Float[Tensor, "site n d"], times: float) -> Bool[Tensor, " site"]:
    """Sites at which no coordinate moves by more than so many times the rounding."""
    x = x.float()
    middle = x.mean(1, keepdim=True)
    variance = mean_squares(x, middle)
    return (variance.sqrt() <= times * rounding((middle[:, 0].square() + variance).sqrt())).all(1)


def mean_squares(
    x: Float[Tensor, "site n d"],
    about: Float[Tensor, "site c d"],
    clusters: Int[Tensor, "site n"] | None = None,
) -> Float[Tensor, "site d"]:
    """Of each coordinate about its rows' centres; a few rows at a time, which stay in the cache."""
    rows = max(1, PIECE // (len(x) * x.shape[2]))
    total = torch.zeros_like(x[:, 0])
    for first in range(0, x.shape[1], rows):
        own = None if clusters is None else clusters[:, first : first + rows]
        total += (x[:, first : first + rows] - picked(about, own)).square_().sum(1)
    return total / x.shape[1]


def mean_square(x: Float[Tensor, "site n d"]) -> Float[Tensor, " site"]:
    """Of all numbers of a site, without a copy of them."""
    return torch.linalg.vector_norm(x, dim=(1, 2)).square() / x[0].numel()
