"""Every reported number is an `Estimate`: a value with an interval from resampling groups, never rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import norm, rankdata

from probes.metrics.scores import measurable

BOOTSTRAPS = 1000


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number (or an array of them) with its interval.

    `low` and `high` bound the central `level` of the group bootstrap; `n` counts rows, `n_groups` the units
    that were resampled.
    """

    value: Any
    low: Any
    high: Any
    n: int
    n_groups: int
    level: float = 0.95

    def __getitem__(self, index: Any) -> "Estimate":
        return Estimate(
            self.value[index], self.low[index], self.high[index], self.n, self.n_groups, self.level
        )

    def __len__(self) -> int:
        return len(self.value)

    def __format__(self, spec: str) -> str:
        if np.ndim(self.value):
            return str(self)
        spec = spec or ".2f"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        if np.ndim(self.value):
            return f"Estimate of shape {np.shape(self.value)}, n={self.n} in {self.n_groups} groups"
        return f"{self:.3f} (n={self.n} in {self.n_groups} groups)"

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        return {
            k: np.asarray(getattr(self, k)).tolist()
            for k in ("value", "low", "high", "n", "n_groups", "level")
        }


def auroc(
    scores: Any, y: Any, groups: Any = None, *, level: float = 0.95, n_boot: int = BOOTSTRAPS, seed: int = 0
) -> Estimate:
    """How often a positive row outscores a negative one, ties counting half: .5 is chance, constant scores
    give exactly .5.

    `scores` is [..., n]; the fields of the result have shape [...]. Groups (default: each row its own) are
    resampled for the interval; resamples in which a class is missing are left out. Raises ValueError on one
    class or NaN scores.
    """
    s, label, _ = _checked(scores, y)
    flat = s.reshape(-1, s.shape[-1])

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.stack([weighted_auroc(row, label, weights) for row in flat], axis=-1)

    return bootstrapped(statistic, s.shape[:-1], label.size, groups, level, n_boot, seed)


def accuracy(
    scores: Any, y: Any, groups: Any = None, *, threshold: float = 0.0, balanced: bool = False,
    level: float = 0.95, n_boot: int = BOOTSTRAPS, seed: int = 0,
) -> Estimate:  # fmt: skip
    """The share of rows on the right side of the threshold (scores above it mean class 1); `balanced`
    averages the two classes.

    Shapes, interval and errors as for `auroc`; the threshold is fixed before looking at these rows.
    """
    s, label, _ = _checked(scores, y)
    right = ((s > threshold) == label).reshape(-1, label.size).astype(float)

    def statistic(weights: np.ndarray) -> np.ndarray:
        def share(of: np.ndarray) -> np.ndarray:
            total = (weights * of).sum(-1, keepdims=True)
            return np.divide(
                (weights * of) @ right.T,
                total,
                out=np.full((len(weights), len(right)), np.nan),
                where=total > 0,
            )

        return (share(label) + share(~label)) / 2 if balanced else share(np.ones_like(label))

    return bootstrapped(statistic, s.shape[:-1], label.size, groups, level, n_boot, seed)


def mean(
    values: Any, groups: Any = None, *, level: float = 0.95, n_boot: int = BOOTSTRAPS, seed: int = 0
) -> Estimate:
    """The mean over rows of [..., n] values, with its group-bootstrap interval; raises ValueError on NaN."""
    v = measurable(values, "values")
    flat = v.reshape(-1, v.shape[-1])

    def statistic(weights: np.ndarray) -> np.ndarray:
        return (weights @ flat.T) / weights.sum(-1, keepdims=True)

    return bootstrapped(statistic, v.shape[:-1], v.shape[-1], groups, level, n_boot, seed)


def aurocs(scores: Any, y: Any) -> Float[np.ndarray, "*batch"]:
    """AUROC of many score vectors [..., n], each against its own labels [..., n] (shapes broadcast);
    no interval, so it is fast.
    """
    y = np.asarray(y)
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"y must be 0 or 1, got values {np.unique(y)[:5].tolist()}")
    s, label = np.broadcast_arrays(measurable(scores, "scores"), y.astype(bool))
    positives = label.sum(-1)
    if not ((positives > 0) & (positives < label.shape[-1])).all():
        raise ValueError("y has one class only, so there is nothing to tell apart; use rows of both classes")
    rank_sum = (rankdata(s, axis=-1) * label).sum(-1)
    return (rank_sum - positives * (positives + 1) / 2) / (positives * (label.shape[-1] - positives))


