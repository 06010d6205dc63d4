"""Ridge regression: a linear probe of a number, such as a date, a length or a score."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.data.activations import Activations
from probes.fitting import streaming
from probes.fitting.exactly import made_exactly
from probes.fitting.finishing import finish
from probes.fitting.linear import LinearProbe
from probes.fitting.recipe import check_penalties, check_settings
from probes.fitting.solving import along, solve_positive
from probes.fitting.streaming import streams
from probes.fitting.transforms import Transform
from probes.reading.store import StoredActivations
from probes.recipes.inputs import singles


@dataclass(frozen=True)
class Ridge:
    """Predicts a real-valued y from the hidden state; scores are predictions in the unit of y.

    Minimises mean squared error / 2 + l2/2 |w|^2 with a free bias, in closed form (scikit-learn: alpha = n
    l2). With y of 0 and 1 the score is shifted so that above 0 means class 1.

    With as many coordinates as rows a small penalty fits noise and predicts worse than the mean does. With
    several penalties (`l2=(.01, .1, 1, 10)`) each site takes the one with the least squared error on held-out
    groups of the train rows (`folds` folds). The receipt then holds `l2` and `l2_path`.
    """

    l2: float | int | tuple[float | int, ...] = 1.0
    prepare: str | Transform = "zscore"
    folds: int = 5

    def __post_init__(self) -> None:
        check_settings(self)
        check_penalties(self.l2)

    @property
    def penalties(self) -> tuple[float, ...]:
        return check_penalties(self.l2)

    @made_exactly
    def fit(self, acts: Activations | StoredActivations) -> LinearProbe:
        """Fits all sites at once, with one penalty chunk by chunk from a store; raises ValueError when y is
        missing or constant, or for several penalties with fewer groups than folds.
        """
        acts = acts if isinstance(acts, StoredActivations) else singles(acts, self)
        if acts.y is None:
            raise ValueError("Ridge needs y; give real values, or choose a column with .with_y(...)")
        if len(np.unique(acts.y)) < 2:
            raise ValueError(f"y has one value only ({acts.y[0]:g}), so there is nothing to predict")
        one = len(self.penalties) == 1
        if one and isinstance(acts, StoredActivations) and streams(acts, Transform.parse(self.prepare)):
            return streaming.ridge(self, self.penalties[0], acts)
        acts = singles(acts, self)
        assert acts.y is not None
        fitted = Transform.parse(self.prepare).fit({"all": acts.x}, acts.columns)
        z = fitted["all"](acts.x, fitted["all"].clusters(acts.columns, acts.x)).double()
        y = torch.from_numpy(acts.y.astype(float)).to(z)
        l2, notes = torch.full((len(z),), self.penalties[0]), {}
        if not one:
            held = _held_out_errors(z, y, _folds(acts, self.folds), self.penalties)
            l2 = torch.tensor(self.penalties)[held.argmin(1).cpu()]
            path = {"l2": list(self.penalties), "held_out_squared_error": held.tolist()}
            notes = {"l2": l2.tolist(), "l2_path": path}
        weight, bias = _solved(z, y, l2)
        losses = (along(z, weight) + bias[:, None] - y).pow(2).mean(1)
        if np.isin(acts.y, (0, 1)).all():
            bias = bias - 0.5
        return finish(acts, weight, bias, fitted, recipe=self, losses=losses, notes=notes)


def _solved(
    z: Float[Tensor, "site n d"], y: Float[Tensor, " n"], l2: Float[Tensor, " site"]
) -> tuple[Float[Tensor, "site d"], Float[Tensor, " site"]]:
    """Weights and biases at a penalty a site."""
    centre, level = z.mean(1), y.mean()
    z0, n = z - centre[:, None], len(y)
    wide = z.shape[2] > n
    gram = (z0 @ z0.transpose(1, 2) if wide else z0.transpose(1, 2) @ z0) / n
    gram.diagonal(dim1=1, dim2=2).add_(l2.to(z)[:, None])
    if wide:
        weight = torch.einsum("snd,sn->sd", z0, solve_positive(gram, (y - level).expand(len(z), -1))) / n
    else:
        weight = solve_positive(gram, torch.einsum("snd,n->sd", z0, y - level) / n)
    return weight, level - (centre * weight).sum(1)


def _folds(acts: Activations, folds: int) -> Int[np.ndarray, " n"]:
    """The fold of every row: whole groups, dealt out so that folds are of about one size."""
    from sklearn.model_selection import GroupKFold

    n_groups = len(np.unique(acts.groups))
    if n_groups < folds:
        raise ValueError(
            f"{folds} folds need at least as many groups, got {n_groups}; lower folds or give one penalty"
        )
    fold = np.empty(len(acts), dtype=int)
    splits = GroupKFold(folds, shuffle=True, random_state=0).split(np.zeros(len(acts)), groups=acts.groups)
    for k, (_, held) in enumerate(splits):
        fold[held] = k
    return fold


def _held_out_errors(
    z: Float[Tensor, "site n d"],
    y: Float[Tensor, " n"],
    fold: Int[np.ndarray, " n"],
    penalties: tuple[float, ...],
) -> Float[Tensor, "site q"]:
    """Mean squared error under every penalty, each row predicted by the fit that left its fold out."""
    total = torch.zeros(len(z), len(penalties), dtype=z.dtype, device=z.device)
    for k in range(int(fold.max()) + 1):
        out = torch.from_numpy(fold == k).to(z.device)
        for q, l2 in enumerate(penalties):
            weight, bias = _solved(z[:, ~out], y[~out], torch.full((len(z),), l2))
            total[:, q] += (along(z[:, out], weight) + bias[:, None] - y[out]).pow(2).sum(1)
    return total / len(y)
