"""What edits cost while a model writes: `python -m benchmarks.steering` (about ten minutes on 2 cores).

Random weights in the shape of GPT-2 small, 8 prompts, 64 new tokens, greedy, no early end. In every round all
ways take their turn, in an order that changes from round to round; the table has the median over rounds of
the ratio to Hugging Face's own `generate` in the same round.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.capture import Config as Shape
from benchmarks.capture import made, sentences
from interventions import Ablate, Add, Monitor, edited
from interventions.weights.baking import bake
from probes import Direction, Examples, MassMean, Model, capture, load_model
from probes.data.sites import Site


@dataclass(frozen=True)
class Config:
    """The shape of the model and of the work."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    prompts: int = 8
    new: int = 64
    rounds: int = 5
    peers: bool = True
    """also through nnsight and TransformerLens"""
    device: str = "cpu"


def ways(config: Config) -> dict[str, Callable[[], Any]]:
    """What is timed; all write the same number of tokens behind the same prompts."""
    shape = Shape(texts=64, layers=config.layers, width=config.width, heads=config.heads)
    texts = sentences(shape)
    model: Model = made(shape, texts)
    model.hf.to(config.device)
    model.hf.generation_config.eos_token_id = None  # pyright: ignore  # nobody ends early
    prompts = texts[: config.prompts]
    asked = model.tokenise(prompts)
    (batch,) = model.batches(asked.encoded, config.prompts, side="left")
    inputs = {"input_ids": batch.ids.to(config.device), "attention_mask": batch.mask.to(config.device)}
    options: dict[str, Any] = {"max_new_tokens": config.new, "do_sample": False, "pad_token_id": model.pad_id}
    middle = Site("resid_post", config.layers // 2)
    d = Direction.from_vector(
        torch.randn(config.width, generator=torch.Generator().manual_seed(0)), middle, model
    )
    probe = MassMean().fit(
        capture(model, Examples(texts, y=np.arange(len(texts)) % 2), middle, progress=False, check=False)
    )
    monitor = Monitor(probe, middle, float("inf"))

    def ours(m: Model) -> Callable[[], Any]:
        return lambda: m.backend.generate(inputs, m.bound_writes(batch, asked, cached=True), options)

    def plain() -> Any:
        with torch.no_grad():
            return model.hf.generate(**inputs, **options)  # pyright: ignore

    add, ablate = Add(d, norm=1.0), Ablate(d, sites="resid_post")
    baked = bake(model, Add(d, norm=1.0))
    found: dict[str, Callable[[], Any]] = {
        "Hugging Face generate, no edit": plain,
        "no edit": ours(model),
        "Add at one layer": ours(edited(model, add)),
        "Add at one prompt token": ours(edited(model, Add(d, norm=1.0, at="last"))),
        "Ablate at all layers": ours(edited(model, ablate)),
        "Add, baked into the weights": lambda: plain_of(baked, inputs, options),
        "monitor at one layer": lambda: monitor.watch(
            model, prompts, max_new_tokens=config.new, batch_size=config.prompts
        ),
    }
    if config.peers:
        for backend in ("nnsight", "transformer_lens"):
            m = load_model(model.hf, backend=backend, tokenizer=model.tokenizer)
            found |= {
                f"Add at one layer, through {backend}": ours(edited(m, add)),
                f"Ablate at all layers, through {backend}": ours(edited(m, ablate)),
            }
    return found


def plain_of(model: Model, inputs: dict[str, Any], options: dict[str, Any]) -> Any:
    model.hf.generation_config.eos_token_id = None  # pyright: ignore
    with torch.no_grad():
        return model.hf.generate(**inputs, **options)  # pyright: ignore


def main(config: Config) -> None:
    todo = ways(config)
    names = list(todo)
    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        todo[name]()  # warm up
    for r in range(config.rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            start = time.perf_counter()
            todo[name]()
            if config.device != "cpu":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    title = (
        f"{config.prompts} prompts, {config.new} new tokens, {config.layers} layers, width {config.width},"
        f" {config.device}, {torch.get_num_threads()} threads"
    )
    table = Table(
        "way", "seconds (median)", "ratio to plain generate, median (range over rounds)", title=title
    )
    for name in names:
        ratios = [a / b for a, b in zip(times[name], times[names[0]], strict=True)]
        table.add_row(
            name,
            f"{statistics.median(times[name]):.2f}",
            f"{statistics.median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
