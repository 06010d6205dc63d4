"""Where to push along a direction, and how hard it takes to turn the answers each way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from interventions.behaviours.records import Behaviour
from interventions.searching.coarse import zoomed
from interventions.searching.goals import Goal, turned
from interventions.searching.option import Choice
from interventions.searching.search import search
from interventions.searching.searched import Searched
from interventions.writes.lowrank import Edit
from probes.data.examples import Examples
from probes.data.sites import Site, SitesLike
from probes.evidence.choose import ONE_ERROR
from probes.models.model import Model


@dataclass(frozen=True)
class Push:
    """Where to push, and the weakest dose that turns enough answers up (above 0) and down, or the one that
    turns most.
    """

    site: Site
    up: float
    down: float


def check_both_ways(doses: Sequence[float | int]) -> None:
    """Raises ValueError for doses of one sign: answers are pushed both ways."""
    if not (min(doses, default=0) < 0 < max(doses, default=0)):
        raise ValueError(f"doses need values above and below 0, got {list(doses)}")


def choose_push(
    model: Model,
    make: Callable[[Site, float], Edit],
    sites: SitesLike,
    doses: Sequence[float | int],
    behaviour: Behaviour,
    validation: Examples,
    *,
    enough: float = 0.95,
    level: float | int = ONE_ERROR,
    progress: bool = True,
) -> Push:
    """Chooses on validation prompts where `make(site, dose)` turns most answers, both ways together, and the
    doses.

    Every prompt is pushed towards the answer that it did not get: the site is chosen, coarse to fine, with
    half of the strongest dose, then for each way the weakest of the doses of that sign that turns the share
    `enough`, else the one that turns most. A way that no answer is left to turn gets its weakest dose.
    `level` is as in `Searched.best`; ties go to the earliest site and the weakest dose. Raises ValueError for
    doses of one sign.
    """
    check_both_ways(doses)
    above = behaviour(model, validation).values > 0
    ways = {sign: validation.rows(rows) for sign, rows in ((1, ~above), (-1, above)) if rows.any()}
    strong = max(abs(dose) for dose in doses) / 2
    how = {"n_controls": 0, "progress": progress}

    def both_ways(some: Sequence[Site]) -> Searched:
        found = []
        for sign, prompts in ways.items():
            options = {str(site): make(site, sign * strong) for site in some}
            found.append(search(model, options, behaviour, prompts, **how))
        return found[0] if len(found) == 1 else found[0].with_rows_of(found[1])

    def best(found: Searched) -> Choice:
        return found.best(turned, level=level)

    site = best(zoomed(model.sites(sites), both_ways, best)).sites[0]
    capped = Goal("share turned", lambda outcome: min(turned.value(outcome), enough))

    def weakest(sign: int) -> float:
        mine = sorted((float(dose) for dose in doses if dose * sign > 0), key=abs)
        if sign not in ways:
            return mine[0]
        found = search(model, {dose: make(site, dose) for dose in mine}, behaviour, ways[sign], **how)
        return found.best(capped, level=level, ties=()).name

    return Push(site, weakest(1), weakest(-1))
