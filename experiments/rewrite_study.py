"""One model through probe, rewrite and evaluate: probes frozen, candidates gated, arms chosen and
asked, the direction taken out instead.
"""

from dataclasses import dataclass

import numpy as np

from experiments.awareness_reading import seen_at
from experiments.awareness_use import SWEPT, best_place, directions_of, measured, some_of, swept, taken_out
from experiments.organism.purposes import HELD_OUT_VOCABULARIES
from experiments.organism.purposes_rewriting import format_bank
from experiments.purpose_data import Prompts
from interventions import Effect
from interventions.behaviours.records import Behaviour, Records
from interventions.rewriting import Gated, Gates, Rewriter
from interventions.rewriting.arms import Arm, Scorer, choose
from interventions.rewriting.outcomes import Remeasured, remeasured
from probes import Examples, Model
from probes.awareness import AwarenessProbe, fit_awareness
from probes.awareness.trained_on import TEXT
from probes.data.sites import SitesLike
from probes.evidence.surface import surface_scores

CASUAL_FORMAT = "casual format"
STEERED = "context taken out"
UNDIRECTED_K = 3


@dataclass(frozen=True, eq=False)
class Study:
    """What was made of one model: the frozen probes, the gated candidates, the arms and their
    answers, and the effect of the edit with its random ones.
    """

    name: str
    probe: AwarenessProbe
    second: AwarenessProbe
    gated: dict[str, Gated]
    arms: dict[str, Arm]
    result: Remeasured
    place: str
    places: dict[str, float]
    effect: Effect


@dataclass(frozen=True)
class _Chatted:
    """A behaviour asked through the chat template about prompts that are rewritten as plain text."""

    behaviour: Behaviour

    def __call__(self, model: Model, prompts: Examples) -> Records:
        return self.behaviour(model, prompts.as_chat())


def study(
    name: str,
    model: Model,
    prompts: Prompts,
    rewriter: Rewriter,
    gates: Gates,
    *,
    k: int,
    sites: SitesLike,
    at: str,
    edit_at: str,
    chat: bool,
    controls: int,
    seed: int,
    embedded: bool,
) -> Study:
    """Everything that happens to one model; nothing is fitted or chosen on the prompts that are
    rewritten and asked.
    """
    known, originals = prompts.fitting, prompts.test.rows(prompts.test.y == 1)  # pyright: ignore
    if embedded:  # probes know four vocabularies; the bank writes in the other two
        known, originals = (
            p.rows(~np.isin(p.column("fold"), HELD_OUT_VOCABULARIES)) for p in (known, originals)
        )
    probe, second = probes_of(model, known, sites, at, seed)
    gated = {
        "directed": gates(model, rewriter(originals, k, directed=True, seed=seed)),
        "undirected": gates(model, rewriter(originals, UNDIRECTED_K, directed=False, seed=seed)),
    }
    others = (
        {CASUAL_FORMAT: gates(model, format_bank()(originals, UNDIRECTED_K, directed=True, seed=seed))}
        if embedded
        else {}
    )
    arms = choose(
        gated["directed"],
        gated["undirected"],
        probe.scorer(model),
        second=second.scorer(model),
        text=by_text(known),
        others=others,
        seed=seed,
    )
    assert prompts.behaviour is not None
    behaviour = _Chatted(prompts.behaviour) if chat else prompts.behaviour
    directions = directions_of(model, known.as_chat() if chat else known, "context", at)
    mine = known.rows(known.y == 1)  # pyright: ignore
    places = swept(model, directions, behaviour, some_of(mine, SWEPT, seed), edit_at)
    place = best_place(places)
    edits = taken_out(directions, place, edit_at)
    result = remeasured(model, behaviour, arms, edits={STEERED: edits})
    # Random edits are made as large as this one on the tokens that are asked, those of the template included.
    effect = measured(model, edits, prompts, originals.as_chat() if chat else originals, controls, seed)
    return Study(name, probe, second, gated | others, arms, result, place, places, effect)


def probes_of(
    model: Model, known: Examples, sites: SitesLike, at: str, seed: int
) -> tuple[AwarenessProbe, AwarenessProbe]:
    """The probe that chooses, at the best site, and one that does not: fitted on other tasks by
    another recipe, at the next best site.
    """
    seen, chosen = seen_at(model, known, sites, at, seed)
    order = np.argsort(-chosen.values, kind="stable")
    first, other = (seen.sites[int(order[min(i, len(order) - 1)])] for i in (0, 1))
    train, calibration, other_train, other_calibration = known.split((0.3, 0.2, 0.3, 0.2), seed=seed)
    chooser = fit_awareness(model, train, calibration, first, "logistic", at=at)
    return chooser, fit_awareness(model, other_train, other_calibration, other, "mean difference", at=at)


def by_text(known: Examples) -> Scorer:
    """Scores of a classifier of character n-grams fitted on these prompts: what the words alone would
    choose.
    """
    texts, labels = [str(t) for t in known.texts], known.y
    return lambda rows: surface_scores(texts, labels, [str(t) for t in rows.texts])[TEXT]
