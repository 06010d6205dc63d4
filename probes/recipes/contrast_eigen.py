"""Contrastive eigenproblems: the directions along which the two texts of a pair go opposite ways, in
closed form.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from probes.checks.settings import check_size
from probes.data.activations import PairActivations
from probes.fitting.exactly import made_exactly
from probes.fitting.finishing import finish
from probes.fitting.linear import LinearProbe
from probes.fitting.recipe import check_settings
from probes.fitting.spreads import no_spread
from probes.fitting.transforms import Transform
from probes.recipes.inputs import oriented, paired, scaled_to_pairs, span
from probes.recipes.still import warn_without_spread


@dataclass(frozen=True)
class ContrastEigen:
    """Finds the direction whose values at "answered yes" and "answered no" are most anti-correlated over
    pairs.

    Deterministic, no restarts, and its eigenvalues tell whether one feature stands out. `ratio` measures
    anti-correlation (-1 is a perfect flip), so sites can be compared; `covariance` prefers large features.
    Like every probe without labels it takes whatever flips with the answer. Solved in double precision within
    the span of the rows. Source: Schouten and Bloem, arXiv 2511.02089.
    """

    form: Literal["ratio", "covariance"] = "ratio"
    prepare: str | Transform = "rms"
    shrinkage: float = 1e-2
    labels_give_sign: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_settings(self)
        check_size("shrinkage", self.shrinkage)

    @made_exactly
    def fit(self, acts: PairActivations) -> LinearProbe:
        """Fits all sites at once; train labels decide the sign only. `losses` holds the eigenvalue
        (ratio: -1 best, 0 nothing).
        """
        rows = paired(acts, self)
        basis = span(rows)
        yes, no = (z.double() if basis is None else z.double() @ basis for z in (rows.yes, rows.no))
        values, vectors = contrast_eigenvectors(yes, no, self.form, self.shrinkage)
        weight = scaled_to_pairs(
            rows, vectors[..., 0] if basis is None else (basis @ vectors[..., :1])[..., 0]
        )
        # Where rows do not differ, rounding noise may look like a perfect flip.
        values = torch.where((no_spread(acts.yes) & no_spread(acts.no))[:, None], 0, values)
        bias = torch.zeros(len(weight)).to(weight)
        sign, sign_from = oriented(rows, weight, bias)
        warn_without_spread(acts, rows, weight, bias)
        return finish(
            acts,
            weight,
            bias,
            rows.transforms,
            recipe=self,
            losses=values[:, 0],
            sign=sign,
            sign_from=sign_from,
        )


def contrast_eigenvectors(
    yes: Float[Tensor, "site n d"], no: Float[Tensor, "site n d"], form: str, shrinkage: float
) -> tuple[Float[Tensor, "site k"], Float[Tensor, "site d k"]]:
    """Eigenvalues from the most opposed upwards and their directions as columns, unit length, signs
    fixed by the largest entry.
    """
    n = yes.shape[1]
    opposed = yes.transpose(1, 2) @ no / n
    opposed = (opposed + opposed.transpose(1, 2)) / 2
    if form == "ratio":
        spread = (yes.transpose(1, 2) @ yes + no.transpose(1, 2) @ no) / (2 * n)
        spread.diagonal(dim1=1, dim2=2).add_(
            (max(shrinkage, 1e-10) * spread.diagonal(dim1=1, dim2=2).mean(1)).clamp_min(1e-300)[:, None]
        )
        root = torch.linalg.cholesky(spread)
        half = torch.linalg.solve_triangular(root, opposed, upper=False)
        values, vectors = torch.linalg.eigh(
            torch.linalg.solve_triangular(root, half.transpose(1, 2), upper=False)
        )
        vectors = torch.linalg.solve_triangular(root.transpose(1, 2), vectors, upper=True)
    else:
        values, vectors = torch.linalg.eigh(opposed)
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return values, vectors * torch.where(largest < 0, -1.0, 1.0)
