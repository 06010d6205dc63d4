"""Several ways to take a direction out, each at its best site and at all sites, and the best of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interventions.behaviours.records import Behaviour
from interventions.edits import Ablate, Erase
from interventions.searching.coarse import coarse_to_fine
from interventions.searching.goals import GoalLike
from interventions.searching.option import Choice
from interventions.searching.search import search
from interventions.searching.searched import Searched
from interventions.writes.lowrank import Edit
from probes.data.activations import Activations
from probes.data.examples import Examples
from probes.data.sites import Site, SitesLike
from probes.fitting.linear import LinearProbe
from probes.models.model import Model

ABLATE, ERASE = "Ablate", "Erase"
ONE_SITE, ALL_SITES = "one site", "all sites"
AT_ITS_FACE: dict[str, Any] = {"level": 0, "ties": ()}
"""The best value wins: differences are taken at their face and no tie is settled by cost."""


@dataclass(frozen=True, eq=False)
class Ways:
    """Every way by site (`by_site`), the site that each does best at (`sites`), and all ways side by side.

    Options of `found` are called "Ablate one site", "Erase one site", "Ablate all sites" and "Erase all
    sites"; `best` is one of them. All was measured on the same prompts, and they chose it.
    """

    by_site: Mapping[str, Searched]
    sites: Mapping[str, Site]
    found: Searched
    best: Choice


def ways_out(
    model: Model,
    probe: LinearProbe,
    train: Activations,
    behaviour: Behaviour,
    validation: Examples,
    by: GoalLike,
    *,
    everywhere: SitesLike = "resid_post",
    at: str = "all",
    neutral: Sequence[str] | None = None,
) -> Ways:
    """Takes a probe's direction out of the hidden states (`Ablate`), and all that a linear reader could tell
    of y (`Erase`, fitted on the train rows), at each site and at all of them.

    The goal `by` chooses on the validation prompts: sites at the face of its values; and of the four ways,
    where `neutral` texts tell what each costs, the cheapest of those that do as well within noise. At
    `everywhere` the direction of the best site is ablated; erasers are those of each site.
    """
    sites = [s for s in model.sites(everywhere) if s in probe.sites and probe.has_direction(s)]
    eraser = Erase.fit(train[sites], at=at)

    def ablated(site: Site, where: SitesLike | None = None) -> Ablate:
        return Ablate(probe.direction(site), sites=where, at=at)

    def erased(site: Site) -> Erase:
        return eraser.only([site], model)

    makers: dict[str, Callable[[Site], Edit]] = {ABLATE: ablated, ERASE: erased}
    how: dict[str, Any] = {"by": by, "n_controls": 0} | AT_ITS_FACE
    by_site = {
        name: coarse_to_fine(model, make, sites, behaviour, validation, **how)
        for name, make in makers.items()
    }
    best = {name: found.best(by, **AT_ITS_FACE) for name, found in by_site.items()}
    chosen = {name: choice.sites[0] for name, choice in best.items()}
    options: dict[Any, Any] = {f"{name} {ONE_SITE}": choice.edit for name, choice in best.items()}
    options |= {f"{ABLATE} {ALL_SITES}": ablated(chosen[ABLATE], everywhere), f"{ERASE} {ALL_SITES}": eraser}
    found = search(model, options, behaviour, validation, neutral=neutral, n_controls=0)
    return Ways(by_site, chosen, found, found.best(by, **(AT_ITS_FACE if neutral is None else {})))
