"""A direction that points away from what its labels name, said where its gap is measured."""

import numpy as np
from jaxtyping import Bool, Float

from probes.checks.saying import warn

CHANCE = 3.0  # standard errors


def say_backwards(
    apart: float,
    along: Float[np.ndarray, " n"],
    y: Bool[np.ndarray, " n"],
    groups: np.ndarray,
    direction: str,
) -> None:
    """Warns of a direction along which rows labelled 1 lie below those labelled 0 by more than three standard
    errors, those of the means of groups.
    """
    parts = [_means(along[y == label], groups[y == label]) for label in (True, False)]
    if min(map(len, parts)) < 2:
        return
    error = float(np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)))
    if -apart > CHANCE * error:
        warn(
            f"{direction} points towards the rows labelled 0: along it those labelled 1 lie {-apart:.3g}"
            f" lower (standard error {error:.2g}), so Add(direction, gaps=1) moves towards label 0 and"
            " gaps=-1 towards label 1; take -direction where the label names what it is meant to find"
        )


def _means(values: Float[np.ndarray, " n"], groups: np.ndarray) -> Float[np.ndarray, " g"]:
    """The mean of every group."""
    codes = np.unique(groups, return_inverse=True)[1]
    return np.bincount(codes, values) / np.bincount(codes)
