"""How often 95% intervals hold the truth, and how wide they are: `python -m benchmarks.intervals`.

Scores are normal with an effect of the group (`alike` of their variance) and a shift between the classes, so
that AUROC and accuracy over fresh groups are known in closed form. Sizes of groups are unequal (lognormal;
the largest of 20 holds about a quarter of the rows). `groups` counts those that hold the rarer class.

Nothing here uses how the intervals are made. The width to compare with is that of an interval which knows
what no sample tells: the spread of the estimate in this very setting. It reaches equally far to either side
on the log-odds scale (as it stands for means and differences), exactly as far as 95% of samples ask for.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from scipy.special import expit, logit
from scipy.stats import norm

from probes.metrics import (
    Estimate,
    accuracy,
    accuracy_difference,
    auroc,
    auroc_difference,
    aurocs,
    mean,
    mean_difference,
    weighted_auroc,
)

SHARED = 0.8
"""Of the variance of a second line of scores, what it shares with the first."""
HEADS = (
    "measure",
    "labels",
    "positive",
    "truth",
    "groups",
    "covers",
    "misses low / high",
    "width",
    "by calibrated",
    "least",
)


@dataclass(frozen=True)
class Config:
    """What is simulated."""

    designs: int = 60
    """ways of drawing sizes and labels, a setting"""
    draws: int = 10
    """draws of scores, a design"""
    groups: tuple[int, ...] = (10, 20, 50, 200)
    """numbers of groups that hold the rarer class"""
    aurocs: tuple[float, ...] = (0.5, 0.8, 0.97)
    prevalences: tuple[float, ...] = (0.5, 0.05)
    alike: float = 0.5
    """the share of variance that rows of a group have in common"""
    by_class: bool = False
    """whether a group pulls the rows of each class its own way"""
    only: str = ""
    """just the measure of this name; "auroc, percentile bootstrap" is run only then"""
    seed: int = 0


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    mixed: bool
    prevalence: float
    auroc: float
    groups: int

    @property
    def apart(self) -> float:
        """Between the class means, in standard deviations."""
        return float(norm.ppf(self.auroc) * 2**0.5)

    @property
    def accuracy(self) -> float:
        """With the threshold midway between the classes."""
        return float(norm.cdf(self.apart / 2))


@dataclass(frozen=True, eq=False)
class Design:
    """Labels and groups of the rows."""

    y: np.ndarray
    group: np.ndarray


def sizes(random: np.random.Generator, groups: int) -> np.ndarray:
    return np.maximum(1, random.lognormal(1, 1, groups).astype(int))


def drawn_design(setting: Setting, random: np.random.Generator) -> Design:
    """Labels constant within groups, or tossed for each row until enough groups hold the rarer class."""
    if not setting.mixed:
        others = round(setting.groups * (1 - setting.prevalence) / setting.prevalence)
        group = np.repeat(np.arange(setting.groups + others), sizes(random, setting.groups + others))
        return Design((group < setting.groups).astype(int), group)
    rows: list[np.ndarray] = []
    with_each = np.zeros(2)
    while with_each.min() < setting.groups:
        y = (random.random(sizes(random, 1)[0]) < setting.prevalence).astype(int)
        rows.append(y)
        with_each += (y == 0).any(), (y == 1).any()
    return Design(np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(y) for y in rows]))


def drawn_scores(setting: Setting, design: Design, config: Config, random: np.random.Generator) -> np.ndarray:
    """Scores [draws, n], 0 midway between the classes."""
    alike, together = config.alike, 2 * design.group + design.y if config.by_class else design.group
    common = random.normal(size=(config.draws, together.max() + 1))[:, together]
    own = random.normal(size=(config.draws, len(design.y)))
    return setting.apart * (design.y - 0.5) + alike**0.5 * common + (1 - alike) ** 0.5 * own


@dataclass(frozen=True)
class Measure:
    """What is estimated, its truth, and whether it is bounded by 0 and 1."""

    name: str
    estimate: Callable[[np.ndarray, np.ndarray, Design], Estimate]
    truth: Callable[[Setting], float]
    bounded: bool = False


def measures() -> tuple[Measure, ...]:
    """The second line of scores has the same truth as the first, so differences are 0."""
    return (
        Measure("auroc", lambda s, o, d: auroc(s, d.y, d.group), lambda t: t.auroc, True),
        Measure("accuracy", lambda s, o, d: accuracy(s, d.y, d.group), lambda t: t.accuracy, True),
        Measure(
            "balanced accuracy",
            lambda s, o, d: accuracy(s, d.y, d.group, balanced=True),
            lambda t: t.accuracy,
            True,
        ),
        Measure("mean", lambda s, o, d: mean(s * (2 * d.y - 1), d.group), lambda t: t.apart / 2),
        Measure("auroc difference", lambda s, o, d: auroc_difference(s, o, d.y, d.group), lambda t: 0.0),
        Measure(
            "accuracy difference", lambda s, o, d: accuracy_difference(s, o, d.y, d.group), lambda t: 0.0
        ),
        Measure("mean difference", lambda s, o, d: mean_difference(s, o, d.group), lambda t: 0.0),
        Measure("skewed mean", lambda s, o, d: mean(skewed(s, o), d.group), lambda t: float(np.exp(0.5))),
    )


def skewed(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Lognormal numbers whose logarithm has variance 1: that of the difference of both lines, in which the
    classes cancel.
    """
    return np.exp((scores - others) / (2 - 2 * SHARED**0.5) ** 0.5)


