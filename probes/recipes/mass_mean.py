"""The difference of the class means."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes.data.activations import Activations
from probes.fitting import streaming
from probes.fitting.exactly import made_exactly
from probes.fitting.finishing import finish
from probes.fitting.linear import LinearProbe
from probes.fitting.recipe import check_settings
from probes.fitting.solving import along
from probes.fitting.spreads import mean_squares, rounding
from probes.fitting.streaming import streams
from probes.fitting.transforms import Transform
from probes.fitting.whitening import whitened_by_rows
from probes.reading.store import StoredActivations
from probes.recipes.inputs import single, singles
from probes.recipes.lda import about_class_means
from probes.recipes.loud import warn_of_a_loud_coordinate


@dataclass(frozen=True)
class MassMean:
    """Reads along the line from the mean of the negative rows to the mean of the positive ones.

    The threshold lies midway between the means. It ignores the spread of the classes, so a strong nuisance
    that is correlated with the label tilts it; in return it needs few rows and its direction moves behaviour
    well. `whiten` divides by the within-class covariance, shrunk as few rows demand, which reads better on
    rows like the train rows, finds what lies in quiet coordinates, and moves behaviour worse. Source: Marks
    and Tegmark, arXiv 2310.06824.
    """

    prepare: str | Transform = "none"
    whiten: bool = False

    def __post_init__(self) -> None:
        check_settings(self)

    @made_exactly
    def fit(self, acts: Activations | StoredActivations) -> LinearProbe:
        """Fits all sites at once, chunk by chunk from a store; raises ValueError unless y has both
        classes.
        """
        if isinstance(acts, StoredActivations) and streams(acts, Transform.parse(self.prepare)):
            return streaming.mass_mean(self, acts)
        acts = singles(acts, self)
        rows = single(acts, self)
        weight, bias = (found[0] for found in self.fit_labels(rows.z, rows.y[None]))
        warn_of_a_loud_coordinate(acts.sites, rows.z, rows.y, weight, self)
        margin = along(rows.z, weight) + bias[:, None]
        losses = torch.nn.functional.softplus(torch.where(rows.y, -margin, margin)).mean(1)
        return finish(acts, weight, bias, rows.transforms, recipe=self, losses=losses)

    @property
    def solves_together(self) -> bool:
        return True

    @made_exactly
    def fit_labels(
        self, z: Float[Tensor, "site n d"], y: Bool[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b site d"], Float[Tensor, "b site"]]:
        """Weights and biases under each of b labellings of the same prepared rows."""
        # About the mean of the rows, where single precision does not lose the difference in a large offset.
        centre = z.mean(1)
        rest = z - centre[:, None]
        high, low = ((of / of.sum(1, keepdim=True)).to(z) @ rest for of in (y.double(), (~y).double()))
        weight = high - low
        weight = torch.where(_differs(weight, centre, rest), weight, 0)
        if self.whiten:
            rest = rest.double()
            spread = rest.var(1, correction=0).sqrt()
            weight = torch.stack(
                [
                    whitened_by_rows(w.double(), about_class_means(rest, labels), spread, z.shape[1] - 2).to(
                        z
                    )
                    for labels, w in zip(y, weight.transpose(0, 1), strict=True)
                ],
                dim=1,
            )
        bias = -(((high + low) / 2 + centre[:, None]) * weight).sum(2)
        return weight.transpose(0, 1), bias.T


def _differs(
    weight: Float[Tensor, "site b d"], centre: Float[Tensor, "site d"], rest: Float[Tensor, "site n d"]
) -> Bool[Tensor, "site b d"]:
    """Coordinates in which class means differ by more than rounding, which is no direction. Each by its own
    size: beside one large constant coordinate all others would look alike.
    """
    variance = mean_squares(rest, torch.zeros_like(centre)[:, None])
    return weight.abs() > rounding((centre.square() + variance).sqrt())[:, None]
