"""A model that may route its requests: where its policy is taken out, chosen on some requests, and what that
does to others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from interventions.behaviours.kinds import ROUTED, WRONG
from interventions.behaviours.records import Behaviour
from interventions.effects.effect import Effect
from interventions.effects.running import MIN_CONTROLS, effect
from interventions.searching.dosing import (
    Doses,
    Families,
    by_dose,
    differences,
    doses_out,
    mean_shares,
    random_spans,
)
from interventions.searching.goals import Goal, share
from interventions.searching.option import Choice
from interventions.searching.places import ALL, Directions, mean_directions, removed
from interventions.searching.searched import Searched
from probes.data.activations import Activations
from probes.data.examples import Examples
from probes.data.sites import Site
from probes.models.model import Model
from probes.reading.capture import capture

POLICY, CONCEPT, RANDOM = "policy", "concept", "random"
RANDOM_DRAWS = 3
SHARES = (0.6, 0.4)
"""Of the requests to fit and choose on: to fit and to choose."""
SAME_SHARE = 0.005
"""Of the answers; places are equal when no more lies between them."""
ANSWERS = Goal("share of answers that count", lambda outcome: float((outcome.values == 1).mean()))
"""Right ones, or where nobody knows which are right, any."""


@dataclass(frozen=True, eq=False)
class Route:
    """What was read and chosen in one model, and what it does.

    `acts` are the requests to fit and choose on, `directions` the policy at every block. `swept` are the
    answers to the refused ones to choose on under every removal, `choice` the place among them, and `effect`
    what taking the policy out there does to other refused requests.
    """

    model: Model
    acts: Activations
    directions: Directions
    swept: Searched
    choice: Choice
    effect: Effect

    @cached_property
    def doses(self) -> Doses:
        """Answers by what is taken out, where and how often."""
        return by_dose(self.swept)

    @property
    def place(self) -> str:
        return self.choice.name[1]

    @property
    def site(self) -> Site:
        """The chosen site, or the middle block where all were chosen."""
        sites = list(self.directions)
        return sites[len(sites) // 2] if self.place == ALL else Site.parse(self.place)

    @property
    def places(self) -> list[str]:
        return [*map(str, self.directions), ALL]

    @property
    def most_wrong(self) -> float:
        """The largest share of wrong facts at any place that leaves at most a twentieth of the answers
        routed; 0 if there is none, and where nobody knows.
        """
        kinds = np.array(self.swept.before.classes)
        shares = [mean_shares(self.doses[POLICY, place, 1.0]) for place in self.places]
        answered = [s for s in shares if s[np.isin(kinds, ROUTED)].sum() <= 0.05]
        return max((float(s[kinds == WRONG].sum()) for s in answered), default=0.0)


def families(train: Activations) -> tuple[Directions, Families]:
    """The policy at every block, and beside it the topics among the refused categories (no policy in them)
    and random directions.
    """
    blocks = train[[site for site in train.sites if site.kind == "resid_post"]]
    policy = mean_directions(blocks)
    topics = differences(blocks.rows(blocks.y == 1), "category")
    return policy, {POLICY: [policy], CONCEPT: [topics], RANDOM: random_spans(policy, RANDOM_DRAWS)}


def chosen(swept: Searched) -> Choice:
    """Where taking the policy out, once, brings back most (right) answers; of equals the one that leaves
    fewest routed ones, then one site before all, then the earliest.

    The best case for "the answers were there": a model that gives wrong facts even here has lost them.
    """
    once = swept.only(name for name in swept.names if (name[0], name[2]) == (POLICY, 1.0))
    ties = (share(*ROUTED, better="lowest"), "fewest sites", "earliest")
    return once.best(ANSWERS, within=SAME_SHARE, level=0, ties=ties)


def route(
    model: Model,
    known: Examples,
    refused: Examples,
    behaviour: Behaviour,
    *,
    choosing: Behaviour | None = None,
    doses: Sequence[float | int] = (1,),
    neutral: Sequence[str] = (),
    n_controls: int = MIN_CONTROLS,
    seed: int = 0,
) -> Route:
    """Finds the policy in a model's states, chooses where to take it out, and measures that on other
    requests.

    `known` requests (y is 1 where the policy concerns the request; a column `category` says the topic) fit
    the directions and choose the place; `refused` ones, all of which it concerns, are reported on. The
    behaviour gives `KINDS` of answers, or `OPEN_KINDS`; places are chosen by `choosing`, which may do without
    a judge. `neutral` texts measure the cost.
    """
    acts = capture(model, known, ["resid_pre.0", "resid_post"], at="last")
    train, validation = acts.split(SHARES, seed=seed)
    policy, compared = families(train)
    concerned = known.rows(np.isin(known.ids, validation.ids[validation.y == 1]))
    wanted = doses if 1 in doses else (*doses, 1.0)
    swept = doses_out(model, compared, choosing or behaviour, concerned, wanted)
    choice = chosen(swept)
    found = effect(
        model,
        removed(policy, choice.name[1]),
        behaviour,
        refused,
        neutral=neutral or None,
        control_costs=False,
        n_controls=n_controls,
        seed=seed,
        train=train,
        compare=False,
    )
    return Route(model, acts, policy, swept, choice, found)
