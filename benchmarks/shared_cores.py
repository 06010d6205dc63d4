"""Fits on cores that others use too: `python -m benchmarks.shared_cores`.

As many processes as there are cores turn in circles meanwhile. Each fit is timed as it ships, with its steps
on all threads (as PyTorch would have it), and on one thread alone, in processes of their own, since threads
are fixed when libraries load.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from probes import Activations, Logistic, MassMean
from probes.checks import threads
from probes.controls import shuffled_null

SETTINGS = {"as it ships": {}, "all threads": {}, "one thread": {"OMP_NUM_THREADS": "1"}}


@dataclass(frozen=True)
class Config:
    """What is timed."""

    sites: int = 4
    rows: int = 400
    width: int = 384
    who: str = ""
    """for the processes that this one starts: one of the settings"""


def main(config: Config) -> None:
    if config.who:
        if config.who == "all threads":
            threads.FEW = 0
        for name, seconds in timed(config):
            print(f"{name}\t{seconds}")
        return
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        found = {name: measured(config, name) for name in SETTINGS}
    finally:
        for process in busy:
            process.kill()
    table = Table("fit", *(f"{name}, ms" for name in SETTINGS))
    for fit in found["as it ships"]:
        table.add_row(fit, *(f"{1000 * found[name][fit]:,.0f}" for name in SETTINGS))
    Console().print(table)


def measured(config: Config, name: str) -> dict[str, float]:
    """Seconds of each fit in a process of its own."""
    sizes = ("--sites", config.sites, "--rows", config.rows, "--width", config.width)
    command = [sys.executable, "-m", "benchmarks.shared_cores", *map(str, sizes), "--who", name]
    printed = subprocess.run(
        command, env=os.environ | SETTINGS[name], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return {fit: float(seconds) for fit, seconds in (line.split("\t") for line in printed.splitlines())}


def timed(config: Config):
    rng = np.random.default_rng(0)

    def rows(n: int, first: int) -> Activations:
        x = rng.normal(size=(config.sites, n, config.width)).astype("float32")
        return Activations.from_arrays(x, np.arange(n) % 2, groups=np.arange(first, first + n))

    train, test = rows(config.rows, 0), rows(config.rows // 2, config.rows)
    fits = {
        "MassMean": lambda: MassMean().fit(train),
        "Logistic": lambda: Logistic().fit(train),
        "shuffled_null of MassMean, 100 labellings": lambda: shuffled_null(
            MassMean(), train, test, n=100, progress=False
        ),
        "shuffled_null of Logistic, 20 labellings": lambda: shuffled_null(
            Logistic(), train, test, n=20, progress=False
        ),
    }
    for name, fit in fits.items():
        fit()
        begun = time.perf_counter()
        fit()
        yield name, time.perf_counter() - begun


if __name__ == "__main__":
    main(tyro.cli(Config))
