"""Anybody's scores as numbers: tensors on any device and of any precision, arrays, lists."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from probes.checks.arrays import one_order, real_array
from probes.checks.saying import warn


def as_scores(values: Any, what: str = "scores") -> Float[np.ndarray, "..."]:
    """The same numbers in double precision, as they stand: NaN values pass. Raises TypeError for text,
    complex numbers and other values that are no scores.
    """
    return real_array(values, what).astype(float)


def measurable(values: Any, what: str) -> Float[np.ndarray, "*batch n"]:
    """Numbers [..., n] to take a measure of; raises ValueError where there are none, and on NaN."""
    scores = as_scores(values, what)
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise ValueError(f"{what} is empty; expected [..., n] with at least one row")
    missing = int(np.isnan(scores).sum())
    if missing:
        raise ValueError(f"{what} has {missing} NaN values; find out where they come from before measuring")
    return scores


def line_of(values: Any, what: str, n: int | None = None) -> Float[np.ndarray, " n"]:
    """One score a row; raises ValueError for other shapes, for other than n rows where n is given,
    and on NaN.
    """
    line = as_scores(values, what)
    if line.ndim != 1 or not len(line) or (n is not None and len(line) != n):
        rows = "" if n is None else f" for {n} rows"
        one_site = "for a probe of several sites those of one, probe.score(acts)[0]"
        raise ValueError(f"{what} has shape {line.shape}; give one score a row{rows}, {one_site}")
    return measurable(line, what)


def probabilities(values: Any, what: str) -> Float[np.ndarray, "..."]:
    """Numbers between 0 and 1; raises ValueError for others, NaN among them."""
    p = as_scores(values, what)
    if not ((p >= 0) & (p <= 1)).all():
        seen = f"{np.nanmin(p):g} to {np.nanmax(p):g}"
        raise ValueError(f"{what} must hold probabilities between 0 and 1, got values from {seen}")
    return p


def labelled(
    scores: Any, y: Any, *, both: bool = True
) -> tuple[Float[np.ndarray, "*batch n"], Bool[np.ndarray, " n"], int]:
    """Scores [..., n], the labels of their rows and the number of rows; raises ValueError for NaN, labels
    other than 0 and 1, rows that do not match and, where `both` are needed, one class only.
    """
    one_order(scores=scores, y=y)
    s, label = measurable(scores, "scores"), real_array(y, "y")
    if label.shape != (s.shape[-1],):
        order = ""
        if label.ndim > 1 and label.shape[-1] == s.shape[-1]:
            order = "; the order is (scores, y), and these look exchanged"
        raise ValueError(
            f"y has shape {label.shape} but scores have {s.shape[-1]} rows; pass the labels of the same"
            f" rows{order}"
        )
    seen = np.unique(label)
    if not np.isin(seen, (0, 1)).all():
        exchanged = np.isin(s, (0, 1)).all()
        order = "; the order is (scores, y), and these look exchanged" if exchanged else ""
        raise ValueError(f"y must be 0 or 1, got values {seen[:5].tolist()}{order}")
    if both and len(seen) < 2:
        raise ValueError(
            f"y has one class only (all {seen[0]:g}), so there is nothing to tell apart; use rows of both"
            " classes"
        )
    return s, label.astype(bool), s.shape[-1]


def say_probabilities(scores: np.ndarray, threshold: float | int) -> None:
    """Warns where a threshold of 0, which is that of margins, calls all rows 1 that a probability is of."""
    between = (scores > 0) & (scores < 1)
    if threshold == 0 and between.any() and scores.min() >= 0 and scores.max() <= 1:
        warn(
            f"all scores lie between 0 and 1 and the threshold is 0, so {np.mean(scores > 0):.0%} of them"
            " count as class 1; of probabilities take threshold=0.5"
        )
