"""Many small smooth problems minimised side by side: L-BFGS in which every problem keeps its own curvature and step."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Objective = Callable[[Float[Tensor, "p k"]], Float[Tensor, " p"]]


def minimise(
    objective: Objective, start: Float[Tensor, "p k"], steps: int = 200, memory: int = 10, tolerance: float = 1e-5, settled: float = 1e-7
) -> tuple[Float[Tensor, "p k"], Float[Tensor, " p"]]:
    """Parameters and values where each of the p problems settled; row i of the objective may depend on row i of its input only.

    A problem stops when its gradient is below `tolerance` or its value falls by less than `settled` of itself; the rest go on.
    """
    theta = start.clone()
    value, slope = _value_and_slope(objective, theta)
    history: list[tuple[Tensor, Tensor, Tensor]] = []
    going = torch.ones_like(value, dtype=torch.bool)
    for _ in range(steps):
        going &= slope.abs().amax(1) > tolerance
        if not going.any():
            break
        towards = -_curved(slope, history)
        downhill = (towards * slope).sum(1)
        uphill = downhill >= 0
        towards = torch.where(uphill[:, None], -slope, towards)
        downhill = torch.where(uphill, -slope.pow(2).sum(1), downhill)
        length = torch.ones_like(value)
        if not history:
            length = (1 / slope.norm(dim=1).clamp_min(1e-12)).clamp(max=1.0)
        length = torch.where(going, length, 0.0)
        moved, new_value, new_slope = theta, value, slope
        for _ in range(20):
            moved = theta + length[:, None] * towards
            new_value, new_slope = _value_and_slope(objective, moved)
            short = new_value > value + 1e-4 * length * downhill
            if not (short & going).any():
                break
            length = torch.where(short, length / 2, length)
        better = (new_value < value) & going
        keep = better[:, None]
        step, turn = torch.where(keep, moved - theta, 0), torch.where(keep, new_slope - slope, 0)
        curvature = (step * turn).sum(1)
        usable = curvature > 1e-10 * turn.pow(2).sum(1).clamp_min(1e-30)
        history = [*history[1 - memory :], (step * usable[:, None], turn * usable[:, None], torch.where(usable, 1 / curvature.clamp_min(1e-30), 0))]
        gained = value - torch.where(better, new_value, value)
        theta, value, slope = torch.where(keep, moved, theta), torch.where(better, new_value, value), torch.where(keep, new_slope, slope)
        going &= gained > settled * value.abs()
    return theta, value


def _value_and_slope(objective: Objective, theta: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = theta.detach().requires_grad_()
        value = objective(leaf)
        # Every row depends on its own parameters only, so the sum has all the gradients.
        (slope,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), slope


def _curved(slope: Tensor, history: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The inverse Hessian, as the last steps saw it, times the gradient (two-loop recursion)."""
    q, weights = slope.clone(), []
    for step, turn, rho in reversed(history):
        alpha = rho * (step * q).sum(1)
        weights.append(alpha)
        q = q - alpha[:, None] * turn
    scale = torch.ones_like(slope[:, 0])
    for step, turn, rho in history:
        known = rho > 0
        scale = torch.where(known, (step * turn).sum(1) / turn.pow(2).sum(1).clamp_min(1e-30), scale)
    q = q * scale[:, None]
    for (step, turn, rho), alpha in zip(history, reversed(weights), strict=True):
        q = q + (alpha - rho * (turn * q).sum(1))[:, None] * step
    return q
