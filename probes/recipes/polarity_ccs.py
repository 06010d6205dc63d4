"""Polarity-aware CCS: contrast-consistent search that also compares a statement with its opposite."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from probes.checks.settings import check_size
from probes.data.activations import PairActivations
from probes.fitting.exactly import made_exactly
from probes.fitting.linear import LinearProbe
from probes.fitting.transforms import Transform
from probes.recipes.ccs import CCS, LOSSES, search
from probes.recipes.inputs import paired

PER_FLAG = Transform(centre="mean", scale="rms", by="negated")


@dataclass(frozen=True)
class PolarityAwareCCS(CCS):
    """CCS with one more demand: of a statement and its opposite (same `pair_id`), exactly one is true, and
    confidently so.

    Answer words are centred within each value of the negation flag, because the strongest feature that flips
    between a statement and its opposite is often the negation itself, and without that step the demand
    rewards reading it. Adds lambda_polarity [(s_A + s_B - 1)^2 + min(s, 1 - s)^2 of both], where s is the
    credence in a statement. This project's own extension of arXiv 2212.03827; check the worst of the four
    cells truth x negation (`polarity_report`) before trusting it.
    """

    lambda_polarity: float | int = 3.0
    prepare: str | Transform = PER_FLAG

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("lambda_polarity", self.lambda_polarity)

    @made_exactly
    def fit(self, acts: PairActivations) -> LinearProbe:
        """Fits all sites and restarts at once; raises ValueError unless every `pair_id` joins exactly
        two statements.
        """
        rows = paired(acts, self)
        first, second = opposites(acts)
        other = np.empty(len(acts), dtype=int)
        other[first], other[second] = second, first
        opposite = torch.from_numpy(other).to(rows.yes.device)
        plain = LOSSES[self.loss]

        def loss(p_yes: Tensor, p_no: Tensor) -> Tensor:
            own = (p_yes + 1 - p_no) / 2
            of_opposite = own[..., opposite]
            unsure = torch.minimum(torch.minimum(own, of_opposite), torch.minimum(1 - own, 1 - of_opposite))
            return plain(p_yes, p_no) + self.lambda_polarity * ((own + of_opposite - 1) ** 2 + unsure**2)

        return search(acts, rows, loss, self)


def opposites(acts: PairActivations) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the two statements of every pair_id; raises ValueError where a pair_id has
    another number of rows.
    """
    names, member, counts = np.unique(acts.column("pair_id"), return_inverse=True, return_counts=True)
    if (counts != 2).any():
        odd = names[counts != 2]
        raise ValueError(
            f"every pair_id joins a statement with its opposite, but {len(odd)} have another number of rows"
            f" (such as {odd[0]!r}); drop or complete them"
        )
    order = np.argsort(member, kind="stable").reshape(-1, 2)
    return order[:, 0], order[:, 1]
