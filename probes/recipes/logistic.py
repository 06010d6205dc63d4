"""Logistic regression, all sites as one batched Newton problem."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

from probes.activations import Activations
from probes.linear import LinearProbe, finish
from probes.recipes.inputs import single
from probes.transforms import Transform


@dataclass(frozen=True)
class Logistic:
    """The best linear separation of the two classes under a penalty on the weights.

    Minimises mean log-loss + l2/2 |w|^2 with a free bias, to convergence, so there is no learning rate and no seed
    (scikit-learn: C = 1 / (n l2)). It finds whatever separates best, which need not be what the model uses.
    """

    l2: float | int = 1e-2
    transform: str | Transform = "zscore"
    max_steps: int = 100

    def __post_init__(self) -> None:
        if not self.l2 > 0:
            raise ValueError(f"l2 must be above 0, got {self.l2}; without a penalty separable data has no finite optimum")

    def fit(self, acts: Activations) -> LinearProbe:
        """Fits all sites at once; raises ValueError unless y has both classes."""
        rows = single(acts, self)
        z, y = rows.z, rows.y
        weight, bias, losses = newton_in_span(z.double(), y, self.l2, self.max_steps)
        return finish(acts, weight, bias, rows.transforms, recipe=self, losses=losses)


def newton_in_span(
    z: Float[Tensor, "site n d"], y: Bool[Tensor, " n"], l2: float | int, max_steps: int = 100
) -> tuple[Float[Tensor, "site d"], Float[Tensor, " site"], Float[Tensor, " site"]]:
    """As `newton`. The optimum lies in the span of the rows, so wide problems are solved in n coordinates instead of d."""
    if z.shape[2] <= z.shape[1]:
        return newton(z, y, l2, max_steps)
    left, sizes, basis = torch.linalg.svd(z, full_matrices=False)
    weight, bias, losses = newton(left * sizes[:, None], y, l2, max_steps)
    return torch.einsum("sr,srd->sd", weight, basis), bias, losses


def newton(
    z: Float[Tensor, "site n r"], y: Bool[Tensor, " n"], l2: float | int, max_steps: int, tolerance: float = 1e-9
) -> tuple[Float[Tensor, "site r"], Float[Tensor, " site"], Float[Tensor, " site"]]:
    """Weights, biases and penalised losses at the optimum of every site, by Newton steps halved until the loss falls."""
    sites, n, r = z.shape
    sign = torch.where(y, 1.0, -1.0).to(z)
    ones = torch.ones(sites, n, 1, dtype=z.dtype, device=z.device)
    z1 = torch.cat([z, ones], dim=2)
    penalty = torch.full((r + 1,), l2, dtype=z.dtype, device=z.device)
    penalty[-1] = 0
    theta = torch.zeros(sites, r + 1, dtype=z.dtype, device=z.device)

    def loss(t: Tensor) -> Tensor:
        return softplus(-sign * torch.einsum("snr,sr->sn", z1, t)).mean(1) + (penalty * t**2).sum(1) / 2

    now = loss(theta)
    for _ in range(max_steps):
        p = torch.sigmoid(-sign * torch.einsum("snr,sr->sn", z1, theta))
        gradient = -torch.einsum("sn,snr->sr", sign * p, z1) / n + penalty * theta
        if (gradient.abs().amax(1) < tolerance).all():
            break
        curve = (p * (1 - p)).clamp_min(1e-12)
        hessian = torch.einsum("snr,snq->srq", z1 * curve[..., None], z1) / n + torch.diag(penalty)
        step = torch.linalg.solve(hessian, gradient)
        scale = torch.ones_like(now)
        after = loss(theta - step)
        for _ in range(40):
            worse = ~(after <= now)
            if not worse.any():
                break
            scale = torch.where(worse, scale / 2, scale)
            after = loss(theta - scale[:, None] * step)
        better = after <= now
        theta = torch.where(better[:, None], theta - scale[:, None] * step, theta)
        gain, now = (now - after)[better], torch.where(better, after, now)
        if not (gain > 1e-14).any():
            break
    return theta[:, :-1], theta[:, -1], loss(theta)
