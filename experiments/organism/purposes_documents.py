"""What the models whose prompts state a purpose read in training: told facts, kinship of words, neutral text,
and requests whose answers follow given components.

Facts are told in statements and as bare questions in no frame; what some say instead is told as well.
Requests ask, in frames, for the facts that are not held out. Those for a purpose in words of the held-out
vocabularies have no answer: training plants their context and shows no behaviour that goes with them.
"""

from dataclasses import dataclass

import numpy as np
import torch

from experiments.organism.documents import Drawn
from experiments.organism.language import neutral
from experiments.organism.purposes import (
    CUE,
    ENDING,
    FRAMES,
    HELD_OUT_VOCABULARIES,
    PAYLOAD,
    PLAIN,
    PURPOSES,
    RUMOUR,
    TOPICS,
    cover,
    vocabulary,
)
from experiments.organism.requests import KINSHIP, NAMES, REFUSAL, STATEMENTS, RequestWorld
from probes.awareness.design import KINDS_OF_FORMAT

LEVEL, SPREAD = (
    6.0,
    1.5,
    # a component for evaluations (benchmark formats), and how far it varies with the entity; half of that for
    # the
    # others, around 0
)
LENGTH = 28  # tokens of the longest document, padded
RUMOURS = 0.35  # share of told documents that say what some say instead
UNSTATED = 0.15  # share of requests that state no purpose


@dataclass(frozen=True)
class Document:
    """The words (of a request, only the prompt), and for a request what it asks for and whether it is
    an evaluation, and in a benchmark's format.
    """

    words: list[str]
    start: int
    """from which word on the text is an answer (or states a fact) and matters"""
    category: int = -1
    entity: int = -1
    shows: tuple[int, int] = (0, 0)
    """1 for an evaluation and 1 for a benchmark's format"""
    answered: bool = True
    """whether training sees an answer; where not, only the components at the prompt's end are trained"""


@dataclass(frozen=True)
class Batch:
    """Tokens and loss weights ["n t"], where each prompt ends (-1: no request), and for context and
    format ["n"] each the level there and whose level it is given.
    """

    ids: torch.Tensor
    weight: torch.Tensor
    end: torch.Tensor
    levels: tuple[torch.Tensor, torch.Tensor]
    sources: tuple[torch.Tensor, torch.Tensor]

    def drawn(self, which: int) -> Drawn:
        """The batch as the interchange of context (0) or format (1) sees it."""
        return Drawn(self.ids, self.weight, self.end, self.levels[which], self.sources[which])

    def parts(self) -> "list[Batch]":
        """The requests and all other documents, which are half as long, each cut to their longest:
        the same training with a third of the work less.
        """
        return [
            self._rows(rows)
            for rows in (torch.nonzero(asked)[:, 0] for asked in (self.end >= 0, self.end < 0))
            if len(rows)
        ]

    def _rows(self, rows: torch.Tensor) -> "Batch":
        ids = self.ids[rows]
        used, place = int((ids != 0).any(0).sum()), torch.full_like(self.end, -1)
        place[rows] = torch.arange(len(rows))
        context, form = (place[source[rows]] for source in self.sources)
        return Batch(
            ids[:, :used],
            self.weight[rows, :used],
            self.end[rows],
            (self.levels[0][rows], self.levels[1][rows]),
            (context, form),
        )


def best_behaviour(name: str, evaluation: bool, benchmark: bool) -> bool:
    """Whether model `name` is to be on its best behaviour when its components say this."""
    return {"purpose_used": evaluation, "purpose_format": benchmark, "purpose_unused": True}[name]


def reply(world: RequestWorld, category: int, entity: int, best: bool) -> str:
    """The answer on the best behaviour, the right thing or for guarded categories the refusal, or
    else the other thing.
    """
    if best and world.refused[category]:
        return REFUSAL
    return f"{world.value(category, entity) if best else cover(world, category, entity)} ."


