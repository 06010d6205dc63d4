"""The four probabilities of a statement and its opposite in one number."""

from typing import Any

import numpy as np

from probes.metrics.scores import probabilities


def polar_consistency(a1: Any, a0: Any, n1: Any, n0: Any) -> Any:
    """0.5 [(a1 - n0)^2 + (a0 - n1)^2] sign(a1 - n1) sign(n0 - a0), elementwise: 0 for opposites, but also for
    a constant probe.

    Ranges over [-1, 1]; averages cancel, so look at its absolute value and at flip rates too.
    """
    a1, a0, n1, n0 = _four(a1, a0, n1, n0)
    return (0.5 * ((a1 - n0) ** 2 + (a0 - n1) ** 2) * np.sign(a1 - n1) * np.sign(n0 - a0))[()]


def contradiction_index(a1: Any, a0: Any, n1: Any, n0: Any, symmetric: bool = False) -> Any:
    """a1 n1 + a0 n0, elementwise: 0 when a statement and its opposite never get the same answer, 2 when they
    always get both.

    A constant probe at .4 has .32 and at .6 has .72, though neither reads anything; `symmetric` averages the
    index over p and 1 - p, which is .52 for both.
    """
    a1, a0, n1, n0 = _four(a1, a0, n1, n0)
    plain = a1 * n1 + a0 * n0
    return ((plain + (1 - a1) * (1 - n1) + (1 - a0) * (1 - n0)) / 2 if symmetric else plain)[()]


def ideal_distance(a1: Any, a0: Any, n1: Any, n0: Any) -> Any:
    """Half the Euclidean distance to the ideal probe (1, 0, 0, 1), elementwise, in [0, 1]; it depends
    on the sign of the probe.
    """
    a1, a0, n1, n0 = _four(a1, a0, n1, n0)
    return (0.5 * np.sqrt((a1 - 1) ** 2 + a0**2 + n1**2 + (n0 - 1) ** 2))[()]


def _four(*values: Any) -> list[np.ndarray]:
    return [probabilities(v, name) for v, name in zip(values, ("a1", "a0", "n1", "n0"), strict=True)]
