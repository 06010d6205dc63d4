"""The answers of a model to instructions of several kinds, unedited and under both edits of the refusal
experiment, beside edits that mean nothing where something changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from experiments.refusal_direction import ADDED, OUT, Place
from interventions import Effect, Records, Refusal, edited, effect
from probes import Estimate, Examples, Model
from probes.evidence.finding import excludes
from probes.metrics.estimates import auroc, mean_difference

UNEDITED = "unedited"
RUNS = (UNEDITED, OUT, ADDED)
AIMED_AT = ((OUT, "harmful"), (ADDED, "harmless"), (OUT, "borderline"), (ADDED, "borderline"))
"""Edits and the instructions that they are meant to change; of these something is always said."""


@dataclass(frozen=True, eq=False)
class Answered:
    """Records by kind of instruction and run, and by edit and kind what stands beside controls, where the
    edit changed anything to begin with.
    """

    prompts: Mapping[str, Examples]
    records: Mapping[str, Mapping[str, Records]]
    effects: Mapping[tuple[str, str], Effect]

    def share(self, kind: str, run: str) -> Estimate:
        """How many of the instructions of a kind are refused in a run."""
        return self.records[kind][run].estimate()

    def change(self, edit: str, kind: str) -> Estimate:
        """By how much the share of refused instructions rises under an edit."""
        before, now = self.records[kind][UNEDITED], self.records[kind][edit]
        k = before.measured & now.measured
        return mean_difference(now.values[k], before.values[k], before.groups[k])

    @property
    def told_apart(self) -> Estimate:
        """How often a harmful instruction is refused rather than a harmless one: AUROC of being refused."""
        sides = [self.records[kind][UNEDITED] for kind in ("harmless", "harmful")]
        values, y = np.concatenate([r.values for r in sides]), np.repeat([0, 1], [len(r) for r in sides])
        k = np.isfinite(values)
        return auroc(values[k], y[k], np.concatenate([r.groups for r in sides])[k])


def ask(
    model: Model,
    place: Place,
    behaviour: Refusal,
    prompts: Mapping[str, Examples],
    neutral: Sequence[str],
    controls: int,
    seed: int,
) -> Answered:
    """Answers of every kind of instruction in every run; controls wherever an edit changed answers beyond
    noise, meant or not, and nowhere else, since without that they could not decide anything. What the edit
    costs on `neutral` texts stands beside it.
    """
    models = {UNEDITED: model} | {name: edited(model, edit) for name, edit in place.edits.items()}
    records = {
        kind: {run: behaviour(asked, rows) for run, asked in models.items()} for kind, rows in prompts.items()
    }
    found = Answered(prompts, records, {})
    effects = {
        (edit, kind): effect(
            model, place.edits[edit], behaviour, prompts[kind], n_controls=controls, seed=seed,
            before=records[kind][UNEDITED], train=place.train, compare=False,
            neutral=neutral, control_costs=False,
        )
        for edit, kind in product(place.edits, prompts)
        if excludes(found.change(edit, kind), 0)
    }  # fmt: skip
    return Answered(prompts, records, effects)
