"""What is left of a concept after the directions that probes find are removed, one after the other."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from probes.checks.settings import check_count
from probes.data.activations import Activations
from probes.data.sites import Site
from probes.evidence.apart import require_apart
from probes.evidence.readout import asked
from probes.fitting.exactly import made_exactly
from probes.fitting.leace import leace
from probes.fitting.linear import LinearProbe
from probes.fitting.recipe import Prepares, Recipe
from probes.fitting.spreads import NOISE
from probes.metrics.estimates import aurocs
from probes.recipes.inputs import single, singles


@dataclass(frozen=True, eq=False)
class Amnesic:
    """AUROC of refitted probes after directions were removed: by the probe's own (INLP), by as many random
    ones, and after LEACE.

    `by_site` and `random` are [removed + 1, site], from no direction upwards. Many directions needed: the
    concept is spread out or doubled, or the probe aims beside it (LDA does where coordinates differ much in
    size; `prepare="zscore"` helps).
    """

    sites: tuple[Site, ...]
    by_site: Float[np.ndarray, "k site"]
    random: Float[np.ndarray, "k site"]
    leace: Float[np.ndarray, " site"]

    def removed_to_chance(self, level: float = 0.55) -> np.ndarray:
        """How many directions had to go until AUROC fell to `level`, by site; -1 where it never did."""
        below = self.by_site <= level
        return np.where(below.any(0), below.argmax(0), -1)

    def __repr__(self) -> str:
        return (
            f"Amnesic({len(self.by_site) - 1} directions removed at {len(self.sites)} sites; AUROC"
            f" {self.by_site[0].max():.2f} at first, {self.by_site[-1].max():.2f} after,"
            f" {self.random[-1].max():.2f} after random ones, {self.leace.max():.2f} after LEACE)"
        )


@made_exactly
def amnesic(recipe: Recipe, train: Activations, test: Activations, remove: int = 8, seed: int = 0) -> Amnesic:
    """Removes the direction a probe found, fits again, and so on (iterative nullspace projection), beside
    random directions and LEACE.

    Rows are prepared once, as the recipe prepares them, and everything happens there: with coordinates scaled
    anew after each removal a large one would never go. At most as many directions as coordinates are removed.
    What a fresh probe still reads afterwards was stored elsewhere. This speaks of what can be read, not of
    what the model uses: for that, erase inside the model (`interventions.Erase`) and measure behaviour.
    Raises TypeError for pairs and for probes without a direction, ValueError where train and test share rows.
    Sources: Ravfogel et al., arXiv 2004.07667;
    Elazar et al., arXiv 2006.00995.
    """
    asked(recipe, train, test)
    check_count("remove", remove)
    if not isinstance(recipe, Prepares):
        raise TypeError(
            f"amnesic removal needs a recipe that reads each site by itself, and {type(recipe).__name__} does"
            " not; use a linear recipe"
        )
    require_apart(train, test, "amnesic removal")
    rows = single(singles(train, recipe), recipe)
    fitted, plain = rows.transforms["all"], replace(recipe, prepare="none")
    whole = rows.z, fitted(test.x, fitted.clusters(test.columns, test.x))
    size = rows.z.pow(2).mean((1, 2), keepdim=True).sqrt()
    draw = torch.Generator().manual_seed(seed)
    curves = {"own": [], "random": []}
    for kind, curve in curves.items():
        gone: list[torch.Tensor] = []
        a, b = whole
        for k in range(min(remove, a.shape[2]) + 1):
            probe = plain.fit(replace(train, x=a))
            if not isinstance(probe, LinearProbe):
                raise TypeError(
                    f"amnesic removal needs a probe with a direction, and {type(probe).__name__} has none;"
                    " use a linear recipe"
                )
            curve.append(aurocs(probe.score(replace(test, x=b)), np.asarray(test.y)))
            if k < min(remove, a.shape[2]):
                gone.append(probe.units if kind == "own" else torch.randn(probe.units.shape, generator=draw))
                # All of them at once: projecting off one after the other would bring back what directions
                # share.
                basis = torch.linalg.qr(torch.stack(gone, dim=2).double().cpu()).Q.to(train.x.device)
                a, b = (_without(t, basis, size) for t in whole)
    y = torch.nn.functional.one_hot(train.classes[0].long(), 2).double()
    mean, read, write = leace(whole[0], y.to(train.x.device))
    clean = [x - ((x - mean[:, None]) @ read) @ write for x in whole]
    after = aurocs(plain.fit(replace(train, x=clean[0])).score(replace(test, x=clean[1])), np.asarray(test.y))
    return Amnesic(train.sites, np.stack(curves["own"]), np.stack(curves["random"]), after)


def _without(
    z: Float[torch.Tensor, "site n d"],
    basis: Float[torch.Tensor, "site d k"],
    size: Float[torch.Tensor, "site 1 1"],
) -> Float[torch.Tensor, "site n d"]:
    """The rows without their part in a subspace; where rounding is all that is left, nothing is."""
    left = (z.double() - (z.double() @ basis) @ basis.transpose(1, 2)).float()
    return torch.where(left.pow(2).mean((1, 2), keepdim=True).sqrt() > NOISE * size, left, 0)
