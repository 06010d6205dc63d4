"""A difference of class means divided by the spread within the classes, of which few rows tell little."""

import torch
from jaxtyping import Float
from torch import Tensor

NULL = 1e-10  # eigenvalues below this share of the largest are rounding: no row goes that way


def whitened(
    towards: Float[Tensor, "site d"],
    within: Float[Tensor, "site d d"],
    spread: Float[Tensor, "site d"],
    rows: int,
) -> Float[Tensor, "site d"]:
    """The inverse covariance within classes times a difference of means, with the covariance shrunk.

    Coordinates are brought to unit spread first, so that none counts for its size; one that hardly moves
    within the classes is held at the rounding of its own `spread` over all rows. Then every eigenvalue is
    shrunk towards its neighbours by its own amount (quadratic-inverse shrinkage, Ledoit and Wolf, Bernoulli
    2022), so that directions in which rows hardly move are neither cut off nor drowned by the loud ones.
    `rows` is how many the covariance was estimated from, less the means taken off.
    """
    root = torch.maximum(within.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt(), 1e-6 * spread)
    root = torch.where(root > 0, root, 1.0)
    values, vectors = torch.linalg.eigh(within / root[:, :, None] / root[:, None, :])
    found = torch.empty_like(towards)
    for i, (lam, u) in enumerate(zip(values, vectors, strict=True)):
        # A site at which no class has any spread has all eigenvalues 0: all directions count alike.
        shrunk = _shrunk(lam, rows) if lam[-1] > 0 else torch.ones_like(lam)
        found[i] = u @ ((u.T @ (towards[i] / root[i])) / shrunk) / root[i]
    return found


def whitened_by_rows(
    towards: Float[Tensor, "site d"],
    apart: Float[Tensor, "site n d"],
    spread: Float[Tensor, "site d"],
    rows: int,
) -> Float[Tensor, "site d"]:
    """`whitened` from the rows about their class means: of fewer rows than coordinates without a matrix of
    all pairs of coordinates, whose eigenvectors take many times as long.
    """
    n, d = apart.shape[1:]
    if n >= d:
        return whitened(towards, apart.transpose(1, 2) @ apart / n, spread, rows)
    root = torch.maximum(apart.square().mean(1).sqrt(), 1e-6 * spread)
    root = torch.where(root > 0, root, 1.0)
    _, singular, vectors = torch.linalg.svd(apart / root[:, None], full_matrices=False)
    found = torch.empty_like(towards)
    for i, (s, v) in enumerate(zip(singular, vectors, strict=True)):
        values = torch.zeros(d, dtype=s.dtype, device=s.device)
        values[d - n :] = s.flip(0).square() / n
        shrunk = _shrunk(values, rows) if s[0] > 0 else torch.ones_like(values)
        seen = values[d - n :] > NULL * values[-1]
        u, lam = v.flip(0)[seen], shrunk[d - n :][seen]
        wish = towards[i] / root[i]
        along = u @ wish
        # The directions that no row takes, by what the others leave: they share one value, the first.
        found[i] = (u.T @ (along / lam) + (wish - u.T @ along) / shrunk[0]) / root[i]
    return found


def _shrunk(values: Float[Tensor, " d"], rows: int) -> Float[Tensor, " d"]:
    """The eigenvalues that the true covariance has on average along each sample eigenvector."""
    real = values > NULL * values[-1]
    inverse = 1 / values[real]
    ratio = len(values) / rows
    width = min(ratio**2, ratio**-2) ** 0.35 / len(values) ** 0.35
    apart = inverse[None, :] - inverse[:, None]
    weight = inverse / (apart.square() + (width * inverse).square())
    stein, conjugate = (weight * apart).mean(1), (weight * width * inverse).mean(1)
    pulled = inverse * (stein.square() + conjugate.square())
    if ratio <= 1:
        kept = 1 / (
            (1 - ratio) ** 2 * inverse + 2 * ratio * (1 - ratio) * inverse * stein + ratio**2 * pulled
        )
        empty = kept[0]
    else:  # more coordinates than rows: the directions that no row takes share one value
        kept = 1 / pulled
        empty = 1 / ((ratio - 1) * inverse.mean())
    shrunk = empty.repeat(len(values))
    shrunk[real] = kept
    return shrunk
