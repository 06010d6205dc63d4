"""Third part of the truth experiment: how much of the direction turns the answers over?"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.report import Report
from experiments.truth_causal import ANSWERS, Setting, cost_of, random_kl
from interventions import Effect
from interventions import plots as effect_plots
from interventions.searching.pushing import Push, choose_push
from probes.markup.progress import progress_bar
from probes.metrics.estimates import accuracy

TURNED = 0.95
"""Share of answers on validation that a dose should turn."""
AT_CHANCE = 0.55
WAYS = ((1, "true"), (0, "false"))


class Turned(NamedTuple):
    """What one dose does: shares turned each way, and a sentence for each way that it was picked for."""

    cells: list[str]
    said: list[str]


def push(s: Setting, doses: Sequence[float], report: Report) -> list[Effect]:
    """What adding the direction does to the answers on test groups, over all doses."""
    chosen = choose_push(s.model, s.added, s.sites, doses, ANSWERS, s.validation, enough=TURNED, level=0)
    before = ANSWERS(s.model, s.test)
    effects = {}
    for dose in progress_bar("doses", True, doses):
        picked = dose in (chosen.up, chosen.down)
        effects[dose] = s.effect(s.added(chosen.site, dose), before, priced=picked)
    turns = _push_section(s, chosen, effects, report)
    at_chance = accuracy(before.values, s.test.y, balanced=True).value <= AT_CHANCE
    beyond = all(effects[dose].p_value() <= 1 / (1 + s.controls) for dose in (chosen.up, chosen.down))
    standing = f"{'beyond' if beyond else 'not beyond'} every matched random direction"
    if at_chance:
        standing += (
            "; the unedited answers are at chance, so this is a push on answer words and says nothing about"
            " truth"
        )
    report.claim(f"Adding it at {chosen.site}: {'; '.join(turns)}; {standing}.")
    return list(effects.values())


def _push_section(s: Setting, chosen: Push, effects: Mapping[float, Effect], report: Report) -> list[str]:
    """The table and the curve over doses; returns what the picked doses turn, in words."""
    rows, turns = [], []
    for dose, e in effects.items():
        row, said = _row(e, chosen, dose, report)
        rows.append(row)
        turns += said
    header = (
        "gaps", "change of mean logit difference", "largest random change", "turned to true (random)",
        "turned to false (random)", f"KL on neutral text{s.bound} (random)",
    )  # fmt: skip
    shown = report.table(f"Adding the direction at {chosen.site}", header, rows)
    unit = "logit difference (true minus false)"
    curve = effect_plots.dose_response(list(effects), list(effects.values()), unit)
    caption = (
        "Mean logit difference by dose, with 95% interval and the range over matched random directions of the"
        " same length"
    )
    report.section(
        "Does pushing along it turn the answers?",
        f"The direction was added at {chosen.site}, tokens: {s.edit_at}. The site and the arrowed doses"
        f" (smallest that turn {TURNED:.0%} of the answers each way, or the best there is) come from"
        " validation groups. The logit difference is that of the answer that calls the statement true over"
        " the one that calls it false.",
        (shown,),
        ((report.figure("dose_response", curve), caption),),
    )
    return turns


def _row(e: Effect, chosen: Push, dose: float, report: Report) -> tuple[tuple[str, ...], list[str]]:
    """One dose in the table, and what it turns, in words."""
    largest = float(np.abs(e.control_changes()).max())
    where = {"edit": "Add", "site": chosen.site, "dose": dose}
    report.add("logit_difference_change", e.change(), **where, split="test")
    report.add("control_change_max", largest, **where, split="test")
    report.add("neutral_kl", cost_of(e).kl, **where)
    turned = _turned(e, chosen, dose, report)
    cost = f"{cost_of(e).kl.value:.2f}" + (f" ({random_kl(e):.2f})" if e.control_costs else "")
    arrow = " ←" if dose in (chosen.up, chosen.down) else ""
    row = (f"{dose:+g}{arrow}", f"{e.change():.2f}", f"{largest:.2f}", *turned.cells, cost)
    return row, turned.said


def _turned(e: Effect, chosen: Push, dose: float, report: Report) -> Turned:
    picked, found = {1: chosen.up, 0: chosen.down}, Turned([], [])
    for towards, word in WAYS:
        if not ((e.base > 0) != bool(towards)).any():
            found.cells.append("-")  # every prompt was answered this way already
            continue
        share, random = e.turned(towards), float(np.mean(e.turned(towards, "controls").value))
        where = {"edit": "Add", "site": chosen.site, "dose": dose, "towards": word}
        report.add("turned", share, **where, split="test", chosen=picked[towards] == dose)
        found.cells.append(f"{share.value:.2f} ({random:.2f})")
        if picked[towards] == dose:
            turns = f"{dose:+g} gaps turn {share} of the other answers to {word}"
            found.said.append(f"{turns} (matched random {random:.2f})")
    return found
