"""Whether the label stands among the features: a column that is y, its opposite, y on another scale, one
class of y, or the classes that y was made of.
"""

from collections.abc import Iterator
from math import comb, log2
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes.checks.saying import warn

BY_CHANCE = 8  # rows, or bits, beyond what choosing among the features explains, from which on it is none
FIRST = 64  # rows that nearly every other feature fails on
SAME = 1e-5  # of the distance between the ends, for numbers that were rounded to float32
CLASSES = 6  # up to which whole numbers may be names of classes


def say_label_among(y: np.ndarray | None, **parts: tuple[Float[Tensor, "site n d"], Any]) -> None:
    """Warns of a feature that is y or tells it as a label does, in any part; each with what was given."""
    if y is None:
        return
    for part, (x, given) in parts.items():
        known = next(_found(x, np.asarray(y, dtype=np.float64)), None)
        if known is not None:
            at, what = known
            name, drop = f"feature {at} of {x.shape[2]}", f"numpy.delete({part}, {at}, axis=-1)"
            if isinstance(given, pd.DataFrame):
                name = f"column {given.columns[at]!r}"
                drop = f"{part}.drop(columns={given.columns[at]!r})"
            warn(
                f"{name} of {part} {what} on all {len(y)} rows, so a probe of these numbers reads just that;"
                f" where it is the label, leave it out: {drop}"
            )
            return


def _found(x: Float[Tensor, "site n d"], y: np.ndarray) -> Iterator[tuple[int, str]]:
    """Features that are a form of the label, each with what it is."""
    n, features = x.shape[1], x.shape[0] * x.shape[2]
    values, counts = np.unique(y, return_counts=True)
    if len(values) < 2 or n < BY_CHANCE + log2(features):
        return
    first = torch.linspace(0, n - 1, min(n, FIRST)).round().long().unique().to(x.device)
    yield from ((at, "is y itself (or its opposite, or y on another scale)") for at in _same(x, y, first))
    if len(values) > CLASSES:
        return
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        if _bits(n, count) < BY_CHANCE + log2(features) + CLASSES:
            continue
        own = y == value
        if len(values) > 2:
            yield from ((at, f"tells y == {value:g} from the rest") for at in _same(x, own, first))
        else:
            told = "has few whole numbers and tells by them what y is (as classes that y was made of do)"
            yield from ((at, told) for at in _coded(x, own, first))


def _bits(n: int, count: int) -> float:
    """By how many bits a label that so many of n rows have is less than chance."""
    return log2(comb(n, count))


def _same(x: Float[Tensor, "site n d"], y: np.ndarray, first: Tensor) -> list[int]:
    """Features that are the label on a line: two rows fix it, and all others lie on it."""
    label = torch.from_numpy(y.astype(np.float64)).to(x.device)
    ends = torch.stack([label.argmin(), label.argmax()])
    share = (label - label[ends[0]]) / (label[ends[1]] - label[ends[0]])
    candidates = _on_the_line(x[:, first], x[:, ends], share[first]).nonzero().flatten()
    found = _on_the_line(x[:, :, candidates], x[:, ends][:, :, candidates], share)
    return candidates[found].tolist()


def _coded(x: Float[Tensor, "site n d"], y: np.ndarray, first: Tensor) -> list[int]:
    """Features of three or more small whole numbers, at each of which y has one value."""
    label = torch.from_numpy(y).to(x.device)
    candidates = _by_codes(x[:, first], label[first]).nonzero().flatten()
    some = x[:, :, candidates]
    several = (some.amax(1) - some.amin(1) >= 2).any(0)
    return candidates[_by_codes(some, label) & several].tolist()


def _by_codes(x: Float[Tensor, "site n d"], y: Bool[Tensor, " n"]) -> Bool[Tensor, " d"]:
    code = x.double() - x.double().amin(1, keepdim=True)
    fits = ((code == code.round()) & (code < CLASSES)).all(1)
    for value in range(CLASSES):
        there = code == value
        fits &= ~((there & y[:, None]).any(1) & (there & ~y[:, None]).any(1))
    return fits.any(0)


def _on_the_line(
    x: Float[Tensor, "site n d"], ends: Float[Tensor, "site 2 d"], share: Float[Tensor, " n"]
) -> Bool[Tensor, " d"]:
    """Which features are at every row as far between their two ends as the label is; at any site."""
    base, top = ends.double().unbind(1)
    off = x.double() - base[:, None] - share[None, :, None] * (top - base)[:, None]
    return ((off.abs().amax(1) < SAME * (top - base).abs()) & (top != base)).any(0)
