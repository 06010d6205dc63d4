"""Linear discriminant analysis with a shrunk covariance."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes.checks.settings import check_number
from probes.data.activations import Activations
from probes.fitting.exactly import made_exactly
from probes.fitting.finishing import finish
from probes.fitting.linear import LinearProbe
from probes.fitting.recipe import check_settings
from probes.fitting.solving import along, solve_positive
from probes.fitting.spreads import NOISE
from probes.fitting.transforms import Transform
from probes.reading.store import StoredActivations
from probes.recipes.inputs import single, singles
from probes.recipes.loud import warn_of_a_loud_coordinate


@dataclass(frozen=True)
class LDA:
    """Reads the class-mean difference with the spread within the classes divided out: the best line for two
    Gaussian clouds of one shape.

    `shrinkage` in [0, 1] mixes the covariance with a round one of the same size; 0 needs more rows than
    coordinates. The threshold counts how frequent the classes are (scikit-learn:
    `LinearDiscriminantAnalysis(solver="lsqr", shrinkage=...)`). Source: Fisher 1936.
    """

    shrinkage: float | int = 0.1
    prepare: str | Transform = "none"

    def __post_init__(self) -> None:
        check_settings(self)
        if not 0 <= check_number("shrinkage", self.shrinkage) <= 1:
            raise ValueError(f"shrinkage must be a number between 0 and 1, got {self.shrinkage}")

    @made_exactly
    def fit(self, acts: Activations | StoredActivations) -> LinearProbe:
        """Fits all sites at once; raises ValueError unless y has both classes."""
        acts = singles(acts, self)
        rows = single(acts, self)
        z, y = rows.z.double(), rows.y
        high, low = z[:, y].mean(1), z[:, ~y].mean(1)
        spread = within_class(z, y)
        covariance, level = (1 - self.shrinkage) * spread, spread.diagonal(dim1=1, dim2=2).mean(1)
        # Classes without any spread of their own are told apart by their means: all directions count alike.
        level = torch.maximum(level, NOISE**2 * z.var(1, correction=0).mean(1)).clamp_min(1e-290)
        covariance.diagonal(dim1=1, dim2=2).add_(((self.shrinkage + 1e-12) * level)[:, None])
        weight = solve_positive(covariance, high - low)
        prior = torch.log(y.sum() / (~y).sum().double())
        bias = prior - ((high + low) / 2 * weight).sum(1)
        warn_of_a_loud_coordinate(acts.sites, z, y, weight, self)
        margin = along(z, weight) + bias[:, None]
        losses = torch.nn.functional.softplus(torch.where(y, -margin, margin)).mean(1)
        return finish(acts, weight, bias, rows.transforms, recipe=self, losses=losses)


def within_class(z: Float[Tensor, "site n d"], y: Bool[Tensor, " n"]) -> Float[Tensor, "site d d"]:
    """Covariance of the rows about their own class mean."""
    rest = about_class_means(z, y)
    return rest.transpose(1, 2) @ rest / z.shape[1]


def about_class_means(z: Float[Tensor, "site n d"], y: Bool[Tensor, " n"]) -> Float[Tensor, "site n d"]:
    return z - torch.where(y[:, None], z[:, y].mean(1, keepdim=True), z[:, ~y].mean(1, keepdim=True))
