"""Several directions taken out at every place and dose, side by side: the one that is asked about, those it
is compared with, and random ones.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from interventions.behaviours.records import Behaviour, Records
from interventions.searching.places import ALL, Spans, removed
from interventions.searching.search import search
from interventions.searching.searched import Searched
from probes.data.activations import Activations
from probes.data.examples import Examples
from probes.data.sites import Site
from probes.fitting.directions import Direction
from probes.models.model import Model
from probes.recipes.mass_mean import MassMean

Families = Mapping[str, Sequence[Spans]]
"""Spans by name; a family may have several, such as random draws."""
Doses = Mapping[tuple[str, str, float], Sequence[Records]]
"""Records by family, place and dose, one for each member of the family."""


def differences(acts: Activations, column: str) -> dict[Site, tuple[Direction, ...]]:
    """Directions that span the differences between the class means of a column's values, at every site.

    They are those of consecutive values; y plays no part.
    """
    names, values = np.unique(acts.column(column)), acts.column(column)
    found = []
    for first, second in pairwise(names):
        two = np.isin(values, (first, second))
        found.append(MassMean().fit(acts.rows(two).with_y((values[two] == second).astype(int))))
    return {site: tuple(probe.direction(site) for probe in found) for site in acts.sites}


def random_spans(directions: Mapping[Site, Direction], draws: int, seed: int = 1000) -> list[Spans]:
    """Random directions in the place of these, so many times."""
    return [{site: d.random_like(seed + k) for site, d in directions.items()} for k in range(draws)]


def doses_out(
    model: Model, families: Families, behaviour: Behaviour, prompts: Examples, doses: Sequence[float | int]
) -> Searched:
    """Every family taken out at every site alone and at all of them, at every dose.

    Options are named (family, place, dose, member).
    """
    options = {
        (name, place, float(dose), k): removed(spans, place, strength=dose)
        for name, members in families.items()
        for place in (*map(str, members[0]), ALL)
        for dose in doses
        for k, spans in enumerate(members)
    }
    return search(model, options, behaviour, prompts, n_controls=0)


def by_dose(swept: Searched) -> Doses:
    """The records of such a sweep, the members of a family together."""
    found: dict[tuple[str, str, float], list[Records]] = {}
    for option in swept.options:
        name, place, dose, _ = option.name
        found.setdefault((name, place, dose), []).append(option.now)
    return found


def mean_shares(records: Sequence[Records]) -> Float[np.ndarray, " k"]:
    """The share of each kind of answer, mean over several runs, in the order of the behaviour's classes."""
    return np.mean([[(r.labels == kind).mean() for kind in r.classes] for r in records], axis=0)
