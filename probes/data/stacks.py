"""Numbers of the user's own as they arrive: a stack of sites, held against what probes can be fitted on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.checks.arrays import real_array
from probes.checks.saying import warn
from probes.data.sites import Site, SiteLike, as_sites

LARGEST = 1e15
"""Beyond it sums of squares may leave the range of float32, in which probes are fitted."""
NOISE = 1e-12
"""Share of its size within which a number in double precision is taken to be constant."""
BLURRED = 0.1
"""Share of a coordinate's spread from which on rounding it is worth a word."""


def sites_of(stack: Tensor, sites: Sequence[SiteLike] | SiteLike | None) -> tuple[Site, ...]:
    if sites is None:
        return tuple(Site("array", i) for i in range(stack.shape[0]))
    named = tuple(as_sites(sites))
    if len(named) != stack.shape[0] or len(set(named)) != len(named):
        raise ValueError(
            f"x holds {stack.shape[0]} sites but {len(named)} were named ({', '.join(map(str, named))}); name"
            " each once"
        )
    return named


def stacked(x: Any, what: str) -> Tensor:
    """[n, d] or [site, n, d] numbers as a float tensor of their own, [site, n, d]; raises on NaN."""
    if isinstance(x, Mapping):
        names = list(map(str, x))
        raise TypeError(f"{what} is a {type(x).__name__} of arrays called {names}; give one of them")
    if not isinstance(x, torch.Tensor):
        own = np.ascontiguousarray(real_array(x, what))
        # Of what may not be written to, as columns of a data frame, torch warns; nothing here writes.
        x = torch.from_numpy(own if own.flags.writeable else own.copy())
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
        warn(
            f"{what} has {int(blurred.sum())} numbers (such as {one:.17g}) that float32, in"
            " which probes are fitted, rounds by as much as rows differ or to another whole number; take"
            " the mean of each coordinate off, or scale them, before you wrap them"
        )


def refuse_endless(values: Float[Tensor, "site n d"], what: str) -> None:
    """Raises ValueError naming the first row with NaN, infinite or all too large numbers."""
    if not values.numel():
        return
    # One pass without a copy; NaN is never within. In half precision the limit itself would be infinite.
    low, high = map(float, values.aminmax())
    if low >= -LARGEST and high <= LARGEST:
        return
    bad = ~(values.double().abs() <= LARGEST).all(dim=2)
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
