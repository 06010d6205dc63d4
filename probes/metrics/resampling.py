"""Intervals of any statistic of weighted rows, by drawing groups with replacement."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, stdtrit

from probes.checks.settings import check_count, check_level
from probes.metrics.estimate import Estimate
from probes.metrics.intervals import of_all_alike
from probes.metrics.spread import group_codes

BOOTSTRAPS = 1000


def weighted_auroc(scores: np.ndarray, label: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC of one score vector under each row of weights [b, n]; tied scores share their rank."""
    order = np.argsort(scores, kind="stable")
    ranked, w = scores[order], weights[:, order]
    positive, negative = w * label[order], w * ~label[order]
    # For each row the span of rows tied with it.
    first = np.searchsorted(ranked, ranked, side="left")
    last = np.searchsorted(ranked, ranked, side="right")
    below = np.concatenate([np.zeros((len(w), 1)), np.cumsum(negative, axis=1)], axis=1)
    wins = (positive * (below[:, first] + below[:, last]) / 2).sum(1)
    total = positive.sum(1) * negative.sum(1)
    return np.divide(wins, total, out=np.full(len(w), np.nan), where=total > 0)


def bootstrapped(
    statistic: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...], n: int, groups: Any = None,
    level: float = 0.95, n_boot: int = BOOTSTRAPS, seed: int = 0,
    within: tuple[float, float] | None = None,
) -> Estimate:  # fmt: skip
    """Any statistic of weighted rows with its group-bootstrap interval: `statistic` takes weights [b,
    n] and gives [b, prod(shape)].

    The quantiles lie as far out as Student's t of the groups would have them (the expanded percentile
    interval of Hesterberg 2015). Resamples without a value are left out; where no two differ, see
    `of_all_alike`, to which `within` says what the statistic can be. For AUROC, accuracy and means use what
    `metrics.estimates` has, which covers with fewer groups.
    """
    check_level("level", level)
    n_boot, n_groups = check_count("n_boot", n_boot), group_codes(groups, n)[1]
    value = statistic(np.ones((1, n)))[0]
    sampled = resampled(statistic, n, groups, n_boot, seed)
    kept = ~np.isnan(sampled).any(axis=1)
    pick = (lambda a: float(a[0])) if shape == () else (lambda a: a.reshape(shape))
    if n_groups == 1 or not kept.any():
        nothing = np.full_like(value, np.nan)
        doubt = "one group says nothing of others" if n_groups == 1 else "no resample has a value"
        return Estimate(pick(value), pick(nothing), pick(nothing), n, n_groups, level, doubt)
    tail = _expanded_tail(n_groups, level)
    low, high = np.quantile(sampled[kept], [tail, 1 - tail], axis=0)
    # Quantiles of a resampled statistic can miss the value by rounding; an interval holds its own estimate.
    low, high = np.minimum(low, value), np.maximum(high, value)
    still = np.ptp(sampled[kept], axis=0) == 0
    alike = of_all_alike(value, n_groups, level, within)
    low, high = (np.where(still, same, end) for same, end in zip(alike, (low, high), strict=True))
    doubt = "groups that all show 0 say nothing of others" if np.isnan(low).any() else ""
    return Estimate(pick(value), pick(low), pick(high), n, n_groups, level, doubt)


def resampled(
    statistic: Callable[[np.ndarray], np.ndarray], n: int, groups: Any, n_boot: int, seed: int
) -> Float[np.ndarray, "b k"]:
    """A statistic of weighted rows under every resampling of the groups."""
    member, n_groups = group_codes(groups, n)
    rng = np.random.default_rng(seed)
    draws: list[np.ndarray] = []
    chunk = max(1, min(n_boot, 20_000_000 // max(1, n)))
    for start in range(0, n_boot, chunk):
        size = min(chunk, n_boot - start)
        counts = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=size)
        draws.append(statistic(counts[:, member].astype(float)))
    return np.concatenate(draws)


def _expanded_tail(n_groups: int, level: float) -> float:
    """The share of resamples beyond either end."""
    reach = stdtrit(n_groups - 1, (1 + level) / 2) * np.sqrt(n_groups / (n_groups - 1))
    return float(ndtr(-reach))
