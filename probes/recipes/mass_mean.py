"""The difference of the class means."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes.data.activations import Activations
from probes.fitting import streaming
from probes.fitting.linear import LinearProbe, finish
from probes.fitting.streaming import streams
from probes.fitting.transforms import NOISE, Transform
from probes.reading.store import StoredActivations
from probes.recipes.inputs import single, singles
from probes.recipes.lda import within_class


@dataclass(frozen=True)
class MassMean:
    """Reads along the line from the mean of the negative rows to the mean of the positive ones.

    The threshold lies midway between the means. It ignores the spread of the classes, so a strong nuisance
    that is correlated with the label tilts it; in return it needs few rows and its direction moves behaviour
    well. `whiten` divides by the within-class covariance, which reads better on rows like the train rows and
    moves behaviour worse. Source: Marks and Tegmark, arXiv 2310.06824.
    """

    prepare: str | Transform = "none"
    whiten: bool = False

    def fit(self, acts: Activations | StoredActivations) -> LinearProbe:
        """Fits all sites at once, chunk by chunk from a store; raises ValueError unless y has both
        classes.
        """
        if isinstance(acts, StoredActivations) and streams(acts, Transform.parse(self.prepare)):
            return streaming.mass_mean(self, acts)
        acts = singles(acts, self)
        rows = single(acts, self)
        weight, bias = (found[0] for found in self.fit_labels(rows.z, rows.y[None]))
        margin = torch.einsum("snd,sd->sn", rows.z, weight) + bias[:, None]
        losses = torch.nn.functional.softplus(torch.where(rows.y, -margin, margin)).mean(1)
        return finish(acts, weight, bias, rows.transforms, recipe=self, losses=losses)

    @property
    def solves_together(self) -> bool:
        return True

    def fit_labels(
        self, z: Float[Tensor, "site n d"], y: Bool[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b site d"], Float[Tensor, "b site"]]:
        """Weights and biases under each of b labellings of the same prepared rows."""
        # About the mean of the rows, where single precision does not lose the difference in a large offset.
        centre = z.mean(1)
        rest = z - centre[:, None]
        high, low = ((of / of.sum(1, keepdim=True)).to(z) @ rest for of in (y.double(), (~y).double()))
        weight = high - low
        # Classes with the same mean differ by rounding only; that difference is no direction.
        size = z.pow(2).sum(2).mean(1).sqrt()[:, None, None]
        weight = torch.where(weight.norm(dim=2, keepdim=True) > NOISE * size, weight, 0)
        if self.whiten:
            inverse = (_inverse_spread(rest.double(), labels) for labels in y)
            weight = torch.stack(
                [
                    (m @ w.double()[..., None])[..., 0].to(z)
                    for m, w in zip(inverse, weight.transpose(0, 1), strict=True)
                ],
                dim=1,
            )
        bias = -(((high + low) / 2 + centre[:, None]) * weight).sum(2)
        return weight.transpose(0, 1), bias.T


def _inverse_spread(rest: Float[Tensor, "site n d"], y: Bool[Tensor, " n"]) -> Float[Tensor, "site d d"]:
    """Inverse of the within-class covariance, without directions of hardly any spread; where no class
    has any spread, all directions count alike.
    """
    within = within_class(rest, y)
    none = within.diagonal(dim1=1, dim2=2).mean(1) <= NOISE**2 * rest.pow(2).mean((1, 2))
    return torch.linalg.pinv(
        torch.where(none[:, None, None], torch.eye(within.shape[1]).to(within), within),
        rtol=1e-3,
        hermitian=True,
    )
