"""Whether behaviour uses what a probe reads: directions of the context and of the format, taken out
and added, beside matched random edits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

from experiments.purpose_data import Prompts
from experiments.report import Report
from interventions import Ablate, Add, Edit, Effect, edited, effect
from interventions.behaviours.records import Behaviour, Records
from interventions.display.plots import answer_kinds
from probes import Direction, Examples, MassMean, Model, Site, capture
from probes.awareness import TwoByTwo

ALL = "all blocks"
SWEPT = 96  # prompts on which places are compared
ASKED = 128  # prompts of an effect, each asked under every random edit as well
# what: (column, its first value, its second value)
SIDES = {"context": ("context", "evaluation", "deployment"), "format": ("format", "benchmark", "casual")}
Word = Literal[
    "decodable and used",
    "decodable, behaviour goes by the format",
    "decodable but unused",
    "used, but not shown decodable",
    "not decodable",
]


@dataclass(frozen=True, eq=False)
class Use:
    """What taking a direction out (on prompts of its first side) and adding it (on those of the second) does,
    at the place found on other prompts.

    `places` is the change of the outcome on the fitting prompts by place.
    """

    what: str
    place: str
    added_at: str
    places: dict[str, float]
    directions: dict[Site, Direction]
    out: Effect
    added: Effect

    @property
    def moves(self) -> bool:
        """Whether behaviour moves beyond matched random edits, taken out or added."""
        return any(e.verdict().word.startswith("moves behaviour") for e in (self.out, self.added))


def directions_of(model: Model, fitting: Examples, what: str, at: str) -> dict[Site, Direction]:
    """The difference of class means of one side of the design over the other, at every block."""
    column, first, _ = SIDES[what]
    acts = capture(model, fitting.with_y((fitting.column(column) == first).astype(int)), "resid_post", at)
    probe = MassMean().fit(acts)
    return {s: probe.direction(s) for s in acts.sites}


def taken_out(directions: Mapping[Site, Direction], place: str, at: str) -> list[Edit]:
    return [Ablate(d, at=at) for site, d in directions.items() if place in (ALL, str(site))]


def use(model: Model, prompts: Prompts, what: str, at: str, edit_at: str, controls: int, seed: int) -> Use:
    """Finds the place where taking the direction out moves behaviour most on fitting prompts, and measures it
    there on the test prompts.

    Directions are read at the token `at`; edits act at `edit_at`.
    """
    assert prompts.behaviour is not None
    column, first, second = SIDES[what]
    directions = directions_of(model, prompts.fitting, what, at)
    mine = prompts.fitting.rows(prompts.fitting.column(column) == first)
    places = swept(model, directions, prompts.behaviour, some_of(mine, SWEPT, seed), edit_at)
    place = best_place(places)
    single = best_place({p: v for p, v in places.items() if p != ALL})
    on, off = (
        some_of(prompts.test.rows(prompts.test.column(column) == side), ASKED, seed)
        for side in (first, second)
    )
    out = measured(model, taken_out(directions, place, edit_at), prompts, on, controls, seed)
    added = measured(
        model, [Add(directions[Site.parse(single)], gaps=1, at=edit_at)], prompts, off, controls, seed
    )
    return Use(what, place, single, places, directions, out, added)


def best_place(places: Mapping[str, float]) -> str:
    """Where the outcome changes most; of equals one site before all, and the earliest."""
    return max(places, key=lambda p: (round(abs(places[p]), 2), p != ALL))


def some_of(rows: Examples, n: int, seed: int) -> Examples:
    return rows.rows(np.sort(np.random.default_rng(seed).permutation(len(rows))[:n]))


def swept(
    model: Model, directions: Mapping[Site, Direction], behaviour: Behaviour, some: Examples, edit_at: str
) -> dict[str, float]:
    """Change of the outcome by place, in the order of the blocks, all blocks last."""
    base = behaviour(model, some)
    found = {}
    for place in tqdm([*map(str, directions), ALL], desc="places", delay=2, leave=False, disable=None):
        now = behaviour(edited(model, *taken_out(directions, place, edit_at)), some)
        found[place] = float(np.nanmean(now.values - base.values))
    return found


def measured(
    model: Model, edits: list[Edit], prompts: Prompts, rows: Examples, controls: int, seed: int
) -> Effect:
    assert prompts.behaviour is not None
    neutral = prompts.neutral or None
    return effect(
        model,
        edits,
        prompts.behaviour,
        rows,
        neutral=neutral,
        control_costs=False,
        n_controls=controls,
        seed=seed,
        compare=False,
    )


def concluded(reads: TwoByTwo, context: Use, form: Use) -> Word:
    """What reading and editing say together. Decodable asks for the open gate; used for an effect
    beyond matched random edits.
    """
    if not reads.verdict:
        return "used, but not shown decodable" if context.moves else "not decodable"
    if context.moves:
        return "decodable and used"
    return "decodable, behaviour goes by the format" if form.moves else "decodable but unused"


def use_section(report: Report, found: Mapping[str, Mapping[str, Use]]) -> None:
    """Tables of both directions in every model, and the answers as bars."""
    rows, tables, figures = [], [], []
    for name, uses in found.items():
        runs: dict[str, Records] = {}
        for what, u in uses.items():
            _, first, second = SIDES[what]
            steps = {f"{what} out\nof {first}": u.out, f"{what} added\nto {second}": u.added}
            for step, e in steps.items():
                runs |= {f"{step.split(' ')[-1]}\nunedited": e.before, step: e.now}
                random = e.control_changes()
                label = step.replace("\n", " ")
                report.add(
                    "outcome_change",
                    e.change(),
                    model=name,
                    edit=label,
                    place=u.place,
                    p=e.p_value(),
                    verdict=e.verdict().word,
                )
                report.add("outcome_change_random", float(np.abs(random).max()), model=name, edit=label)
                cost = "-" if e.cost is None else f"{e.cost.kl.value:.3f}"
                rows.append(
                    (
                        f"{name}: {label}",
                        u.place if e is u.out else u.added_at,
                        f"{e.change():+.2f}",
                        f"{random.min():+.2f} to {random.max():+.2f}",
                        f"{e.p_value():.3f}",
                        cost,
                        e.verdict().word,
                    )
                )
        shown = [(what, *(f"{v:+.2f}" for v in u.places.values())) for what, u in uses.items()]
        places = next(iter(uses.values())).places
        tables.append(
            report.table(
                f"{name}: change of the outcome by place, on fitting prompts",
                (f"{name}, taken out at", *places),
                shown,
            )
        )
        ax = answer_kinds(runs, plt.subplots(figsize=(1.2 + 1.25 * len(runs), 3.2), layout="constrained")[1])
        ax.set_title(name, fontsize=10)
        ax.tick_params(axis="x", labelsize=7)
        figures.append(
            (report.figure(f"use_{name}", ax), f"{name}: kinds of answers before and under each edit")
        )
    unit = next(iter(next(iter(found.values())).values())).out.before.unit
    header = ("edit", "at", f"change of {unit}", "random edits", "p", "KL, neutral text", "verdict")
    tables.insert(0, report.table(f"Change of {unit} under edits", header, rows))
    report.section(
        "Does behaviour use it?",
        "The direction (difference of class means, both formats and contexts in equal shares) is taken out of"
        " prompts of the first side and added, by one gap between the class means, to prompts of the second."
        " The place is where taking it out moved behaviour most on other prompts. Beside each edit stand"
        " random edits that change the hidden state by the same mean length.",
        tuple(tables),
        tuple(figures),
    )
