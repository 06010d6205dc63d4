"""Anybody's scores as numbers: tensors on any device and of any precision, arrays, lists."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float


def as_scores(values: Any) -> Float[np.ndarray, "..."]:
    """The same numbers in double precision, as they stand: NaN values pass."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=float)


def measurable(values: Any, what: str) -> Float[np.ndarray, "*batch n"]:
    """Numbers [..., n] to take a measure of; raises ValueError where there are none, and on NaN."""
    scores = as_scores(values)
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
    line = as_scores(values)
    if line.ndim != 1 or not len(line) or (n is not None and len(line) != n):
        rows = "" if n is None else f" for {n} rows"
        one_site = "for a probe of several sites those of one, probe.score(acts)[0]"
        raise ValueError(f"{what} has shape {line.shape}; give one score a row{rows}, {one_site}")
    return measurable(line, what)


def probabilities(values: Any, what: str) -> Float[np.ndarray, "..."]:
    """Numbers between 0 and 1; raises ValueError for others, NaN among them."""
    p = as_scores(values)
    if not ((p >= 0) & (p <= 1)).all():
        seen = f"{np.nanmin(p):g} to {np.nanmax(p):g}"
        raise ValueError(f"{what} must hold probabilities between 0 and 1, got values from {seen}")
    return p
