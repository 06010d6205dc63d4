"""Does a direction found in one model work in another? Only through a map between their hidden
states, and only beside maps that mean nothing.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.linear_model import Ridge as LinearMap

from experiments.answer_kinds import AnswerKinds
from interventions import Ablate, edited
from probes import Activations, Direction, Examples, Model

PENALTY = 1.0


@dataclass(frozen=True)
class Carried:
    """Share of requests whose kind of answer taking the direction out changes, in the receiving model."""

    cosine: float
    """of the carried direction to the receiver's own"""
    changed: float
    own: float
    raw: float
    """without a map, the very same vector"""
    shuffled: tuple[float, ...]
    """through maps fitted on prompts paired at random"""
    rotated: tuple[float, ...]
    """through random rotations"""

    @property
    def p_value(self) -> float:
        """How often a map that means nothing does as much, the worse of the two kinds; never below 1
        / (maps + 1).
        """
        return max(
            (1 + sum(v >= self.changed for v in of)) / (1 + len(of)) for of in (self.shuffled, self.rotated)
        )


def carried(
    giver: Direction,
    giving: Activations,
    receiver: Direction,
    receiving: Activations,
    model: Model,
    behaviour: AnswerKinds,
    prompts: Examples,
    n: int,
    seed: int,
) -> Carried:
    """Carries the giver's direction into the receiving model by a ridge map fitted on the same prompts read
    by both, and by `n` maps of each meaningless kind.

    `giving` and `receiving` hold one row a prompt, in the same order, at the sites of the two directions.
    """
    if not np.array_equal(giving.ids, receiving.ids):
        raise ValueError("the two models were read on different prompts; capture the same Examples in both")
    a, b = (acts[d.site].x[0].float().numpy() for acts, d in ((giving, giver), (receiving, receiver)))
    before = behaviour(model, prompts).labels
    assert before is not None

    def changed(vector: np.ndarray) -> float:
        d = replace(receiver, unit=torch.from_numpy(vector / np.linalg.norm(vector)).float())
        return float((behaviour(edited(model, Ablate(d)), prompts).labels != before).mean())

    def mapped(rows: np.ndarray) -> np.ndarray:
        return LinearMap(alpha=PENALTY).fit(a, b[rows]).coef_ @ giver.unit.numpy()

    draw = np.random.default_rng(seed)
    through = mapped(np.arange(len(b)))
    cosine = float(through @ receiver.unit.numpy() / np.linalg.norm(through))
    shuffled = tuple(changed(mapped(draw.permutation(len(b)))) for _ in range(n))
    rotated = tuple(
        changed(np.linalg.qr(draw.normal(size=(b.shape[1], b.shape[1])))[0] @ giver.unit.numpy())
        for _ in range(n)
    )
    raw = changed(giver.unit.numpy()) if a.shape[1] == b.shape[1] else float("nan")
    return Carried(cosine, changed(through), changed(receiver.unit.numpy()), raw, shuffled, rotated)
