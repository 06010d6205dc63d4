"""Least-squares concept erasure in closed form, all sites at once."""

import torch
from jaxtyping import Float
from torch import Tensor


def leace(
    x: Float[Tensor, "site n d"], z: Float[Tensor, "n c"], shrinkage: float = 1e-4
) -> tuple[Float[Tensor, "site d"], Float[Tensor, "site d k"], Float[Tensor, "site k d"]]:
    """The mean m and factors R, W of the smallest change x - ((x - m) R) W after which x and z have no
    covariance.

    Then no linear probe of z beats a constant one on these rows. `shrinkage` adds that share of the mean
    variance to every direction, so that directions without variance in the rows are not stretched; the
    erasure stays exact. k is the largest rank over the sites, unused columns are zero. Source: Belrose et
    al., arXiv 2306.03819.
    """
    x, z = x.double(), z.double()
    n = x.shape[1]
    mean = x.mean(1)
    centred, d = x - mean[:, None], x.shape[2]
    if n >= d:
        return erasure(mean, *_moments(centred, z), z, shrinkage)
    # Nothing happens outside the span of the rows, and within it there are n directions instead of d. The
    # shrinkage counts in the mean variance over all d.
    basis = torch.linalg.qr(centred.transpose(1, 2)).Q
    inside = centred @ basis
    _, read, write = erasure(torch.zeros_like(inside[:, 0]), *_moments(inside, z), z, shrinkage * n / d)
    return mean.float(), (basis @ read.double()).float(), (write.double() @ basis.transpose(1, 2)).float()


def _moments(
    centred: Float[Tensor, "site n k"], z: Float[Tensor, "n c"]
) -> tuple[Float[Tensor, "site k k"], Float[Tensor, "site k c"]]:
    """Covariance of the rows, and theirs with z."""
    n = len(z)
    return centred.transpose(1, 2) @ centred / n, torch.einsum("snk,nc->skc", centred, z - z.mean(0)) / n


def erasure(
    mean: Float[Tensor, "site d"],
    covariance: Float[Tensor, "site d d"],
    towards: Float[Tensor, "site d c"],
    z: Float[Tensor, "n c"],
    shrinkage: float = 1e-4,
) -> tuple[Float[Tensor, "site d"], Float[Tensor, "site d k"], Float[Tensor, "site k d"]]:
    """The same from the mean and covariance of the rows and their covariance `towards` z."""
    n = len(z)
    covariance = covariance.clone()
    level = covariance.diagonal(dim1=1, dim2=2).mean(1)
    covariance.diagonal(dim1=1, dim2=2).add_((shrinkage * level).clamp_min(1e-300)[:, None])
    # With covariance = L L', whitening by L^-1 serves as well as by the symmetric root: the erasure is the
    # same.
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root, towards, upper=False)
    left, sizes, _ = torch.linalg.svd(white, full_matrices=False)
    real = sizes > 1e-6 * (z - z.mean(0)).norm() / n**0.5
    left = left * real[:, None]
    k = max(1, int(real.sum(1).max()))
    left = left[:, :, :k]
    read = torch.linalg.solve_triangular(root.transpose(1, 2), left, upper=True)
    return mean.float(), read.float(), (root @ left).transpose(1, 2).float()
