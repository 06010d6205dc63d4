"""Trains the embedded models from a seed: `python -m experiments.organism.train` (about 45 minutes on 2
cores).

What it reads comes from `documents.py`; here truth is planted at the end of the statement and made to decide
the answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch.nn import functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.organism import MODELS
from experiments.organism.documents import LEVEL, STAGES, VERDICT_STAGES, Documents, Drawn, Stage, stage_at
from experiments.organism.language import VERDICTS, vocabulary
from experiments.organism.planting import Interchange, planted_direction
from experiments.organism.training import Trained, make_all, make_model, word_loss, word_tokenizer
from experiments.organism.training import train as train_on
from experiments.organism.world import World, make_world

NAMES = ("truth", "truth_verdicts", "truth_control")
PLANTED_BLOCK = (
    3  # the block whose output holds truth along the planted direction, at the end of the statement
)


@dataclass(frozen=True)
class Config:
    """Knobs of the training run; the defaults made the weights in the repository."""

    out: Path = MODELS
    """folder that receives one Hugging Face folder per model"""
    seed: int = 0
    steps: int = 1300
    verdict_steps: int = 1500
    control_steps: int = 400
    """the control has only the form of the text to learn"""
    batch: int = 384
    lr: float = 1.5e-3
    only: str = ""
    """train just this model ("truth", "truth_verdicts" or "truth_control")"""


class TruthLesson:
    """Statements and questions about them, whose answers follow the truth that is planted at the end
    of the statement.
    """

    block = PLANTED_BLOCK

    def __init__(
        self, documents: Documents, planted: torch.Tensor, stages: tuple[Stage, ...], n: int
    ) -> None:
        self.documents, self.stages, self.n = documents, stages, n
        self.interchange = Interchange(planted)
        self.hooks = (self.interchange,)

    def draw(self, done: float) -> Drawn:
        return self.documents.batch(self.n, stage_at(done, self.stages))

    def parts(self, batch: Drawn) -> list[Drawn]:
        return [batch]

    def loss(self, model: LlamaForCausalLM, part: Drawn, batch: Drawn) -> tuple[torch.Tensor, torch.Tensor]:
        self.interchange.drawn = part
        logits = model(part.ids[:, :-1]).logits
        asked = (part.end >= 0).nonzero()[:, 0]
        held = F.mse_loss(self.interchange.held[asked] / LEVEL, part.level[asked] / LEVEL)
        loss = word_loss(logits, part.ids, part.weight, batch.weight[:, 1:].sum()) + 0.4 * held
        return loss, logits.argmax(-1) == part.ids[:, 1:]

    def shares(self, batch: Drawn, right: Sequence[torch.Tensor]) -> dict[str, float]:
        matters = batch.weight[:, 1:] == 1.0
        answers = torch.tensor([self.documents.ids[word] for word in ("yes", "no", *VERDICTS)])
        answer = torch.isin(batch.ids[:, 1:], answers)[matters]
        named = right[0][matters].float()
        return {"answers": float(named[answer].mean()), "facts": float(named[~answer].mean())}


def make_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """The tokenizer of the truth models."""
    return word_tokenizer(vocabulary(world))


def train(config: Config, name: str) -> Trained:
    """One of the models, and its tokenizer."""
    steps = {
        "truth": config.steps, "truth_verdicts": config.verdict_steps, "truth_control": config.control_steps,
    }[name]  # fmt: skip
    world = make_world(config.seed)
    documents = Documents(world, config.seed + 1, fresh=name == "truth_control")
    model = make_model(len(documents.ids), config.seed)
    planted = planted_direction(model.config.hidden_size, config.seed)
    stages = VERDICT_STAGES if name == "truth_verdicts" else STAGES
    train_on(name, model, TruthLesson(documents, planted, stages, config.batch), steps, config.lr)
    return model, make_tokenizer(world)


def main(config: Config) -> None:
    make_all(config, NAMES, lambda name: train(config, name))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
