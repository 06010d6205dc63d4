"""One penalised logistic problem a site, each descended by itself.

The steps are those of `margins`. One on a thousand rows takes longer to ask for than to compute when it is
asked of tensors; arrays of NumPy take a tenth of it, and no site waits for another. Only products with the
rows are the tensor library's, so that one pool of threads is in use.
"""

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import expit
from torch import Tensor

CONSTANT = 2.0  # beside rows of unit spread: the loss then bends along the bias as along a weight, or more
GAP = 1e-8  # a settled problem lies at most this share of its value above the least one
HALVINGS = 40


def descended_alone(
    rows: Float[Tensor, "n d"],
    sign: Float[np.ndarray, " n"],
    share: Float[np.ndarray, " n"],
    l2: float,
    steps: int,
) -> tuple[Float[np.ndarray, " k"], float, bool]:
    """Weights (the bias, in units of CONSTANT, behind them), value, and whether the problem settled."""
    across = rows.T
    w, margins = np.zeros(rows.shape[1] + 1), np.zeros(len(rows))
    direction, last, fell = np.zeros_like(w), np.zeros_like(w), np.inf
    pull, bends = _pulled(share, margins)
    value, steep = _value(share, margins, w, l2), np.inf
    for step in range(steps + 1):
        slope = _slope(across, sign, pull, w, l2)
        steep = _dot(slope, slope)
        if steep / (2 * l2) <= GAP * value or step == steps:
            value = _value(share, margins, w, l2)
            if steep / (2 * l2) <= GAP * value or step == steps:
                break
        # The next conjugate direction (Polak and Ribiere's), or straight down where it does not fall.
        turn = max((steep - _dot(last, slope)) / fell, 0.0)
        direction *= turn
        direction -= slope
        if not _dot(direction, slope) < 0:
            np.negative(slope, out=direction)
        last, fell = slope, steep
        along = _margins(rows, sign, direction)
        rise = l2 * _dot(direction[:-1], w[:-1])
        bend = l2 * _dot(direction[:-1], direction[:-1])
        fall = _dot(pull, along) - rise
        length = fall / max(_dot(bends, along * along) + bend, 1e-300)
        start = margins
        for halving in range(HALVINGS + 1):
            margins = start + length * along
            pull, bends = _pulled(share, margins)
            # Newton's step along the line went too far where the loss rises again steeply.
            if halving == HALVINGS or not rise + length * bend - _dot(pull, along) > fall / 2:
                break
            length /= 2
        w += length * direction
    return w, value, bool(steep / (2 * l2) <= GAP * value)


def _margins(rows: Tensor, sign: np.ndarray, w: np.ndarray) -> np.ndarray:
    """How far weights put the rows on their right side."""
    found = torch.mv(rows, torch.from_numpy(w[:-1]).to(rows.dtype)).numpy().astype(np.float64)
    found += CONSTANT * w[-1]
    found *= sign
    return found


def _slope(across: Tensor, sign: np.ndarray, pull: np.ndarray, w: np.ndarray, l2: float) -> np.ndarray:
    pulled = sign * pull
    found = np.empty_like(w)
    np.multiply(w, l2, out=found)
    found[:-1] -= torch.mv(across, torch.from_numpy(pulled).to(across.dtype)).numpy()
    found[-1] = -CONSTANT * pulled.sum()
    return found


def _pulled(share: np.ndarray, margins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    wrong = expit(-margins)
    pull = share * wrong
    return pull, pull * (1 - wrong)


def _value(share: np.ndarray, margins: np.ndarray, w: np.ndarray, l2: float) -> float:
    return _dot(share, np.logaddexp(0, -margins)) + l2 / 2 * _dot(w[:-1], w[:-1])


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """A sum of products without BLAS, whose threads would wait beside those of the tensor library."""
    return float((a * b).sum())