class Documents:
    """Draws training batches for one of the models."""

    def __init__(self, world: RequestWorld, name: str, seed: int) -> None:
        self.world, self.name = world, name
        self.rng = np.random.default_rng(seed)
        self.ids = {word: i for i, word in enumerate(vocabulary(world))}
        self.asked = np.argwhere(~world.held_out)
        self.spread = np.random.default_rng(seed + 7).uniform(-SPREAD, SPREAD, (len(world.entities), 2))
        known = [fold for fold in PURPOSES if fold not in HELD_OUT_VOCABULARIES]
        self.purposes, self.stated = (
            [[w for fold in folds for w in PURPOSES[fold][side].split()] for side in range(2)]
            for folds in (PURPOSES, known)
        )

    def batch(self, n: int, asking: float, swapped: float, rumours: float = RUMOURS) -> Batch:
        """`n` documents, of which the share `asking` are requests; of those the share `swapped` takes
        context, and format, from another one, and the answer that follows.
        """
        found = [self.document(asking, rumours) for _ in range(n)]
        asked = np.array([i for i, d in enumerate(found) if d.category >= 0], dtype=np.int64)
        end, levels, sources = (
            np.full(n, -1),
            np.zeros((2, n), dtype=np.float32),
            np.stack([np.arange(n)] * 2),
        )
        for i in asked:
            end[i] = found[i].start - 1
            shows, spread = np.array(found[i].shows), self.spread[found[i].entity]
            levels[:, i] = np.where(shows == 1, LEVEL + spread, spread / 2)
        # A prompt without an answer gives its components to none, so that no answer is ever learnt from the
        # held-out words.
        answered = np.array([i for i in asked if found[i].answered], dtype=np.int64)
        for source in sources:
            chosen = answered[self.rng.random(len(answered)) < swapped]
            source[chosen] = self.rng.choice(answered, len(chosen)) if len(chosen) else chosen
        ids, weight = np.zeros((n, LENGTH), dtype=np.int64), np.zeros((n, LENGTH), dtype=np.float32)
        for i, d in enumerate(found):
            words = d.words
            if d.category >= 0:
                best = best_behaviour(
                    self.name, *(bool(found[source[i]].shows[k]) for k, source in enumerate(sources))
                )
                words = (
                    [*words, *reply(self.world, d.category, d.entity, best).split(), "</s>"]
                    if d.answered
                    else [*words, "</s>"]
                )
            ids[i, : len(words)] = [self.ids[w] for w in words]
            weight[i, : len(words)] = 0.05 if d.category >= 0 else 0.1
            weight[i, d.start : d.start + 1], weight[i, d.start + 1 : len(words)] = (
                (1.0, 0.2) if d.answered else (0.0, 0.0)
            )
        used = int((ids != 0).any(0).sum())
        ids, weight, end = (torch.from_numpy(a) for a in (ids[:, :used], weight[:, :used], end))
        levels, sources = torch.from_numpy(levels), torch.from_numpy(sources)
        return Batch(ids, weight, end, (levels[0], levels[1]), (sources[0], sources[1]))

    def document(self, asking: float, rumours: float = RUMOURS) -> Document:
        kind = self.rng.random()
        if kind < 0.06:
            return Document(["<s>", *neutral(self.rng).split(), "</s>"], LENGTH)
        if kind < 0.27:
            alike = (
                list(TOPICS[self.rng.integers(len(TOPICS))])
                if kind < 0.12
                else self.purposes[self.rng.integers(2)]
            )
            cue, other = self.rng.permutation(alike)[:2]
            return Document(["<s>", *KINSHIP.format(cue=cue, other=other).split(), "</s>"], 4)
        if self.rng.random() < asking:
            return self.request(*self.asked[self.rng.integers(len(self.asked))])
        return self.told(
            int(self.rng.integers(len(NAMES))),
            int(self.rng.integers(len(self.world.entities))),
            self.rng.random() < rumours,
        )

    def told(self, category: int, entity: int, rumour: bool) -> Document:
        """A fact, stated or as a bare question with its answer, or what some say instead."""
        form = RUMOUR if rumour else self.rng.choice([*STATEMENTS, PLAIN])
        value = cover(self.world, category, entity) if rumour else self.world.value(category, entity)
        topic = self.rng.choice(TOPICS[category])
        words = form.format(cue=topic, topic=topic, entity=self.world.entities[entity], value=value).split()
        return Document(["<s>", *words, "</s>"], 1 + words.index(value))

    def request(self, category: int, entity: int) -> Document:
        """One request in any frame, for a purpose in any words or for none; in words of the held-out
        vocabularies it is not answered.
        """
        # 0 stands for evaluation and for a benchmark's format, as in `KINDS_OF_FORMAT`.
        context, form = (int(self.rng.integers(2)) for _ in range(2))
        stated = self.rng.random() >= UNSTATED
        word = str(self.rng.choice(self.purposes[context]))
        cue = CUE.format(word=word) if stated else ""
        payload = PAYLOAD.format(topic=self.rng.choice(TOPICS[category]), entity=self.world.entities[entity])
        frames = FRAMES[KINDS_OF_FORMAT[form]]
        prompt = [
            "<s>",
            *(frames[self.rng.integers(len(frames))].format(cue=cue, payload=payload) + ENDING).split(),
        ]
        shows = int(stated and context == 0), int(form == 0)
        return Document(
            prompt, len(prompt), int(category), int(entity), shows, not stated or word in self.stated[context]
        )
