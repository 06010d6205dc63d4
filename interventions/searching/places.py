"""Whether behaviour uses what lies along a direction: taken out and added, at the place that other prompts
choose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interventions.behaviours.records import Behaviour
from interventions.edits import Ablate, Add
from interventions.effects.effect import Effect
from interventions.effects.running import MIN_CONTROLS, effect
from interventions.searching.coarse import coarse_to_fine
from interventions.searching.option import Choice, Name
from interventions.searching.search import search
from interventions.searching.searched import Searched
from interventions.writes.lowrank import Edit
from probes.data.activations import Activations
from probes.data.examples import Examples
from probes.data.sites import Site
from probes.fitting.directions import Direction
from probes.models.model import Model
from probes.recipes.mass_mean import MassMean

ALL = "all blocks"
"""The place that is every site at once."""
GOAL = "change"
"""The mean of the behaviour, as far from where it was as possible."""
Directions = Mapping[Site, Direction]
Spans = Mapping[Site, Direction | Sequence[Direction]]
"""What is taken out at every site: a direction, or the span of several."""


def mean_directions(acts: Activations) -> dict[Site, Direction]:
    """The difference of the class means at every site."""
    probe = MassMean().fit(acts)
    return {site: probe.direction(site) for site in acts.sites}


def removed(spans: Spans, place: str, at: str = "all", strength: float | int = 1) -> list[Edit]:
    """The edits that take a direction out at one site or, each site its own, at all of them; `strength` times
    as much as there is.
    """
    return [
        Ablate(found, at=at, strength=strength) for site, found in spans.items() if place in (ALL, str(site))
    ]


def removals(
    model: Model, directions: Directions, behaviour: Behaviour, validation: Examples, at: str, seed: int = 0
) -> Searched:
    """What taking a direction out does at every site alone, in forward order, and at all of them at once.

    A deep model is searched coarse to fine. No random edits stand beside the places, since `used` sets them
    beside the one that is chosen; options are named by their site, the last one "all blocks".
    """
    how: dict[str, Any] = {"n_controls": 0, "seed": seed}

    def alone(site: Site) -> Edit:
        return Ablate(directions[site], at=at)

    found = coarse_to_fine(model, alone, list(directions), behaviour, validation, by=GOAL, **how)
    everywhere: dict[Name, Sequence[Edit]] = {ALL: removed(directions, ALL, at)}
    return found.with_options_of(search(model, everywhere, behaviour, validation, before=found.before, **how))


def farthest(places: Searched, alone: bool = False) -> Choice:
    """The place where behaviour moves farthest; of equals one site before all, and the earliest. `alone`:
    one site.
    """
    names = [name for name in places.names if not alone or name != ALL]
    return places.only(names).best(GOAL)


def changes(places: Searched) -> dict[str, float]:
    """How far the mean of the behaviour moves at every place, from the unedited one."""
    before = places.outcome(places.before).values.mean()
    return {str(name): value - float(before) for name, value in places.values(GOAL).items()}


@dataclass(frozen=True, eq=False)
class DirectionUse:
    """What a direction does to behaviour: taken out of prompts that have it, and added to prompts that lack
    it.

    `places` are the removals on the prompts that chose; `out` was measured at `out_at`, `added` at
    `added_at`, the best single site, both on other prompts beside controls.
    """

    places: Searched
    out_at: Choice
    added_at: Choice
    out: Effect
    added: Effect

    @property
    def moves(self) -> bool:
        """Whether behaviour moves beyond controls, taken out or added."""
        return any(e.verdict().moves for e in (self.out, self.added))


def used(
    model: Model,
    directions: Directions,
    behaviour: Behaviour,
    validation: Examples,
    having: Examples,
    lacking: Examples,
    *,
    at: str = "all",
    neutral: Sequence[str] | None = None,
    n_controls: int = MIN_CONTROLS,
    seed: int = 0,
) -> DirectionUse:
    """Chooses the place on `validation` prompts, and measures the edits on prompts that have and that lack
    the property.

    Taken out is the whole component (`Ablate`), added one gap between the class means (`Add`), at the tokens
    `at`. With `neutral` texts the cost of either is measured. Give other prompts than those that the
    directions come from and the place is chosen on.
    """
    places = removals(model, directions, behaviour, validation, at, seed)
    out_at, added_at = farthest(places), farthest(places, alone=True)
    add = Add(directions[Site.parse(str(added_at.name))], gaps=1, at=at)
    how: dict[str, Any] = {"neutral": neutral or None, "control_costs": False, "n_controls": n_controls}
    how |= {"seed": seed, "compare": False}
    out = effect(model, removed(directions, str(out_at.name), at), behaviour, having, **how)
    return DirectionUse(places, out_at, added_at, out, effect(model, [add], behaviour, lacking, **how))
