"""Differences between two kinds of rows of the same group."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from probes.metrics.estimates import Estimate, mean


def shift_within_groups(
    values: Any, first: Bool[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"], *, level: float = 0.95
) -> Estimate:
    """How much higher the values are in the `first` rows of a group than in its others, averaged over groups.

    Raises ValueError for a group that has one kind of rows only.
    """
    line = np.asarray(values, dtype=float)
    names = np.unique(groups)
    shifts = []
    for name in names:
        own = groups == name
        if not (own & first).any() or not (own & ~first).any():
            raise ValueError(
                f"group {name} has rows of one kind only, so nothing in it can be compared; leave it out"
            )
        shifts.append(float(line[own & first].mean()) - float(line[own & ~first].mean()))
    return mean(np.array(shifts), names, share=False, level=level)
