"""Many small smooth problems minimised side by side: L-BFGS in which every problem keeps its own
curvature and step.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Objective = Callable[[Float[Tensor, "p k"]], Float[Tensor, " p"]]
WithSlope = Callable[[Float[Tensor, "p k"]], tuple[Float[Tensor, " p"], Float[Tensor, "p k"]]]


HALVINGS = 20


def minimise(
    objective: WithSlope,
    start: Float[Tensor, "p k"],
    steps: int = 200,
    memory: int = 10,
    tolerance: float = 1e-5,
    settled: float = 1e-7,
) -> tuple[Float[Tensor, "p k"], Float[Tensor, " p"]]:
    """Parameters and values where each of the p problems settled; row i of the objective may depend on row i
    of its input only.

    A problem stops when its gradient is below `tolerance` or its value falls by less than `settled` of
    itself; the rest go on.
    """
    theta = start.clone()
    value, slope = objective(theta)
    history: list[tuple[Tensor, Tensor, Tensor]] = []
    going, scale = torch.ones_like(value, dtype=torch.bool), torch.ones_like(value)
    for _ in range(steps):
        going &= slope.abs().amax(1) > tolerance
        if not going.any():
            break
        towards, downhill = _downhill(slope, history, scale)
        length = torch.ones_like(value)
        if not history:
            length = (1 / slope.norm(dim=1).clamp_min(1e-12)).clamp(max=1.0)
        length = torch.where(going, length, 0.0)
        moved, new_value, new_slope = _stepped(objective, theta, value, towards, downhill, length, going)
        better = (new_value < value) & going
        keep = better[:, None]
        step, turn = torch.where(keep, moved - theta, 0), torch.where(keep, new_slope - slope, 0)
        curvature, size = torch.linalg.vecdot(step, turn), torch.linalg.vecdot(turn, turn).clamp_min(1e-30)
        usable = curvature > 1e-10 * size
        scale = torch.where(usable, curvature / size, scale)
        history = [
            *history[1 - memory :],
            (
                step * usable[:, None],
                turn * usable[:, None],
                torch.where(usable, 1 / curvature.clamp_min(1e-30), 0),
            ),
        ]
        gained = value - torch.where(better, new_value, value)
        theta, value, slope = (
            torch.where(keep, moved, theta),
            torch.where(better, new_value, value),
            torch.where(keep, new_slope, slope),
        )
        going &= gained > settled * value.abs()
    return theta, value


def _downhill(
    slope: Float[Tensor, "p k"], history: list[tuple[Tensor, Tensor, Tensor]], scale: Float[Tensor, " p"]
) -> tuple[Float[Tensor, "p k"], Float[Tensor, " p"]]:
    """Where each problem goes, and how steeply it falls that way; along the gradient where what was learnt of
    the curvature points uphill.
    """
    towards = -_curved(slope, history, scale)
    fall = torch.linalg.vecdot(towards, slope)
    uphill = fall >= 0
    towards = torch.where(uphill[:, None], -slope, towards)
    return towards, torch.where(uphill, -slope.pow(2).sum(1), fall)


def _stepped(
    objective: WithSlope,
    theta: Float[Tensor, "p k"],
    value: Float[Tensor, " p"],
    towards: Float[Tensor, "p k"],
    downhill: Float[Tensor, " p"],
    length: Float[Tensor, " p"],
    going: Bool[Tensor, " p"],
) -> tuple[Float[Tensor, "p k"], Float[Tensor, " p"], Float[Tensor, "p k"]]:
    """Parameters, values and gradients after a step, halved until it falls by enough (Armijo)."""
    moved, new_value, new_slope = theta, value, theta
    for _ in range(HALVINGS):
        moved = theta + length[:, None] * towards
        new_value, new_slope = objective(moved)
        short = new_value > value + 1e-4 * length * downhill
        if not (short & going).any():
            break
        length = torch.where(short, length / 2, length)
    return moved, new_value, new_slope


def differentiated(objective: Objective) -> WithSlope:
    """The objective together with its gradient, by autograd."""

    def both(theta: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = theta.detach().requires_grad_()
            value = objective(leaf)
            # Every row depends on its own parameters only, so the sum has all the gradients.
            (slope,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), slope

    return both


def _curved(slope: Tensor, history: list[tuple[Tensor, Tensor, Tensor]], scale: Tensor) -> Tensor:
    """The inverse Hessian, as the last steps saw it, times the gradient (two-loop recursion)."""
    q, weights = slope, []
    for step, turn, rho in reversed(history):
        alpha = (rho * torch.linalg.vecdot(step, q))[:, None]
        weights.append(alpha)
        q = torch.addcmul(q, alpha, turn, value=-1)
    q = q * scale[:, None]
    for (step, turn, rho), alpha in zip(history, reversed(weights), strict=True):
        q = torch.addcmul(q, alpha - (rho * torch.linalg.vecdot(turn, q))[:, None], step)
    return q
