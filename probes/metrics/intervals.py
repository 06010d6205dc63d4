"""Intervals from a value, its spread over groups, and what is known of such numbers beforehand.

A share or an AUROC near its bound may show no spread in the sample and has some in truth. So its spread is
taken as that of independent rows, which is known for every value, times a factor that the groups tell, and
the interval holds the numbers from which the sample is within reach under their own spread (Wilson 1927; for
AUROC Newcombe 2006). The fewer groups tell anything, the more the factor is held to 1.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri, owens_t, stdtrit

Numbers = Float[np.ndarray, " k"]
Ends = tuple[Numbers, Numbers]
Variance = Callable[[np.ndarray], np.ndarray]

PRIOR = 2.0
"""What independent rows count in the factor, in groups."""
LIGHTEST = 1 / 16
BISECTIONS = 50
EDGE = 1e-12
TINY = np.finfo(float).tiny


class Told(NamedTuple):
    """One number as the sample has it.

    `centre` is where the interval is laid, `variance` of it what the groups show, told with `df` degrees of
    freedom, `telling` counts the groups that show any, and `skew` is the skewness of the value over samples.
    """

    value: float
    centre: float
    variance: float
    df: float
    telling: int
    skew: float


@dataclass(frozen=True, eq=False)
class Sampled:
    """Numbers of one kind as the sample has them; see `Told`."""

    value: Numbers
    centre: Numbers
    variance: Numbers
    df: Numbers
    telling: Numbers
    skew: Numbers

    @classmethod
    def of(cls, each: Iterable[Told]) -> "Sampled":
        return cls(*np.array(list(each), dtype=float).reshape(-1, 6).T)

    @property
    def weight(self) -> Numbers:
        """What the groups count in the factor; the rest is known beforehand."""
        return self.telling / (self.telling + PRIOR)

    def factor(self, beforehand: Numbers) -> Numbers:
        """How many times the variance known beforehand the groups show; 1 where none tells anything."""
        ratio = np.log(np.maximum(self.variance, TINY)) - np.log(np.maximum(beforehand, TINY))
        return np.exp(np.where(self.telling > 0, self.weight * ratio, 0.0))

    def reach(self, level: float) -> Numbers:
        """Standard errors to either side, for a variance that rests on the groups in part."""
        return stdtrit(self.df / np.maximum(self.weight, LIGHTEST) ** 2, (1 + level) / 2)

    def with_value(self, low: Numbers, high: Numbers) -> Ends:
        """The same ends, moved where they would leave the value out."""
        return np.minimum(low, self.value), np.maximum(high, self.value)


def of_mean(found: Sampled, groups: float, level: float) -> Ends:
    """For numbers of any size, from so many groups of equal weight.

    It reaches as far as Student's t to both sides, and farther to the side of the long tail, by as much as
    Hall's transform (1992) asks for: a sample that holds few of the large numbers lies too low and shows too
    little spread.
    """
    far, error = stdtrit(found.df, (1 + level) / 2), np.sqrt(found.variance)
    usual = ndtri((1 + level) / 2)
    low = found.centre - (far + np.maximum(_unskewed(usual, found.skew) - usual, 0)) * error
    high = found.centre + (far + np.maximum(-_unskewed(-usual, found.skew) - usual, 0)) * error
    alike = of_all_alike(found.centre, groups, level)
    ends = (low, alike[0]), (high, alike[1])
    return found.with_value(*(np.where(found.telling > 0, end, same) for end, same in ends))


def _unskewed(u: float, skew: Numbers) -> Numbers:
    """The quantile of a studentised mean of this skewness whose transform has the quantile u: the inverse of
    Hall's cubic transform, which makes it symmetric.
    """
    straight = np.abs(skew) < 1e-6
    own = np.where(straight, 1.0, skew)
    return np.where(straight, u, 3 / own * (np.cbrt(1 + own * (u - own / 6)) - 1))


def of_all_alike(
    value: Numbers, groups: float | int, level: float, within: tuple[float, float] | None = None
) -> Ends:
    """For a number that all groups show, so that none tells of any spread.

    At most so many of all groups can show another number (Clopper and Pearson 1934); they are taken to show
    the ends of what is possible, or the opposite of the value and as far on the other side where it has no
    bounds. Of numbers without bounds a 0 has no interval.
    """
    others = 1 - ((1 - level) / 2) ** (1 / groups)
    lowest, highest = (-value, 3 * value) if within is None else within
    one, other = value - others * (value - lowest), value + others * (highest - value)
    low, high = np.minimum(one, other), np.maximum(one, other)
    nowhere = (value == 0) & (within is None)
    return np.where(nowhere, np.nan, low), np.where(nowhere, np.nan, high)


def of_share(found: Sampled, beforehand: Variance, level: float) -> Ends:
    """For numbers between 0 and 1 whose variance for independent rows is known."""
    beyond = found.reach(level) ** 2 * found.factor(beforehand(found.centre))
    low, high = (_farthest(found.centre, far, beyond, beforehand) for far in (0.0, 1.0))
    return found.with_value(low, high)


def of_difference(found: Sampled, rows: float, level: float) -> Ends:
    """For differences of shares or AUROCs on the same groups, worth so many independent rows.

    Beforehand two rows more are expected to differ, one to either side (Bonett and Price 2012).
    """
    beforehand = np.full_like(found.centre, 2 / (rows + 2) ** 2)
    reach = found.reach(level) * np.sqrt(beforehand * found.factor(beforehand))
    low, high = np.maximum(found.centre - reach, -1), np.minimum(found.centre + reach, 1)
    return found.with_value(low, high)


def variance_of_share(p: Numbers, rows: float) -> Numbers:
    """The variance of a share of so many independent rows."""
    return p * (1 - p) / rows


def variance_of_auroc(a: Numbers, positives: float, negatives: float) -> Numbers:
    """The variance of an AUROC of so many independent rows of each class, for normal scores of one spread.

    Two pairs that share a row are both won with probability a - 2 T(h, 1 / sqrt 3), with Owen's T and the
    normal quantile h of a.
    """
    quantile = ndtri(np.clip(a, EDGE, 1 - EDGE))
    both = a - 2 * owens_t(quantile, 3**-0.5)
    shared = (positives + negatives - 2) * np.maximum(both - a**2, 0)
    return (a * (1 - a) + shared) / (positives * negatives)


def _farthest(value: Numbers, far: float, beyond: Numbers, variance: Variance) -> Numbers:
    """On the way to `far` the last number x with (value - x)^2 at most `beyond` times its variance."""
    outside, inside = np.full_like(value, far), value.copy()
    for _ in range(BISECTIONS):
        middle = (outside + inside) / 2
        too_far = (value - middle) ** 2 > beyond * variance(middle)
        outside, inside = np.where(too_far, middle, outside), np.where(too_far, inside, middle)
    return outside
