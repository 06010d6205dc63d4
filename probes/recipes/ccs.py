"""Contrast-consistent search: an unsupervised probe on yes/no pairs."""

from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.checks.settings import check_size
from probes.data.activations import PairActivations
from probes.fitting.exactly import made_exactly
from probes.fitting.finishing import finish
from probes.fitting.flips import PairLoss, flips
from probes.fitting.linear import LinearProbe
from probes.fitting.recipe import check_settings
from probes.fitting.spreads import no_spread
from probes.fitting.transforms import Transform
from probes.recipes.inputs import Paired, oriented, paired
from probes.recipes.still import probabilities, warn_without_spread

PENALTIES = (0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3)


@dataclass(frozen=True)
class CCS:
    """Finds a direction along which a statement answered yes and answered no get opposite, confident
    probabilities.

    Labels never enter the loss; train labels only decide which end is "true" (without labels the sign is
    arbitrary, and `sign_from` says so). Any feature that flips between yes and no satisfies the loss, truth
    or not (arXiv 2312.10029), so compare what it reads with distractors. Each side is centred by its own
    train mean, which hides the answer word. The constant probe p = .4 has loss .2: a loss near it means
    nothing was found. `symmetric` treats both answers alike, where `burns` prefers two low probabilities to
    two high ones.

    `l2` is a penalty on weights in units of the prepared rows' spread, so that it means the same under every
    `prepare`. With several, falling, each site goes from the first to the one with the lowest loss on
    held-out groups of the train rows (`folds` folds, or as many as there are groups); with one, to that one,
    from stronger ones. Starts are no draws: `restarts` counts the directions that flip most, both ways round,
    and of what they lead to the lowest penalised loss is taken. So the probe of a site does not depend on
    other sites, the order of rows, or threads, and hardly on `seed`, from which the directions are grown. The
    receipt holds `l2`, `l2_path` with the held-out losses, and `restart_losses`, penalised, after the first
    steps under the first penalty. Source: Burns et al., arXiv 2212.03827; the search is this project's own.
    """

    seed: int = 0
    restarts: int = 10
    steps: int = 200
    l2: float | int | tuple[float | int, ...] = PENALTIES
    loss: Literal["burns", "symmetric"] = "burns"
    prepare: str | Transform = "rms"
    folds: int = 4
    labels_give_sign: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_settings(self)
        if not isinstance(self.l2, tuple | Real):
            raise ValueError(f"l2 is one number or a tuple of falling numbers, got {self.l2!r}")
        for l2 in self.penalties:
            check_size("l2", l2)
        if not self.penalties or any(a <= b for a, b in pairwise(self.penalties)):
            raise ValueError(f"several penalties fall, the strongest first, got l2={self.l2}")

    @property
    def penalties(self) -> tuple[float, ...]:
        """Those that are gone through: the tuple, or the usual ones down to the one number."""
        if isinstance(self.l2, tuple):
            return tuple(map(float, self.l2))
        return (*(each for each in PENALTIES if each > self.l2), float(self.l2))

    @made_exactly
    def fit(self, acts: PairActivations) -> LinearProbe:
        """Fits all sites; raises TypeError on single texts, and ValueError where pairs are of one group and
        `l2` is to be chosen.
        """
        return search(acts, paired(acts, self), LOSSES[self.loss], self)


def search(acts: PairActivations, rows: Paired, loss: PairLoss, recipe: "CCS") -> LinearProbe:
    """The probe of every site, oriented by train labels."""
    flat = no_spread(acts.yes) & no_spread(acts.no)
    size = torch.where(flat, 1, spread_by_site(rows))[:, None]
    names, units = np.unique(acts.groups, return_inverse=True)
    several = isinstance(recipe.l2, tuple) and len(recipe.l2) > 1
    if several and len(names) < 2:
        raise ValueError(
            f"l2 is chosen on held-out groups, and all {len(units)} pairs are of one; give groups, or one l2"
        )
    found = flips(
        rows.yes / size[..., None],
        rows.no / size[..., None],
        loss,
        torch.from_numpy(units).to(rows.yes.device),
        recipe.penalties,
        folds=min(recipe.folds, len(names)) if several else 0,
        starts=recipe.restarts,
        steps=recipe.steps,
        seed=recipe.seed,
    )
    weight, bias = found.weight / size, found.bias
    sign, sign_from = oriented(rows, weight, bias)
    p_yes, p_no = probabilities(rows, weight, bias)
    steeper = "a smaller l2 allows steeper probes, a larger number of steps longer ones"
    warn_without_spread(acts, rows, weight, bias, steeper)
    notes = {
        "l2": found.l2.tolist(),
        "l2_path": {"l2": list(recipe.penalties), "held_out_loss": _rounded(found.held_out)},
        "restart_losses": _rounded(found.starts),
    }
    return finish(
        acts,
        weight,
        bias,
        rows.transforms,
        recipe=recipe,
        losses=loss(p_yes, p_no).mean(1),
        sign=sign,
        sign_from=sign_from,
        notes=notes,
    )


def _rounded(values: Float[Tensor, "site k"]) -> list[list[float]]:
    """Without what was not needed."""
    return [[round(float(v), 6) for v in line if not v.isnan()] for line in values]


def spread_by_site(rows: Paired) -> Float[Tensor, " site"]:
    """Root mean square of the prepared rows about the mean of their side.

    The search is for weights on rows divided by it, so that one penalty means the same to rows of unit length
    and to rows of length sqrt(width).
    """
    sides = [z - z.mean(1, keepdim=True) for z in (rows.yes, rows.no)]
    return torch.stack([z.pow(2).mean((1, 2)) for z in sides]).mean(0).sqrt()


def burns_loss(p_yes: Float[Tensor, "*any n"], p_no: Float[Tensor, "*any n"]) -> Float[Tensor, "*any n"]:
    """What every pair adds: consistency (p_yes - (1 - p_no))^2 plus confidence min(p_yes, p_no)^2."""
    return (p_yes + p_no - 1) ** 2 + torch.minimum(p_yes, p_no) ** 2


def symmetric_loss(p_yes: Float[Tensor, "*any n"], p_no: Float[Tensor, "*any n"]) -> Float[Tensor, "*any n"]:
    """As `burns_loss`, with the least extreme of all four probabilities in place of the lower of two
    (arXiv 2312.10029).
    """
    unsure = torch.minimum(torch.minimum(p_yes, p_no), torch.minimum(1 - p_yes, 1 - p_no))
    return (p_yes + p_no - 1) ** 2 + unsure**2


LOSSES: dict[str, PairLoss] = {"burns": burns_loss, "symmetric": symmetric_loss}
