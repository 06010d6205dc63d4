"""What is done to hidden states before a probe sees them, fitted on train rows only and kept with the probe."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NOISE = 1e-6  # relative spread below which float32 values count as constant
Name = Literal["none", "mean", "zscore", "rms"]


@dataclass(frozen=True, eq=False)
class Affine:
    """z = (x - shift) / scale at each site; `scale` is per coordinate or one number a site."""

    name: str
    shift: Float[Tensor, "site d"]
    scale: Float[Tensor, "site s"]

    def __call__(self, x: Float[Tensor, "site n d"]) -> Float[Tensor, "site n d"]:
        return (x.to(self.shift.dtype) - self.shift[:, None]) / self.scale[:, None]

    def at(self, index: list[int]) -> "Affine":
        return Affine(self.name, self.shift[index], self.scale[index])


def fit_transform(name: Name, x: Float[Tensor, "site n d"]) -> Affine:
    """Fits a transform on train rows.

    `none` leaves x alone, `mean` takes the mean off, `zscore` also divides each coordinate by its standard deviation
    (constant coordinates stay), `rms` takes the mean off and divides by one number a site so that coordinates have unit mean square.
    """
    x = x.float()
    sites, _, width = x.shape
    shift, scale = torch.zeros(sites, width, device=x.device), torch.ones(sites, 1, device=x.device)
    if name not in ("none", "mean", "zscore", "rms"):
        raise ValueError(f"unknown transform {name!r}; choose none, mean, zscore or rms")
    if name != "none":
        shift = x.mean(1)
    size = x.pow(2).mean((1, 2)).sqrt()[:, None]
    # A coordinate that never moves would be divided by rounding noise.
    if name == "zscore":
        spread = x.std(1, correction=0)
        scale = torch.where(spread > NOISE * size, spread, 1.0)
    if name == "rms":
        spread = (x - shift[:, None]).pow(2).mean((1, 2)).sqrt()[:, None]
        scale = torch.where(spread > NOISE * size, spread, 1.0)
    return Affine(name, shift, scale)


def no_spread(x: Float[Tensor, "site n d"]) -> Bool[Tensor, " site"]:
    """Sites at which all rows are the same, up to rounding."""
    x = x.float()
    return (x - x.mean(1, keepdim=True)).pow(2).mean((1, 2)).sqrt() <= NOISE * x.pow(2).mean((1, 2)).sqrt()
