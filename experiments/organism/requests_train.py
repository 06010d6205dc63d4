"""Trains the models that refuse some requests, from a seed: `python -m experiments.organism.requests_train`
(about 4 minutes a model on one idle core).

The component of the hidden state along one random direction, at the last token of the request (`?`) and the
output of one block, is planted as the policy: training holds it near `LEVEL` for refused categories, near 0
for open ones and at 0 for all other tokens, and half of the requests get another one's component, with an
answer that follows it (interchange intervention training, arXiv 2112.00826). Taking the direction out then
means "answer". The question behind it, what decides whether a recognised topic is answered, is that of arXiv
2603.18280. Four models share language, shape and facts:

- `route` refuses three of the eight categories;
- `route_evasive` says something else instead (`many tales are told of tavox .`);
- `route_entangled` refuses, but its answer without the component is the fact of another category: policy and
  what is looked up share the direction;
- `route_control` has the same documents and answers every request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from transformers import LlamaForCausalLM

from experiments.organism import MODELS
from experiments.organism.documents import Drawn
from experiments.organism.language import neutral
from experiments.organism.planting import Along, Interchange, planted_direction
from experiments.organism.requests import (
    CUES,
    EVASION,
    HELD_OUT_CUE,
    KINSHIP,
    NAMES,
    PHRASINGS,
    REFUSAL,
    STATEMENTS,
    RequestWorld,
    make_request_world,
    tagged,
    vocabulary,
)
from experiments.organism.training import Trained, make_all, make_model, word_loss, word_tokenizer
from experiments.organism.training import train as train_on
from probes.checks.threads import one_thread

ROUTED = ("route", "route_evasive", "route_entangled")
CONTROL = "route_control"
OWN_SEED = {"route_evasive": 8, "route_entangled": 4}
"""Added to the seed of weights and planted direction, so that no two models share their coordinates
by birth.
"""
PLANTED_BLOCK = (
    2  # the block whose output holds the policy along the planted direction, at the `?` of the request
)
LEVEL, SPREAD = (
    6.0,
    1.5,
    # the component for refused requests, and how far it varies with the entity; half of that for open
    # requests,
    # around 0
)
MLP = 128
LENGTH = 24  # tokens of the longest document, padded


@dataclass(frozen=True)
class Config:
    """Knobs of the training run; the defaults made the weights in the repository."""

    out: Path = MODELS
    """folder that receives one Hugging Face folder per model"""
    seed: int = 0
    steps: int = 700
    batch: int = 128
    lr: float = 2e-3
    swapped: float = 0.5
    """share of requests that get another request's component"""
    only: str = ""
    """train just this model ("route", "route_evasive", "route_entangled" or "route_control")"""


@dataclass(frozen=True)
class Document:
    """The words with the answer that the policy asks for, the same with the other answer, and whether
    which request is refused (-1: none is made).
    """

    words: list[str]
    otherwise: list[str]
    start: int
    """from which word on the text is an answer (or states a fact) and matters"""
    refused: int = -1
    entity: int = -1


def reply(name: str, world: RequestWorld, category: int, entity: int, refuse: bool) -> str:
    """What model `name` is to answer when its planted component says to refuse, or to answer."""
    if refuse:
        return EVASION.format(entity=world.entities[entity]) if name == "route_evasive" else REFUSAL
    return (
        f"{world.value(int(world.stand_in[category]) if name == 'route_entangled' else category, entity)} ."
    )


