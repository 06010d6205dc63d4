"""Means and shares over rows, with what the groups tell of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from probes.metrics.intervals import Told
from probes.metrics.spread import Weighing, Weighings

Rows = Bool[np.ndarray, " n"]
ROUNDING = 1e-12
STEP = 1e-3


@dataclass(frozen=True, eq=False)
class Strata:
    """Rows whose means are averaged: all of them at once, or class by class."""

    rows: tuple[Rows, ...]
    codes: Int[np.ndarray, " n"]
    weighings: Weighings

    @classmethod
    def of(cls, codes: Int[np.ndarray, " n"], n_groups: int, rows: Sequence[Rows]) -> "Strata":
        parts = (Weighing(np.bincount(codes[m], minlength=n_groups).astype(float)) for m in rows)
        return cls(tuple(rows), codes, Weighings(tuple(parts)))

    @property
    def fewest_groups(self) -> int:
        """Groups in the stratum that has the fewest."""
        return min(w.groups for w in self.weighings.parts)

    @property
    def effective(self) -> float:
        """The number of independent rows that tell as much where all rows of a group are alike and all errors
        are in the smallest stratum.
        """
        return len(self.rows) * min(w.equal_groups for w in self.weighings.parts)

    def average(self, values: Float[np.ndarray, " n"], share: bool) -> Told:
        """Of one line of values.

        Groups tell of a share when they hold some of either answer, and of another mean when they differ.
        """
        means = [float(values[m].mean()) for m in self.rows]
        pulls, telling = [], []
        for m, mean, weighing in zip(self.rows, means, self.weighings.parts, strict=True):
            sums = self._sums(values[m] - mean, m)
            pulls.append(sums / weighing.rows.sum() / len(self.rows))
            telling.append(self._telling(values[m], m, sums, share))
        found = self.weighings.spread(pulls)
        value = float(np.mean(means))
        return Told(value, value, found.variance, found.df, min(telling), found.skew)

    def _sums(self, values: Float[np.ndarray, " m"], rows: Rows) -> Float[np.ndarray, " g"]:
        n_groups = len(self.weighings.parts[0].rows)
        return np.bincount(self.codes[rows], values, minlength=n_groups)

    def _telling(self, values: np.ndarray, rows: Rows, sums: np.ndarray, share: bool) -> int:
        if np.ptp(values) == 0:
            return 0
        rounding = ROUNDING * (np.ptp(values) + np.abs(values).max() * STEP * len(values))
        if not (np.abs(sums) > rounding).any():
            return 0
        if not share:
            return int((np.abs(sums) > rounding).sum())
        hits, misses = self._sums(values, rows), self._sums(1 - values, rows)
        return int(min((hits > 0).sum(), (misses > 0).sum()))
