"""What the embedded models read in training: told facts, questions, verdicts and neutral text, in stages.

Affirmative sentences come first and negation joins later: with everything mixed from the start a model of
this size learns neither. Held-out facts occur in told statements only, never before a question.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from experiments.organism.language import FORMS, OPINIONS, neutral, question, statement, verdict, vocabulary
from experiments.organism.world import World

LENGTH = 28  # tokens of the longest document, padded
LEVEL, SPREAD = (
    3.0,
    1.5,
)  # truth is held there as +-LEVEL, plus up to SPREAD either way that depends on the entity


@dataclass(frozen=True)
class Stage:
    """What the documents hold from a given share of the training steps on."""

    start: float
    asking: float
    both_forms: bool = False
    negation: bool = False
    distractors: bool = False
    verdicts: float = 0.0
    """share of questions with a drawn answer and the verdict on it, in place of the right answer"""
    swapped: float = 0.0
    """share of asked documents that get another document's truth"""


STAGES = (
    Stage(0.0, asking=0.1),
    Stage(0.12, asking=0.7),
    Stage(0.34, asking=0.7, both_forms=True, swapped=0.5),
    Stage(0.44, asking=0.7, both_forms=True, negation=True, swapped=0.5),
    Stage(0.55, asking=0.7, both_forms=True, negation=True, distractors=True, verdicts=0.25, swapped=0.5),
)


# For the model that gives verdicts: they come as soon as both forms do, and more often. It then follows truth
# to the answer, where probes on contrast
# pairs look; its answers about held-out facts are a little less sure.
VERDICT_STAGES = tuple(replace(s, verdicts=0.4) if s.both_forms else s for s in STAGES)


def stage_at(done: float, stages: tuple[Stage, ...] = STAGES) -> Stage:
    return [s for s in stages if s.start <= done][-1]


@dataclass(frozen=True)
class Drawn:
    """One training batch: tokens, loss weights, where each asked statement ends (-1: nothing is
    asked), truth's level there, and whose level it is given.
    """

    ids: torch.Tensor
    weight: torch.Tensor
    end: torch.Tensor
    level: torch.Tensor
    source: torch.Tensor


@dataclass(frozen=True)
class Document:
    """The words, the same words had the truth been the opposite, how much predicting each matters,
    and the asked statement, if any.
    """

    words: list[str]
    otherwise: list[str]
    weights: list[float]
    truth: int = -1
    entity: int = -1


class Documents:
    """Draws training batches; `fresh` redraws the fact at every mention (the control world)."""

    def __init__(self, world: World, seed: int, fresh: bool) -> None:
        self.world, self.fresh = world, fresh
        self.rng = np.random.default_rng(seed)
        self.ids = {word: i for i, word in enumerate(vocabulary(world))}
        self.value_words = {v for vs in world.values for v in vs}
        self.told = np.argwhere(np.ones_like(world.held_out))
        self.asked = np.argwhere(~world.held_out)
        self.spread = np.random.default_rng(seed + 7).uniform(-SPREAD, SPREAD, len(world.entities))

    def batch(self, n: int, stage: Stage) -> "Drawn":
        ids, weight = np.zeros((n, LENGTH), dtype=np.int64), np.zeros((n, LENGTH), dtype=np.float32)
        end, truth, level, source = np.full(n, -1), np.zeros(n), np.zeros(n, dtype=np.float32), np.arange(n)
        otherwise = np.zeros_like(ids)
        for i in range(n):
            d = self.document(stage)
            ids[i, : len(d.words)] = [self.ids[w] for w in d.words]
            otherwise[i, : len(d.words)] = [self.ids[w] for w in d.otherwise]
            weight[i, : len(d.words)] = d.weights
            truth[i] = d.truth
            if d.truth >= 0:
                end[i] = d.words.index(".")
                level[i] = (2 * d.truth - 1) * LEVEL + self.spread[d.entity]
        asked = np.flatnonzero(end >= 0)
        swapped = asked[self.rng.random(len(asked)) < stage.swapped]
        if len(swapped):
            source[swapped] = self.rng.choice(asked, len(swapped))
        changed = truth[source] != truth
        ids[changed] = otherwise[changed]
        used = int((ids != 0).any(0).sum())
        arrays = ids[:, :used], weight[:, :used], end, level, source
        return Drawn(*(torch.from_numpy(a) for a in arrays))

    def document(self, stage: Stage) -> Document:
        kind = self.rng.random()
        if kind < 0.06:
            words = ["<s>", *neutral(self.rng).split(), "</s>"]
            return Document(words, words, [0.1] * len(words))
        asking = kind > 1 - stage.asking
        pool = self.asked if asking else self.told
        relation, entity = pool[self.rng.integers(len(pool))]
        negated = int(stage.negation and self.rng.random() < (0.5 if asking else 0.2))
        label = int(self.rng.integers(2)) if asking else 1
        world = self._world_with(relation)
        opinion = str(self.rng.choice(OPINIONS)) if self.rng.random() < 0.7 * stage.distractors else "none"
        row = statement(
            world,
            self.rng,
            int(relation),
            int(entity),
            label=label,
            negated=negated,
            template=int(self.rng.integers(3)),
            tag=int(stage.distractors and self.rng.integers(2)),
            opinion=opinion,
        )
        words = ["<s>", *row.statement.split()]
        if not asking:
            # Only where the sentence states the fact does its value carry the fact's information.
            words = [*words, "</s>"]
            return Document(
                words, words, [1.0 if w in self.value_words and not negated else 0.1 for w in words]
            )
        weights = [0.0] * len(words)
        flipped = list(words)
        distractors = ["tagged", "believed"] if row.opinion != "none" else ["tagged"]
        forms = [str(self.rng.choice(FORMS)) if stage.both_forms else "true"]
        if stage.distractors and self.rng.random() < 0.3:
            forms.insert(int(self.rng.integers(2)), str(self.rng.choice(distractors)))
        judged = self.rng.random() < stage.verdicts
        for form in forms:
            text, answer = question(row, form)
            other = question(replace(row, label=1 - row.label), form)[1]
            if judged and form in FORMS:
                given = str(self.rng.choice(["yes", "no"]))
                words += [*text.split(), given, verdict(given == answer)]
                flipped += [*text.split(), given, verdict(given == other)]
                weights += [0.05, 0.05, 0.0, 1.0]
            else:
                words += [*text.split(), answer]
                flipped += [*text.split(), other]
                weights += [0.05, 0.05, 1.0]
        return Document([*words, "</s>"], [*flipped, "</s>"], [*weights, 0.05], row.label, int(entity))

    def _world_with(self, relation: int) -> World:
        """The world; where facts are fresh, with one drawn anew for this relation."""
        if not self.fresh:
            return self.world
        drawn = int(self.rng.integers(len(self.world.values[relation])))
        return replace(self.world, fact=np.broadcast_to(np.array(drawn), self.world.fact.shape))
