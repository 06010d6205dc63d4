"""Least-squares concept erasure in closed form, all sites at once."""

import torch
from jaxtyping import Float
from torch import Tensor


def leace(
    x: Float[Tensor, "site n d"], z: Float[Tensor, "n c"], shrinkage: float = 1e-4
) -> tuple[Float[Tensor, "site d"], Float[Tensor, "site d k"], Float[Tensor, "site k d"]]:
    """The mean m and factors R, W of the smallest change x - ((x - m) R) W after which x and z have no covariance.

    Then no linear probe of z beats a constant one on these rows. `shrinkage` adds that share of the mean variance to every direction, so that
    directions without variance in the rows are not stretched; the erasure stays exact. k is the largest rank over the
    sites, unused columns are zero. Source: Belrose et al., arXiv 2306.03819.
    """
    x, z = x.double(), z.double()
    n = x.shape[1]
    mean = x.mean(1)
    centred = x - mean[:, None]
    towards = torch.einsum("snd,nc->sdc", centred, z - z.mean(0)) / n
    return erasure(mean, centred.transpose(1, 2) @ centred / n, towards, z, shrinkage)


def erasure(
    mean: Float[Tensor, "site d"], covariance: Float[Tensor, "site d d"], towards: Float[Tensor, "site d c"], z: Float[Tensor, "n c"], shrinkage: float = 1e-4
) -> tuple[Float[Tensor, "site d"], Float[Tensor, "site d k"], Float[Tensor, "site k d"]]:
    """The same from the mean and covariance of the rows and their covariance `towards` z."""
    n = len(z)
    covariance = covariance.clone()
    level = covariance.diagonal(dim1=1, dim2=2).mean(1)
    covariance.diagonal(dim1=1, dim2=2).add_((shrinkage * level).clamp_min(1e-300)[:, None])
    # With covariance = L L', whitening by L^-1 serves as well as by the symmetric root: the erasure is the same.
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root, towards, upper=False)
    left, sizes, _ = torch.linalg.svd(white, full_matrices=False)
    real = sizes > 1e-6 * (z - z.mean(0)).norm() / n**0.5
    left = left * real[:, None]
    k = max(1, int(real.sum(1).max()))
    left = left[:, :, :k]
    read = torch.linalg.solve_triangular(root.transpose(1, 2), left, upper=True)
    return mean.float(), read.float(), (root @ left).transpose(1, 2).float()
