"""One cell of edit x position x backend x architecture: how far decoding under the edit is from a plain pass
with a hand-made hook.

Used by `tests/test_edit_grid.py` (a pairwise covering) and `benchmarks/edits.py` (the full grid).
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList

from interventions import Ablate, Add, Affine, Clamp, KeepNorm, Skip, When, edited
from probes import Activations, Direction, Examples, MassMean, Model, capture, load_model
from tests.conftest import SPECIALS, build_hf, build_tokenizer

FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma2", "opt", "falcon")
BACKENDS = ("hooks", "transformer_lens", "nnsight")
SIDES = ("left", "right")
POSITIONS = ("all", "last", "first", "3:6", "-2", "text:river")
PROMPTS = (
    "the red house is near the river now old",
    "a tall tree lives near the blue river",
    "no river is alpha beta",
    "river not true ? yes no alpha beta gamma delta",
)
NEW = 50
WORDS_FROM = len(SPECIALS)
EDITS: dict[str, tuple[str, Callable[[Any], Any], Callable[[Tensor, Any], Tensor]]] = {
    # The site, the edit, and by hand what it does to the hidden states [token, d] of one text.
    "add": ("resid_post.1", lambda k: Add(k.d, norm=3, sites="resid_post.1"), lambda h, k: h + 3 * k.d.unit),
    "add before": (
        "resid_pre.1",
        lambda k: Add(k.d, norm=-3, sites="resid_pre.1"),
        lambda h, k: h - 3 * k.d.unit,
    ),
    "ablate": (
        "resid_post.0",
        lambda k: Ablate(k.d, sites="resid_post.0"),
        lambda h, k: h - (h @ k.d.unit)[:, None] * k.d.unit,
    ),
    "clamp": (
        "resid_post.1",
        lambda k: Clamp(k.d, to=4),
        lambda h, k: h + (4 - h @ k.d.unit)[:, None] * k.d.unit,
    ),
    "affine": (
        "resid_post.1",
        lambda k: Affine(k.d, k.anywhere, level=2),
        lambda h, k: h + (k.level(2) - h @ k.d.unit)[:, None] * k.d.unit,
    ),
    "skip": ("mlp_out.1", lambda k: Skip("mlp_out.1"), lambda h, k: torch.zeros_like(h)),
    "keep norm": (
        "resid_post.1",
        lambda k: KeepNorm(Add(k.d, norm=3)),
        lambda h, k: torch.nn.functional.normalize(h + 3 * k.d.unit, dim=1) * h.norm(dim=1, keepdim=True),
    ),
    "when": (
        "resid_post.1",
        lambda k: When(Add(k.d, norm=3), k.probe, above=0),
        lambda h, k: h + 3 * k.d.unit * (k.score(h) > 0)[:, None],
    ),
}


class Kit:
    """A model with random weights, a direction and a probe on it."""

    def __init__(self, family: str) -> None:
        self.hf = build_hf(family)
        self.plain = load_model(self.hf, tokenizer=build_tokenizer("left"))
        words = [
            "red blue",
            "old tall house",
            "yes",
            "no tree",
            "river stone is",
            "alpha",
            "beta gamma",
            "true ?",
        ]
        self.acts = capture(
            self.plain, Examples(words, y=[0, 1] * 4), "resid_post.1", progress=False, check=False
        )
        # Rows that do not say where they were read: levels are carried over to other places on purpose.
        self.anywhere = Activations.from_arrays(self.acts.x, self.acts.y, sites=self.acts.sites)
        self.probe = MassMean().fit(self.acts)
        unit = torch.randn(self.plain.width, generator=torch.Generator().manual_seed(3))
        self.d = Direction.from_vector(unit, "resid_post.1", self.plain)

    def level(self, at: float) -> Tensor:
        along, y = self.acts.x[0] @ self.d.unit, torch.from_numpy(self.acts.y == 1)
        return along[~y].mean() + at * (along[y].mean() - along[~y].mean())

    def score(self, h: Tensor) -> Tensor:
        return h @ self.probe.weight[0] + self.probe.bias[0]


@lru_cache
def kit(family: str) -> Kit:
    return Kit(family)


@lru_cache
def loaded(family: str, backend: str, side: str) -> Model:
    return load_model(kit(family).hf, backend, tokenizer=build_tokenizer(side))


def decoded(
    model: Model, prompts: Sequence[str], n: int, use_cache: bool = True
) -> tuple[list[list[int]], Tensor]:
    """New token ids and the logits [prompt, step, word] they were chosen from; special tokens are
    never chosen, so that nobody stops early.
    """
    asked = model.tokenise(prompts)
    (batch,) = model.batches(asked.encoded, len(asked), side="left")
    inputs = {"input_ids": batch.ids, "attention_mask": batch.mask}
    seen: list[Tensor] = []

    def look(ids: Tensor, scores: Tensor) -> Tensor:
        seen.append(scores[:, WORDS_FROM:].clone())
        return scores

    options = {
        "max_new_tokens": n,
        "use_cache": use_cache,
        "do_sample": False,
        "pad_token_id": 1,
        "suppress_tokens": list(range(WORDS_FROM)),
    }
    out = model.backend.generate(
        inputs,
        model.bound_writes(batch, asked, cached=use_cache),
        options | {"logits_processor": LogitsProcessorList([look])},
    )
    order = batch.rows.argsort()
    return out[order, batch.ids.shape[1] :].tolist(), torch.stack(seen, dim=1)[order]


def by_hand(family: str, name: str, at: str, prompt: str, new: Sequence[int]) -> Tensor:
    """Logits [step, word] of one unpadded pass over prompt and new tokens, the edit done by a hook
    written out here.
    """
    k = kit(family)
    site, _, change = EDITS[name]
    kind, block = site.split(".")
    ids = k.plain.encode([prompt])[0].ids
    whole = torch.tensor([[*ids, *new]])
    n, river = len(ids), 1 + prompt.split().index("river")
    tokens = {
        "all": range(whole.shape[1]),
        "last": [n - 1],
        "first": [0],
        "3:6": range(3, 6),
        "-2": [n - 2],
        "text:river": [river],
    }[at]

    def edited_states(h: Tensor) -> Tensor:
        h = h.clone()
        flat = h.view(1, -1, h.shape[-1])  # OPT's second linear map sees no batch
        flat[0, list(tokens)] = change(flat[0, list(tokens)], k)
        return h

    blocks = k.plain.blocks
    if kind == "mlp_out":
        module = blocks[int(block)].get_submodule(k.plain.backend.layout().mlp_out)
        handle = module.register_forward_hook(lambda m, args, out: edited_states(out))
    elif kind == "resid_pre":
        handle = blocks[int(block)].register_forward_pre_hook(
            lambda m, args: (edited_states(args[0]), *args[1:])
        )
    else:
        handle = blocks[int(block)].register_forward_hook(
            lambda m, args, out: (
                edited_states(out) if isinstance(out, Tensor) else (edited_states(out[0]), *out[1:])
            )
        )
    try:
        with torch.no_grad():
            logits = k.hf(whole, use_cache=False).logits[0, n - 1 : -1, WORDS_FROM:]
    finally:
        handle.remove()
    return logits


def largest_gap(family: str, backend: str, side: str, name: str, at: str) -> float:
    """Over all prompts and 50 new tokens, in logits: batched and cached against by hand, uncached,
    one prompt alone, and a pass that pads on `side`.
    """
    k = kit(family)
    base = loaded(family, backend, side)
    model = edited(base, at_position(EDITS[name][1](k), at))
    new, logits = decoded(model, PROMPTS, NEW)
    changed = float((logits[:, 0] - decoded(base, PROMPTS, 1)[1][:, 0]).abs().max())
    if family == "gemma2" and at == "first" and EDITS[name][0] in ("resid_post.1", "mlp_out.1"):
        assert changed == 0, (
            "the last block looks back four tokens, so an edit of the first one behind block 1 is out of its"
            " sight"
        )
    else:
        assert changed > 1e-3 or name == "when", "the edit changes nothing, so nothing is tested"
    gaps = [logits[i] - by_hand(family, name, at, p, new[i]) for i, p in enumerate(PROMPTS)]
    if (
        backend == "hooks"
    ):  # recomputing all tokens at every step is slow in the others, which share this bookkeeping
        again, uncached = decoded(model, PROMPTS, NEW, use_cache=False)
        assert again == new
        gaps.append(uncached - logits)
    alone, single = decoded(model, PROMPTS[2:3], 5)
    assert alone[0] == new[2][:5]
    gaps.append(single[0] - logits[2, :5])
    asked = model.tokenise(list(PROMPTS))
    (batch,) = model.batches(asked.encoded, len(asked), side=side)  # pyright: ignore
    padded = model.run(batch, writes=model.bound_writes(batch, asked), logits=True).logits
    assert padded is not None
    last = torch.from_numpy(batch.start) + batch.mask.sum(1) - 1
    gaps.append(padded[torch.arange(len(asked)), last, WORDS_FROM:][batch.rows.argsort()] - logits[:, 0])
    return max(float(g.abs().max()) for g in gaps)


def at_position(edit: Any, at: str) -> Any:
    """The edit, or the one it wraps, moved to other tokens."""
    return replace(edit, edit=at_position(edit.edit, at)) if hasattr(edit, "edit") else replace(edit, at=at)


def pairwise(*axes: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Few combinations in which every two values of different axes meet; each next one covers most of
    what is left.
    """
    pairs = {
        (i, a, j, b) for i, j in itertools.combinations(range(len(axes)), 2) for a in axes[i] for b in axes[j]
    }
    while pairs:
        i, a, j, b = min(pairs)

        def fresh(cell: tuple[str, ...], left: set = pairs) -> int:
            return sum(
                (p, cell[p], q, cell[q]) in left for p, q in itertools.combinations(range(len(axes)), 2)
            )

        free = [[a] if n == i else [b] if n == j else values for n, values in enumerate(axes)]
        best = max(itertools.product(*free), key=fresh)
        pairs -= {(p, best[p], q, best[q]) for p, q in itertools.combinations(range(len(axes)), 2)}
        yield best
