"""Does a direction found in one model work in another? Only through a map between their hidden states, and
only beside maps that mean nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from interventions.behaviours.records import Behaviour
from interventions.edits.ablate import Ablate
from interventions.writes.edited import edited
from probes.data.activations import Activations
from probes.data.examples import Examples
from probes.fitting.directions import Direction
from probes.models.model import Model

PENALTY = 1.0
Vector = Float[np.ndarray, " d"]


@dataclass(frozen=True)
class Carried:
    """Share of prompts whose kind of answer taking the direction out changes, in the receiving model.

    `changed` through the map of paired prompts, `own` by the receiver's own direction, `raw` by the very same
    vector without a map (NaN where the widths differ), `shuffled` through maps fitted on prompts paired at
    random, `rotated` through random rotations. `cosine` is that of the carried direction to the receiver's.
    """

    cosine: float
    changed: float
    own: float
    raw: float
    shuffled: tuple[float, ...]
    rotated: tuple[float, ...]

    @property
    def p_value(self) -> float:
        """How often a map that means nothing does as much, the worse of the two kinds; never below 1 / (maps
        + 1).
        """
        return max(self._as_much(of) for of in (self.shuffled, self.rotated))

    def _as_much(self, of: tuple[float, ...]) -> float:
        return (1 + sum(v >= self.changed for v in of)) / (1 + len(of))


def carried(
    giver: Direction,
    giving: Activations,
    receiver: Direction,
    receiving: Activations,
    model: Model,
    behaviour: Behaviour,
    prompts: Examples,
    n: int = 20,
    seed: int = 0,
) -> Carried:
    """Carries the giver's direction into the receiving model by a ridge map fitted on the same prompts read
    by both, and by `n` maps of each meaningless kind.

    `giving` and `receiving` hold one row a prompt, in the same order, at the sites of the two directions;
    other `prompts` are asked of the receiving `model`. Raises ValueError for rows of different prompts.
    """
    from sklearn.linear_model import Ridge as LinearMap

    if not np.array_equal(giving.ids, receiving.ids):
        raise ValueError("the two models were read on different prompts; capture the same Examples in both")
    a, b = (acts[d.site].x[0].float().numpy() for acts, d in ((giving, giver), (receiving, receiver)))
    given = giver.unit.numpy()
    changed = _change(receiver, model, behaviour, prompts)

    def mapped(rows: np.ndarray) -> Vector:
        return LinearMap(alpha=PENALTY).fit(a, b[rows]).coef_ @ given

    draw = np.random.default_rng(seed)
    through = mapped(np.arange(len(b)))
    cosine = float(through @ receiver.unit.numpy() / np.linalg.norm(through))
    shuffled = tuple(changed(mapped(draw.permutation(len(b)))) for _ in range(n))
    rotated = tuple(changed(_rotation(b.shape[1], a.shape[1], draw) @ given) for _ in range(n))
    raw = changed(given) if a.shape[1] == b.shape[1] else float("nan")
    return Carried(cosine, changed(through), changed(receiver.unit.numpy()), raw, shuffled, rotated)


def _change(
    receiver: Direction, model: Model, behaviour: Behaviour, prompts: Examples
) -> Callable[[Vector], float]:
    """The share of answers that change once a vector is taken out where the receiver's direction is."""
    before = behaviour(model, prompts)
    rows = np.flatnonzero(before.measured)

    def changed(vector: Vector) -> float:
        direction = replace(receiver, unit=torch.from_numpy(vector / np.linalg.norm(vector)).float())
        now = behaviour(edited(model, Ablate(direction)), prompts)
        return float(before.measure.changed(before.given(rows), now.given(rows)).mean())

    return changed


def _rotation(to: int, width: int, draw: np.random.Generator) -> Float[np.ndarray, "to d"]:
    """A random rotation; where the widths differ, the part of a larger one that goes between them."""
    size = max(to, width)
    return np.linalg.qr(draw.normal(size=(size, size)))[0][:to, :width]
