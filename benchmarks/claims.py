"""How often does `claim` claim something that is not there, and how often does it miss what is: `python -m
benchmarks.claims`.

Every run draws 100 groups of 4 rows at 4 sites, splits groups 70/30, and lets `claim` fit, choose a site and
test against 199 shuffles. Null runs have no signal, but rows of a group resemble each other; in every other
run the labels are constant within a group, where counting rows as independent would claim far too often.
Signal runs have labels mixed within groups and a signal for which probes fitted on such draws reach AUROC .80
(`--reach`) on 1,000 fresh rows, on average over five draws.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tyro
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

from probes import (
    CCS,
    CRC,
    VINC,
    Activations,
    ContrastEigen,
    Logistic,
    MassMean,
    PairActivations,
    PolarityAwareCCS,
)
from probes.controls import claim
from probes.fitting.recipe import Recipe
from probes.metrics.estimates import aurocs

SITES, GROUPS, ROWS = 4, 100, 4
SUPERVISED = (MassMean(), Logistic())
UNSUPERVISED = (CCS(), CRC(), ContrastEigen(), ContrastEigen(form="covariance"), VINC(), PolarityAwareCCS())


@dataclass(frozen=True)
class Config:
    """Number of runs."""

    runs: int = 1000
    """null runs a supervised recipe and width"""
    unsupervised_runs: int = 200
    """null runs a recipe without labels and width"""
    signal_runs: int = 200
    """runs with a signal a recipe and width; 0 leaves them out"""
    widths: tuple[int, ...] = (64, 4096)
    shuffles: int = 199
    jobs: int = 2
    reach: float = 0.8
    """mean AUROC on fresh rows of the probes in the runs with a signal"""
    only: str = ""
    """just the recipes whose description has this in it"""


def draw(width: int, seed: int, signal: float, paired: bool, constant: bool, groups: int = GROUPS) -> Any:
    """Rows that share half their variance within a group, and truth along one axis a site, `signal`
    between the class means.
    """
    random, world = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(5)
    axis = torch.nn.functional.normalize(torch.randn(SITES, 1, width, generator=world), dim=2)
    group = np.repeat(np.arange(groups), ROWS)
    rows = len(group)
    y = np.repeat(np.arange(groups) % 2, ROWS) if constant else np.tile([0, 1, 1, 0], groups)

    def noise(size: float) -> torch.Tensor:
        return torch.randn(SITES, rows, width, generator=random) * size

    common = torch.randn(SITES, groups, width, generator=random).repeat_interleave(ROWS, 1) * 0.7 + noise(0.7)
    moved = signal * (torch.from_numpy(y)[None, :, None] - 0.5) * axis
    if not paired:
        return Activations.from_arrays(common + moved, y=y, groups=group)
    columns = {
        "pair_id": np.arange(rows) // 2,
        "negated": np.tile([0, 1, 0, 1], groups),
        "template": np.tile([0, 0, 1, 1], groups),
    }
    columns["statement"] = group * 2 + y  # two rows of a group in two wordings
    return PairActivations.from_arrays(
        common + noise(0.3) + moved / 2, common + noise(0.3) - moved / 2, y=y, groups=group, columns=columns
    )


@threadpool_limits.wrap(limits=1, user_api="openmp")
def one(recipe: Recipe, width: int, seed: int, signal: float, paired: bool, shuffles: int) -> bool:
    """Whether `claim` claims anything on one draw."""
    # Statement and opposite need both labels, so pairs are constant within groups only where that is
    # possible: never.
    acts = draw(width, seed, signal, paired, constant=not paired and signal == 0 and seed % 2 == 1)
    train, test = acts.split((0.7, 0.3), seed=seed)
    return claim(recipe, train, test, n=shuffles, seed=seed, progress=False).made


def reached(recipe: Recipe, width: int, signal: float, paired: bool) -> float:
    """Mean AUROC on fresh rows of probes fitted on a few draws of this signal."""
    found = []
    for seed in range(5):
        train, _ = draw(width, 90_000 + seed, signal, paired, False).split((0.7, 0.3), seed=seed)
        fresh = draw(width, 95_000 + seed, signal, paired, False, groups=250)
        found.append(aurocs(recipe.fit(train).score(fresh), fresh.y).mean())
    return float(np.mean(found))


def signal_for(reach: Callable[[float], float], target: float) -> float:
    """The signal at which the probe reaches the target, by bisection."""
    low, high = 0.0, 24.0
    for _ in range(9):
        middle = (low + high) / 2
        low, high = (middle, high) if reach(middle) < target else (low, middle)
    return (low + high) / 2


def main(config: Config) -> None:
    table = Table(
        "recipe", "width", "false claims", "95% interval", "signal", "fresh AUROC", "claimed", "seconds"
    )
    for recipe in (*SUPERVISED, *UNSUPERVISED):
        if config.only not in repr(recipe):
            continue
        paired = recipe in UNSUPERVISED
        for width in config.widths:
            start, runs = time.perf_counter(), config.unsupervised_runs if paired else config.runs
            with Parallel(n_jobs=config.jobs) as pool:
                false = sum(
                    pool(
                        delayed(one)(recipe, width, seed, 0.0, paired, config.shuffles)
                        for seed in range(runs)
                    )
                )  # pyright: ignore
                seen = ("-", "-", "-")
                if config.signal_runs:
                    signal = signal_for(
                        lambda s, r=recipe, w=width, p=paired: reached(r, w, s, p), config.reach
                    )
                    true = sum(
                        pool(
                            delayed(one)(recipe, width, 10_000 + seed, signal, paired, config.shuffles)
                            for seed in range(config.signal_runs)
                        )
                    )  # pyright: ignore
                    fresh = reached(recipe, width, signal, paired)
                    seen = (
                        f"{signal:.2f}",
                        f"{fresh:.2f}",
                        f"{true} of {config.signal_runs} = {true / config.signal_runs:.1%}",
                    )
            bounds = binomtest(false, runs).proportion_ci()
            row = (
                f"{false} of {runs} = {false / runs:.1%}",
                f"{bounds.low:.1%} to {bounds.high:.1%}",
                *seen,
                f"{time.perf_counter() - start:.0f}",
            )
            table.add_row(
                type(recipe).__name__
                + (" covariance" if getattr(recipe, "form", "") == "covariance" else ""),
                str(width),
                *row,
            )
            print(recipe, width, *row, flush=True)
    Console(width=180).print(table)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
