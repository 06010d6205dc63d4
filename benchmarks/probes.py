"""Batched recipes against the usual loops, side by side in one run: `python -m benchmarks.probes` (a few
minutes on 2 cores); `benchmarks.ccs` has the search without labels.

Logistic: layers x penalties, against scikit-learn's lbfgs at the loosest tolerance that
comes within 1e-6 of the optimum, on coordinates without correlation and with a falling spectrum, as hidden
states have. Permutation: the null of a mass-mean sweep.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from probes import Activations, MassMean
from probes.controls import shuffled_null
from probes.recipes.logistic import logistic_path


@dataclass(frozen=True)
class Config:
    """Size of the comparison."""

    layers: int = 12
    width: int = 768
    pairs: int = 1000
    shuffles: int = 1000
    only: str = ""
    """just "logistic" or "permutation"; all when empty"""
    device: str = "cpu"


def compare_logistic(config: Config, falling: bool) -> tuple[str, ...]:
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(config.layers, config.pairs, config.width, generator=draw)
    y = (x[0, :, :5].sum(1) / 5**0.5 + torch.randn(config.pairs, generator=draw) > 0).long()
    if falling:
        x = (
            x
            * torch.logspace(0, -1.5, config.width)
            @ torch.linalg.qr(torch.randn(config.width, config.width, generator=draw)).Q
        )
    z = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
    penalties = torch.logspace(-3, 0, 10, dtype=torch.float64)
    there = z.to(config.device), (y == 1).to(config.device)
    # A first call of either loads its libraries and threads.
    (
        logistic_path(there[0][:1], there[1][None], penalties[:1]),
        sklearn_fit(z[0].double().numpy(), y.numpy(), 1.0, 1e-2),
    )
    ours, (_, _, losses) = timed(
        config, lambda: logistic_path(there[0], there[1].expand(len(penalties), -1), penalties)
    )
    few, theirs, tolerances = range(0, config.layers, max(1, config.layers // 3)), 0.0, set()
    for layer in few:
        rows = z[layer].double().numpy()
        fits = [
            [sklearn_fit(rows, y.numpy(), float(l2), tol) for tol in (1e-3, 1e-4, 1e-5, 1e-6, 1e-8)]
            for l2 in penalties
        ]
        for i, by_tolerance in enumerate(fits):
            best = min(float(losses[i, layer]), *(value for _, value, _ in by_tolerance))
            seconds, _, tol = next(fit for fit in by_tolerance if fit[1] <= best * (1 + 1e-6))
            theirs += seconds
            tolerances.add(tol)
            assert float(losses[i, layer]) <= best * (1 + 1e-6), "ours is not at the optimum"
    theirs *= config.layers / len(few)
    return (
        (
            f"logistic, {config.layers} layers x {len(penalties)} penalties,"
            f" {'falling spectrum' if falling else 'no correlation'}"
        ),
        f"{ours:.1f} s",
        (
            f"{theirs:.1f} s ({len(few)} of {config.layers} layers run, tol {min(tolerances):g} to"
            f" {max(tolerances):g})"
        ),
        f"{theirs / ours:.1f}x",
        "both within 1e-6 of the optimum",
    )


def sklearn_fit(z: np.ndarray, y: np.ndarray, l2: float, tol: float) -> tuple[float, float, float]:
    """Seconds, penalised loss and tolerance of one fit."""
    start = time.perf_counter()
    fitted = LogisticRegression(C=1 / (len(z) * l2), tol=tol, max_iter=10_000).fit(z, y)
    seconds = time.perf_counter() - start
    margin = z @ fitted.coef_[0] + fitted.intercept_[0]
    return (
        seconds,
        float(np.logaddexp(0, -(2 * y - 1) * margin).mean() + l2 / 2 * (fitted.coef_**2).sum()),
        tol,
    )


def time_permutation(config: Config) -> tuple[str, ...]:
    layers, n, width = 32, 2000, 4096
    acts = Activations.from_arrays(
        torch.randn(layers, n, width, generator=torch.Generator().manual_seed(4)),
        np.arange(n) % 2,
        groups=np.arange(n) // 2,
    )
    train, test = (part.to(config.device) for part in acts.split((0.7, 0.3)))
    ours, null = timed(
        config, lambda: shuffled_null(MassMean(), train, test, config.shuffles, progress=False)
    )
    return (
        f"permutation test, {layers} layers, width {width}, {n} rows",
        f"{ours:.1f} s",
        "-",
        "-",
        f"{config.shuffles} shuffles of the whole sweep; {null!r}",
    )


def timed(config: Config, work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result; on a GPU the first run, which compiles kernels, is not counted."""
    if config.device != "cpu":
        work()
        torch.cuda.synchronize()
    start = time.perf_counter()
    found = work()
    if config.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start, found


def main(config: Config) -> None:
    work = {
        "logistic plain": lambda: compare_logistic(config, False),
        "logistic falling": lambda: compare_logistic(config, True),
    }
    work |= {"permutation": lambda: time_permutation(config)}
    table = Table("what", "here", "loop", "ratio", "quality: here / loop")
    for name, run in work.items():
        if config.only in name:
            row = run()
            print(*row, sep=" | ", flush=True)
            table.add_row(*row)
    Console(width=180).print(
        f"{torch.get_num_threads()} threads, {config.device}, width {config.width}, {config.pairs} pairs"
    )
    Console(width=180).print(table)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