def auroc_difference(
    scores: Any,
    others: Any,
    y: Any,
    groups: Any = None,
    *,
    level: float = 0.95,
    n_boot: int = BOOTSTRAPS,
    seed: int = 0,
) -> Estimate:
    """AUROC of `scores` minus that of `others` on the same rows; both are resampled together, so the interval
    is that of the difference.

    Both are [n]. Raises ValueError as `auroc` does.
    """
    s, label, n = _checked(np.stack([measurable(scores, "scores"), measurable(others, "others")]), y)

    def statistic(weights: np.ndarray) -> np.ndarray:
        first, second = (weighted_auroc(row, label, weights) for row in s)
        return (first - second)[:, None]

    return bootstrapped(statistic, (), n, groups, level, n_boot, seed)


def delong(scores: Any, others: Any, y: Any) -> tuple[Estimate, float]:
    """The difference of two AUROCs on the same independent rows with its normal interval, and the two-sided
    p-value of no difference.

    For rows that come in groups use `auroc_difference`: DeLong takes every row as independent. Source: DeLong
    et al. 1988, Biometrics 44(3).
    """
    s, label, n = _checked(np.stack([measurable(scores, "scores"), measurable(others, "others")]), y)
    m, k = int(label.sum()), int((~label).sum())
    if min(m, k) < 2:
        raise ValueError(f"DeLong needs two rows of either class, got {m} positive and {k} negative")
    overall = rankdata(s, axis=1)
    # Of each row: the share of the other class that it beats (or is beaten by), from its rank overall and
    # within its class.
    wins = (overall[:, label] - rankdata(s[:, label], axis=1)) / k
    losses = 1 - (overall[:, ~label] - rankdata(s[:, ~label], axis=1)) / m
    value = wins.mean(1)
    spread = np.cov(wins) / m + np.cov(losses) / k
    difference, se = (
        float(value[0] - value[1]),
        float(np.sqrt(max(0.0, spread[0, 0] + spread[1, 1] - 2 * spread[0, 1]))),
    )
    if se == 0:
        return Estimate(difference, difference, difference, n, n), 1.0 if difference == 0 else 0.0
    reach = norm.ppf(0.975) * se
    return Estimate(difference, difference - reach, difference + reach, n, n), float(
        2 * norm.sf(abs(difference) / se)
    )


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
) -> Estimate:  # fmt: skip
    """Any statistic of weighted rows with its group-bootstrap interval: `statistic` takes weights [b,
    n] and gives [b, prod(shape)].
    """
    group = np.arange(n) if groups is None else np.asarray(groups)
    if group.shape != (n,):
        raise ValueError(f"groups has shape {group.shape} but there are {n} rows")
    names, member = np.unique(group, return_inverse=True)
    value = statistic(np.ones((1, n)))[0]
    rng = np.random.default_rng(seed)
    draws: list[np.ndarray] = []
    chunk = max(1, min(n_boot, 20_000_000 // max(1, n)))
    for start in range(0, n_boot, chunk):
        counts = rng.multinomial(
            len(names), np.full(len(names), 1 / len(names)), size=min(chunk, n_boot - start)
        )
        draws.append(statistic(counts[:, member].astype(float)))
    tail = (1 - level) / 2
    sampled = np.concatenate(draws)
    kept = ~np.isnan(sampled).any(axis=1)
    if not kept.any() or len(names) == 1:  # one group says nothing about the next
        low = high = np.full_like(value, np.nan)
    else:
        low, high = np.quantile(sampled[kept], [tail, 1 - tail], axis=0)
    # Quantiles of a resampled statistic can miss the value by rounding; an interval holds its own estimate.
    low, high = np.minimum(low, value), np.maximum(high, value)
    pick = (lambda a: float(a[0])) if shape == () else (lambda a: a.reshape(shape))
    return Estimate(pick(value), pick(low), pick(high), n, len(names), level)


def _checked(scores: Any, y: Any) -> tuple[np.ndarray, np.ndarray, int]:
    s = measurable(scores, "scores")
    label = y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else np.asarray(y)
    if y is None or label.shape != (s.shape[-1],):
        raise ValueError(
            f"y has shape {label.shape} but scores have {s.shape[-1]} rows; pass the labels of the same rows"
        )
    seen = np.unique(label)
    if not np.isin(seen, (0, 1)).all():
        raise ValueError(f"y must be 0 or 1, got values {seen[:5].tolist()}")
    if len(seen) < 2:
        raise ValueError(
            f"y has one class only (all {seen[0]:g}), so there is nothing to tell apart; use rows of both"
            " classes"
        )
    return s, label.astype(bool), s.shape[-1]
