"""How far an average over groups strays, from what each group adds to it.

A statistic such as a mean or an AUROC is, to first order, a sum of what each group adds (its influence). The
spread of those says how far the statistic would stray over other groups. Groups that weigh much pull the
statistic to themselves, which hides part of their spread: their influence is enlarged for it (CR2 of Bell and
McCaffrey 2002), and the spread counts for fewer degrees of freedom (Satterthwaite's approximation).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int

from probes.checks.arrays import one_kind, real_array, unmasked

ALIKE = 0.3
"""How alike rows of a group are taken to be where the data cannot say, as a share of their variance."""
TAILS = 2.0
"""Of equal groups with normal influences the fourth moment allows 2/3 of their number in degrees of freedom;
few groups that hold all the spread allow for few."""
LEAST = 1e-9
"""Of a group's variance at least this much is left where it weighs nearly all."""


def group_codes(groups: Any, n: int) -> tuple[Int[np.ndarray, " n"], int]:
    """Number of the group of each row, and how many groups there are; without groups every row is its own."""
    if groups is None:
        return np.arange(n), n
    if isinstance(groups, torch.Tensor):  # which numpy takes from the CPU only, and not in half precision
        groups = real_array(groups, "groups")
    names = np.asarray(unmasked(groups, "groups"))
    if names.shape != (n,):
        raise ValueError(f"groups has shape {names.shape} but there are {n} rows; give one a row")
    lacking = int(pd.isna(names).sum())
    if lacking:
        raise ValueError(f"groups lack {lacking} values (None or NaN); name one for every row")
    if isinstance(groups, list | tuple) or names.dtype == object:
        one_kind(groups, "groups")
    found, codes = np.unique(names, return_inverse=True)
    return codes, len(found)


@dataclass(frozen=True, eq=False)
class Weighing:
    """What each group weighs in an average over rows, given how many rows it has there."""

    rows: Float[np.ndarray, " g"]

    @cached_property
    def share(self) -> Float[np.ndarray, " g"]:
        """Of the average; sums to 1."""
        return self.rows / self.rows.sum()

    @cached_property
    def noise(self) -> Float[np.ndarray, " g"]:
        """Variance of a group's own mean where single rows have variance 1 and are alike by `ALIKE`."""
        return ALIKE + (1 - ALIKE) / np.maximum(self.rows, 1)

    @cached_property
    def expected(self) -> Float[np.ndarray, " g"]:
        """What each group is expected to add to the variance of the average."""
        return self.share**2 * self.noise

    @property
    def groups(self) -> int:
        """Groups that have rows here."""
        return int((self.rows > 0).sum())

    @property
    def effective(self) -> float:
        """The number of independent rows whose average strays as far, with rows alike by `ALIKE`."""
        return 1 / float(self.expected.sum())

    @property
    def equal_groups(self) -> float:
        """The number of equal groups whose average strays as far, with all rows of a group alike."""
        return 1 / float((self.share**2).sum())

    @cached_property
    def kept(self) -> Float[np.ndarray, " g"]:
        """The share of a group's variance that is left in its deviation from the average."""
        left = 1 - 2 * self.share + self.expected.sum() / self.noise
        return np.where(self.rows > 0, np.maximum(left, LEAST), 1.0)

    @cached_property
    def df(self) -> float:
        """Degrees of freedom of the enlarged spread, by its mean and variance under `noise`."""
        total, pull = self.expected.sum(), self.share * self.noise
        scale = np.where(self.rows > 0, self.share**2 / self.kept, 0.0)
        # Deviations i and j covary by total - pull_i - pull_j; the sum of squares over all pairs, by moments.
        zero, one, two = scale.sum(), (scale * pull).sum(), (scale * pull**2).sum()
        pairs = total**2 * zero**2 + 2 * two * zero + 2 * one**2 - 4 * total * one * zero
        own = (scale**2 * (total - 2 * pull) ** 2).sum()
        true_own = (scale**2 * (self.kept * self.noise) ** 2).sum()
        return float(total**2 / (pairs - own + true_own))


@dataclass(frozen=True)
class Spread:
    """Variance of a statistic, the degrees of freedom it was told with, and its skewness."""

    variance: float
    df: float
    skew: float


@dataclass(frozen=True, eq=False)
class Weighings:
    """The averages that a statistic is made of."""

    parts: tuple[Weighing, ...]

    @cached_property
    def overlap(self) -> Float[np.ndarray, "k k"]:
        """One over the degrees of freedom of each, and what two of them share of the same groups."""
        expected = np.stack([w.expected / w.expected.sum() for w in self.parts])
        shared = expected @ expected.T
        np.fill_diagonal(shared, [1 / w.df for w in self.parts])
        return shared

    def spread(self, influences: Sequence[Float[np.ndarray, " g"]]) -> Spread:
        """The spread of the statistic, from the influence of each group on each of the averages."""
        enlarged = [u / np.sqrt(w.kept) for u, w in zip(influences, self.parts, strict=True)]
        whole = np.sum(enlarged, axis=0)
        squares = whole**2
        variance, fourth = float(squares.sum()), float((squares**2).sum())
        df = self._df(np.array([(u**2).sum() for u in enlarged]))
        if fourth > 0:
            df = min(df, TAILS * variance**2 / fourth)
        skew = float((whole**3).sum()) / variance**1.5 if variance > 0 else 0.0
        return Spread(variance, df, skew)

    def _df(self, variances: Float[np.ndarray, " k"]) -> float:
        """Satterthwaite's degrees of freedom of a sum of spreads that may share groups."""
        total = variances.sum()
        if total == 0:
            return float(1 / self.overlap.diagonal().max())
        return float(total**2 / (variances @ self.overlap @ variances))
