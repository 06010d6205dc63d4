"""Fitted on train rows, the site chosen on validation rows, tested on test rows; and what the probe of each
label reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from probes.data.activations import Activations, PairActivations
from probes.data.labels import Label
from probes.data.sites import Site
from probes.evidence.choose import BestSite, best_site
from probes.evidence.claim_rows import require_separate
from probes.fitting.directions import Direction
from probes.fitting.linear import LinearProbe
from probes.fitting.recipe import Recipe
from probes.metrics.estimates import Estimate, auroc

Acts = Activations | PairActivations


@dataclass(frozen=True, eq=False)
class SiteReading:
    """A probe with the site that validation rows chose for it, and its AUROC on test rows by site."""

    probe: LinearProbe
    chosen: BestSite
    curve: Estimate

    @property
    def index(self) -> int:
        return self.chosen.index

    @property
    def site(self) -> Site:
        return self.probe.sites[self.chosen.index]

    @property
    def at_site(self) -> Estimate:
        """AUROC on test rows at the chosen site."""
        return self.curve[self.chosen.index]

    def __repr__(self) -> str:
        equal = int(self.chosen.equal.sum())
        beside = f", the earliest of {equal} that read as well on the validation rows" if equal > 1 else ""
        stands = beside if self.chosen.stands else ", and no site is above chance on the validation rows"
        return f"SiteReading({self.site}: AUROC {self.at_site} on test rows{stands})"


def site_reading(recipe: Recipe, train: Acts, validation: Acts, test: Acts) -> SiteReading:
    """Fits on the train rows, chooses the site on the validation rows (`best_site`), scores the test rows.

    Raises ValueError where two of the three share a row, a text, a group or a pair.
    """
    parts = {"train": train, "validation": validation, "test": test}
    for one, other in combinations(parts, 2):
        require_separate(parts[one], parts[other], purpose="a reading", named=(one, other))
    probe = recipe.fit(train)
    chosen = best_site(_numbers(probe, validation), np.asarray(validation.y), probe.sites, validation.groups)
    return SiteReading(probe, chosen, auroc(probe.score(test), test.y, test.groups).over(test.sites))


@dataclass(frozen=True, eq=False)
class LabelReading:
    """What a probe of one label tells apart on test rows: AUROC against every label that they show both
    values of, at the site chosen by its own.
    """

    of: Label
    site: Site
    direction: Direction
    on: Mapping[str, Estimate]


def label_reading(
    probe: LinearProbe,
    of: Label,
    validation: Acts,
    test: Acts,
    labels: Sequence[Label],
) -> LabelReading | None:
    """Chooses the probe's site on validation rows by the label it is of, and scores test rows there against
    every label.

    None for a probe without a direction at any site, such as one of a label that no row shows yet.
    """
    usable = [site for site in probe.sites if probe.has_direction(site)]
    if not usable:
        return None
    scores = _numbers(probe[usable], validation[usable])
    site = usable[best_site(scores, of.of(validation), usable, validation.groups).index]
    line = _numbers(probe[site], test[site])[0]
    there = {label.name: label.of(test) for label in labels if label.known(test)}
    on = {name: auroc(line, y, test.groups) for name, y in there.items() if len(np.unique(y)) == 2}
    return LabelReading(of, site, probe.direction(site), on)


def label_readings(
    recipe: Recipe,
    train: Acts,
    validation: Acts,
    test: Acts,
    labels: Sequence[Label],
) -> list[LabelReading]:
    """A probe of every label, each scored against all labels: one that also tells another label apart is not
    a probe of its own alone.

    Labels with one value in any of the parts, and labels that no site shows, are left out.
    """
    found = []
    for label in labels:
        if min(len(np.unique(label.of(part))) for part in (train, validation, test)) < 2:
            continue
        probe = recipe.fit(train.with_y(label.of(train)))
        found.append(label_reading(probe, label, validation, test, labels))
    return [reading for reading in found if reading is not None]


def _numbers(probe: LinearProbe, acts: Acts) -> np.ndarray:
    return probe.score(acts).detach().cpu().double().numpy()
