"""Probes of pairs that say the same of every statement, said where that is so."""

import torch
from jaxtyping import Float
from torch import Tensor

from probes.checks.saying import warn
from probes.data.activations import PairActivations
from probes.fitting.spreads import no_spread
from probes.recipes.inputs import Paired

LEAST_SPREAD = (
    0.005  # standard deviation of the credence below which a probe says one thing of all statements
)


def warn_without_spread(
    acts: PairActivations,
    rows: Paired,
    weight: Float[Tensor, "site d"],
    bias: Float[Tensor, " site"],
    advice: str = "look at what else the pairs have in common",
) -> None:
    """Warns where rows differ and the credence hardly does, at every site asked for: one of many that reads
    nothing, such as the embedding of a last token, is no news. Also where both texts of every pair have the
    same states at all of them.
    """
    p_yes, p_no = probabilities(rows, weight, bias)
    flat = no_spread(acts.yes) & no_spread(acts.no)
    still = ((p_yes + 1 - p_no) / 2).std(1, correction=0) < LEAST_SPREAD
    same = torch.equal(acts.yes, acts.no)
    if same:
        flat, advice = (
            torch.zeros_like(flat),
            "the two texts of a pair have the same states: read them behind",
        )
        advice += " the answer, where they differ (at='last')"
    names = [str(site) for site, s in zip(acts.sites, still & ~flat, strict=True) if s]
    if names and bool((still | flat).all()):
        warn(
            f"the probe says the same of every statement at {', '.join(names)} (its credences have a standard"
            f" deviation below {LEAST_SPREAD}), so it reads nothing there; {advice}"
        )


def probabilities(
    rows: Paired, weight: Float[Tensor, "site d"], bias: Float[Tensor, " site"]
) -> tuple[Float[Tensor, "site n"], Float[Tensor, "site n"]]:
    """The probability of "true" for both texts of every pair."""
    p_yes, p_no = (
        torch.sigmoid(torch.einsum("snd,sd->sn", z.to(weight), weight) + bias[:, None])
        for z in (rows.yes, rows.no)
    )
    return p_yes, p_no
