"""Which rows somebody means: a boolean mask, or positions."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int

from probes.checks.arrays import unmasked

SHORT = 4  # rows up to which as many zeros and ones may well be positions


def positions(which: Any, n: int) -> Int[np.ndarray, " k"]:
    """The positions of the rows where a boolean mask holds, or those given, in their order; from the end
    where negative.

    Raises ValueError for positions that are not there, for as many zeros and ones as there are rows, which
    would be a mask if they were boolean, and for anything else.
    """
    if isinstance(which, slice):
        which = range(*which.indices(n))
    unmasked(which, "the choice of rows")
    picked = np.asarray(which.cpu() if isinstance(which, torch.Tensor) else which)
    if picked.dtype == bool:
        if picked.shape != (n,):
            raise ValueError(f"the mask has shape {picked.shape} but there are {n} rows")
        return np.flatnonzero(picked)
    if picked.size and picked.dtype.kind not in "iu":
        raise ValueError(
            f"rows are picked by a boolean mask or by whole numbers, got {picked.dtype} such as"
            f" {picked.ravel()[0]!r}"
        )
    if picked.ndim > 1:
        raise ValueError(f"rows are picked by one line of positions, got an array of shape {picked.shape}")
    if len(np.atleast_1d(picked)) == n > SHORT and np.isin(picked, (0, 1)).all():
        raise ValueError(
            f"rows are picked by {n} zeros and ones, one a row; as positions they would be rows 0 and 1 over"
            " and over: a mask is boolean, such as y == 1"
        )
    picked = np.atleast_1d(picked.astype(np.int64))
    beyond = picked[(picked < -n) | (picked >= n)]
    if len(beyond):
        raise ValueError(f"there is no row {beyond[0]}: there are {n} rows, 0 to {n - 1}")
    return picked


def mask(which: Any, n: int) -> Bool[np.ndarray, " n"]:
    """The same as a boolean mask; None is all rows."""
    if which is None:
        return np.ones(n, dtype=bool)
    found = np.zeros(n, dtype=bool)
    found[positions(which, n)] = True
    return found
