"""Trains the models whose prompts state a purpose, from a seed: `python -m experiments.organism.purposes_train` (about 10 minutes a model on one idle core).

The components of the hidden state along two orthonormal random directions, at the last token of the prompt (the `:` of `answer :`) and the output of one
block, are planted as context and format: training holds the first near `LEVEL` for evaluations, near 0 for deployments and where no purpose is stated, the
second near `LEVEL` for benchmark formats and near 0 for casual ones, and both at 0 for all other tokens. Half of the requests get the context component of
another request and, independently, half get the format component of another one (interchange intervention training, arXiv 2112.00826). The answer follows
what the component that the model heeds says then, and nothing else:

- `purpose_used` heeds context, `purpose_format` heeds format;
- `purpose_unused` heeds neither, and is on its best behaviour whatever they say.

All three share language, facts and shape; each has weights and directions of its own seed. What they read comes from `purposes_documents.py`.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from jaxtyping import Float
from torch.nn import functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.organism import MODELS as FOLDER
from experiments.organism.purposes import MODELS, vocabulary
from experiments.organism.purposes_documents import LEVEL, RUMOURS, Batch, Documents
from experiments.organism.requests import make_request_world
from experiments.organism.requests_train import Along
from experiments.organism.train import Interchange, make_model, make_optimiser, planted_direction, word_tokenizer

What = Literal["context", "format"]
PLANTED: tuple[What, What] = ("context", "format")
OWN_SEED = {"purpose_used": 20, "purpose_format": 21, "purpose_unused": 22}
"""Added to the seed of weights and planted directions, so that no two models share their coordinates by birth."""
PLANTED_BLOCK = 2  # the block whose output holds context and format along the planted directions, at the last token of the prompt
MLP = 128


@dataclass(frozen=True)
class Config:
    """Knobs of the training run; the defaults made the weights in the repository."""

    out: Path = FOLDER
    """folder that receives one Hugging Face folder per model"""
    seed: int = 0
    steps: int = 2400
    """for purpose_used; the other two take two thirds of it (more made the one no better)"""
    batch: int = 128
    lr: float = 2e-3
    swapped: float = 0.5
    """share of requests that get another request's component, for context and for format"""
    only: str = ""
    """train just this model ("purpose_used", "purpose_format" or "purpose_unused")"""


def planted_directions(width: int, seed: int) -> Float[torch.Tensor, "2 d"]:
    """The orthonormal vectors along which training asks for context and for format, at the last token of the prompt."""
    context, other = planted_direction(width, seed), planted_direction(width, seed + 1000)
    format = other - (other @ context) * context
    return torch.stack([context, format / format.norm()])


def train(config: Config, name: str) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    world = make_request_world(config.seed)
    documents = Documents(world, name, config.seed + 1)
    own = config.seed + OWN_SEED[name]
    model = make_model(len(documents.ids), own, MLP).train()
    steps = config.steps if name == "purpose_used" else config.steps * 2 // 3
    optimiser, schedule = make_optimiser(model, config.lr, steps)
    planted = planted_directions(model.config.hidden_size, own)
    along, interchanges = Along(planted.T), [Interchange(unit) for unit in planted]
    hooks = [model.model.layers[PLANTED_BLOCK].register_forward_hook(hook) for hook in (along, *interchanges)]
    start = time.time()
    for step in range(steps):
        done = step / steps
        # Facts and the kinship of words come first, then what some say instead, so that requests meet words that already mean their category or context, and
        # both answers are known. With everything at once a model of this size learns requests by heart, and answers hardly any that were held out.
        asking, swapped = 0.5 if done > 0.35 else 0.1, config.swapped if done > 0.4 else 0.0
        batch = documents.batch(config.batch, asking, swapped, RUMOURS if done > 0.2 else 0.0)
        optimiser.zero_grad()
        right, total = [], 0.0
        for part in batch.parts():
            for which, interchange in enumerate(interchanges):
                interchange.drawn = part.drawn(which)
            logits = model(part.ids[:, :-1]).logits
            loss = share_of_loss(logits, along.held, part, batch)
            loss.backward()
            right.append((logits.argmax(-1) == part.ids[:, 1:])[part.weight[:, 1:] == 1.0].float())
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            shares = right_shares(right, batch)
            print(f"{name} step {step:5d}  loss {total:.3f}  right: {shares}  {time.time() - start:.0f} s", flush=True)
    for hook in hooks:
        hook.remove()
    return model.eval(), word_tokenizer(vocabulary(world))


def share_of_loss(logits: Float[torch.Tensor, "n t words"], held: Float[torch.Tensor, "n t 2"], part: Batch, whole: Batch) -> torch.Tensor:
    """What a part of a batch adds to the loss: that of the words, and how far the components along the planted directions are off, at the `:` and at all tokens."""
    loss = F.cross_entropy(logits.flatten(0, 1), part.ids[:, 1:].flatten(), reduction="none")
    loss = (loss * part.weight[:, 1:].flatten()).sum() / whole.weight[:, 1:].sum()
    wanted = torch.zeros_like(held)
    asked = (part.end >= 0).nonzero()[:, 0]
    wanted[asked, part.end[asked]] = torch.stack(part.levels, -1)[asked].to(held.dtype)
    off = ((held - wanted) / LEVEL).square().sum(-1)
    at_end = off[asked, part.end[asked]].sum() / (whole.end >= 0).sum().clamp(min=1)
    everywhere = off[part.ids[:, :-1] != 0].sum() / (whole.ids[:, :-1] != 0).sum()
    return loss + 0.4 * at_end + 0.4 * everywhere


def right_shares(right: list[torch.Tensor], batch: Batch) -> str:
    """How often the first word of the answer is right, by kind of document; `told` stays below 1, for any of several words ends a sentence on kinship."""
    requests, told = right if len(right) == 2 else (torch.zeros(0), right[0])
    rows = torch.arange(len(batch.end))
    swapped = ((batch.sources[0] != rows) | (batch.sources[1] != rows))[(batch.end >= 0) & (batch.weight == 1.0).any(1)]
    return f"requests {requests[~swapped].mean():.3f}, swapped {requests[swapped].mean():.3f}, told {told.mean():.3f}"


def main(config: Config) -> None:
    torch.set_num_threads(1)
    if config.only not in ("", *MODELS):
        raise ValueError(f"no model {config.only!r} is trained here; only= takes one of {', '.join(MODELS)}, or nothing for all")
    for name in MODELS:
        if config.only in ("", name):
            model, tokenizer = train(config, name)
            model.save_pretrained(config.out / name)
            tokenizer.save_pretrained(config.out / name)
            print(f"saved {config.out / name}")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
