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
SMALL = 0.1  # share of the rows' size up to which their mean costs no digits
AT_ONCE = 2**22  # numbers, of as many sites as have them
FLAT = 1e-4  # share of the rows' length below which what they differ by is rounding


def exchanged_directions(
    acts: Activations | PairActivations, n: int = REMEMBERED, seed: int = 0
) -> Float[Tensor, "site k d"]:
    """Differences of class means under exchanged labels, in raw space; the class means are taken off the rows
    first, so that what the true labels find is not among them.

    Each is as long as its labels are unlike the true ones: 1 - |r| where they correlate by r. The direction
    that such labels would give, were there nothing but noise, is `completed` by as much of the true one as
    they share with it. Of pairs it is the difference yes - no. Zero where rows of a class do not differ.
    """
    weigh = exchanged_weights(acts, n, seed)
    sides = [acts.yes, acts.no] if isinstance(acts, PairActivations) else [acts.x]
    some = max(1, AT_ONCE // (sides[0][0].numel() or 1))
    found = []
    for parts in zip(*(x.split(some) for x in sides), strict=True):
        rows = [x.float() for x in parts]
        size = torch.linalg.vector_norm(rows[0], dim=(1, 2)) / len(acts) ** 0.5
        differ = _about_the_mean(rows[0], size)
        if len(rows) == 2:
            differ = differ - (rows[1] - rows[1].mean(1, keepdim=True))
        drawn = torch.bmm(weigh.to(differ).expand(len(differ), -1, -1), differ)
        found.append(of_length(drawn, weigh.norm(dim=1), size))
    return torch.cat(found)


def _about_the_mean(
    rows: Float[Tensor, "site n d"], size: Float[Tensor, " site"]
) -> Float[Tensor, "site n d"]:
    """Rows without their mean where it is much of their size, since a large offset costs the digits of what
    rows differ by; the weights add up to 0, so that a small one may stay, which spares a copy.
    """
    mean = rows.mean(1)
    much = mean.norm(dim=1) > SMALL * size
    return rows - torch.where(much[:, None], mean, 0)[:, None] if much.any() else rows


def exchanged_weights(acts: Rows, n: int = REMEMBERED, seed: int = 0) -> Float[Tensor, "k n"]:
    """Weights of the rows, as long as the directions are that their sums over rows point along.

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
    unlike = size / np.linalg.norm(c, axis=1, keepdims=True).clip(1e-30)
    length = 1 - np.sqrt(np.clip(1 - unlike**2, 0, 1))
    return torch.from_numpy(np.where(unlike > 1e-6, length * left / size.clip(1e-30), 0)).float()


def completed(vectors: Float[Tensor, "k d"], unit: Float[Tensor, " d"]) -> Float[Tensor, "k d"]:
    """The directions that exchanged labels stand for: what is as long as 1 - |r|, and r of the direction that
    the true labels gave.
    """
    v = vectors.float()
    length = v.norm(dim=1, keepdim=True).clamp_max(1)
    shared = 1 - length
    return shared * unit.to(v) + (1 - shared.pow(2)).sqrt() * v / length.clamp_min(1e-30)


def without(vectors: Float[Tensor, "k d"], unit: Float[Tensor, " d"]) -> Float[Tensor, "k d"]:
    """Vectors without their part along another, as long as before, in the same precision."""
    v, u = vectors.float(), unit.to(vectors.device).float()
    length = v.norm(dim=1)
    return of_length(v - (v @ u)[:, None] * u, length, torch.ones(())).to(vectors.dtype)


def of_length(
    vectors: Float[Tensor, "*site k d"], length: Float[Tensor, " k"], size: Float[Tensor, "*site"]
) -> Float[Tensor, "*site k d"]:
    """Vectors made as long as is asked; zero where they are rounding beside rows of this size."""
    norm, length = vectors.norm(dim=-1, keepdim=True), length.to(vectors)[:, None]
    rounding = FLAT * size[..., None, None] * length
    return torch.where(norm > rounding, length * vectors / norm.clamp_min(1e-30), 0)
