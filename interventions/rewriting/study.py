"""Probe, rewrite, evaluate on one model: everything frozen on known prompts, then measured on others (arXiv
2509.00591).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from interventions.behaviours.in_chat import InChat
from interventions.behaviours.records import Behaviour
from interventions.effects.effect import Effect
from interventions.effects.running import MIN_CONTROLS, effect
from interventions.rewriting.arms import Arm, choose
from interventions.rewriting.candidates import Rewriter
from interventions.rewriting.gates import Gated, Gates
from interventions.rewriting.outcomes import Remeasured, remeasured
from interventions.rewriting.scorers import independent_probes, text_scorer
from interventions.searching.option import Choice
from interventions.searching.places import farthest, mean_directions, removals, removed
from interventions.searching.searched import Searched
from interventions.writes.lowrank import Edit
from probes.awareness.reading import AwarenessProbe
from probes.awareness.trained_on import context_sites
from probes.data.examples import Examples
from probes.data.sites import SitesLike
from probes.models.model import Model
from probes.reading.capture import capture
from probes.recipes.logistic import Logistic

DIRECTED, UNDIRECTED = "directed", "undirected"
STEERED = "context taken out"
UNDIRECTED_K = 3
"""Rewordings without an aim, a prompt."""
SEARCHED = 96
"""Prompts on which the place of the edit is chosen."""


@dataclass(frozen=True)
class Plan:
    """How a model is studied: who rewrites, what a rewrite must keep, where probes read and where the edit
    acts.

    `k` directed candidates a prompt; `others` are further rewriters by the name of their arm, such as one
    that changes the format and keeps the purpose. With `chat` the model is asked through its chat template;
    probes read the prompts as plain texts either way. Edits act at the tokens `edit_at`.
    """

    rewriter: Rewriter
    gates: Gates
    k: int = 7
    others: Mapping[str, Rewriter] = field(default_factory=dict)
    sites: SitesLike = "resid_post"
    at: str = "last"
    edit_at: str = "all"
    chat: bool = False
    n_controls: int = MIN_CONTROLS
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Study:
    """What was made of one model: frozen probes, gated candidates, arms and their answers, the edit and its
    effect.

    `places` are the removals of the context direction on known prompts, `place` the one chosen among them.
    """

    probe: AwarenessProbe
    second: AwarenessProbe
    gated: Mapping[str, Gated]
    arms: Mapping[str, Arm]
    result: Remeasured
    places: Searched
    place: Choice
    effect: Effect


def study(
    model: Model,
    known: Examples,
    originals: Examples,
    behaviour: Behaviour,
    plan: Plan,
    neutral: list[str] | None = None,
) -> Study:
    """Rewrites the `originals` until a probe calls them deployment, asks again, and takes the direction out
    instead.

    `known` prompts (y is 1 for evaluations; columns context and format) fit, calibrate and choose
    everything; nothing is fitted or chosen on the originals. `neutral` texts measure the cost of the edit.
    """
    probe, second = probes_of(model, known, plan)
    gated = candidates(model, originals, plan)
    others = {name: gated[name] for name in plan.others}
    arms = choose(
        gated[DIRECTED],
        gated[UNDIRECTED],
        probe.scorer(model),
        second=second.scorer(model),
        text=text_scorer(known),
        others=others,
        seed=plan.seed,
    )
    asked = InChat(behaviour) if plan.chat else behaviour
    directions = mean_directions(
        capture(model, known.as_chat() if plan.chat else known, "resid_post", plan.at)
    )
    evaluations = known.rows(np.asarray(known.y) == 1)
    places = removals(
        model, directions, asked, evaluations.some(SEARCHED, plan.seed), plan.edit_at, plan.seed
    )
    place = farthest(places)
    edits = removed(directions, str(place.name), plan.edit_at)
    result = remeasured(model, asked, arms, edits={STEERED: edits})
    steered = steer(model, edits, behaviour, originals, plan, neutral)
    return Study(probe, second, gated, arms, result, places, place, steered)


def probes_of(model: Model, known: Examples, plan: Plan) -> tuple[AwarenessProbe, AwarenessProbe]:
    """The probe that chooses, at the best site, and an independent one at the best of the others."""
    seen = capture(model, known, plan.sites, plan.at)
    chosen = context_sites(Logistic(), seen, plan.seed)
    order = [i for i in np.argsort(-chosen.values, kind="stable").tolist() if i != chosen.index]
    first, second = seen.sites[chosen.index], seen.sites[order[0] if order else chosen.index]
    return independent_probes(model, known, first, second, at=plan.at, seed=plan.seed)


def candidates(model: Model, originals: Examples, plan: Plan) -> dict[str, Gated]:
    """Rewrites by source, each through the gates."""
    written = {
        DIRECTED: plan.rewriter(originals, plan.k, directed=True, seed=plan.seed),
        UNDIRECTED: plan.rewriter(originals, UNDIRECTED_K, directed=False, seed=plan.seed),
    }
    written |= {
        name: rewriter(originals, UNDIRECTED_K, directed=True, seed=plan.seed)
        for name, rewriter in plan.others.items()
    }
    return {source: plan.gates(model, made) for source, made in written.items()}


def steer(
    model: Model,
    edits: list[Edit],
    behaviour: Behaviour,
    originals: Examples,
    plan: Plan,
    neutral: list[str] | None,
) -> Effect:
    """The edit on the original prompts, beside matched random edits."""
    # Random edits are made as large as this one on the tokens that are asked, those of the template included.
    asked = originals.as_chat() if plan.chat else originals
    return effect(
        model,
        edits,
        behaviour,
        asked,
        neutral=neutral or None,
        control_costs=False,
        n_controls=plan.n_controls,
        seed=plan.seed,
        compare=False,
    )
