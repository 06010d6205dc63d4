"""Each recipe says which kind of activations it takes, gets them prepared, and raises here on the
other kind.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes.data.activations import Activations, PairActivations
from probes.data.stacks import refuse_endless
from probes.fitting.pair_rows import span as rows_span
from probes.fitting.recipe import Prepares, Recipe
from probes.fitting.transforms import Fitted, Transform
from probes.reading.store import in_memory


@dataclass(frozen=True, eq=False)
class Single:
    """Rows of single texts after the transform, their two classes, and the transform to keep with the
    probe.
    """

    z: Float[Tensor, "site n d"]
    y: Bool[Tensor, " n"]
    transforms: dict[str, Fitted]


@dataclass(frozen=True, eq=False)
class Paired:
    """Both texts of every pair after the transform, the statements' classes where given, and the
    transforms to keep.
    """

    yes: Float[Tensor, "site n d"]
    no: Float[Tensor, "site n d"]
    y: Bool[Tensor, " n"] | None
    transforms: dict[str, Fitted]


def singles(acts: Any, recipe: Recipe) -> Activations:
    """The activations, if they are of single texts and finite; raises TypeError or ValueError otherwise."""
    acts = in_memory(acts)
    if isinstance(acts, PairActivations):
        raise TypeError(
            f"{type(recipe).__name__} reads single texts, got contrast pairs; fit it on one side,"
            " pairs.side('yes')"
        )
    if not isinstance(acts, Activations):
        raise TypeError(
            f"{type(recipe).__name__} fits on Activations, got {type(acts).__name__}; wrap arrays with"
            " Activations.from_arrays(x, y)"
        )
    _some_rows(acts, recipe)
    refuse_endless(acts.x, "x")  # numbers may have changed, or overflowed in .to(dtype), since they were made
    return acts


def _some_rows(acts: Activations | PairActivations, recipe: Recipe) -> None:
    if not len(acts):
        raise ValueError(
            f"{type(recipe).__name__} got no rows (an empty choice of them); see what the mask or the"
            " positions leave"
        )


def single(acts: Activations, recipe: Prepares) -> Single:
    """Single texts (see `singles`) of two classes, prepared by the recipe's transform."""
    y, _ = acts.classes
    fitted = Transform.parse(recipe.prepare).fit({"all": acts.x}, acts.columns)
    return Single(
        fitted["all"](acts.x, fitted["all"].clusters(acts.columns, acts.x)), y.to(acts.x.device), fitted
    )


def paired(acts: Any, recipe: Prepares) -> Paired:
    """Contrast pairs, each side prepared by the recipe's transform."""
    if not isinstance(acts, PairActivations):
        raise TypeError(
            f"{type(recipe).__name__} fits on contrast pairs, got {type(acts).__name__}; make them with"
            " capture_pairs(model, Pairs(...)) or PairActivations.from_arrays(yes, no)"
        )
    _some_rows(acts, recipe)
    for side, x in (("yes", acts.yes), ("no", acts.no)):
        refuse_endless(x, side)
    fitted = Transform.parse(recipe.prepare).fit({"yes": acts.yes, "no": acts.no}, acts.columns)
    clusters = fitted["yes"].clusters(acts.columns, acts.middle)
    y = None if acts.y is None else acts.classes[0].to(acts.yes.device)
    return Paired(fitted["yes"](acts.yes, clusters), fitted["no"](acts.no, clusters), y, fitted)


def oriented(
    pairs: Paired, weight: Float[Tensor, "site d"], bias: Float[Tensor, " site"]
) -> tuple[Float[Tensor, " site"], str]:
    """The sign (1 or -1) that makes true statements score higher on the train rows, and what decided it.

    Labels are used for nothing else here. Weight and bias stay as they were found: a loss need not be the
    same for a probe and its opposite.
    """
    if pairs.y is None:
        return torch.ones_like(bias), "arbitrary (no labels)"
    p_yes, p_no = (
        torch.sigmoid(torch.einsum("snd,sd->sn", z, weight.to(z)) + bias.to(z)[:, None])
        for z in (pairs.yes, pairs.no)
    )
    credence = (p_yes + 1 - p_no) / 2
    agreement = torch.where(pairs.y, credence, 1 - credence).mean(1) - 0.5
    return torch.where(agreement < 0, -1.0, 1.0).to(weight), "train labels"


def scaled_to_pairs(pairs: Paired, weight: Float[Tensor, "site d"]) -> Float[Tensor, "site d"]:
    """A direction found without a scale, as weights: the margins of all texts have a mean square of
    4, confident but not saturated.
    """
    size = (
        torch.stack(
            [torch.einsum("snd,sd->sn", z, weight.to(z)).pow(2).mean(1) for z in (pairs.yes, pairs.no)]
        )
        .mean(0)
        .sqrt()
    )
    return (2 * weight / size.to(weight).clamp_min(1e-30)[:, None]).float()


def span(pairs: Paired) -> Float[Tensor, "site d k"] | None:
    """An orthonormal basis of all rows of a wide problem, in which the pairs have 2n coordinates
    instead of d; None where d is no larger.
    """
    both = torch.cat([pairs.yes, pairs.no], dim=1)
    return None if both.shape[2] <= both.shape[1] else rows_span(both)
