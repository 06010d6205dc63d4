"""Logistic regression: all sites, penalties, folds and labellings as one batched problem."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

from probes.data.activations import Activations
from probes.fitting.exactly import made_exactly
from probes.fitting.finishing import finish
from probes.fitting.linear import LinearProbe
from probes.fitting.margins import Problems, minimised
from probes.fitting.recipe import check_penalties, check_settings
from probes.fitting.spreads import mean_square
from probes.fitting.transforms import Transform
from probes.reading.store import StoredActivations
from probes.recipes.inputs import single, singles

# Sites that are solved together: a few share the cost of a step, and more wait for the slowest of them.
TOGETHER = 8
SMALL, LARGE = 2**22, 2**24  # bytes of rows: so many at least, and no more, which would fall out of the cache
CENTRED = 1e-3  # rows whose mean is below this share of their size count as centred
# Where l2 is below this share of the rows' mean square, gradients in single precision are too coarse.
EXACT = 1e-4


@dataclass(frozen=True)
class Logistic:
    """The best linear separation of the two classes under a penalty on the weights.

    Minimises mean log-loss + l2/2 |w|^2 with a free bias, to convergence, so there is no learning rate and no
    seed (scikit-learn: C = 1 / (n l2)). It finds whatever separates best, which need not be what the model
    uses.

    With several penalties (`l2=(1e-3, 1e-2, .1)`) each site takes the one with the lowest log-loss on
    held-out groups of the train rows (`folds` folds; the transform, which sees no labels, is fitted once on
    all of them). The receipt then holds `l2` and `l2_path`.
    """

    l2: float | int | tuple[float | int, ...] = 1e-2
    prepare: str | Transform = "zscore"
    folds: int = 5

    def __post_init__(self) -> None:
        check_settings(self)
        check_penalties(self.l2)

    @property
    def penalties(self) -> tuple[float, ...]:
        return check_penalties(self.l2)

    @property
    def solves_together(self) -> bool:
        """Not with several penalties, of which each labelling would choose its own."""
        return not isinstance(self.l2, tuple)

    @made_exactly
    def fit(self, acts: Activations | StoredActivations) -> LinearProbe:
        """Fits all sites at once; raises ValueError unless y has both classes, or for several
        penalties with fewer groups than folds.
        """
        acts = singles(acts, self)
        rows = single(acts, self)
        l2, notes = torch.tensor(self.penalties, dtype=torch.float64), {}
        weight, bias, losses = logistic_path(rows.z, rows.y.expand(len(l2), -1), l2)
        best = torch.zeros(len(acts.sites), dtype=torch.long)
        if len(l2) > 1:
            held = _held_out_losses(rows.z, rows.y, fold_of(acts, self.folds), l2)
            best = held.argmin(1).cpu()
            notes = {
                "l2": [float(l2[i]) for i in best],
                "l2_path": {"l2": l2.tolist(), "held_out_log_loss": held.tolist()},
            }
        at = torch.arange(len(best))
        return finish(
            acts,
            weight[best, at],
            bias[best, at],
            rows.transforms,
            recipe=self,
            losses=losses[best, at],
            notes=notes,
        )

    @made_exactly
    def fit_labels(
        self, z: Float[Tensor, "site n d"], y: Bool[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b site d"], Float[Tensor, "b site"]]:
        """Weights and biases under each of b labellings of the same prepared rows."""
        if isinstance(self.l2, tuple):
            raise NotImplementedError(
                "several penalties are chosen by groups, which prepared rows do not have; give one l2"
            )
        weight, bias, _ = logistic_path(z, y, torch.full((len(y),), float(self.l2), dtype=torch.float64))
        return weight, bias


def fold_of(acts: Activations, folds: int) -> np.ndarray:
    """The fold of every row: whole groups, dealt out so that folds are of about one size and mix the
    classes.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    n_groups = len(np.unique(acts.groups))
    if n_groups < folds:
        raise ValueError(
            f"{folds} folds need at least as many groups, got {n_groups}; lower folds or give one penalty"
        )
    fold = np.empty(len(acts), dtype=int)
    for k, (_, held) in enumerate(
        StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(
            np.zeros(len(acts)), acts.y, acts.groups
        )
    ):
        fold[held] = k
    return fold


def _held_out_losses(z: Tensor, y: Tensor, fold: np.ndarray, l2: Tensor) -> Float[Tensor, "site q"]:
    """Log-loss of held-out rows under every penalty, each row scored by the fit that left its fold out."""
    folds = int(fold.max()) + 1
    kept = torch.from_numpy(fold[None] != np.arange(folds)[:, None]).to(z.device)
    share = (kept.double() / kept.sum(1, keepdim=True)).repeat_interleave(len(l2), 0)
    weight, bias, _ = logistic_path(z, y.expand(len(share), -1), l2.repeat(folds), share)
    margin = torch.einsum("snd,psd->psn", z, weight.to(z)) + bias.to(z)[..., None]
    loss = softplus(torch.where(y, -margin, margin)).double()
    return (loss * (~kept).repeat_interleave(len(l2), 0)[:, None]).sum(2).unflatten(0, (folds, len(l2))).sum(
        0
    ).T / z.shape[1]


def logistic_path(
    z: Float[Tensor, "site n d"],
    y: Bool[Tensor, "p n"],
    l2: Float[Tensor, " p"],
    share: Float[Tensor, "p n"] | None = None,
) -> tuple[Float[Tensor, "p site d"], Float[Tensor, "p site"], Float[Tensor, "p site"]]:
    """Weights, biases and penalised losses of p problems on the same rows, each with its labels,
    penalty and shares of the rows (default: equal).
    """
    n, d = z.shape[1:]
    y = y.to(z.device)
    share = torch.full_like(y, 1 / n, dtype=torch.float64) if share is None else share.to(z.device)
    l2 = l2.to(z.device)
    room = _room(n * d * 4, z.device)
    parts = []
    for some in z.split(room):
        rows, centre = _about_the_mean(some, float(l2.min()))
        weight, bias, value = minimised(Problems.of_rows(rows, y, share, l2))
        bias = bias - (weight @ centre[..., None])[..., 0]
        parts.append((weight.transpose(0, 1), bias.T, value.T))
    return tuple(torch.cat(each, dim=1) for each in zip(*parts, strict=True))  # pyright: ignore


def _room(size: int, device: torch.device) -> int:
    """How many sites of so many bytes are solved together."""
    if device.type != "cpu":
        return max(1, 32 * LARGE // size)
    return max(1, SMALL // size, min(TOGETHER, LARGE // size))


def _about_the_mean(
    z: Float[Tensor, "site n d"], l2: float
) -> tuple[Float[Tensor, "site n d"], Float[Tensor, "site d"]]:
    """Rows about their mean, and what was taken off; in single precision where the penalty is large enough
    for it.
    """
    centre, size = z.mean(1), mean_square(z).max()
    if (centre.abs() <= CENTRED * size.sqrt()).all():  # as rows mostly come; the bias takes what is left
        centre = torch.zeros_like(centre)
    else:
        z = z - centre[:, None]
        size = mean_square(z).max()
    return z if l2 >= EXACT * float(size) else z.double(), centre.double()
