"""What every linear recipe ends with: from weights on prepared rows to a probe that knows its directions in
raw space, its gaps, its rows and what exchanged labels would have given.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probes.data.activations import Activations, PairActivations
from probes.fitting.linear import LinearProbe
from probes.fitting.meaningless import exchanged_directions
from probes.fitting.recipe import Recipe
from probes.fitting.rows_of_fit import rows_of_fit
from probes.fitting.solving import along
from probes.fitting.spreads import no_spread
from probes.fitting.transforms import Fitted


def finish(
    acts: Activations | PairActivations,
    weight: Tensor,
    bias: Tensor,
    transforms: Mapping[str, Fitted],
    *,
    recipe: Recipe,
    losses: Tensor | None = None,
    sign: Float[Tensor, " site"] | None = None,
    sign_from: str = "train labels",
    notes: Mapping[str, Any] | None = None,
) -> LinearProbe:
    """The probe of weights and biases that a recipe found, with raw-space directions and gaps on its rows.

    `sign` (1 or -1 a site) turns scores and directions, not weight and bias; by default they stand upright.
    """
    sides = {"yes": acts.yes, "no": acts.no} if isinstance(acts, PairActivations) else {"all": acts.x}
    flat = torch.stack([no_spread(x) for x in sides.values()]).all(0)
    # Where no row differs from another the probe is constant and has no direction.
    weight = torch.where(flat[:, None], 0, weight).float()
    bias = torch.where(flat & ~torch.isfinite(bias), 0, bias)  # a covariance of zeros has no inverse
    sign = torch.ones_like(weight[:, 0]) if sign is None else torch.where(flat, 1, sign).to(weight)
    turned = weight * sign[:, None]
    slopes = torch.cat([t.gradient(turned, sides[k]) for k, t in transforms.items()], dim=1)
    raw = slopes.mean(1)
    norm = raw.norm(dim=1, keepdim=True)
    units = torch.where(norm > 0, raw / norm.clamp_min(1e-30), 0)
    cosines = torch.nn.functional.cosine_similarity(slopes, units[:, None], dim=2).mean(1)
    gaps, gap_from = _gaps(acts, sides, units, lambda: _margins(acts, sides, transforms, turned, bias * sign))
    return LinearProbe(
        weight=weight.detach().float(),
        bias=bias.detach().float(),
        sign=sign.detach(),
        transforms=dict(transforms),
        sites=acts.sites,
        units=units.detach().float(),
        gaps=gaps.detach().float(),
        gap_from=gap_from,
        sign_from=sign_from,
        recipe=str(recipe),
        receipt={**acts.receipt, **rows_of_fit(acts), **(notes or {})},
        losses=torch.full((len(acts.sites),), torch.nan) if losses is None else losses.detach().float(),
        cosines=cosines.detach().float(),
        exchanged=exchanged_directions(acts).half(),
    )


def _margins(
    acts: Activations | PairActivations,
    sides: Mapping[str, Tensor],
    transforms: Mapping[str, Fitted],
    weight: Tensor,
    bias: Tensor,
) -> list[Float[Tensor, "site n"]]:
    """Scores of the train rows, side by side."""
    middle = torch.stack(list(sides.values())).mean(0)
    return [
        along(t(sides[k], t.clusters(acts.columns, middle)), weight) + bias.float()[:, None]
        for k, t in transforms.items()
    ]


def _gaps(
    acts: Activations | PairActivations,
    sides: Mapping[str, Tensor],
    units: Tensor,
    margins: Callable[[], Sequence[Tensor]],
) -> tuple[Tensor, str]:
    """Distance between the class means along each unit vector on raw rows; on pairs, of right over wrong
    texts within each side.

    Without labels the classes are the ones the probe predicts; for real-valued y it is the shift that goes
    with one standard deviation of y.
    """
    if acts.y is not None and not ((acts.y == 0) | (acts.y == 1)).all():
        y = torch.from_numpy(acts.y.astype(float)).to(units)
        moved = along(sides["all"].float(), units.float())
        return (moved * (y - y.mean())).mean(1) / y.std(correction=0), "standard deviation of y"
    if acts.y is None:
        scored = margins()
        credence = [torch.sigmoid(m) for m in scored]
        positive = (credence[0] + 1 - credence[1] > 1) if len(sides) == 2 else scored[0] > 0
    else:
        positive = acts.classes[0].to(units.device).expand(len(acts.sites), -1)
    # A class that is never predicted has no mean, hence no gap: 0 / 0 stays NaN and Add will say so.
    shares = positive.float() / positive.sum(1, keepdim=True) - (~positive).float() / (~positive).sum(
        1, keepdim=True
    )
    apart = [(along(x.float(), units.float()) * shares).sum(1) for x in sides.values()]
    gap = apart[0] if len(apart) == 1 else (apart[0] - apart[1]) / 2
    return gap, "predicted classes" if acts.y is None else "labels"
