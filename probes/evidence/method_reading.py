"""One method that may or may not see labels: its probe, the site that validation labels choose, what it reads
besides its own label, and its null.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probes.data.activations import Activations, PairActivations
from probes.data.sites import Site
from probes.evidence.permutation import Null, shuffled_null
from probes.evidence.polarity import PolarityReport, polarity_report
from probes.evidence.reads import LabelsRead, labels_read, lowest_loss
from probes.fitting.linear import LinearProbe
from probes.fitting.recipe import Recipe
from probes.metrics.estimates import auroc

Parts = Sequence[Activations | PairActivations]


@dataclass(frozen=True, eq=False)
class MethodReading:
    """One method: its probe, what it reads on the test rows, its null, the site chosen on validation.

    Pair probes have a polarity report as well.
    """

    probe: LinearProbe
    reads: LabelsRead
    null: Null
    at: int
    polarity: PolarityReport | None

    @property
    def site(self) -> Site:
        return self.probe.sites[self.at]

    @property
    def p(self) -> float:
        """How often shuffled labels, with their own best site, read as much as this site does."""
        return float(self.null.p_by_site[self.at])

    @property
    def liked(self) -> int | None:
        """The site that its own loss likes best, for methods that somebody without labels can use."""
        return None if self.polarity is None else lowest_loss(self.probe)


def method_reading(
    recipe: Recipe, parts: Parts, others: Mapping[str, np.ndarray], shuffles: int = 199, seed: int = 0
) -> MethodReading:
    """Fits on the train rows, chooses the site on the validation rows, and reads the test rows: against y,
    against `others` (labels of the test rows by name), and under shuffled labels.
    """
    train, validation, test = parts
    probe = recipe.fit(train)
    null = shuffled_null(recipe, train, test, shuffles, seed, probe=probe)
    at = int(np.argmax(auroc(probe.score(validation), validation.y).value))
    polarity = polarity_report(probe, test) if isinstance(test, PairActivations) else None
    return MethodReading(probe, labels_read(probe, test, others), null, at, polarity)
