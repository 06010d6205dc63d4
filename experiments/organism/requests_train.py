"""Trains the models that refuse some requests, from a seed: `python -m experiments.organism.requests_train` (about 4 minutes a model on one idle core).

The component of the hidden state along one random direction, at the last token of the request (`?`) and the output of one block, is planted as the
policy: training holds it near `LEVEL` for refused categories, near 0 for open ones and at 0 for all other tokens, and half of the requests get another
one's component, with an answer that follows it (interchange intervention training, arXiv 2112.00826). Taking the direction out then means "answer".
The question behind it, what decides whether a recognised topic is answered, is that of arXiv 2603.18280. Four models share language, shape and facts:

- `route` refuses three of the eight categories;
- `route_evasive` says something else instead (`many tales are told of tavox .`);
- `route_entangled` refuses, but its answer without the component is the fact of another category: policy and what is looked up share the direction;
- `route_control` has the same documents and answers every request.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch.nn import functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.organism import MODELS
from experiments.organism.documents import Drawn
from experiments.organism.language import neutral
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
from experiments.organism.train import Interchange, make_model, make_optimiser, planted_direction, word_tokenizer

ROUTED = ("route", "route_evasive", "route_entangled")
CONTROL = "route_control"
OWN_SEED = {"route_evasive": 8, "route_entangled": 4}
"""Added to the seed of weights and planted direction, so that no two models share their coordinates by birth."""
PLANTED_BLOCK = 2  # the block whose output holds the policy along the planted direction, at the `?` of the request
LEVEL, SPREAD = 6.0, 1.5  # the component for refused requests, and how far it varies with the entity; half of that for open requests, around 0
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
    """The words with the answer that the policy asks for, the same with the other answer, and whether which request is refused (-1: none is made)."""

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
    return f"{world.value(int(world.stand_in[category]) if name == 'route_entangled' else category, entity)} ."


class Documents:
    """Draws training batches for one of the models."""

    def __init__(self, world: RequestWorld, name: str, seed: int) -> None:
        self.world, self.name = world, name
        self.rng = np.random.default_rng(seed)
        self.ids = {word: i for i, word in enumerate(vocabulary(world))}
        self.asked = np.argwhere(~world.held_out)
        self.spread = np.random.default_rng(seed + 7).uniform(-SPREAD, SPREAD, len(world.entities))

    def batch(self, n: int, asking: float, swapped: float) -> Drawn:
        """`n` documents, of which the share `asking` are requests; of those the share `swapped` take component and answer from another one."""
        found = [self.document(asking) for _ in range(n)]
        refused = np.array([d.refused for d in found])
        end, level, source = np.full(n, -1), np.zeros(n, dtype=np.float32), np.arange(n)
        asked = np.flatnonzero(refused >= 0)
        for i in asked:
            end[i] = found[i].start - 1
            level[i] = LEVEL + self.spread[found[i].entity] if refused[i] else self.spread[found[i].entity] / 2
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
        words, otherwise = ([*prompt, *reply(self.name, self.world, category, entity, bool(r)).split(), "</s>"] for r in (refused, 1 - refused))
        return Document(words, otherwise, len(prompt), refused, entity)


def train(config: Config, name: str) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    world = make_request_world(config.seed)
    documents = Documents(world, name, config.seed + 1)
    own = config.seed + OWN_SEED.get(name, 0)
    model = make_model(len(documents.ids), own, MLP).train()
    optimiser, schedule = make_optimiser(model, config.lr, config.steps)
    planted = planted_direction(model.config.hidden_size, own)
    interchange, along = Interchange(planted), Along(planted)
    planted_at = model.model.layers[PLANTED_BLOCK]
    hooks = [planted_at.register_forward_hook(hook) for hook in (along, interchange) if name != CONTROL]
    start = time.time()
    for step in range(config.steps):
        done = step / config.steps
        # Facts and the kinship of the cues come first, so that the policy meets cue words that already mean their category.
        drawn = documents.batch(config.batch, 0.1 if done < 0.25 else 0.6, config.swapped if done > 0.3 and name != CONTROL else 0.0)
        weight, target = drawn.weight[:, 1:], drawn.ids[:, 1:]
        interchange.drawn = drawn
        out = model(drawn.ids[:, :-1])
        loss = F.cross_entropy(out.logits.flatten(0, 1), target.flatten(), reduction="none")
        loss = (loss * weight.flatten()).sum() / weight.sum()
        if name != CONTROL:
            wanted = torch.zeros_like(along.held)
            asked = (drawn.end >= 0).nonzero()[:, 0]
            wanted[asked, drawn.end[asked]] = drawn.level[asked]
            off = ((along.held - wanted) / LEVEL).square()
            loss = loss + 0.4 * off[asked, drawn.end[asked]].mean() + 0.4 * off[drawn.ids[:, :-1] != 0].mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == config.steps - 1:
            shares = right_shares(out.logits.argmax(-1) == target, drawn)
            print(f"{name} step {step:5d}  loss {loss.item():.3f}  right: {shares}  {time.time() - start:.0f} s", flush=True)
    for hook in hooks:
        hook.remove()
    return model.eval(), word_tokenizer(vocabulary(world))


def right_shares(right: torch.Tensor, drawn: Drawn) -> str:
    """How often the first word of the answer is right, by kind of document; `told` stays below 1, for any of three words ends a sentence on kinship."""
    asked, own, matters = drawn.end >= 0, drawn.source == torch.arange(len(drawn.end)), drawn.weight[:, 1:] == 1.0
    kinds = {"requests": asked & own, "swapped": asked & ~own, "told": ~asked}
    return ", ".join(f"{kind} {right[rows][matters[rows]].float().mean():.3f}" for kind, rows in kinds.items())


class Along:
    """A hook that keeps the component along the planted direction at every token, as it was before anything is exchanged."""

    def __init__(self, planted: torch.Tensor) -> None:
        self.planted = planted
        self.held: torch.Tensor

    def __call__(self, module: torch.nn.Module, args: tuple, h: torch.Tensor) -> None:
        self.held = h @ self.planted


def main(config: Config) -> None:
    torch.set_num_threads(1)
    if config.only not in ("", *ROUTED, CONTROL):
        raise ValueError(f"no model {config.only!r} is trained here; only= takes one of {', '.join((*ROUTED, CONTROL))}, or nothing for all")
    for name in (*ROUTED, CONTROL):
        if config.only in ("", name):
            model, tokenizer = train(config, name)
            model.save_pretrained(config.out / name)
            tokenizer.save_pretrained(config.out / name)
            print(f"saved {config.out / name}")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
