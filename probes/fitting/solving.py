"""Products and linear equations of many sites at once."""

import torch
from jaxtyping import Float
from torch import Tensor


def along(x: Float[Tensor, "site n d"], w: Float[Tensor, "site d"]) -> Float[Tensor, "site n"]:
    """Every row times the weights of its site.

    With the rows transposed: the other way round, as in einsum, MKL takes ten times as long.
    """
    return torch.bmm(w[:, None], x.transpose(1, 2))[:, 0]


def solve_positive(
    matrix: Float[Tensor, "site d d"], right: Float[Tensor, "site d"]
) -> Float[Tensor, "site d"]:
    """The solution of a symmetric, positive definite system a site.

    By Cholesky: MKL's LU of many matrices at once can hang after other threaded work (oneMKL error at
    DLASWP).
    """
    return torch.cholesky_solve(right[..., None], torch.linalg.cholesky(matrix))[..., 0]
