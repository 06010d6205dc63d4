"""Where to edit in a deep model: every few sites first, then those around the best."""

from collections.abc import Callable, Sequence
from math import ceil, isqrt

import numpy as np

from interventions.behaviours.records import Behaviour, as_behaviour
from interventions.searching.choosing import TieLike
from interventions.searching.goals import GoalLike
from interventions.searching.option import Choice
from interventions.searching.search import FEW, search
from interventions.searching.searched import Searched
from interventions.writes.lowrank import Edit
from probes.data.examples import Examples
from probes.data.sites import Site, SitesLike
from probes.evidence.choose import ONE_ERROR
from probes.models.given import check_model
from probes.models.model import Model

WHOLE = 8
"""So few sites are all measured: going coarse to fine would save next to nothing."""


def coarse_to_fine(
    model: Model,
    make: Callable[[Site], Edit],
    sites: SitesLike,
    behaviour: Behaviour,
    validation: Examples,
    *,
    by: GoalLike,
    within: float | int = 0,
    level: float | int = ONE_ERROR,
    ties: str | Sequence[TieLike] | None = None,
    neutral: Sequence[str] | None = None,
    n_controls: int = FEW,
    seed: int = 0,
    progress: bool = True,
) -> Searched:
    """The edit `make(site)` at about 2 sqrt(n) of n sites: the middle of every sqrt(n) of them, then those
    around the best.

    Options are named by the site and come in forward order; `.best(by, ...)` chooses among them. This finds
    the best site where the outcome rises and falls over depth; a lone site that does something between two
    coarse ones is missed, and `search` over all sites finds it. Up to 8 sites are all measured. Arguments as
    for `search` and `Searched.best`.
    """
    check_model(model, "coarse_to_fine")
    if isinstance(make, Edit) or not callable(make):
        raise TypeError(
            f"coarse_to_fine takes a function that makes the edit at a site, got a {type(make).__name__}"
        )
    before = as_behaviour(behaviour)(model, validation)

    def measure(some: Sequence[Site]) -> Searched:
        options = {str(site): make(site) for site in some}
        how = {"n_controls": n_controls, "seed": seed, "progress": progress}
        return search(model, options, behaviour, validation, neutral=neutral, before=before, **how)

    def best(found: Searched) -> Choice:
        return found.best(by, within=within, level=level, ties=ties, seed=seed)

    return zoomed(model.sites(sites), measure, best)


def zoomed(
    sites: Sequence[Site],
    measure: Callable[[Sequence[Site]], Searched],
    best: Callable[[Searched], Choice],
) -> Searched:
    """Coarse to fine with a measurement of one's own: `measure` gives options named by the sites asked for,
    `best` the one to look around.
    """
    sites = sorted(sites, key=lambda site: site.order)
    if len(sites) <= WHOLE:
        return measure(sites)
    runs = np.array_split(np.arange(len(sites)), ceil(len(sites) / isqrt(len(sites))))
    first = [int(run[len(run) // 2]) for run in runs]
    found = measure([sites[i] for i in first])
    centre = [str(site) for site in sites].index(str(best(found).name))
    own = runs[first.index(centre)]
    # One site of either neighbouring run too: a best site just over the border is not lost.
    reach = range(max(0, int(own[0]) - 1), min(len(sites), int(own[-1]) + 2))
    around = [i for i in reach if i not in first]
    found = found.with_options_of(measure([sites[i] for i in around]))
    asked = {str(sites[i]) for i in (*first, *around)}
    return found.only(str(site) for site in sites if str(site) in asked)
