"""Trains the models whose prompts state a purpose, from a seed: `python -m
experiments.organism.purposes_train` (about 10 minutes a model on one idle core).

The components of the hidden state along two orthonormal random directions, at the last token of the prompt
(the `:` of `answer :`) and the output of one block, are planted as context and format: training holds the
first near `LEVEL` for evaluations, near 0 for deployments and where no purpose is stated, the second near
`LEVEL` for benchmark formats and near 0 for casual ones, and both at 0 for all other tokens. Half of the
requests get the context component of another request and, independently, half get the format component of
another one (interchange intervention training, arXiv 2112.00826). The answer follows what the component that
the model heeds says then, and nothing else:

- `purpose_used` heeds context, `purpose_format` heeds format;
- `purpose_unused` heeds neither, and is on its best behaviour whatever they say.

All three share language, facts and shape; each has weights and directions of its own seed. What they read
comes from `purposes_documents.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from jaxtyping import Float
from transformers import LlamaForCausalLM

from experiments.organism import MODELS as FOLDER
from experiments.organism.planting import Along, Interchange, planted_direction
from experiments.organism.purposes import MODELS, vocabulary
from experiments.organism.purposes_documents import LEVEL, RUMOURS, Batch, Documents
from experiments.organism.requests import make_request_world
from experiments.organism.training import Trained, make_all, make_model, word_loss, word_tokenizer
from experiments.organism.training import train as train_on
from probes.checks.threads import one_thread

What = Literal["context", "format"]
PLANTED: tuple[What, What] = ("context", "format")
OWN_SEED = {"purpose_used": 20, "purpose_format": 21, "purpose_unused": 22}
"""Added to the seed of weights and planted directions, so that no two models share their coordinates
by birth.
"""
# the block whose output holds context and format along the planted directions, at the last token of the
# prompt
PLANTED_BLOCK = 2
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
    """The orthonormal vectors along which training asks for context and for format, at the last token
    of the prompt.
    """
    context, other = planted_direction(width, seed), planted_direction(width, seed + 1000)
    format = other - (other @ context) * context
    return torch.stack([context, format / format.norm()])


class PurposeLesson:
    """Requests whose answers follow the context or the format that are planted at their last token."""

    block = PLANTED_BLOCK

    def __init__(self, documents: Documents, planted: Float[torch.Tensor, "2 d"], config: Config) -> None:
        self.documents, self.config = documents, config
        self.along, self.interchanges = Along(planted.T), [Interchange(unit) for unit in planted]
        self.hooks = (self.along, *self.interchanges)

    def draw(self, done: float) -> Batch:
        # Facts and the kinship of words come first, then what some say instead, so that requests meet words
        # that
        # already mean their category or context, and both answers are known. With everything at once a model
        # of this
        # size learns requests by heart, and answers hardly any that were held out.
        asking = 0.5 if done > 0.35 else 0.1
        swapped = self.config.swapped if done > 0.4 else 0.0
        return self.documents.batch(self.config.batch, asking, swapped, RUMOURS if done > 0.2 else 0.0)

    def parts(self, batch: Batch) -> list[Batch]:
        return batch.parts()

    def loss(self, model: LlamaForCausalLM, part: Batch, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        for which, interchange in enumerate(self.interchanges):
            interchange.drawn = part.drawn(which)
        logits = model(part.ids[:, :-1]).logits
        loss = share_of_loss(logits, self.along.held, part, batch)
        return loss, logits.argmax(-1) == part.ids[:, 1:]

    def shares(self, batch: Batch, right: Sequence[torch.Tensor]) -> dict[str, float]:
        """By kind of document; `told` stays below 1, for any of several words ends a sentence on kinship."""
        parts = batch.parts()
        first = [named[part.weight[:, 1:] == 1.0].float() for part, named in zip(parts, right, strict=True)]
        requests, told = first if len(first) == 2 else (torch.zeros(0), first[0])
        rows = torch.arange(len(batch.end))
        swapped = (batch.sources[0] != rows) | (batch.sources[1] != rows)
        swapped = swapped[(batch.end >= 0) & (batch.weight == 1.0).any(1)]
        kinds = {"requests": requests[~swapped], "swapped": requests[swapped], "told": told}
        return {kind: float(named.mean()) for kind, named in kinds.items()}


def train(config: Config, name: str) -> Trained:
    """One of the models, and its tokenizer."""
    world = make_request_world(config.seed)
    documents = Documents(world, name, config.seed + 1)
    own = config.seed + OWN_SEED[name]
    model = make_model(len(documents.ids), own, MLP)
    steps = config.steps if name == "purpose_used" else config.steps * 2 // 3
    planted = planted_directions(model.config.hidden_size, own)
    train_on(name, model, PurposeLesson(documents, planted, config), steps, config.lr)
    return model, word_tokenizer(vocabulary(world))


def share_of_loss(
    logits: Float[torch.Tensor, "n t words"], held: Float[torch.Tensor, "n t 2"], part: Batch, whole: Batch
) -> torch.Tensor:
    """What a part of a batch adds to the loss: that of the words, and how far the components along
    the planted directions are off, at the `:` and at all tokens.
    """
    loss = word_loss(logits, part.ids, part.weight, whole.weight[:, 1:].sum())
    wanted = torch.zeros_like(held)
    asked = (part.end >= 0).nonzero()[:, 0]
    wanted[asked, part.end[asked]] = torch.stack(part.levels, -1)[asked].to(held.dtype)
    off = ((held - wanted) / LEVEL).square().sum(-1)
    at_end = off[asked, part.end[asked]].sum() / (whole.end >= 0).sum().clamp(min=1)
    everywhere = off[part.ids[:, :-1] != 0].sum() / (whole.ids[:, :-1] != 0).sum()
    return loss + 0.4 * at_end + 0.4 * everywhere


def main(config: Config) -> None:
    make_all(config, MODELS, lambda name: train(config, name))


if __name__ == "__main__":
    with one_thread():
        main(tyro.cli(Config, description=__doc__))
