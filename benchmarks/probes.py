"""The null of a mass-mean sweep, timed: `python -m benchmarks.probes` (under a minute on 2 cores).
`benchmarks.ccs` has the search without labels, `benchmarks.logistic` logistic regression.
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

from probes import Activations, MassMean
from probes.controls import shuffled_null


@dataclass(frozen=True)
class Config:
    """Size of the comparison."""

    layers: int = 12
    width: int = 768
    pairs: int = 1000
    shuffles: int = 1000
    only: str = ""
    """just "permutation"; all when empty"""
    device: str = "cpu"


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
    work = {"permutation": lambda: time_permutation(config)}
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
