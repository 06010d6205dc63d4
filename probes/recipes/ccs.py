"""Contrast-consistent search: an unsupervised probe on yes/no pairs."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from probes.activations import PairActivations
from probes.linear import LinearProbe, finish
from probes.recipes.inputs import paired
from probes.transforms import fit_transform


@dataclass(frozen=True)
class CCS:
    """Finds a direction along which a statement answered yes and answered no get opposite, confident probabilities.

    Labels never enter the loss; train labels only decide which end is "true" (without labels the sign is arbitrary, and
    `sign_from` says so). Any feature that flips between yes and no satisfies the loss, truth or not (arXiv 2312.10029),
    so compare what it reads with distractors. Each side is centred by its own train mean, which hides the answer word.

    All sites and restarts are trained as one batched problem; the restart with the lowest loss is kept per site.
    The constant probe p = .4 has loss .2: a loss near it means nothing was found. Source: Burns et al., arXiv 2212.03827.
    """

    seed: int = 0
    restarts: int = 10
    steps: int = 1000
    lr: float = 1e-2
    weight_decay: float = 1e-2
    loss: Literal["burns"] = "burns"

    def __post_init__(self) -> None:
        if self.restarts < 1 or self.steps < 1:
            raise ValueError(f"restarts and steps must be at least 1, got {self.restarts} and {self.steps}")

    def fit(self, acts: PairActivations) -> LinearProbe:
        """Fits all sites and restarts at once; raises TypeError on single texts."""
        yes, no, y = paired(acts, self)
        yes, no = yes.float(), no.float()
        # One scale for both sides: then a step along the direction means the same on either.
        spread = fit_transform("rms", torch.cat([yes - yes.mean(1, keepdim=True), no - no.mean(1, keepdim=True)], dim=1)).scale
        transforms = {side: type(t)("mean+rms", t.shift, spread) for side, t in (("yes", fit_transform("mean", yes)), ("no", fit_transform("mean", no)))}
        weight, bias, losses = self._train(transforms["yes"](yes), transforms["no"](no))
        sign_from = "arbitrary (no labels)"
        if y is not None:
            with torch.no_grad():
                credence = _credence(transforms["yes"](yes), transforms["no"](no), weight, bias)
                agreement = torch.where(y, credence, 1 - credence).mean(1) - 0.5
            flip = torch.where(agreement < 0, -1.0, 1.0)
            weight, bias, sign_from = weight * flip[:, None], bias * flip, "train labels"
        return finish(acts, weight, bias, transforms, recipe=self, losses=losses, sign_from=sign_from)

    def _train(
        self, yes: Float[Tensor, "site n d"], no: Float[Tensor, "site n d"]
    ) -> tuple[Float[Tensor, "site d"], Float[Tensor, " site"], Float[Tensor, " site"]]:
        sites, _, width = yes.shape
        # Every site starts from the same draws, so adding a site does not change the others.
        start = torch.randn(self.restarts, width, generator=torch.Generator().manual_seed(self.seed)) / width**0.5
        weight = start.to(yes.device).expand(sites, -1, -1).clone().requires_grad_()
        bias = torch.zeros(sites, 1, self.restarts, device=yes.device, requires_grad=True)
        optimiser = torch.optim.AdamW([weight, bias], lr=self.lr, weight_decay=self.weight_decay)
        for _ in range(self.steps):
            optimiser.zero_grad()
            # Each site and restart has its own parameters, so the sum trains all of them independently.
            burns_loss(*_probabilities(yes, no, weight, bias)).sum().backward()
            optimiser.step()
        with torch.no_grad():
            losses = burns_loss(*_probabilities(yes, no, weight, bias))
            best = losses.argmin(1)
            at = torch.arange(sites, device=yes.device)
            return weight.detach()[at, best], bias.detach()[at, 0, best], losses[at, best]


def burns_loss(p_yes: Float[Tensor, "site n r"], p_no: Float[Tensor, "site n r"]) -> Float[Tensor, "site r"]:
    """Consistency plus confidence: (p_yes - (1 - p_no))^2 + min(p_yes, p_no)^2, averaged over pairs."""
    return ((p_yes + p_no - 1) ** 2 + torch.minimum(p_yes, p_no) ** 2).mean(1)


def _probabilities(yes: Tensor, no: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    across = weight.transpose(1, 2)
    return torch.sigmoid(torch.baddbmm(bias, yes, across)), torch.sigmoid(torch.baddbmm(bias, no, across))


def _credence(yes: Tensor, no: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    p_yes, p_no = _probabilities(yes, no, weight[:, None], bias[:, None, None])
    return (p_yes[..., 0] + 1 - p_no[..., 0]) / 2
