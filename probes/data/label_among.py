"""Whether the label stands among the features: a column that is y, its opposite, or y on another scale."""

import warnings
from math import log2
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

BY_CHANCE = 8  # rows beyond what choosing among the features explains, from which on it is none
FIRST = 64  # rows that nearly every other feature fails on
SAME = 1e-5  # of the distance between the ends, for numbers that were rounded to float32


def say_label_among(x: Float[Tensor, "site n d"], y: np.ndarray | None, given: Any) -> None:
    """Warns of a feature that is y: two rows fix the line through it, and all others lie on it."""
    n, width = x.shape[1], x.shape[2]
    if y is None or n < BY_CHANCE + log2(x.shape[0] * width):
        return
    label = torch.from_numpy(np.asarray(y, dtype=np.float64)).to(x.device)
    ends = torch.stack([label.argmin(), label.argmax()])
    if label[ends[0]] == label[ends[1]]:
        return
    share = (label - label[ends[0]]) / (label[ends[1]] - label[ends[0]])
    first = torch.linspace(0, n - 1, min(n, FIRST)).round().long().unique().to(x.device)
    candidates = _on_the_line(x[:, first], x[:, ends], share[first]).nonzero().flatten()
    if not len(candidates):
        return
    found = _on_the_line(x[:, :, candidates], x[:, ends][:, :, candidates], share)
    if not found.any():
        return
    at = int(candidates[found][0])
    named = isinstance(given, pd.DataFrame)
    name = f"column {given.columns[at]!r}" if named else f"feature {at} of {width}"
    drop = f"x.drop(columns={given.columns[at]!r})" if named else f"numpy.delete(x, {at}, axis=-1)"
    warnings.warn(
        f"{name} of x is y itself (or its opposite, or y on another scale) on all {n} rows, so a probe of"
        f" these numbers reads just that; where it is the label, leave it out: {drop}",
        stacklevel=3,
    )


def _on_the_line(
    x: Float[Tensor, "site n d"], ends: Float[Tensor, "site 2 d"], share: Float[Tensor, " n"]
) -> Bool[Tensor, " d"]:
    """Which features are at every row as far between their two ends as the label is; at any site."""
    base, top = ends.double().unbind(1)
    off = x.double() - base[:, None] - share[None, :, None] * (top - base)[:, None]
    return ((off.abs().amax(1) < SAME * (top - base).abs()) & (top != base)).any(0)
