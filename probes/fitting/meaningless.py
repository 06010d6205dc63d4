"""Directions from exchanged labels on the rows of a fit: what a probe remembers of them, so that an edit
along its direction can be set beside edits along directions of the same making that mean nothing.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.data.activations import Activations, PairActivations
from probes.data.rows import Rows
from probes.data.shuffling import exchangeable

REMEMBERED = 20  # as many as an effect has controls
FLAT = 1e-4  # share of the rows' length below which what they differ by is rounding


def exchanged_directions(
    acts: Activations | PairActivations, n: int = REMEMBERED, seed: int = 0
) -> Float[Tensor, "site k d"]:
    """The unit vectors, in raw space, of differences of class means under exchanged labels; the class means
    are taken off the rows first, so that what the true labels find is not among them.

    Of pairs it is the difference yes - no. Zero where rows of a class do not differ.
    """
    weigh = exchanged_weights(acts, n, seed)
    sides = [acts.x] if isinstance(acts, Activations) else [acts.yes, acts.no]
    found = []
    for site in range(len(acts.sites)):
        # About their mean, since a large offset costs the digits of what rows differ by.
        rows = [x[site].float() for x in sides]
        differ = rows[0] - rows[0].mean(0)
        if len(rows) == 2:
            differ = differ - (rows[1] - rows[1].mean(0))
        size = rows[0].pow(2).sum(1).mean().sqrt()
        found.append(unit_or_zero(weigh.to(differ) @ differ, size))
    return torch.stack(found)


def exchanged_weights(acts: Rows, n: int = REMEMBERED, seed: int = 0) -> Float[Tensor, "k n"]:
    """Weights of the rows, of length 1 a draw, whose sums over rows those directions are.

    Labels are exchanged as in `shuffled_null`. The weights are orthogonal to 1 and to y, which for two
    classes is to take the class means off the rows. Without y (pairs) labels are tossed for whole groups.
    """
    rng = np.random.default_rng(seed)
    if acts.y is None:
        names, group = np.unique(acts.groups, return_inverse=True)
        tossed = rng.permuted(np.tile(np.arange(len(names)) % 2, (n, 1)), axis=1)
        drawn = tossed[:, group]
        known = np.ones((len(acts), 1))
    else:
        y = np.asarray(acts.y, dtype=float)
        drawn = exchangeable(y, acts.groups, acts.columns.get("pair_id")).drawn(rng, n)
        known = np.stack([np.ones(len(y)), y], 1)
    basis = np.linalg.qr(known)[0]
    c = drawn.astype(float)
    c = c - c.mean(1, keepdims=True)
    left = c - (c @ basis) @ basis.T
    size = np.linalg.norm(left, axis=1, keepdims=True)
    # Where few labels can be exchanged a draw may be the labels themselves, and nothing but rounding is left.
    real = size > 1e-9 * np.linalg.norm(c, axis=1, keepdims=True).clip(1e-30)
    return torch.from_numpy(np.where(real, left / size.clip(1e-30), 0)).float()


def without(vectors: Float[Tensor, "k d"], unit: Float[Tensor, " d"]) -> Float[Tensor, "k d"]:
    """Unit vectors without their part along another, of length 1 again, in the same precision."""
    v, u = vectors.float(), unit.to(vectors.device).float()
    return unit_or_zero(v - (v @ u)[:, None] * u, torch.ones(())).to(vectors.dtype)


def unit_or_zero(vectors: Float[Tensor, "k d"], size: Float[Tensor, ""]) -> Float[Tensor, "k d"]:
    """Vectors of length 1; zero where they are rounding beside rows of this size."""
    norm = vectors.norm(dim=1, keepdim=True)
    return torch.where(norm > FLAT * size, vectors / norm.clamp_min(1e-30), 0)
