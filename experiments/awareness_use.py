"""Whether behaviour uses what a probe reads: directions of the context and of the format, taken out and
added, beside matched random edits.
"""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np

from experiments.purpose_data import Prompts
from experiments.report import Report
from interventions import Effect
from interventions.behaviours.records import Records
from interventions.display.plots import answer_kinds
from interventions.rewriting.study import SEARCHED
from interventions.searching.places import DirectionUse, changes, mean_directions, used
from interventions.searching.searched import Searched
from probes import Model, capture

ASKED = 128  # prompts of an effect, each asked under every random edit as well
JUDGED = "p and verdict are of"  # a column of tables of effects
# what: (column, its first value, its second value)
SIDES = {"context": ("context", "evaluation", "deployment"), "format": ("format", "benchmark", "casual")}


def use(
    model: Model, prompts: Prompts, what: str, at: str, edit_at: str, controls: int, seed: int
) -> DirectionUse:
    """The direction of the context or the format (read at the token `at`), taken out and added at the tokens
    `edit_at`.
    """
    assert prompts.behaviour is not None
    column, first, second = SIDES[what]
    fitting = prompts.fitting.with_y((prompts.fitting.column(column) == first).astype(int))
    directions = mean_directions(capture(model, fitting, "resid_post", at))
    validation = prompts.fitting.rows(prompts.fitting.column(column) == first).some(SEARCHED, seed)
    sides = [prompts.test.rows(prompts.test.column(column) == side) for side in (first, second)]
    having, lacking = (rows.some(ASKED, seed) for rows in sides)
    return used(
        model, directions, prompts.behaviour, validation, having, lacking,
        at=edit_at, neutral=prompts.neutral, n_controls=controls, seed=seed,
    )  # fmt: skip


def use_section(report: Report, found: Mapping[str, Mapping[str, DirectionUse]]) -> None:
    """Tables of both directions in every model, and the answers as bars."""
    rows, tables, figures = [], [], []
    for name, uses in found.items():
        runs: dict[str, Records] = {}
        for what, u in uses.items():
            _, first, second = SIDES[what]
            out, added = f"{what} out\nof {first}", f"{what} added\nto {second}"
            rows.append(effect_row(report, name, out, u.out, str(u.out_at.name)))
            rows.append(effect_row(report, name, added, u.added, str(u.added_at.name)))
            runs |= {f"{first}\nunedited": u.out.before, out: u.out.now}
            runs |= {f"{second}\nunedited": u.added.before, added: u.added.now}
        title = f"{name}: change of the outcome by place, on fitting prompts"
        searched = {what: u.places for what, u in uses.items()}
        tables.append(places_table(report, title, f"{name}, taken out at", searched))
        figures.append(answers_figure(report, name, runs))
    unit = next(iter(next(iter(found.values())).values())).out.before.unit
    header = ("edit", "at", f"change of {unit}", "random edits", JUDGED, "p", "KL, neutral text", "verdict")
    tables.insert(0, report.table(f"Change of {unit} under edits", header, rows))
    report.section(
        "Does behaviour use it?",
        "The direction (difference of class means, both formats and contexts in equal shares) is taken "
        "out of prompts of the first side and added, by one gap between the class means, to prompts of "
        "the second. The place is where taking it out moved behaviour most on other prompts. Beside each "
        "edit stand random edits that change the hidden state by the same mean length.",
        tuple(tables),
        tuple(figures),
    )


def effect_row(report: Report, name: str, edit: str, e: Effect, place: str) -> tuple[str, ...]:
    """One edit beside its random edits."""
    label, word, random = edit.replace("\n", " "), e.verdict().word, e.control_changes()
    change, p = e.change(), e.p_value()
    report.add("outcome_change", change, model=name, edit=label, place=place, verdict=word)
    report.add("moved", e.moved(), of=moved_as(e), model=name, edit=label, place=place, p=p, verdict=word)
    report.add("outcome_change_random", float(np.abs(random).max()), model=name, edit=label)
    report.headline(f"{name}/outcome_change/{label}", change)
    cost = "-" if e.cost is None else f"{e.cost.kl.value:.3f}"
    beside = f"{random.min():+.2f} to {random.max():+.2f}"
    return f"{name}: {label}", place, f"{change:+.2f}", beside, moved_beside(e), f"{p:.3f}", cost, word


def moved_as(e: Effect) -> str:
    """Which number p and the verdict are of."""
    return "answers changed" if e.measure.by_answers else f"change of {e.before.unit}"


def moved_beside(e: Effect) -> str:
    """The number that p and the verdict are of, over all matched random edits."""
    moved, random = e.moved(), np.abs(e.control_moved())
    form = ".1%" if e.measure.by_answers else "+.2f"
    return f"{moved_as(e)}: {moved.value:{form}}; random up to {random.max():{form.lstrip('+')}}"


def places_table(report: Report, title: str, corner: str, searched: Mapping[str, Searched]) -> tuple:
    """What taking each direction out does by place; a deep model is not asked at every site."""
    found = {what: changes(places) for what, places in searched.items()}
    names = list(dict.fromkeys(place for at in found.values() for place in at))
    rows = [
        (what, *(f"{at[place]:+.2f}" if place in at else "-" for place in names))
        for what, at in found.items()
    ]
    return report.table(title, (corner, *names), rows)


def answers_figure(report: Report, name: str, runs: Mapping[str, Records]) -> tuple[str, str]:
    _, ax = plt.subplots(figsize=(1.2 + 1.25 * len(runs), 3.2), layout="constrained")
    answer_kinds(runs, ax)
    ax.set_title(name, fontsize=10)
    ax.tick_params(axis="x", labelsize=7)
    return report.figure(f"use_{name}", ax), f"{name}: kinds of answers before and under each edit"
