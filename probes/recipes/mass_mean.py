"""The difference of the class means."""

from dataclasses import dataclass

import torch

from probes.activations import Activations
from probes.linear import LinearProbe, finish
from probes.recipes.inputs import single
from probes.recipes.lda import within_class
from probes.transforms import NOISE, Transform


@dataclass(frozen=True)
class MassMean:
    """Reads along the line from the mean of the negative rows to the mean of the positive ones.

    The threshold lies midway between the means. It ignores the spread of the classes, so a strong nuisance that is
    correlated with the label tilts it; in return it needs few rows and its direction moves behaviour well. `whiten` divides by
    the within-class covariance, which reads better on rows like the train rows and moves behaviour worse.
    Source: Marks and Tegmark, arXiv 2310.06824.
    """

    transform: str | Transform = "none"
    whiten: bool = False

    def fit(self, acts: Activations) -> LinearProbe:
        """Fits all sites at once; raises ValueError unless y has both classes."""
        rows = single(acts, self)
        z, y = rows.z.double(), rows.y
        high, low = z[:, y].mean(1), z[:, ~y].mean(1)
        weight = high - low
        # Classes with the same mean differ by rounding only; that difference is no direction.
        size = z.pow(2).sum(2).mean(1, keepdim=True).sqrt()
        weight = torch.where(weight.norm(dim=1, keepdim=True) > NOISE * size, weight, 0)
        if self.whiten:
            weight = torch.einsum("sde,se->sd", torch.linalg.pinv(within_class(z, y), rtol=1e-3, hermitian=True), weight)
        bias = -((high + low) / 2 * weight).sum(1)
        margin = torch.einsum("snd,sd->sn", z, weight) + bias[:, None]
        losses = torch.nn.functional.softplus(torch.where(y, -margin, margin)).mean(1)
        return finish(acts, weight, bias, rows.transforms, recipe=self, losses=losses)
