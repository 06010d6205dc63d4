"""One loud coordinate that drowns what a probe could read in the others, said where it does."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from probes.checks.saying import warn
from probes.data.sites import Site
from probes.fitting.recipe import Recipe
from probes.fitting.solving import along
from probes.fitting.spreads import mean_squares

CARRIES, DROWNS = 0.5, 2.0


def warn_of_a_loud_coordinate(
    sites: Sequence[Site],
    z: Float[Tensor, "site n d"],
    y: Bool[Tensor, " n"],
    weight: Float[Tensor, "site d"],
    recipe: Recipe,
) -> None:
    """Warns of sites where one coordinate carries the score and without it the classes of the train rows
    lie at least twice as far apart, in standard deviations of the score.

    Models have such coordinates at most sites; mostly they do no harm, and then nothing is said.
    """
    moves = weight.square() * mean_squares(z, z.mean(1, keepdim=True))
    share, loudest = (moves / moves.sum(1, keepdim=True).clamp_min(1e-30)).max(1)
    if not (share > CARRIES).any():
        return
    score = along(z, weight)
    pick = loudest[:, None, None].expand(-1, z.shape[1], 1)
    own = z.gather(2, pick)[..., 0] * weight.gather(1, loudest[:, None])
    apart, without = _apart(score, y), _apart(score - own, y)
    drowned = (share > CARRIES) & (without > DROWNS * apart.abs())
    said = [
        f"{sites[i]} (coordinate {int(loudest[i])} makes {share[i]:.0%} of the score's variance; classes"
        f" {apart[i]:.1f} standard deviations apart, {without[i]:.1f} without it)"
        for i in drowned.nonzero()[:, 0].tolist()
    ]
    if said:
        warn(
            f"{type(recipe).__name__} at {', '.join(said)}: one coordinate drowns the others; fit with"
            " prepare='zscore'"
        )


def _apart(score: Float[Tensor, "site n"], y: Bool[Tensor, " n"]) -> Float[Tensor, " site"]:
    """Distance of the class means in standard deviations within the classes."""
    score = score.double()
    high, low = score[:, y], score[:, ~y]
    squares = (high - high.mean(1, keepdim=True)).square().sum(1) + (
        low - low.mean(1, keepdim=True)
    ).square().sum(1)
    return (high.mean(1) - low.mean(1)) / (squares / len(y)).sqrt().clamp_min(1e-30)
