"""Truth and polarity directions: a truth probe for affirmative and negated statements alike."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.checks.settings import check_size
from probes.data.activations import Activations
from probes.data.rows import Rows
from probes.fitting.exactly import made_exactly
from probes.fitting.finishing import finish
from probes.fitting.linear import LinearProbe
from probes.fitting.recipe import check_settings
from probes.fitting.transforms import Transform
from probes.reading.store import StoredActivations
from probes.recipes.inputs import single, singles
from probes.recipes.logistic import logistic_path


@dataclass(frozen=True)
class TTPD:
    """Reads truth along the part that affirmative and negated statements share, and lets polarity correct it.

    Regresses the rows on truth and truth x polarity, which gives a general truth direction t_G and a
    polarity-sensitive one t_P; finds the direction of polarity; and classifies by t_G and polarity together.
    `negated` names the column with 0/1 polarity. Where test rows are of the same topics as train rows, centre
    by topic: `Transform(centre="mean", by="topic")`. Source: Buerger et al., arXiv 2407.12831.
    """

    negated: str = "negated"
    l2: float | int = 1e-2
    prepare: str | Transform = "mean"

    def __post_init__(self) -> None:
        check_settings(self)
        check_size("l2", self.l2)

    @made_exactly
    def fit(self, acts: Activations | StoredActivations) -> LinearProbe:
        """Fits all sites at once; raises ValueError without the column, or unless both polarities and
        both classes are there.
        """
        acts = singles(acts, self)
        rows = single(acts, self)
        z, y = rows.z.double(), rows.y
        polarity = polarities(acts, self.negated).to(z)
        general, _ = truth_directions(z, y, polarity)
        l2 = torch.tensor([float(self.l2)], dtype=torch.float64)
        negation = logistic_path(z, (polarity < 0)[None], l2)[0][0]
        axes = torch.stack([torch.nn.functional.normalize(v, dim=1) for v in (general, negation)], dim=1)
        features = torch.einsum("snd,skd->snk", z, axes)
        spread = features.std(1, correction=0).clamp_min(1e-30)
        coefficients, bias, losses = (
            found[0] for found in logistic_path(features / spread[:, None], y[None], l2)
        )
        weight = torch.einsum("sk,skd->sd", coefficients / spread, axes)
        return finish(acts, weight, bias, rows.transforms, recipe=self, losses=losses)


def polarities(acts: Activations, column: str) -> Float[Tensor, " n"]:
    """+1 for affirmative rows and -1 for negated ones."""
    flags = negation_flags(acts, column)
    if len(np.unique(flags)) < 2:
        raise ValueError(
            f"column {column!r} must hold both 0 (affirmative) and 1 (negated), got"
            f" {np.unique(flags).tolist()}"
        )
    return torch.from_numpy(1.0 - 2.0 * flags)


def negation_flags(rows: Rows, column: str = "negated") -> Int[np.ndarray, " n"]:
    """1 for negated rows and 0 for others, from numbers, booleans or the words true and false; raises
    ValueError for anything else.
    """
    words = np.char.lower(rows.column(column).astype(str))
    flags = np.isin(words, ["1", "1.0", "true"])
    if not (flags | np.isin(words, ["0", "0.0", "false"])).all():
        raise ValueError(
            f"column {column!r} must hold 0 (affirmative) or 1 (negated), got {np.unique(words)[:5].tolist()}"
        )
    return flags.astype(int)


def truth_directions(
    z: Float[Tensor, "site n d"], y: Tensor, polarity: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "site d"], Float[Tensor, "site d"]]:
    """t_G and t_P: least-squares coefficients of truth and of truth x polarity (+1, -1 each) in the
    centred rows.
    """
    truth = torch.where(y, 1.0, -1.0).to(z)
    design = torch.stack([truth, truth * polarity, torch.ones_like(truth), polarity], dim=1)
    found = torch.linalg.lstsq(design.expand(len(z), -1, -1), z).solution
    return found[:, 0], found[:, 1]
