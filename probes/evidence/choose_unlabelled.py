"""Where to read a probe that was found without labels, when none are at hand to choose by."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Shaped

from probes.checks.settings import check_count
from probes.data.activations import PairActivations, check_pairs
from probes.data.sites import Site
from probes.evidence.choose import BestSite, equal_to_best, level_of_the_best
from probes.fitting.linear import LinearProbe
from probes.metrics.estimates import mean
from probes.metrics.scores import as_scores
from probes.recipes.ccs import burns_loss


def pair_losses(probe: LinearProbe, pairs: PairActivations) -> Float[np.ndarray, "site n"]:
    """What each pair adds to the loss of Burns et al. (arXiv 2212.03827), of the probe as it was trained,
    which labels have no part in.
    """
    check_pairs(pairs, "pair_losses")
    trained = probe.as_trained
    with torch.no_grad():
        p_yes, p_no = (trained.probability(pairs, side=side) for side in ("yes", "no"))
    return burns_loss(p_yes, p_no).double().cpu().numpy()


def matched_noise(pairs: PairActivations, seed: int = 0) -> PairActivations:
    """Gaussian pairs with the means and covariances of these, also between the two sides and between sites,
    in which nothing is one of two things: mixtures of all pairs.

    What a search finds in them is due to how much hidden states vary. The constant's loss of .2 is no such
    measure, since along any direction of much variance probabilities can keep apart.
    """
    check_pairs(pairs, "matched_noise")
    draw = torch.Generator().manual_seed(check_count("seed", seed, 0))
    mix = torch.randn(len(pairs), len(pairs), generator=draw).to(pairs.yes.device) / len(pairs) ** 0.5
    yes, no = (x.mean(1, keepdim=True) + mix @ (x - x.mean(1, keepdim=True)) for x in (pairs.yes, pairs.no))
    return replace(pairs, yes=yes, no=no, y=None)


def best_site_without_labels(
    losses: Float[np.ndarray, "site n"],
    null: Float[np.ndarray, "site n"],
    sites: Sequence[Site | str],
    groups: Shaped[np.ndarray, " n"] | None = None,
    *,
    seed: int = 0,
) -> BestSite:
    """The site where a search without labels gained most over the same search on matched noise.

    Both are `pair_losses` on validation pairs, `null` those of a probe that was fitted on `matched_noise` of
    the train pairs and is scored on that of the validation pairs. It is the site where something flips with
    the answer most clearly, and that need not be truth, so where any labels are at hand choose by them
    (`best_site`); docs/recipes.md has the regret. `values` are the mean gains, `equal` the sites as good
    within one standard error of the difference over groups; among those the highest is taken. Without
    `stands` no gain is above 0 with its 95% interval, which pays for all the sites: nothing was found beyond
    what noise gives. Raises
    ValueError for another number of lines than sites, or NaN.
    """
    gains = as_scores(null, "null") - as_scores(losses, "losses")
    if gains.ndim != 2 or len(gains) != len(sites) or not gains.size:
        raise ValueError(f"losses have shape {gains.shape} for {len(sites)} sites; give one line a site")
    if np.isnan(gains).any():
        missing = [str(site) for site, line in zip(sites, gains, strict=True) if np.isnan(line).any()]
        raise ValueError(f"losses are NaN at {', '.join(missing)}; leave these sites out")

    def gained(weights: np.ndarray) -> np.ndarray:
        return (weights @ gains.T) / weights.sum(1, keepdims=True)

    ranked = equal_to_best(gained, gains.shape[1], groups, seed=seed)
    level = level_of_the_best(gained, gains.shape[1], groups, seed=seed)
    top = mean(gains[ranked.best], groups, share=False, level=level)
    return BestSite(sites[ranked.best], ranked.best, ranked.values, ranked.equal, bool(top.low > 0))
