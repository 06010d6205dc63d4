"""What each backend serves, measured: `python -m benchmarks.conformance` (about ten minutes on 2 cores)
writes docs/backends.md.

Every architecture (random weights, three blocks) x backend x kind of site x position x padding side x batch
size is held against plain Hugging Face on one unpadded text at a time. The residual stream comes from
`hidden_states` and the last block itself; what sublayers add is held against the stream's own differences
(through the LayerNorms in encoders of the BERT type), heads against the output projection.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from probes import Examples, Model, capture, load_model
from tests.conftest import ENCODERS, FAMILIES, WORDS, build_hf, build_tokenizer, plain_states_of

KINDS = ("resid_pre", "resid_post", "attn_out", "mlp_out", "z")
POSITIONS = ("last", "last_content", "first", "mean", "all", "1:3", "-2", "span:who", "text:river")
BACKENDS = ("hooks", "transformer_lens", "nnsight")


@dataclass(frozen=True)
class Config:
    """What is compared, and where the table goes."""

    families: tuple[str, ...] = tuple(FAMILIES)
    backends: tuple[str, ...] = BACKENDS
    out: Path = Path("docs/backends.md")
    seed: int = 1


def statements(seed: int) -> Examples:
    """Texts of different lengths that all contain `the river`, and the words to find in them."""
    draw = np.random.default_rng(seed)
    texts = [
        " ".join([*draw.choice(WORDS, n), "the river", *draw.choice(WORDS, m)])
        for n, m in ((2, 3), (0, 1), (17, 9), (1, 1), (4, 20), (3, 2))
    ]
    return Examples(texts, columns={"who": ["the river"] * len(texts)})


def largest_error(
    family: str,
    model: Model,
    examples: Examples,
    oracle: list[dict[str, Tensor]],
    kind: str,
    at: str,
    batch_size: int,
) -> float:
    """The largest difference over all blocks and rows."""
    acts = capture(model, examples, kind, at=at, batch_size=batch_size, progress=False, check=False)
    tokens = (
        [np.array([0])] * len(examples)
        if acts.token is None
        else [acts.token[acts.example == i] for i in range(len(examples))]
    )

    def picked(states: list[Tensor]) -> Tensor:
        return (
            torch.stack([h.mean(0) for h in states])
            if acts.token is None
            else torch.cat([h[t] for h, t in zip(states, tokens, strict=True)])
        )

    stream = {
        k: torch.stack([picked([s[f"{k}.{b}"] for s in oracle]) for b in range(model.n_blocks)])
        for k in ("resid_pre", "resid_post")
    }
    if kind in stream:
        return float((acts.x - stream[kind]).abs().max())
    if (
        acts.token is None
        # means and norms do not commute; the tokens they average are held against the stream at the other
        # positions
    ):
        return float((acts.x - _averages(model, examples, kind)).abs().max())
    other = {
        k: capture(model, examples, k, at=at, batch_size=batch_size, progress=False, check=False).x
        for k in ("attn_out", "mlp_out")
    }
    with torch.no_grad():
        if kind == "z":
            return max(
                _through_projection(model, b, acts.x[b], other["attn_out"][b]) for b in range(model.n_blocks)
            )
        if family in ("bert", "deberta", "roberta"):
            middle = [
                blk.attention.output.LayerNorm(stream["resid_pre"][b] + other["attn_out"][b])
                for b, blk in enumerate(model.blocks)
            ]
            after = torch.stack(
                [blk.output.LayerNorm(middle[b] + other["mlp_out"][b]) for b, blk in enumerate(model.blocks)]
            )
            return float((after - stream["resid_post"]).abs().max())
    return float(
        (other["attn_out"] + other["mlp_out"] - (stream["resid_post"] - stream["resid_pre"])).abs().max()
    )


def _averages(model: Model, examples: Examples, kind: str) -> Tensor:
    """Means over tokens of one text at a time."""
    acts = [
        capture(model, examples.rows([i]), kind, at="all", batch_size=1, progress=False, check=False).x.mean(
            1
        )
        for i in range(len(examples))
    ]
    return torch.stack(acts, dim=1)


def _through_projection(model: Model, block: int, z: Tensor, attn: Tensor) -> float:
    plain = load_model(model.hf, tokenizer=model.tokenizer)
    layout = plain.backend.layout()
    mixed = plain.blocks[block].get_submodule(layout.z)(z)
    if layout.attn_out == "post_attention_layernorm":
        mixed = plain.blocks[block].post_attention_layernorm(mixed)
    return float((mixed - attn).abs().max())


def cells(config: Config) -> Iterator[tuple[str, str, str, str]]:
    """Family, backend, kind, and either the largest error or why it is refused."""
    examples = statements(config.seed)
    for family in tqdm(config.families, desc="architectures"):
        hf, encoder = build_hf(family), family in ENCODERS
        oracle = plain_states_of(hf, build_tokenizer(encoder=encoder), list(examples.texts))
        for backend in config.backends:
            try:
                models = [
                    load_model(hf, backend, tokenizer=build_tokenizer(side, encoder))
                    for side in ("left", "right")
                ]
            except ValueError as error:
                yield from ((family, backend, kind, f"refused: {error}") for kind in KINDS)
                continue
            for kind in KINDS:
                try:
                    errors = [
                        largest_error(family, m, examples, oracle, kind, at, size)
                        for m in models
                        for at in POSITIONS
                        for size in (1, 32)
                    ]
                except ValueError as error:
                    yield family, backend, kind, f"refused: {error}"
                else:
                    yield family, backend, kind, f"{max(errors):.1e}"


def main(config: Config) -> None:
    warnings.simplefilter("ignore")
    found = {(f, b, k): v for f, b, k, v in cells(config)}
    lines = [
        "# What each backend serves",
        "",
        (
            "Made by `python -m benchmarks.conformance`: the largest absolute difference from plain Hugging"
            " Face on one unpadded text at a time, in float32, over"
        ),
        (
            f"all blocks, {len(POSITIONS)} positions ({', '.join(POSITIONS)}), both padding sides and batch"
            " sizes 1 and 32. A dash is refused, with the reason below."
        ),
        "",
    ]
    for backend in config.backends:
        lines += [
            f"## {backend}",
            "",
            f"| architecture | {' | '.join(KINDS)} |",
            "|---" * (1 + len(KINDS)) + "|",
        ]
        for family in config.families:
            shown = [found[family, backend, k] for k in KINDS]
            lines.append(f"| {family} | {' | '.join('-' if v.startswith('refused') else v for v in shown)} |")
        reasons = {f: v for (f, b, _), v in found.items() if b == backend and v.startswith("refused")}
        lines += [
            "",
            *[f"- {family}: {reason.removeprefix('refused: ')}" for family, reason in reasons.items()],
            *[""] * bool(reasons),
        ]
    config.out.write_text("\n".join(lines).rstrip() + "\n")
    worst = max(float(v) for v in found.values() if not v.startswith("refused"))
    print(
        f"{len(found)} cells, {sum(v.startswith('refused') for v in found.values())} refused, largest error"
        f" {worst:.1e}; written to {config.out}"
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
