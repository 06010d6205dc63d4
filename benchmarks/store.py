"""Memory and disk speed of a store-backed capture: `python -m benchmarks.store` (about three minutes on 2
cores, 3 GB of disk).

Memory: the peak of a process that runs the same forward passes and keeps nothing, against one that captures
every token of every block into a store. Writing: shards as the store writes them (checksum, header, rename)
against plain `safetensors.save_file` of the same tensors in turns on the same disk.
"""

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from benchmarks.capture import Config as Shape
from benchmarks.capture import made, sentences
from probes import Examples, Position, Site, capture
from probes.reading.plan import Reading
from probes.reading.store.plan import make_plan
from probes.reading.store.shards import write_shards


@dataclass(frozen=True)
class Config:
    """Size of the capture; the defaults make 1.3 GB."""

    texts: int = 3400
    layers: int = 12
    width: int = 768
    rounds: int = 5
    folder: Path = Path(".")
    """a folder on the disk to be measured"""
    only: Literal["", "forward", "capture", "writing"] = ""


def child(config: Config, capturing: bool) -> None:
    """Prints the peak memory in MB, the output's size in MB and the seconds taken."""
    shape = Shape(texts=config.texts, layers=config.layers, width=config.width)
    texts = sentences(shape)
    model = made(shape, texts)
    where = tempfile.mkdtemp(prefix="store-benchmark-", dir=config.folder)
    start = time.perf_counter()
    size = 0.0
    try:
        if capturing:
            size = (
                capture(model, Examples(texts), "resid_post", at="all", store=where, progress=False).nbytes
                / 1e6
            )
        else:
            encoded = model.encode(texts)
            with torch.no_grad():
                for batch in model.batches(encoded):
                    model.hf.base_model(**model.inputs(batch), use_cache=False)  # pyright: ignore
    finally:
        shutil.rmtree(where)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, size, time.perf_counter() - start)


def measured(config: Config, what: str) -> list[float]:
    given = [
        "--texts",
        config.texts,
        "--layers",
        config.layers,
        "--width",
        config.width,
        "--folder",
        config.folder,
        "--only",
        what,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.store", *map(str, given)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(v) for v in done.stdout.split()]


def writing(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """GB/s of plain safetensors and of the store, round by round."""
    shape = Shape(texts=8, layers=1, width=64, heads=4)
    texts = sentences(shape)
    model = made(shape, texts)
    reading = Reading.prepare(model, Examples(texts), model.sites("resid_post"), Position("all"), None)
    plan = make_plan(reading)
    sites = [Site("resid_post", i) for i in range(config.layers)]
    shards = [torch.randn(config.layers, 1800, config.width) for _ in range(4)]
    total = sum(x.nbytes for x in shards) / 1e9
    speeds = np.zeros((2, config.rounds))
    for r in range(config.rounds):
        for which in (r % 2, 1 - r % 2):
            where = Path(tempfile.mkdtemp(prefix="store-benchmark-", dir=config.folder))
            start = time.perf_counter()
            for s, states in enumerate(shards):
                if which == 0:
                    for site, x in zip(sites, states, strict=True):
                        save_file({"x": x}, where / f"{site}-{s}.safetensors")
                else:
                    write_shards(where, sites, s, states, plan)
            speeds[which, r] = total / (time.perf_counter() - start)
            shutil.rmtree(where)
    return speeds[0], speeds[1]


def main(config: Config) -> None:
    if config.only in ("forward", "capture"):
        child(config, config.only == "capture")
        return
    table = Table(
        "what",
        "figure",
        title=f"{config.layers} layers, width {config.width}, {torch.get_num_threads()} CPU threads",
    )
    if config.only == "":
        plain, full = measured(config, "forward"), measured(config, "capture")
        table.add_row("output", f"{full[1]:,.0f} MB")
        table.add_row("peak memory, forward passes only", f"{plain[0]:,.0f} MB ({plain[2]:.0f} s)")
        table.add_row("peak memory, captured into a store", f"{full[0]:,.0f} MB ({full[2]:.0f} s)")
        table.add_row("difference", f"{full[0] - plain[0]:+,.0f} MB")
    before, ours = writing(config)
    table.add_row(
        "plain safetensors", f"{np.median(before):.2f} GB/s ({before.min():.2f} to {before.max():.2f})"
    )
    table.add_row("store", f"{np.median(ours):.2f} GB/s ({ours.min():.2f} to {ours.max():.2f})")
    table.add_row(
        "store / plain, median over rounds",
        f"{np.median(ours / before):.2f} ({(ours / before).min():.2f} to {(ours / before).max():.2f})",
    )
    Console(width=120).print(table)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
