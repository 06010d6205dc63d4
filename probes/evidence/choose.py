"""One rule for choosing a place: the highest value on validation, and of places that are as good within noise
the earliest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.special import ndtr

from probes.checks.settings import check_share, check_size
from probes.data.sites import Site
from probes.metrics.estimates import auroc_within
from probes.metrics.resampling import bootstrapped, resampled, weighted_auroc
from probes.metrics.scores import as_scores

ONE_ERROR = 0.68  # of a normal quantity this share lies within one standard error
SAME_AUROC = 0.005  # half a point of AUROC, which nobody would choose a site by
GIVEN_AWAY = 0.02  # AUROC that is given for an earlier site at most, however large the noise
SURE = 0.95
BOOTSTRAPS = 200
CHANCE = 0.5


@dataclass(frozen=True, eq=False)
class Ranked:
    """Values of several options on the same rows, where the highest is, and which are as good as that one
    within noise.
    """

    values: Float[np.ndarray, " k"]
    best: int
    equal: Bool[np.ndarray, " k"]


def equal_to_best(
    statistic: Callable[[np.ndarray], np.ndarray],
    n: int,
    groups: Shaped[np.ndarray, " n"] | None = None,
    *,
    within: float | int = 0,
    most: float | int = np.inf,
    level: float | int = ONE_ERROR,
    n_boot: int = BOOTSTRAPS,
    seed: int = 0,
) -> Ranked:
    """Which options are as good as the best one.

    `statistic` takes weights [b, n] of the rows and gives [b, k], higher being better; NaN marks an option
    without a value. An option equals the best when it is at most `within` below it, or when the central
    `level` interval of the difference, over groups resampled for both at once, reaches 0, unless it is more
    than `most` below: of few rows nearly all options are equal within noise. The default is one standard
    error (the rule of Breiman et al. 1984 for choosing among trees); `level=0` takes differences at their
    face. Raises ValueError when no option has a value, or for a margin or level that is none.
    """
    check_size("within", within)
    check_share("level", level)
    values = np.asarray(statistic(np.ones((1, n)))[0], dtype=float)
    there = np.flatnonzero(~np.isnan(values))
    if not len(there):
        none = f"none of the {len(values)} options has a value on these {n} rows"
        raise ValueError(f"{none}; see what they were measured by")
    best = int(there[np.argmax(values[there])])
    equal = values >= values[best] - within
    if level > 0:

        def behind(weights: np.ndarray) -> np.ndarray:
            drawn = np.asarray(statistic(weights), dtype=float)
            return drawn[:, [best]] - drawn[:, there]

        gap = bootstrapped(behind, (len(there),), n, groups, level, n_boot, seed)
        equal[there] |= (gap.low <= 0) & (values[there] >= values[best] - most)
    return Ranked(values, best, equal)


def level_of_the_best(
    statistic: Callable[[np.ndarray], np.ndarray],
    n: int,
    groups: Shaped[np.ndarray, " n"] | None = None,
    *,
    level: float = SURE,
    n_boot: int = 2 * BOOTSTRAPS,
    seed: int = 0,
) -> float:
    """At which level the interval of the best of several options has to be taken, so that it pays for having
    been chosen: the lower end of the highest of many that are all at chance then lies above chance as seldom
    as that of a single one at `level`.

    From how far, in standard errors, the farthest option lies from its value when groups are resampled for
    all at once; options that go together cost less than those that do not.
    """
    values = np.asarray(statistic(np.ones((1, n)))[0], dtype=float)
    drawn = np.asarray(resampled(statistic, n, groups, n_boot, seed), dtype=float)
    drawn = drawn[~np.isnan(drawn).any(axis=1)]
    each = (1 + level) / 2
    if len(drawn) < n_boot / 2:
        return 2 * each ** (1 / len(values)) - 1  # as if no option went with another
    error = drawn.std(axis=0)
    farthest = ((drawn - values) / np.where(error > 0, error, np.inf)).max(axis=1)
    return max(level, 2 * float(ndtr(np.quantile(farthest, each))) - 1)


@dataclass(frozen=True, eq=False)
class BestSite:
    """The chosen site, its place in the list, and what the choice rests on.

    `values` is the AUROC on validation by site (the loss, where there were no labels), `equal` the sites as
    good as the best within noise. Without `stands` no site is above chance once it is paid for that the best
    of them was taken, and the one returned is merely the best.
    """

    site: Site | str
    index: int
    values: Float[np.ndarray, " site"]
    equal: Bool[np.ndarray, " site"]
    stands: bool


def best_site(
    scores: Float[np.ndarray, "site n"],
    y: Shaped[np.ndarray, " n"],
    sites: Sequence[Site | str],
    groups: Shaped[np.ndarray, " n"] | None = None,
    *,
    strata: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> BestSite:
    """The site to read at, chosen on validation rows: the highest AUROC, and of sites as good within noise
    the earliest.

    As good means at most half a point of AUROC below, or at most two points and within one standard error of
    the paired difference over groups (`equal_to_best`): later blocks still hold what an earlier one wrote. A
    site whose scores are all the same is never chosen over one where they differ. Where the highest AUROC is
    not above .5 with its 95% interval, which pays for all the sites (`level_of_the_best`), no site is known
    to be better than another, the earliest would be the embedding, and the highest is returned with `stands`
    False. With `strata` (such as the format of each row) AUROC is taken within each of them that has both
    classes, and averaged. Sites may be listed in any order; other names count as given. Raises ValueError
    where no stratum has both classes, for NaN scores, and for labels other than 0 and 1, one a row.
    """
    lines, label = _lines(scores, sites), np.asarray(y)
    _check_labels(label, lines.shape[1])
    label = label == 1
    parts = _strata(label, strata)
    differs = np.ptp(lines, axis=1) > 0

    def by_site(weights: np.ndarray) -> np.ndarray:
        return np.stack([_averaged(line, label, parts, weights) for line in lines], axis=1)

    def usable(weights: np.ndarray) -> np.ndarray:
        return np.where(differs | ~differs.any(), by_site(weights), np.nan)

    values = by_site(np.ones((1, len(label))))[0]
    ranked = equal_to_best(usable, len(label), groups, within=SAME_AUROC, most=GIVEN_AWAY, seed=seed)
    level = level_of_the_best(by_site, len(label), groups, seed=seed)
    top = auroc_within(lines[ranked.best], label, parts, groups, level=level)
    stands = bool(top.low > CHANCE)
    index = _earliest(sites, np.flatnonzero(ranked.equal)) if stands else ranked.best
    return BestSite(sites[index], index, values, ranked.equal, stands)


def _lines(scores: np.ndarray, sites: Sequence[Site | str]) -> Float[np.ndarray, "site n"]:
    lines = as_scores(scores)
    if isinstance(sites, str):
        raise TypeError(f"sites are a list, one for each line of scores, got {sites!r:.60}")
    if lines.ndim != 2 or not lines.size:
        raise ValueError(f"scores have shape {lines.shape}; give one line a site and one column a row")
    if len(lines) != len(sites):
        raise ValueError(f"{len(lines)} lines of scores for {len(sites)} sites; give one line a site")
    missing = [str(site) for site, line in zip(sites, lines, strict=True) if np.isnan(line).any()]
    if missing:
        advice = "leave these sites out, or find out where the NaN come from"
        raise ValueError(f"scores are NaN at {', '.join(missing)}, so the sites cannot be compared; {advice}")
    return lines


def _check_labels(label: np.ndarray, n: int) -> None:
    if label.shape != (n,):
        raise ValueError(f"y has shape {label.shape} for {n} columns of scores; give one label a row")
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"y must be 0 or 1, got values {np.unique(label)[:5].tolist()}")


def _earliest(sites: Sequence[Site | str], among: np.ndarray) -> int:
    """The position of the site that a forward pass meets first."""

    def met(i: int) -> tuple[int, int, int]:
        site = sites[i]
        return site.order if isinstance(site, Site) else (i, 0, 0)

    return min(among.tolist(), key=met)


def _strata(label: np.ndarray, strata: np.ndarray | None) -> list[np.ndarray]:
    """The rows of each stratum with both classes."""
    if strata is not None and np.shape(strata) != label.shape:
        raise ValueError(f"strata have shape {np.shape(strata)} for {len(label)} rows; give one a row")
    every = np.zeros(len(label), dtype=int) if strata is None else np.unique(strata, return_inverse=True)[1]
    parts = [every == k for k in range(every.max() + 1)]
    both = [rows for rows in parts if len(np.unique(label[rows])) == 2]
    if not both:
        where = "there is one class only" if strata is None else "no stratum has rows of both classes"
        untold = f"{where} among the {len(label)} validation rows, so no site can be told from another"
        raise ValueError(f"{untold}; add rows of the other class")
    return both


def _averaged(line: np.ndarray, label: np.ndarray, parts: Sequence[np.ndarray], w: np.ndarray) -> np.ndarray:
    """Mean AUROC over strata, under each row of weights."""
    return np.mean([weighted_auroc(line[rows], label[rows], w[:, rows]) for rows in parts], axis=0)
