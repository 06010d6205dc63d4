"""Linear equations of many sites at once."""

import torch
from jaxtyping import Float
from torch import Tensor


def solve_positive(
    matrix: Float[Tensor, "site d d"], right: Float[Tensor, "site d"]
) -> Float[Tensor, "site d"]:
    """The solution of a symmetric, positive definite system a site.

    By Cholesky: MKL's LU of many matrices at once can hang after other threaded work (oneMKL error at
    DLASWP).
    """
    return torch.cholesky_solve(right[..., None], torch.linalg.cholesky(matrix))[..., 0]
