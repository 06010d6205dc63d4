"""AUROC, accuracy, means and their paired differences, each with an interval over groups that covers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from probes.checks.arrays import one_order, real_array
from probes.checks.settings import check_level, check_number
from probes.metrics.areas import Parts
from probes.metrics.estimate import Estimate
from probes.metrics.intervals import (
    Ends,
    Sampled,
    of_difference,
    of_mean,
    of_share,
    variance_of_auroc,
    variance_of_share,
)
from probes.metrics.scores import labelled, measurable, say_probabilities
from probes.metrics.shares import Strata
from probes.metrics.spread import group_codes

LEVEL = "level (the share of samples an interval holds in)"
FEWEST = 2
"""Groups without which nothing is known of the next."""
FEW_MIXED = 5
"""Groups with rows of both classes below which what an AUROC varies by cannot be told: of two, whose rows are
compared with each other alone, it is 0 whatever the scores.
"""
ONE_GROUP = "one group says nothing of others"
ALL_ZERO = "groups that all show 0 say nothing of others"
CLASS_IN_ONE_GROUP = "one of the classes is in one group only"
TOO_FEW_MIXED = f"fewer than {FEW_MIXED} groups, with rows of both classes in some, tell too little"
ONE_CLASS = "a part has rows of one class only"


def auroc(scores: Any, y: Any, groups: Any = None, *, level: float = 0.95) -> Estimate:
    """How often a positive row outscores a negative one, ties counting half: .5 is chance, constant scores
    give exactly .5.

    `scores` is [..., n]; the fields of the result have shape [...]. The interval is over groups (default:
    each row its own) and for pairs of rows from different groups. With a class in one group only, and of
    fewer than five groups with rows of both classes in some, it is [0, 1], and says so; one group in all has
    none. Raises ValueError on one class or NaN scores.
    """
    one_order(scores=scores, y=y, groups=groups)
    s, label, _ = labelled(scores, y)
    return auroc_within(s, label, [np.ones_like(label)], groups, level=level)


def auroc_within(
    scores: Any, y: Any, parts: Sequence[Any], groups: Any = None, *, others: Any = None, level: float = 0.95
) -> Estimate:
    """The AUROC within each part of the rows, averaged over parts; with `others` [..., n] how far theirs is
    surpassed.

    `parts` are masks [n]. Shapes, interval and errors as for `auroc`; NaN where a part has one class only.
    """
    check_level(LEVEL, level)
    one_order(scores=scores, others=others, y=y, groups=groups)
    s, label, n = labelled(scores, y)
    rivals = None if others is None else np.broadcast_to(measurable(others, "others"), s.shape).reshape(-1, n)
    lines, lowest = s.reshape(-1, n), 0.0 if others is None else -1.0
    codes, n_groups = group_codes(groups, n)
    rows = [np.asarray(m, dtype=bool) for m in parts]
    if any(len(np.unique(label[m])) < 2 for m in rows):
        nothing = np.full(len(lines), np.nan)
        return _shaped(nothing, (nothing, nothing), s.shape, n_groups, level, ONE_CLASS)
    parted = Parts.of(label, codes, n_groups, rows)
    mixed = n_groups < FEW_MIXED and len(np.unique(codes[label])) + len(np.unique(codes[~label])) > n_groups
    if parted.fewest_groups < FEWEST or mixed:
        value = _mean_of_parts(lines, label, rows)
        value -= 0 if rivals is None else _mean_of_parts(rivals, label, rows)
        doubt = CLASS_IN_ONE_GROUP if parted.fewest_groups < FEWEST else TOO_FEW_MIXED
        return _untold(value, lowest, s.shape, n_groups, level, doubt)
    if rivals is None:
        found = Sampled.of(parted.area(line) for line in lines)
        ends = of_share(found, lambda a: variance_of_auroc(a, *parted.effective()), level)
    else:
        found = Sampled.of(parted.difference(*both) for both in zip(lines, rivals, strict=True))
        ends = of_difference(found, min(parted.effective()), level)
    return _shaped(found.value, ends, s.shape, n_groups, level)


def _mean_of_parts(lines: np.ndarray, label: np.ndarray, rows: list[np.ndarray]) -> np.ndarray:
    return np.mean([aurocs(lines[:, m], label[m]) for m in rows], axis=0)


def aurocs(scores: Any, y: Any) -> Float[np.ndarray, "*batch"]:
    """AUROC of many score vectors [..., n], each against its own labels [..., n] (shapes broadcast);
    no interval, so it is fast.
    """
    from scipy.stats import rankdata  # half a second to import, so not before it is asked for

    y = real_array(y, "y")
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"y must be 0 or 1, got values {np.unique(y)[:5].tolist()}")
    s, label = np.broadcast_arrays(measurable(scores, "scores"), y.astype(bool))
    positives = label.sum(-1)
    if not ((positives > 0) & (positives < label.shape[-1])).all():
        raise ValueError("y has one class only, so there is nothing to tell apart; use rows of both classes")
    rank_sum = (rankdata(s, axis=-1) * label).sum(-1)
    return (rank_sum - positives * (positives + 1) / 2) / (positives * (label.shape[-1] - positives))


def auroc_difference(
    scores: Any, others: Any, y: Any, groups: Any = None, *, level: float = 0.95
) -> Estimate:
    """AUROC of `scores` minus that of `others` on the same rows; what both share cancels in the interval.

    Both are [..., n]. Interval and errors as for `auroc`; too few groups give [-1, 1].
    """
    one_order(scores=scores, others=others, y=y, groups=groups)
    label = labelled(scores, y)[1]
    return auroc_within(scores, label, [np.ones_like(label)], groups, others=others, level=level)


def accuracy(
    scores: Any, y: Any, groups: Any = None, *, threshold: float = 0.0, balanced: bool = False,
    level: float = 0.95,
) -> Estimate:  # fmt: skip
    """The share of rows on the right side of the threshold (scores above it mean class 1); `balanced`
    averages the two classes.

    Shapes, interval and errors as for `auroc`; the threshold is fixed before looking at these rows: 0 is that
    of margins, and a warning says so where the scores look like probabilities, whose is .5.
    """
    check_number("threshold", threshold, finite=False)
    one_order(scores=scores, y=y, groups=groups)
    s, label, _ = labelled(scores, y)
    say_probabilities(s, threshold)
    right = ((s > threshold) == label).astype(float)
    strata = [label, ~label] if balanced else [np.ones_like(label)]
    return _share(right, strata, groups, level)


def accuracy_difference(
    scores: Any, others: Any, y: Any, groups: Any = None, *, threshold: float = 0.0, balanced: bool = False,
    level: float = 0.95,
) -> Estimate:  # fmt: skip
    """Accuracy of `scores` minus that of `others` on the same rows; what both share cancels in the interval.

    Both are [..., n]. Interval and errors as for `accuracy`; too few groups give [-1, 1].
    """
    check_number("threshold", threshold, finite=False)
    one_order(scores=scores, others=others, y=y, groups=groups)
    s, label, _ = labelled(scores, y)
    o = measurable(others, "others")
    say_probabilities(np.stack(np.broadcast_arrays(s, o)), threshold)
    now, then = (((line > threshold) == label).astype(float) for line in (s, o))
    strata = [label, ~label] if balanced else [np.ones_like(label)]
    return _share_difference(now - then, strata, groups, level)


def mean(values: Any, groups: Any = None, *, share: bool | None = None, level: float = 0.95) -> Estimate:
    """The mean over rows of [..., n] values, with its interval over groups; raises ValueError on NaN.

    Values that are all 0 or 1 are a share, unless told otherwise by `share`: its interval stays within 0 and
    1. Of other values it is that of Student's t for groups of unequal weight. Groups that all show the same
    number say nothing of their spread: the few that may differ unseen are then taken to show the opposite,
    which excludes 0 from 6 groups on; where all show 0, and for one group, it is NaN.
    """
    check_level(LEVEL, level)
    one_order(values=values, groups=groups)
    v = measurable(values, "values")
    if share is None:
        share = bool(np.isin(v, (0, 1)).all())
    if share:
        return _share(v, [np.ones(v.shape[-1], dtype=bool)], groups, level)
    codes, n_groups = group_codes(groups, v.shape[-1])
    lines = v.reshape(-1, v.shape[-1])
    if n_groups < FEWEST:
        nothing = np.full(len(lines), np.nan)
        return _shaped(lines.mean(1), (nothing, nothing), v.shape, n_groups, level, ONE_GROUP)
    strata = Strata.of(codes, n_groups, [np.ones(v.shape[-1], dtype=bool)])
    found = Sampled.of(strata.average(line, share=False) for line in lines)
    ends = of_mean(found, strata.effective, level)
    doubt = ALL_ZERO if np.isnan(ends[0]).any() else ""
    return _shaped(found.value, ends, v.shape, n_groups, level, doubt)


def mean_difference(now: Any, then: Any, groups: Any = None, *, level: float = 0.95) -> Estimate:
    """The mean of `now` minus that of `then` on the same rows; what both share cancels in the interval.

    Both are [..., n]. Where both hold only 0 and 1, the interval has a width even where no row differs, and
    stays within -1 and 1; for other values see `mean`.
    """
    one_order(now=now, then=then, groups=groups)
    first, second = measurable(now, "now"), measurable(then, "then")
    if first.shape != second.shape:
        raise ValueError(
            f"now has shape {first.shape} and then has {second.shape}; give both for the same rows, in one"
            " order"
        )
    if all(np.isin(v, (0, 1)).all() for v in (first, second)):
        change = first - second
        return _share_difference(change, [np.ones(change.shape[-1], dtype=bool)], groups, level)
    return mean(first - second, groups, share=False, level=level)


def delong(scores: Any, others: Any, y: Any) -> tuple[Estimate, float]:
    """The difference of two AUROCs on the same independent rows with its normal interval, and the two-sided
    p-value of no difference.

    For rows that come in groups use `auroc_difference`: DeLong takes every row as independent. Source: DeLong
    et al. 1988, Biometrics 44(3).
    """
    from scipy.stats import rankdata  # half a second to import, so not before it is asked for

    one_order(scores=scores, others=others, y=y)
    s, label, n = labelled(np.stack([measurable(scores, "scores"), measurable(others, "others")]), y)
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
        return auroc_difference(scores, others, y), 1.0 if difference == 0 else 0.0
    reach = ndtri(0.975) * se
    return Estimate(difference, difference - reach, difference + reach, n, n), float(
        2 * ndtr(-abs(difference) / se)
    )


def _share(hits: np.ndarray, strata: list[np.ndarray], groups: Any, level: float) -> Estimate:
    """The share of hits [..., n], averaged over strata."""
    check_level(LEVEL, level)
    codes, n_groups = group_codes(groups, hits.shape[-1])
    lines = hits.reshape(-1, hits.shape[-1])
    parts = Strata.of(codes, n_groups, strata)
    if parts.fewest_groups < FEWEST:
        value = np.mean([lines[:, m].mean(1) for m in strata], axis=0)
        return _untold(value, 0.0, hits.shape, n_groups, level, CLASS_IN_ONE_GROUP)
    found = Sampled.of(parts.average(line, share=True) for line in lines)
    ends = of_share(found, lambda p: variance_of_share(p, parts.effective), level)
    return _shaped(found.value, ends, hits.shape, n_groups, level)


def _share_difference(change: np.ndarray, strata: list[np.ndarray], groups: Any, level: float) -> Estimate:
    """The mean of changes of -1, 0 and 1 [..., n], averaged over strata."""
    check_level(LEVEL, level)
    codes, n_groups = group_codes(groups, change.shape[-1])
    lines = change.reshape(-1, change.shape[-1])
    parts = Strata.of(codes, n_groups, strata)
    if parts.fewest_groups < FEWEST:
        value = np.mean([lines[:, m].mean(1) for m in strata], axis=0)
        return _untold(value, -1.0, change.shape, n_groups, level, CLASS_IN_ONE_GROUP)
    found = Sampled.of(parts.average(line, share=False) for line in lines)
    return _shaped(found.value, of_difference(found, parts.effective, level), change.shape, n_groups, level)


def _untold(
    value: np.ndarray, lowest: float, shape: tuple[int, ...], n_groups: int, level: float, doubt: str
) -> Estimate:
    """The Estimate where groups are too few: without an interval for a single group, else all it can be."""
    if n_groups < FEWEST:
        nothing = np.full_like(value, np.nan)
        return _shaped(value, (nothing, nothing), shape, n_groups, level, ONE_GROUP)
    anything = np.full_like(value, lowest), np.ones_like(value)
    return _shaped(value, anything, shape, n_groups, level, doubt)


def _shaped(
    value: np.ndarray, ends: Ends, shape: tuple[int, ...], n_groups: int, level: float, doubt: str = ""
) -> Estimate:
    """The Estimate of lines of shape [..., n]: numbers for one line, else arrays [...]."""
    batch = shape[:-1]
    pick = (lambda a: float(a[0])) if batch == () else (lambda a: a.reshape(batch))
    return Estimate(pick(value), pick(ends[0]), pick(ends[1]), shape[-1], n_groups, level, doubt)
