"""The difference of the class means."""

from dataclasses import dataclass

import torch

from probes.activations import Activations
from probes.linear import LinearProbe, finish
from probes.recipes.inputs import single
from probes.transforms import NOISE, Name, fit_transform


@dataclass(frozen=True)
class MassMean:
    """Reads along the line from the mean of the negative rows to the mean of the positive ones.

    The threshold lies midway between the means. It ignores the spread of the classes, so a strong nuisance that is
    correlated with the label tilts it; in return it needs few rows and its direction moves behaviour well.
    Source: Marks and Tegmark, arXiv 2310.06824 (without the covariance correction).
    """

    transform: Name = "none"

    def fit(self, acts: Activations) -> LinearProbe:
        """Fits all sites at once; raises ValueError unless y has both classes."""
        x, y = single(acts, self)
        transform = fit_transform(self.transform, x)
        z = transform(x).double()
        high, low = z[:, y].mean(1), z[:, ~y].mean(1)
        weight = high - low
        # Classes with the same mean differ by rounding only; that difference is no direction.
        size = z.pow(2).sum(2).mean(1, keepdim=True).sqrt()
        weight = torch.where(weight.norm(dim=1, keepdim=True) > NOISE * size, weight, 0)
        bias = -((high + low) / 2 * weight).sum(1)
        margin = torch.einsum("snd,sd->sn", z, weight) + bias[:, None]
        losses = torch.nn.functional.softplus(torch.where(y, -margin, margin)).mean(1)
        return finish(acts, weight.float(), bias.float(), {"all": transform}, recipe=self, losses=losses)
