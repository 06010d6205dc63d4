"""One probe that reads several layers at once."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from probes.data.activations import Activations, check_states
from probes.data.sites import SiteLike, as_site
from probes.fitting.directions import Direction
from probes.fitting.exactly import made_exactly
from probes.fitting.probe import Probe
from probes.fitting.recipe import Recipe, SolvesLabels, as_recipe
from probes.fitting.rows_of_fit import rows_of_fit
from probes.reading.store import StoredActivations, in_memory
from probes.recipes.inputs import single, singles
from probes.recipes.logistic import Logistic


@dataclass(frozen=True, eq=False, repr=False)
class ConcatenatedProbe(Probe):
    """A fitted linear probe on all its sites side by side; it has one score for all of them."""

    KIND: ClassVar[str] = "concatenated probe"

    weight: Float[Tensor, "site d"]
    bias: Float[Tensor, " site"]
    slopes: Float[Tensor, "site d"]
    shares: Float[Tensor, " site"]

    @made_exactly
    def score(self, acts: Activations | StoredActivations) -> Float[Tensor, "1 n"]:
        """Margins, above 0 meaning the positive class; raises ValueError unless the activations have
        all the probe's sites.
        """
        check_states(acts, "this probe")
        lacking = [str(s) for s in self.sites if s not in acts.sites]
        if lacking:
            raise ValueError(
                f"this probe reads {len(self.sites)} sites together and the activations lack"
                f" {', '.join(lacking)}"
            )
        own: Activations = in_memory(acts[tuple(self.sites)])
        check_states(own, "this probe", single=True)
        _, z = self.prepared(own, own.x, "all", own.x)
        return (torch.einsum("snd,sd->sn", z, self.weight.to(z)) + self.bias.to(z)[:, None]).sum(
            0, keepdim=True
        )

    @made_exactly
    def probability(self, acts: Activations | StoredActivations) -> Float[Tensor, "1 n"]:
        """Scores squashed into [0, 1]."""
        return torch.sigmoid(self.score(acts))

    def direction(self, site: SiteLike) -> Direction:
        """The direction of the joint score at one of the sites, unit length, without a gap: the
        others share in every score.
        """
        k = self.index_of([as_site(site)])[0]
        return Direction.from_vector(self.slopes[k], self.sites[k], source=self.recipe)


@dataclass(frozen=True)
class Concatenated:
    """One linear probe on the hidden states of all given layers side by side.

    `recipe` is `Logistic` or `MassMean` (any recipe with `fit_labels`). It reads what is spread over layers;
    `shares` of the probe says how much each site adds to the spread of the score on train rows. With many
    layers there are far more weights than rows, so compare it with single layers on held-out groups.
    """

    recipe: Recipe = field(default_factory=Logistic)

    @made_exactly
    def fit(self, acts: Activations | StoredActivations) -> ConcatenatedProbe:
        """Fits one probe on all sites of `acts`; raises TypeError for a recipe that cannot be solved
        on prepared rows.
        """
        as_recipe(self.recipe)
        if not isinstance(self.recipe, SolvesLabels):
            raise TypeError(f"{type(self.recipe).__name__} cannot be concatenated; use Logistic or MassMean")
        if not self.recipe.solves_together:
            raise TypeError(
                f"{self.recipe} chooses among penalties a site, and layers side by side are one problem; give"
                " one l2"
            )
        acts = singles(acts, self.recipe)
        rows = single(acts, self.recipe)
        sites, n, d = rows.z.shape
        weight, bias = self.recipe.fit_labels(rows.z.transpose(0, 1).reshape(1, n, sites * d), rows.y[None])
        weight = weight.reshape(sites, d).float()
        slopes = rows.transforms["all"].gradient(weight, acts.x).mean(1)
        parts = torch.einsum("snd,sd->sn", rows.z, weight.to(rows.z))
        total = parts.sum(0)
        centred = parts - parts.mean(1, keepdim=True)
        shares = (centred * (total - total.mean())).mean(1) / total.var(correction=0).clamp_min(1e-30)
        margin = torch.where(rows.y, total + bias[0, 0].to(total), -(total + bias[0, 0].to(total)))
        loss = round(float(softplus(-margin).mean()), 6)
        receipt = {**acts.receipt, **rows_of_fit(acts), "loss": loss}
        biases = torch.full((sites,), float(bias[0, 0]) / sites)
        return ConcatenatedProbe(
            acts.sites,
            rows.transforms,
            "train labels",
            str(self),
            receipt,
            weight,
            biases,
            slopes.float(),
            shares.float(),
        )
