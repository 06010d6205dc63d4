"""Logistic probes against scikit-learn at its best: `python -m benchmarks.logistic`.

Every timing is a process of its own, because threads are fixed when libraries load: scikit-learn on one
BLAS thread and on two, each fit at the loosest tolerance that comes as near the optimum as ours has to, 1e-8
of the loss, and ours on one and on two, whole fits with everything a probe holds. They take turns, and the
best of the rounds counts. The ratio is that of scikit-learn's better setting. Ours standardise the rows;
scikit-learn's are timed on rows that are standardised already, and with the `StandardScaler` that the same
probe on raw rows needs. Rows have coordinates without correlation, or a falling spectrum.
"""

import os
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from probes import Activations, Logistic
from probes.fitting.margins import GAP

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10)
SHAPES = {(3, 1000, 768): (1e-2, 1e-1), (3, 300, 768): (1e-2, 1e-1), (30, 1000, 128): (1e-2, 1e-1)}


@dataclass(frozen=True)
class Config:
    """What is timed."""

    rounds: int = 3
    who: str = ""
    """for the processes that this one starts: "ours" or "theirs" """


def rows(sites: int, n: int, d: int, falling: bool) -> tuple[np.ndarray, np.ndarray]:
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(sites, n, d, generator=draw)
    y = (x[0, :, :5].sum(1) / 5**0.5 + torch.randn(n, generator=draw) > 0).long()
    if falling:
        turn = torch.linalg.qr(torch.randn(d, d, generator=draw)).Q
        x = x @ (torch.logspace(0, -1.5, d)[:, None] * turn)
    return x.numpy(), y.numpy()


def ours(x: np.ndarray, y: np.ndarray, penalties: tuple[float, ...]) -> float:
    """Seconds for a fit a penalty, all sites at once."""
    acts = Activations.from_arrays(x, y)
    Logistic(l2=1.0).fit(Activations.from_arrays(x[:, :, :8], y))  # a first call loads libraries
    start = time.perf_counter()
    for l2 in penalties:
        Logistic(l2=l2).fit(acts)
    return time.perf_counter() - start


def theirs(x: np.ndarray, y: np.ndarray, penalties: tuple[float, ...]) -> tuple[float, float]:
    """Seconds for the same problems one by one: of the fits alone, and with the scaling before each."""
    alone = scaling = 0.0
    few = x[:3].astype(float)  # of many sites three are run and scaled up
    for site in few:
        for l2 in penalties:
            start = time.perf_counter()
            z = StandardScaler().fit_transform(site)
            scaling += time.perf_counter() - start
            fits = [fit(z, y, l2, tolerance) for tolerance in TOLERANCES]
            best = min(value for _, value in fits)
            alone += next(seconds for seconds, value in fits if value <= best * (1 + GAP))
    times = len(x) / len(few)
    return alone * times, (alone + scaling) * times


def fit(z: np.ndarray, y: np.ndarray, l2: float, tolerance: float) -> tuple[float, float]:
    """Seconds and penalised loss."""
    start = time.perf_counter()
    found = LogisticRegression(C=1 / (len(z) * l2), tol=tolerance, max_iter=10_000).fit(z, y)
    seconds = time.perf_counter() - start
    margin = (2 * y - 1) * (z @ found.coef_[0] + found.intercept_[0])
    return seconds, float(np.logaddexp(0, -margin).mean() + l2 / 2 * (found.coef_**2).sum())


def timed(who: str) -> None:
    """One line a case: its name and seconds."""
    warnings.simplefilter("ignore")
    for shape, penalties in SHAPES.items():
        for falling in (False, True):
            x, y = rows(*shape, falling)
            seconds = [ours(x, y, penalties)] if who == "ours" else theirs(x, y, penalties)
            print(named(shape, falling), *seconds, sep="|", flush=True)


def named(shape: tuple[int, int, int], falling: bool) -> str:
    kind = "falling spectrum" if falling else "no correlation"
    return f"{shape[0]} sites, {shape[1]} rows, width {shape[2]}, {kind}"


def main(config: Config) -> None:
    if config.who:
        return timed(config.who)
    best: dict[tuple[str, str, str], float] = {}
    for _ in range(config.rounds):
        for who, threads in (("theirs", "1"), ("ours", "1"), ("theirs", "2"), ("ours", "2")):
            command = [sys.executable, "-m", "benchmarks.logistic", "--who", who]
            env = os.environ | dict.fromkeys(VARIABLES, threads)
            lines = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
            for line in lines.splitlines():
                case, *seconds = line.split("|")
                for what, value in zip((who, f"scaled {who}"), seconds, strict=False):
                    key = case, what, threads
                    best[key] = min(best.get(key, np.inf), float(value))
    table = Table("two penalties, a fit each", "scikit-learn", "with its scaler", "here", "ratios")
    for case in dict.fromkeys(case for case, _, _ in best):
        alone, scaled, own = (
            [best[case, who, t] for t in "12"] for who in ("theirs", "scaled theirs", "ours")
        )
        said = (" / ".join(f"{v * 1e3:.0f} ms" for v in side) for side in (alone, scaled, own))
        ratios = (" / ".join(f"{min(side) / v:.1f}" for v in own) for side in (alone, scaled))
        table.add_row(case, *said, "; ".join(ratios))
    print("each at 1 / 2 threads; ratios: over the fits alone; over scaling and fits")
    Console(width=150).print(table)
    return None


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
