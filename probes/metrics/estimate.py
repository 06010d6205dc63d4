"""Every reported number is an `Estimate`: a value with an interval over groups, never over rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number (or an array of them) with its interval.

    `low` and `high` bound what the number would be over all groups there could be, rightly in `level` of
    samples; `n` counts rows, `n_groups` the units that are independent of each other. Where groups are too
    few to tell, the interval is everything the number could be, or NaN where that has no bounds, and `doubt`
    says why; neither ever reads as a difference.
    """

    value: Any
    low: Any
    high: Any
    n: int
    n_groups: int
    level: float = 0.95
    doubt: str = ""

    def __getitem__(self, index: Any) -> "Estimate":
        value, low, high = (numbers[index] for numbers in (self.value, self.low, self.high))
        return Estimate(value, low, high, self.n, self.n_groups, self.level, self.doubt)

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        raise TypeError(
            "an Estimate is neither true nor false; compare it, estimate > 0.5, or an end of its interval,"
            " estimate.low > 0.5"
        )

    def __float__(self) -> float:
        if np.ndim(self.value):
            raise TypeError(
                f"this Estimate has shape {np.shape(self.value)}, so it is no one number; pick one,"
                " estimate[0], or take them all, estimate.value"
            )
        return float(self.value)

    # By the value, as anyone who writes `auroc(...) > 0.5` means it; the interval stands in low and high.
    def __lt__(self, other: Any) -> Any:
        return float(self) < _number(other)

    def __le__(self, other: Any) -> Any:
        return float(self) <= _number(other)

    def __gt__(self, other: Any) -> Any:
        return float(self) > _number(other)

    def __ge__(self, other: Any) -> Any:
        return float(self) >= _number(other)

    def __format__(self, spec: str) -> str:
        if np.ndim(self.value):
            return str(self)
        spec = spec or ".2f"
        if np.isnan(self.low) and np.isnan(self.high):
            return f"{self.value:{spec}} [no interval]"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        counted = f"n={self.n} in {self.n_groups} groups"
        doubt = f"; {self.doubt}" if self.doubt else ""
        if np.ndim(self.value):
            return f"Estimate of shape {np.shape(self.value)}, {counted}{doubt}"
        return f"{self:.3f} ({counted}{doubt})"

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        fields = ("value", "low", "high", "n", "n_groups", "level")
        return {k: np.asarray(getattr(self, k)).tolist() for k in fields}


def _number(other: Any) -> Any:
    return float(other) if isinstance(other, Estimate) else other
