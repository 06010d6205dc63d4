"""Ridge regression: a linear probe of a number, such as a date, a length or a score."""

from dataclasses import dataclass

import numpy as np
import torch

from probes.data.activations import Activations
from probes.fitting import streaming
from probes.fitting.linear import LinearProbe, finish
from probes.fitting.solving import solve_positive
from probes.fitting.streaming import streams
from probes.fitting.transforms import Transform
from probes.reading.store import StoredActivations
from probes.recipes.inputs import singles


@dataclass(frozen=True)
class Ridge:
    """Predicts a real-valued y from the hidden state; scores are predictions in the unit of y.

    Minimises mean squared error / 2 + l2/2 |w|^2 with a free bias, in closed form (scikit-learn: alpha = n
    l2). With y of 0 and 1 the score is shifted so that above 0 means class 1.
    """

    l2: float | int = 1e-2
    prepare: str | Transform = "zscore"

    def __post_init__(self) -> None:
        if not self.l2 > 0:
            raise ValueError(
                f"l2 must be above 0, got {self.l2}; without a penalty wide problems have no single optimum"
            )

    def fit(self, acts: Activations | StoredActivations) -> LinearProbe:
        """Fits all sites at once, chunk by chunk from a store; raises ValueError when y is missing or
        constant.
        """
        acts = acts if isinstance(acts, StoredActivations) else singles(acts, self)
        if acts.y is None:
            raise ValueError("Ridge needs y; give real values, or choose a column with .with_y(...)")
        if len(np.unique(acts.y)) < 2:
            raise ValueError(f"y has one value only ({acts.y[0]:g}), so there is nothing to predict")
        if isinstance(acts, StoredActivations) and streams(acts, Transform.parse(self.prepare)):
            return streaming.ridge(self, acts)
        acts = singles(acts, self)
        assert acts.y is not None
        fitted = Transform.parse(self.prepare).fit({"all": acts.x}, acts.columns)
        z = fitted["all"](acts.x, fitted["all"].clusters(acts.columns, acts.x)).double()
        y = torch.from_numpy(acts.y.astype(float)).to(z)
        centre, level = z.mean(1), y.mean()
        z0, n = z - centre[:, None], len(y)
        if z.shape[2] <= n:
            gram = z0.transpose(1, 2) @ z0 / n
            gram.diagonal(dim1=1, dim2=2).add_(self.l2)
            weight = solve_positive(gram, torch.einsum("snd,n->sd", z0, y - level) / n)
        else:
            gram = z0 @ z0.transpose(1, 2) / n
            gram.diagonal(dim1=1, dim2=2).add_(self.l2)
            weight = torch.einsum("snd,sn->sd", z0, solve_positive(gram, (y - level).expand(len(z), -1))) / n
        bias = level - (centre * weight).sum(1)
        losses = (torch.einsum("snd,sd->sn", z, weight) + bias[:, None] - y).pow(2).mean(1)
        if np.isin(acts.y, (0, 1)).all():
            bias = bias - 0.5
        return finish(acts, weight, bias, fitted, recipe=self, losses=losses)