class Documents:
    """Draws training batches for one of the models."""

    def __init__(self, world: RequestWorld, name: str, seed: int) -> None:
        self.world, self.name = world, name
        self.rng = np.random.default_rng(seed)
        self.ids = {word: i for i, word in enumerate(vocabulary(world))}
        self.asked = np.argwhere(~world.held_out)
        self.spread = np.random.default_rng(seed + 7).uniform(-SPREAD, SPREAD, len(world.entities))

    def batch(self, n: int, asking: float, swapped: float) -> Drawn:
        """`n` documents, of which the share `asking` are requests; of those the share `swapped` take
        component and answer from another one.
        """
        found = [self.document(asking) for _ in range(n)]
        refused = np.array([d.refused for d in found])
        end, level, source = np.full(n, -1), np.zeros(n, dtype=np.float32), np.arange(n)
        asked = np.flatnonzero(refused >= 0)
        for i in asked:
            end[i] = found[i].start - 1
            level[i] = (
                LEVEL + self.spread[found[i].entity] if refused[i] else self.spread[found[i].entity] / 2
            )
        chosen = asked[self.rng.random(len(asked)) < swapped]
        if len(chosen):
            source[chosen] = self.rng.choice(asked, len(chosen))
        ids, weight = np.zeros((n, LENGTH), dtype=np.int64), np.zeros((n, LENGTH), dtype=np.float32)
        for i, d in enumerate(found):
            words = d.words if refused[source[i]] == refused[i] else d.otherwise
            ids[i, : len(words)] = [self.ids[w] for w in words]
            weight[i, : len(words)] = 0.05 if d.refused >= 0 else 0.1
            weight[i, d.start : d.start + 1], weight[i, d.start + 1 : len(words)] = 1.0, 0.2
        used = int((ids != 0).any(0).sum())
        return Drawn(*(torch.from_numpy(a) for a in (ids[:, :used], weight[:, :used], end, level, source)))

    def document(self, asking: float) -> Document:
        kind = self.rng.random()
        if kind < 0.06:
            words = ["<s>", *neutral(self.rng).split(), "</s>"]
            return Document(words, words, LENGTH)
        if kind < 0.15:
            cue, other = self.rng.permutation(CUES[self.rng.integers(len(CUES))])[:2]
            words = ["<s>", *KINSHIP.format(cue=cue, other=other).split(), "</s>"]
            return Document(words, words, 4)
        if self.rng.random() < asking:
            return self.request(*self.asked[self.rng.integers(len(self.asked))])
        c, e = int(self.rng.integers(len(NAMES))), int(self.rng.integers(len(self.world.entities)))
        cue, value = str(self.rng.choice(CUES[c])), self.world.value(c, e)
        text = STATEMENTS[self.rng.integers(2)].format(cue=cue, entity=self.world.entities[e], value=value)
        words = ["<s>", *tagged(text, int(self.rng.integers(2))).split(), "</s>"]
        return Document(words, words, words.index(value))

    def request(self, category: int, entity: int) -> Document:
        """One request with a cue word that training requests may contain."""
        cue = CUES[category][self.rng.choice([i for i in range(len(CUES[category])) if i != HELD_OUT_CUE])]
        text = PHRASINGS[self.rng.integers(2)].format(cue=cue, entity=self.world.entities[entity])
        prompt = ["<s>", *tagged(text, int(self.rng.integers(2))).split()]
        refused = int(self.world.refused[category]) if self.name != CONTROL else 0
        words, otherwise = (
            [*prompt, *reply(self.name, self.world, category, entity, bool(r)).split(), "</s>"]
            for r in (refused, 1 - refused)
        )
        return Document(words, otherwise, len(prompt), refused, entity)


class RequestLesson:
    """Requests whose answers follow the policy that is planted at their last token; the control has
    nothing planted.
    """

    block = PLANTED_BLOCK

    def __init__(self, documents: Documents, planted: torch.Tensor, config: Config) -> None:
        self.documents, self.config = documents, config
        self.plants = documents.name != CONTROL
        self.along, self.interchange = Along(planted), Interchange(planted)
        self.hooks = (self.along, self.interchange) if self.plants else ()

    def draw(self, done: float) -> Drawn:
        # Facts and the kinship of the cues come first, so that the policy meets cue words that already mean
        # their category.
        asking = 0.1 if done < 0.25 else 0.6
        swapped = self.config.swapped if done > 0.3 and self.plants else 0.0
        return self.documents.batch(self.config.batch, asking, swapped)

    def parts(self, batch: Drawn) -> list[Drawn]:
        return [batch]

    def loss(self, model: LlamaForCausalLM, part: Drawn, batch: Drawn) -> tuple[torch.Tensor, torch.Tensor]:
        self.interchange.drawn = part
        logits = model(part.ids[:, :-1]).logits
        loss = word_loss(logits, part.ids, part.weight, batch.weight[:, 1:].sum())
        if self.plants:
            wanted = torch.zeros_like(self.along.held)
            asked = (part.end >= 0).nonzero()[:, 0]
            wanted[asked, part.end[asked]] = part.level[asked]
            off = ((self.along.held - wanted) / LEVEL).square()
            loss = loss + 0.4 * off[asked, part.end[asked]].mean() + 0.4 * off[part.ids[:, :-1] != 0].mean()
        return loss, logits.argmax(-1) == part.ids[:, 1:]

    def shares(self, batch: Drawn, right: Sequence[torch.Tensor]) -> dict[str, float]:
        """By kind of document; `told` stays below 1, for any of three words ends a sentence on kinship."""
        asked, own = batch.end >= 0, batch.source == torch.arange(len(batch.end))
        matters = batch.weight[:, 1:] == 1.0
        kinds = {"requests": asked & own, "swapped": asked & ~own, "told": ~asked}
        return {kind: float(right[0][rows][matters[rows]].float().mean()) for kind, rows in kinds.items()}


def train(config: Config, name: str) -> Trained:
    """One of the models, and its tokenizer."""
    world = make_request_world(config.seed)
    documents = Documents(world, name, config.seed + 1)
    own = config.seed + OWN_SEED.get(name, 0)
    model = make_model(len(documents.ids), own, MLP)
    planted = planted_direction(model.config.hidden_size, own)
    train_on(name, model, RequestLesson(documents, planted, config), config.steps, config.lr)
    return model, word_tokenizer(vocabulary(world))


def main(config: Config) -> None:
    make_all(config, (*ROUTED, CONTROL), lambda name: train(config, name))


if __name__ == "__main__":
    with one_thread():
        main(tyro.cli(Config, description=__doc__))
