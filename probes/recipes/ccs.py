"""Contrast-consistent search: an unsupervised probe on yes/no pairs."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes.data.activations import PairActivations
from probes.data.checks import check_choices, check_size
from probes.fitting.lbfgs import differentiated, minimise
from probes.fitting.linear import LinearProbe, finish
from probes.fitting.transforms import Transform, no_spread
from probes.recipes.inputs import Paired, oriented, paired, span

LEAST_SPREAD = 0.02  # standard deviation of the credence below which a probe says one thing of all statements
SETTLED = 1e-5  # a search over restarts does not need the last digits of each
Loss = Callable[[Float[Tensor, "site n r"], Float[Tensor, "site n r"]], Float[Tensor, "site r"]]


@dataclass(frozen=True)
class CCS:
    """Finds a direction along which a statement answered yes and answered no get opposite, confident
    probabilities.

    Labels never enter the loss; train labels only decide which end is "true" (without labels the sign is
    arbitrary, and `sign_from` says so). Any feature that flips between yes and no satisfies the loss, truth
    or not (arXiv 2312.10029), so compare what it reads with distractors. Each side is centred by its own
    train mean, which hides the answer word.

    All sites and restarts are trained as one batched L-BFGS problem with an L2 penalty on weights in units of
    the prepared rows' spread, so that `l2` means the same under every `prepare`; the restart with the
    lowest loss is kept per site and the receipt lists them all (`restart_losses`). The constant probe p = .4
    has loss .2: a loss near it means nothing was found. `symmetric` treats both answers alike, where `burns`
    prefers two low probabilities to two high ones. Source: Burns et al., arXiv 2212.03827.
    """

    seed: int = 0
    restarts: int = 10
    steps: int = 200
    l2: float | int = 1.5e-3
    loss: Literal["burns", "symmetric"] = "burns"
    prepare: str | Transform = "rms"
    labels_give_sign: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choices(self)
        check_size("l2", self.l2)
        if self.restarts < 1 or self.steps < 1:
            raise ValueError(f"restarts and steps must be at least 1, got {self.restarts} and {self.steps}")

    def fit(self, acts: PairActivations) -> LinearProbe:
        """Fits all sites and restarts at once; raises TypeError on single texts."""
        rows = paired(acts, self)
        return search(acts, rows, LOSSES[self.loss], self)


def search(acts: PairActivations, rows: Paired, loss: Loss, recipe: "CCS") -> LinearProbe:
    """The probe of lowest loss among the restarts of every site, oriented by train labels."""
    sites, _, width = rows.yes.shape
    flat = no_spread(acts.yes) & no_spread(acts.no)
    size = torch.where(flat, 1, spread_by_site(rows))[:, None]
    rows = replace(rows, yes=rows.yes / size[..., None], no=rows.no / size[..., None])
    # Every site starts from the same draws, so adding a site does not change the others.
    start = (
        torch.randn(recipe.restarts, width, generator=torch.Generator().manual_seed(recipe.seed)).to(rows.yes)
        / width**0.5
    )
    start, basis = start.expand(sites, -1, -1), span(rows)
    if basis is not None:
        # Outside the span of the rows only the penalty acts, so nothing is there at the optimum.
        basis = basis.to(rows.yes)
        start, width = start @ basis, basis.shape[2]
        rows = replace(rows, yes=rows.yes @ basis, no=rows.no @ basis)
    start = torch.cat([start, torch.zeros_like(start[..., :1])], dim=2).reshape(-1, width + 1)
    shape = (sites, recipe.restarts, width + 1)

    def objective(theta: Tensor) -> Tensor:
        own = theta.reshape(shape)
        penalty = own[..., :-1].pow(2).sum(2) * (recipe.l2 / 2)
        return (loss(*probabilities(rows, own)) + penalty).flatten()

    theta = minimise(differentiated(objective), start, recipe.steps, settled=SETTLED)[0].reshape(shape)
    losses = loss(*probabilities(rows, theta))
    best = theta[torch.arange(sites), losses.argmin(1)]
    weight, bias = best[:, :-1], best[:, -1]
    sign, sign_from = oriented(rows, weight, bias)
    weight = weight if basis is None else (basis @ weight[..., None])[..., 0]
    warn_without_spread(acts, rows, best, flat)
    notes = {"restart_losses": [[round(float(v), 6) for v in site] for site in losses]}
    return finish(
        acts,
        weight / size,
        bias,
        rows.transforms,
        recipe=recipe,
        losses=losses.amin(1),
        sign=sign,
        sign_from=sign_from,
        notes=notes,
    )


def spread_by_site(rows: Paired) -> Float[Tensor, " site"]:
    """Root mean square of the prepared rows about the mean of their side.

    The search is for weights on rows divided by it, so that one penalty means the same to rows of unit length
    and to rows of length sqrt(width).
    """
    sides = [z - z.mean(1, keepdim=True) for z in (rows.yes, rows.no)]
    return torch.stack([z.pow(2).mean((1, 2)) for z in sides]).mean(0).sqrt()


def warn_without_spread(
    acts: PairActivations, rows: Paired, theta: Float[Tensor, "site k"], flat: Bool[Tensor, " site"]
) -> None:
    """Warns where rows differ and the credence hardly does, at every site asked for: one of many that reads
    nothing, such as the embedding of a last token, is no news.
    """
    p_yes, p_no = probabilities(rows, theta[:, None])
    still = ((p_yes + 1 - p_no) / 2)[..., 0].std(1, correction=0) < LEAST_SPREAD
    names = [str(site) for site, s in zip(acts.sites, still & ~flat, strict=True) if s]
    if names and bool((still | flat).all()):
        warnings.warn(
            f"the probe says the same of every statement at {', '.join(names)} (its credences have a standard"
            f" deviation below {LEAST_SPREAD}), so it reads nothing there; a smaller l2 allows steeper"
            " probes, a larger number of steps longer ones",
            stacklevel=4,
        )


def probabilities(
    rows: Paired, theta: Float[Tensor, "site r k"]
) -> tuple[Float[Tensor, "site n r"], Float[Tensor, "site n r"]]:
    """The probability of "true" for both texts of every pair under every restart."""
    across, bias = theta[..., :-1].transpose(1, 2), theta[:, None, :, -1]
    return torch.sigmoid(torch.baddbmm(bias, rows.yes, across)), torch.sigmoid(
        torch.baddbmm(bias, rows.no, across)
    )


def burns_loss(p_yes: Float[Tensor, "site n r"], p_no: Float[Tensor, "site n r"]) -> Float[Tensor, "site r"]:
    """Consistency plus confidence: (p_yes - (1 - p_no))^2 + min(p_yes, p_no)^2, averaged over pairs."""
    return ((p_yes + p_no - 1) ** 2 + torch.minimum(p_yes, p_no) ** 2).mean(1)


def symmetric_loss(
    p_yes: Float[Tensor, "site n r"], p_no: Float[Tensor, "site n r"]
) -> Float[Tensor, "site r"]:
    """As `burns_loss`, with the least extreme of all four probabilities in place of the lower of two
    (arXiv 2312.10029).
    """
    unsure = torch.minimum(torch.minimum(p_yes, p_no), torch.minimum(1 - p_yes, 1 - p_no))
    return ((p_yes + p_no - 1) ** 2 + unsure**2).mean(1)


LOSSES: dict[str, Loss] = {"burns": burns_loss, "symmetric": symmetric_loss}