def percentile_bootstrap(scores: np.ndarray, design: Design, resamples: int = 200) -> Estimate:
    """What `auroc` did before: quantiles of AUROCs over groups drawn with replacement."""
    groups = int(design.group.max()) + 1
    drawn = np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), resamples)
    weights = drawn[:, design.group].astype(float)
    of_each = np.stack([weighted_auroc(line, design.y == 1, weights) for line in scores])
    low, high = np.nanquantile(of_each, [0.025, 0.975], axis=1)
    return Estimate(aurocs(scores, design.y), low, high, len(design.y), groups)


BEFORE = Measure(
    "auroc, percentile bootstrap", lambda s, o, d: percentile_bootstrap(s, d), lambda t: t.auroc, True
)


@dataclass(frozen=True, eq=False)
class Simulated:
    """Values and ends of all samples, with the smallest step of a value."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    step: np.ndarray
    truth: float
    bounded: bool

    @property
    def covers(self) -> float:
        return float(((self.low <= self.truth) & (self.truth <= self.high)).mean())

    @property
    def misses(self) -> tuple[float, float]:
        """Intervals that lie wholly below the truth, and wholly above it."""
        return float((self.high < self.truth).mean()), float((self.low > self.truth).mean())

    @property
    def widths(self) -> np.ndarray:
        return self.high - self.low

    @property
    def calibrated_width(self) -> float:
        """The mean width of an interval that reaches as far as 95% of these samples ask for."""
        if not self.bounded:
            return float(2 * np.quantile(np.abs(self.value - self.truth), 0.95))
        at = logit(np.clip(self.value, self.step, 1 - self.step))
        reach = np.quantile(np.abs(at - logit(self.truth)), 0.95)
        return float((expit(at + reach) - expit(at - reach)).mean())


def simulated(measure: Measure, setting: Setting, config: Config) -> Simulated:
    random = np.random.default_rng(config.seed)
    found: list[list[np.ndarray]] = []
    for _ in range(config.designs):
        design = drawn_design(setting, random)
        first, second = (drawn_scores(setting, design, config, random) for _ in range(2))
        # Two probes of the same states see the same group effects in part.
        own = (1 - SHARED) ** 0.5
        other = first * SHARED**0.5 + second * own
        other += setting.apart * (1 - SHARED**0.5 - own) * (design.y - 0.5)
        e = measure.estimate(first, other, design)
        positive = design.y.sum()
        pairs = positive * (len(design.y) - positive) if "auroc" in measure.name else len(design.y)
        found.append([e.value, e.low, e.high, np.full(config.draws, 0.5 / pairs)])
    value, low, high, step = (np.concatenate(part) for part in zip(*found, strict=True))
    return Simulated(value, low, high, step, measure.truth(setting), measure.bounded)


def settings(config: Config) -> list[Setting]:
    return [
        Setting(mixed, prevalence, true, groups)
        for mixed in (True, False)
        for prevalence in config.prevalences
        for true in config.aurocs
        for groups in config.groups
    ]


def row(measure: Measure, setting: Setting, found: Simulated) -> tuple[str, ...]:
    low, high = found.misses
    return (
        measure.name,
        "mixed" if setting.mixed else "constant",
        f"{setting.prevalence:.2f}",
        f"{found.truth:.2f}",
        str(setting.groups),
        f"{found.covers:.3f}",
        f"{low:.3f} / {high:.3f}",
        f"{found.widths.mean():.3f}",
        f"{found.widths.mean() / found.calibrated_width:.2f}",
        f"{found.widths.min():.3f}",
    )


def main(config: Config) -> None:
    table, start = Table(*HEADS), time.perf_counter()
    for measure in (*measures(), BEFORE):
        if measure.name != config.only and (config.only or measure is BEFORE):
            continue
        for setting in settings(config):
            cells: Any = row(measure, setting, simulated(measure, setting, config))
            table.add_row(*cells)
            print(*cells, sep=" | ", flush=True)
    Console(width=140).print(table, f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
