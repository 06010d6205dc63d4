"""Where to cut a line of scores, and what a cut is worth."""

import math
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Float

from probes.metrics.estimates import Estimate
from probes.metrics.resampling import bootstrapped
from probes.metrics.scores import labelled, line_of

RATE = 0.01
ROUNDING = 1e-9


def exceeded_at_most(
    negatives: Float[np.ndarray, "*batch n"],
    rate: float | int,
    *,
    rows: str = "negative rows",
    kind: str = "false-positive rate",
) -> Float[np.ndarray, "*batch"]:
    """The score that a new negative row is expected to exceed at most this often, of each line of negatives.

    Raises ValueError for fewer rows than `fewest_negatives(rate)`; `rows` and `kind` name them there.
    """
    n = negatives.shape[-1]
    above = may_lie_above(n, rate, rows=rows, kind=kind)
    return np.sort(negatives, axis=-1)[..., n - 1 - above]


def may_lie_above(
    n: int, rate: float | int, *, rows: str = "negative rows", kind: str = "false-positive rate"
) -> int:
    """How many of n negative rows may lie above a threshold that a new one is to exceed at this rate.

    Raises ValueError where n rows cannot fix such a rate; to be asked before what makes the scores is run.
    """
    _check_rate(rate, kind)
    # With k of n rows above it, a new row lies above with probability (k + 1) / (n + 1).
    above = math.floor((n + 1) * rate + ROUNDING) - 1
    if above < 0:
        raise ValueError(
            f"{n} {rows} cannot fix a {kind} of {rate:g}; it takes at least {fewest_negatives(rate)}"
        )
    return above


def _check_rate(rate: Any, kind: str) -> None:
    if not isinstance(rate, Real) or not 0 < float(rate) < 1:
        raise ValueError(f"a {kind} lies between 0 and 1, got {rate!r:.60}; no rows can fix one of 0")


def fewest_negatives(rate: float | int) -> int:
    """The smallest number of negative rows that can fix a false-positive rate: n with (n + 1) * rate
    of 1 or more.
    """
    return math.ceil((1 - ROUNDING) / rate) - 1


def youden(scores: Any, y: Any) -> float:
    """The threshold with the largest sensitivity + specificity - 1, midway between two scores.

    Of several the highest, which alarms least. Raises ValueError unless y is 0 and 1, both of them, and on
    NaN scores.
    """
    s, label, _ = labelled(line_of(scores, "scores"), y)
    values = np.unique(s)
    below = np.searchsorted(np.sort(s[label]), values, side="right") / label.sum()
    quiet = np.searchsorted(np.sort(s[~label]), values, side="right") / (~label).sum()
    j = (1 - below) + quiet - 1
    best = int(np.flatnonzero(j >= j.max() - 1e-12)[-1])
    if best == len(values) - 1:
        return float(values[best])
    return float((values[best] + values[best + 1]) / 2)


def recall_at(
    scores: Any,
    y: Any,
    groups: Any = None,
    *,
    rate: float = RATE,
    level: float = 0.95,
    n_boot: int = 1000,
    seed: int = 0,
) -> Estimate:
    """The largest share of positives above a threshold that at most this share of the negatives exceeds.

    Both are shares of the same rows, and tied scores fall together. Raises ValueError where there are fewer
    than 1 / rate negatives, which cannot tell such a rate.
    """
    s, label, _ = labelled(line_of(scores, "scores"), y)
    _can_tell(int((~label).sum()), rate)
    order = np.argsort(-s, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(s[order]) != 0, True))

    def statistic(weights: np.ndarray) -> np.ndarray:
        w = weights[:, order]
        hits, alarms = (np.cumsum(w * of[order], axis=1) for of in (label, ~label))
        allowed = alarms[:, ends] <= rate * alarms[:, -1:] + ROUNDING
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.where(allowed, hits[:, ends], 0).max(1) / hits[:, -1]
        return np.where(alarms[:, -1] > 0, found, np.nan)[:, None]

    return bootstrapped(statistic, (), len(s), groups, level, n_boot, seed, (0.0, 1.0))


def _can_tell(negatives: int, rate: float) -> None:
    """Raises ValueError where one negative row is more than the share asked for."""
    _check_rate(rate, "false-positive rate")
    fewest = math.ceil((1 - ROUNDING) / rate)
    if negatives < fewest:
        told = f"{negatives} negative rows cannot tell a false-positive rate of {rate:g}"
        raise ValueError(f"{told}; it takes at least {fewest}")
