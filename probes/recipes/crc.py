"""Contrastive representation clustering: the principal component of the differences."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from probes.data.activations import PairActivations
from probes.fitting.exactly import made_exactly
from probes.fitting.finishing import finish
from probes.fitting.linear import LinearProbe
from probes.fitting.recipe import check_settings
from probes.fitting.transforms import Transform
from probes.recipes.inputs import oriented, paired, scaled_to_pairs
from probes.recipes.still import warn_without_spread


@dataclass(frozen=True)
class CRC:
    """Finds the direction along which the texts of a pair, answered yes and answered no, differ most from
    pair to pair.

    No labels, no restarts, no learning rate: one eigenvector a site. It takes the strongest feature that
    flips with the answer, truth or not. Source: Burns et al., arXiv 2212.03827 (CRC-TPC).
    """

    prepare: str | Transform = "rms"
    labels_give_sign: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_settings(self)

    @made_exactly
    def fit(self, acts: PairActivations) -> LinearProbe:
        """Fits all sites at once; train labels decide the sign only. `losses` is the share of
        variance left out.
        """
        rows = paired(acts, self)
        apart = (rows.yes - rows.no).double()
        weight, share = top_component(apart - apart.mean(1, keepdim=True))
        weight = scaled_to_pairs(rows, weight)
        bias = torch.zeros(len(weight)).to(weight)
        sign, sign_from = oriented(rows, weight, bias)
        warn_without_spread(acts, rows, weight, bias)
        return finish(
            acts, weight, bias, rows.transforms, recipe=self, losses=1 - share, sign=sign, sign_from=sign_from
        )


def top_component(x: Float[Tensor, "site n d"]) -> tuple[Float[Tensor, "site d"], Float[Tensor, " site"]]:
    """The unit vector of largest variance and its share of all variance, through the smaller of the
    two Gram matrices.
    """
    if x.shape[2] <= x.shape[1]:
        sizes, vectors = torch.linalg.eigh(x.transpose(1, 2) @ x)
        top = vectors[..., -1]
    else:
        sizes, vectors = torch.linalg.eigh(x @ x.transpose(1, 2))
        top = torch.einsum("snd,sn->sd", x, vectors[..., -1])
    share = sizes[:, -1] / sizes.sum(1).clamp_min(1e-300)
    # An eigenvector has no sign of its own; without this it could differ from machine to machine.
    first = top.gather(1, top.abs().argmax(1, keepdim=True))
    return torch.nn.functional.normalize(top, dim=1) * torch.where(first < 0, -1.0, 1.0), share
