"""VINC: directions that are consistent between answers and the same for every paraphrase of a statement."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.data.activations import PairActivations
from probes.fitting.exactly import made_exactly
from probes.fitting.finishing import finish
from probes.fitting.linear import LinearProbe
from probes.fitting.recipe import check_settings
from probes.fitting.transforms import Transform
from probes.recipes.inputs import oriented, paired, scaled_to_pairs, span
from probes.recipes.still import warn_without_spread

ERASED = Transform(centre="mean", scale="rms", erase=("template",))


@dataclass(frozen=True)
class VINC:
    """Finds the direction with much variance over statements, opposite values for yes and no, and little
    change between paraphrases.

    `statement` names the column that is equal for paraphrases of one statement; the default transform erases
    the column `template` (crossed with the answer) by LEACE. One eigenvector a site, no labels, no seed.
    Weights: `confidence` on variance over statements, `consistency` on anti-correlation of the answers,
    `invariance` against variance between paraphrases. Its authors found little gain over CRC. Source: Mallen
    et al. 2023, blog.eleuther.ai/vincs (without its supervised term).
    """

    statement: str = "statement"
    confidence: float | int = 0.0
    consistency: float | int = 0.5
    invariance: float | int = 0.5
    prepare: str | Transform = ERASED
    labels_give_sign: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_settings(self)

    @made_exactly
    def fit(self, acts: PairActivations) -> LinearProbe:
        """Fits all sites at once; train labels decide the sign only. Raises ValueError without the
        columns, or when no statement has a paraphrase.
        """
        rows = paired(acts, self)
        member = np.unique(acts.column(self.statement), return_inverse=True)[1]
        if np.bincount(member).max() < 2:
            raise ValueError(
                f"no two rows share a value of {self.statement!r}, so there are no paraphrases to be"
                " invariant to; use ContrastEigen instead"
            )
        basis = span(rows)
        if basis is None:
            both = torch.cat([rows.yes, rows.no], dim=1).double()
            sizes, vectors = torch.linalg.eigh(both.transpose(1, 2) @ both)
            basis = vectors * (sizes > 1e-10 * sizes.amax(1, keepdim=True))[:, None]
        total = self._objective(
            rows.yes.double() @ basis, rows.no.double() @ basis, torch.from_numpy(member).to(basis.device)
        )
        # Erased directions hold rounding only; at 0 they would come before directions whose value is
        # negative.
        empty = (basis.abs().sum(1) == 0).to(total)
        total = total - torch.diag_embed(empty * (1 + 2 * total.flatten(1).norm(dim=1))[:, None])
        values, vectors = torch.linalg.eigh(total)
        top = basis @ vectors[..., -1:]
        # An eigenvector has no sign of its own; without this it could differ from machine to machine.
        weight = (
            top[..., 0] * torch.where(top.gather(1, top.abs().argmax(1, keepdim=True)) < 0, -1.0, 1.0)[..., 0]
        )
        weight = scaled_to_pairs(rows, weight)
        bias = torch.zeros(len(weight)).to(weight)
        sign, sign_from = oriented(rows, weight, bias)
        warn_without_spread(acts, rows, weight, bias)
        return finish(
            acts,
            weight,
            bias,
            rows.transforms,
            recipe=self,
            losses=-values[:, -1],
            sign=sign,
            sign_from=sign_from,
        )

    def _objective(
        self, yes: Float[Tensor, "site n k"], no: Float[Tensor, "site n k"], member: Tensor
    ) -> Float[Tensor, "site k k"]:
        share = torch.nn.functional.one_hot(member).to(yes)
        share = share / share.sum(0)
        middles = [torch.einsum("snk,nm->smk", z, share) for z in (yes, no)]
        within = sum(
            _second(z - m[:, member], z - m[:, member]) for z, m in zip((yes, no), middles, strict=True)
        )
        a, b = (m - m.mean(1, keepdim=True) for m in middles)
        across = _second(a, b)
        return (
            self.confidence * (_second(a, a) + _second(b, b))
            - self.consistency * (across + across.transpose(1, 2))
            - self.invariance * within
        )


def _second(a: Float[Tensor, "site n k"], b: Float[Tensor, "site n k"]) -> Float[Tensor, "site k k"]:
    return a.transpose(1, 2) @ b / a.shape[1]
