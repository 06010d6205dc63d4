"""A probe with one hidden layer: it has scores and no direction."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from probes.data.activations import Activations, check_states
from probes.fitting.exactly import made_exactly
from probes.fitting.lbfgs import differentiated, minimise
from probes.fitting.probe import Probe
from probes.fitting.recipe import check_penalties, check_settings
from probes.fitting.rows_of_fit import rows_of_fit
from probes.fitting.transforms import Transform
from probes.reading.store import StoredActivations, in_memory
from probes.recipes.inputs import single, singles


@dataclass(frozen=True, eq=False, repr=False)
class MLPProbe(Probe):
    """A fitted probe with one hidden layer of tanh units. Its score rises along another direction at
    every row, so there is no `direction`.
    """

    KIND: ClassVar[str] = "MLP probe"

    w_in: Float[Tensor, "site h d"]
    b_in: Float[Tensor, "site h"]
    w_out: Float[Tensor, "site h"]
    b_out: Float[Tensor, " site"]
    losses: Float[Tensor, " site"]

    @made_exactly
    def score(self, acts: Activations | StoredActivations) -> Float[Tensor, "site n"]:
        """Margins, above 0 meaning the positive class; raises ValueError for a site the probe lacks
        or another model's activations.
        """
        rows: Activations = in_memory(acts)
        check_states(rows, "this probe", single=True)
        index, z = self.prepared(rows, rows.x, "all", rows.x)
        w_in, b_in, w_out, b_out = (t[index].to(z) for t in (self.w_in, self.b_in, self.w_out, self.b_out))
        return (_hidden(z, w_in, b_in) @ w_out[..., None])[..., 0] + b_out[:, None]

    @made_exactly
    def probability(self, acts: Activations | StoredActivations) -> Float[Tensor, "site n"]:
        """Scores squashed into [0, 1]."""
        return torch.sigmoid(self.score(acts))


@dataclass(frozen=True)
class MLP:
    """A small network on the hidden states: it also reads what no single direction separates, such as an
    exclusive or.

    What it finds need not be stored in a usable form; set it beside a linear probe and look at its
    selectivity (`probes.controls.selectivity`). Minimises mean log-loss + l2/2 of all squared weights from
    `restarts` random starts a site, all of them at once by batched L-BFGS, and keeps the lowest loss.
    """

    hidden: int = 32
    l2: float | int = 1e-2
    restarts: int = 3
    steps: int = 400
    seed: int = 0
    prepare: str | Transform = "zscore"

    def __post_init__(self) -> None:
        check_settings(self)
        check_penalties((self.l2,))

    @made_exactly
    def fit(self, acts: Activations | StoredActivations) -> MLPProbe:
        """Fits all sites and restarts at once; raises ValueError unless y has both classes, TypeError
        on pairs.
        """
        acts = singles(acts, self)
        rows = single(acts, self)
        sites, _, d = rows.z.shape
        h, r = self.hidden, self.restarts
        # Output weights start at 0, so that exchanging the labels mirrors the whole fit.
        w = torch.randn(r, h, d, generator=torch.Generator().manual_seed(self.seed)) / d**0.5
        start = torch.cat([w.flatten(1), torch.zeros(r, 2 * h + 1)], dim=1).to(rows.z.device).repeat(sites, 1)
        sign = torch.where(rows.y, 1.0, -1.0)

        def parts(theta: Tensor) -> tuple[Tensor, ...]:
            own = theta.reshape(sites * r, -1)
            w_in, b_in, w_out, b_out = own.split([h * d, h, h, 1], dim=1)
            return w_in.reshape(-1, h, d), b_in, w_out, b_out[:, 0]

        z = rows.z.double().repeat_interleave(
            r, 0
        )  # single precision would end different fits of one optimum apart

        def objective(theta: Tensor) -> Tensor:
            w_in, b_in, w_out, b_out = parts(theta)
            margin = (_hidden(z, w_in, b_in) @ w_out[..., None])[..., 0] + b_out[:, None]
            return softplus(-sign * margin).mean(1) + self.l2 / 2 * (
                w_in.pow(2).sum((1, 2)) / h + w_out.pow(2).sum(1)
            )

        theta, values = minimise(
            differentiated(objective), start.double(), self.steps, tolerance=1e-8, settled=1e-12
        )
        losses = values.reshape(sites, r)
        best = losses.argmin(1) + torch.arange(sites, device=losses.device) * r
        w_in, b_in, w_out, b_out = (t[best].detach().float() for t in parts(theta))
        notes = {"restart_losses": [[round(float(v), 6) for v in site] for site in losses]}
        return MLPProbe(
            acts.sites,
            rows.transforms,
            "train labels",
            str(self),
            {**acts.receipt, **rows_of_fit(acts), **notes},
            w_in,
            b_in,
            w_out,
            b_out,
            losses.amin(1).float(),
        )


def _hidden(
    z: Float[Tensor, "p n d"], w_in: Float[Tensor, "p h d"], b_in: Float[Tensor, "p h"]
) -> Float[Tensor, "p n h"]:
    return torch.tanh(torch.baddbmm(b_in[:, None], z, w_in.transpose(1, 2)))
