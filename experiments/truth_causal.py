"""Second half of the truth experiment: do the model's answers use the direction, and how much pushes
them over?
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from experiments.report import Report
from experiments.truth_reading import Reading
from interventions import (
    Ablate,
    Add,
    Answers,
    Choice,
    Cost,
    Edit,
    Effect,
    Erase,
    Goal,
    Searched,
    coarse_to_fine,
    effect,
    search,
)
from interventions import plots as effect_plots
from interventions.behaviours.records import Records
from interventions.searching.goals import distance_from_chance
from interventions.searching.pushing import choose_push
from probes import Estimate, Examples, Model, Site
from probes.metrics.estimates import accuracy

ANSWERS = Answers("column:if_true", "column:if_false")
ALL = "resid_post"
TURNED = 0.95  # share of answers on validation that a dose should turn
# The highest effect wins, whatever it costs: differences are taken at their face and no tie is settled by
# cost.
AT_ITS_FACE: dict[str, Any] = {"level": 0, "ties": ()}


@dataclass(frozen=True, eq=False)
class Setting:
    """What both questions share: the model, the prompts to choose on and to report on, where edits
    act, the controls.
    """

    model: Model
    validation: Examples
    test: Examples
    reading: Reading
    edit_at: str
    neutral: Sequence[str]
    controls: int
    seed: int

    @property
    def sites(self) -> list[Site]:
        """Sites that can be edited: block outputs at which the probe found a direction."""
        probe = self.reading.truth.probe
        return [s for s in probe.sites if s.kind == ALL and probe.has_direction(s)]

    @property
    def bound(self) -> str:
        """Neutral text has no such place as the end of a statement, so the cost of an edit there is
        an upper bound.
        """
        return "" if self.edit_at == "all" else ", edited at every token"

    def ablated(self, site: Site, sites: str | None = None) -> Ablate:
        return Ablate(self.reading.truth.probe.direction(site), sites=sites, at=self.edit_at)

    def added(self, site: Site, dose: float) -> Add:
        return Add(self.reading.truth.probe.direction(site), gaps=dose, at=self.edit_at)

    def effect(self, edit: Edit, before: Records, control_costs: bool = True) -> Effect:
        return effect(
            self.model,
            edit,
            ANSWERS,
            self.test,
            neutral=self.neutral,
            n_controls=self.controls,
            seed=self.seed,
            before=before,
            control_costs=control_costs,
            compare=False,
        )


@dataclass(frozen=True)
class Cell:
    name: str
    rows: np.ndarray


def cells(prompts: Examples) -> list[Cell]:
    """Prompts by form and, where the data says, by polarity."""
    form = prompts.columns["form"]
    negated = prompts.columns.get("negated", np.zeros(len(prompts), dtype=int))
    found = []
    for n in np.unique(negated):
        for f in np.unique(form):
            polarity = [] if len(np.unique(negated)) < 2 else ["negated" if n else "affirmative"]
            found.append(Cell(", ".join([*polarity, f"form {f + 1}"]), (form == f) & (negated == n)))
    return found


def nothing_left(prompts: Examples) -> Goal:
    """In the worst cell neither accuracy nor AUROC of the answers is far from chance."""
    return distance_from_chance.in_cells("form", *(["negated"] if "negated" in prompts.columns else []))


def choose_removal(s: Setting, report: Report) -> tuple[Searched, Choice, dict[str, Site]]:
    """The four ways to take the direction out, each at its best site, and the best of the four; all
    decided on validation.
    """
    goal = nothing_left(s.validation)
    eraser = Erase.fit(s.reading.parts[0][s.sites], at=s.edit_at)
    makers: dict[str, Callable[[Site], Edit]] = {
        "Ablate": s.ablated,
        "Erase": lambda site: eraser.only([site], s.model),
    }
    options: dict[str, Edit] = {}
    chosen: dict[str, Site] = {}
    for name, make in makers.items():
        found = coarse_to_fine(
            s.model, make, s.sites, ANSWERS, s.validation, by=goal, n_controls=0, **AT_ITS_FACE
        )
        for site, left in found.values(goal).items():
            report.add("distance_from_chance", left, edit=name, site=site, split="validation")
        best = found.best(goal, **AT_ITS_FACE)
        options[f"{name} one site"], chosen[name] = best.edit, best.sites[0]
    options |= {"Ablate all sites": s.ablated(chosen["Ablate"], ALL), "Erase all sites": eraser}
    found = search(s.model, options, ANSWERS, s.validation, n_controls=0)
    return found, found.best(goal, **AT_ITS_FACE), chosen


def ablate(s: Setting, report: Report) -> dict[str, Effect]:
    """What is left of the answers on test groups after each of the four edits, beside matched random
    edits.
    """
    found, best, chosen = choose_removal(s, report)
    before = ANSWERS(s.model, s.test)
    effects = {str(option.name): s.effect(option.edit, before) for option in found.options}
    rows = [*_by_cell(s.test, effects, best.name, report), *_costs(s, effects)]
    for name, e in effects.items():
        for k, value in enumerate(e.accuracy("controls").value):
            report.add(
                "balanced_accuracy",
                float(value),
                edit=f"{name}, matched random {k}",
                cell="all",
                split="test",
            )
        report.add("neutral_kl", _cost(e).kl, edit=name)
        report.add("neutral_loss_rise", _cost(e).loss, edit=name)
    header = ("prompts", "unedited", *(f"{name}{' ←' if name == best.name else ''}" for name in effects))
    title = "Answers after taking the direction out: balanced accuracy / AUROC of the logit difference"
    shown = report.table(title, header, rows)
    where = ", ".join(f"{name} {site}" for name, site in chosen.items())
    figure = report.figure("ablation", effect_plots.before_after(effects))
    report.section(
        "Do the answers use it?",
        "Balanced accuracy of the answers (.50: they no longer depend on truth) and AUROC of the logit"
        " difference, per polarity and form, on test groups. Sites were chosen on validation groups"
        f" ({where}), and so was the arrowed edit; all four are shown. Each stands beside {s.controls} random"
        " edits that change the hidden state by the same mean length per token at every site.",
        (shown,),
        ((figure, "Balanced accuracy of answers: unedited, edited, and under matched random edits"),),
    )
    report.facts["chosen_edit"] = best.name
    report.claim(_use_claim(best.name, effects[best.name]))
    return effects


def _by_cell(
    test: Examples, effects: Mapping[str, Effect], best: str, report: Report
) -> list[tuple[str, ...]]:
    """A row a cell: accuracy and AUROC of the answers, unedited and under each edit."""
    rows = []
    for cell in [*cells(test), Cell("all", np.ones(len(test), dtype=bool))]:
        numbers = {"unedited": _measures(effects[best], "base", cell)}
        numbers |= {name: _measures(e, "after", cell) for name, e in effects.items()}
        for name, measures in numbers.items():
            for measure, value in measures.items():
                report.add(measure, value, edit=name, cell=cell.name, split="test", chosen=name == best)
        rows.append(
            (
                cell.name,
                *(" / ".join(f"{e.value:.2f}" for e in measures.values()) for measures in numbers.values()),
            )
        )
    return rows


def _measures(e: Effect, of: str, cell: Cell) -> dict[str, Estimate]:
    return {"balanced_accuracy": e.accuracy(of, cell.rows), "answer_auroc": e.auroc(of, cell.rows)}


def _costs(s: Setting, effects: Mapping[str, Effect]) -> list[tuple[str, ...]]:
    """Rows of what random edits do, and of what each edit costs."""
    moved = [np.abs(e.accuracy("controls").value - e.accuracy("base").value).max() for e in effects.values()]
    kl = [f"{_cost(e).kl.value:.3f} ({_random_kl(e):.3f})" for e in effects.values()]
    return [
        ("matched random edits move it by at most", "", *(f"{m:.3f}" for m in moved)),
        (f"KL on neutral text{s.bound} (random)", "", *kl),
        (
            f"loss rise on neutral text{s.bound}",
            "",
            *(f"{_cost(e).loss.value:+.3f}" for e in effects.values()),
        ),
    ]


def _use_claim(name: str, e: Effect) -> str:
    base, after, control = e.accuracy("base"), e.accuracy("after"), e.accuracy("controls").value
    randoms = f"{len(control)} matched random edits leave it at {control.min():.2f} to {control.max():.2f}"
    if base.low <= 0.55:
        return (
            f"The unedited model answers at chance (balanced accuracy {base}), so there is no behaviour for"
            " an edit to remove."
        )
    if (control > after.high).mean() >= 0.95 and after.high < base.low:
        return (
            f"The answers use the direction: {name} takes balanced accuracy from {base} to {after}, while"
            f" {randoms}."
        )
    return f"Not shown to be used: {name} takes balanced accuracy from {base} to {after}, and {randoms}."


def _cost(e: Effect) -> Cost:
    assert e.cost is not None
    return e.cost


def _random_kl(e: Effect) -> float:
    return float(np.mean([c.kl.value for c in e.control_costs]))


def push(s: Setting, doses: Sequence[float], report: Report) -> list[Effect]:
    """What adding the direction does to the answers on test groups, over all doses."""
    chosen = choose_push(s.model, s.added, s.sites, doses, ANSWERS, s.validation, enough=TURNED, level=0)
    site, picked = chosen.site, {1: chosen.up, 0: chosen.down}
    before = ANSWERS(s.model, s.test)
    effects = {}
    for dose in tqdm(doses, desc="doses", delay=2, leave=False):
        effects[dose] = s.effect(s.added(site, dose), before, control_costs=dose in picked.values())
    rows, turns = [], []
    for dose, e in effects.items():
        largest = float(np.abs(e.control_changes()).max())
        report.add("logit_difference_change", e.change(), edit="Add", site=site, dose=dose, split="test")
        report.add("control_change_max", largest, edit="Add", site=site, dose=dose, split="test")
        report.add("neutral_kl", _cost(e).kl, edit="Add", site=site, dose=dose)
        shares, said = _shares(e, site, dose, picked, report)
        turns += said
        cost = f"{_cost(e).kl.value:.2f}" + (f" ({_random_kl(e):.2f})" if e.control_costs else "")
        rows.append(
            (
                f"{dose:+g}{' ←' if dose in picked.values() else ''}",
                f"{e.change():.2f}",
                f"{largest:.2f}",
                *shares,
                cost,
            )
        )
    header = (
        "gaps",
        "change of mean logit difference",
        "largest random change",
        "turned to true (random)",
        "turned to false (random)",
        f"KL on neutral text{s.bound} (random)",
    )
    shown = report.table(f"Adding the direction at {site}", header, rows)
    every = list(effects.values())
    figure = report.figure(
        "dose_response",
        effect_plots.dose_response(list(effects), every, "logit difference (true minus false)"),
    )
    report.section(
        "Does pushing along it turn the answers?",
        f"The direction was added at {site}, tokens: {s.edit_at}. The site and the arrowed doses (smallest"
        f" that turn {TURNED:.0%} of the answers each way, or the best there is) come from validation groups."
        " The logit difference is that of the answer that calls the statement true over the one that calls"
        " it false.",
        (shown,),
        (
            (
                figure,
                (
                    "Mean logit difference by dose, with 95% interval and the range over matched random"
                    " directions of the same length"
                ),
            ),
        ),
    )
    standing = _beyond(s, [effects[dose] for dose in picked.values()], before)
    report.claim(f"Adding it at {site}: {'; '.join(turns)}; {standing}.")
    return every


def _shares(
    e: Effect, site: Site, dose: float, picked: Mapping[int, float], report: Report
) -> tuple[list[str], list[str]]:  # fmt: skip
    """Cells of the table: shares turned each way; and a sentence for each way that this dose was
    picked for.
    """
    shares, said = [], []
    for towards, word in ((1, "true"), (0, "false")):
        if not ((e.base > 0) != bool(towards)).any():
            shares.append("-")  # every prompt was answered this way already
            continue
        share, random = e.turned(towards), float(np.mean(e.turned(towards, "controls").value))
        report.add(
            "turned",
            share,
            edit="Add",
            site=site,
            dose=dose,
            towards=word,
            split="test",
            chosen=picked[towards] == dose,
        )
        shares.append(f"{share.value:.2f} ({random:.2f})")
        if picked[towards] == dose:
            said.append(
                f"{dose:+g} gaps turn {share} of the other answers to {word} (matched random {random:.2f})"
            )
    return shares, said


def _beyond(s: Setting, chosen: Sequence[Effect], before: Records) -> str:
    """Whether the picked doses do more than random directions, and what the answers were worth."""
    beyond = all(e.p_value() <= 1 / (1 + s.controls) for e in chosen)
    standing = f"{'beyond' if beyond else 'not beyond'} every matched random direction"
    if accuracy(before.values, s.test.y, balanced=True).value <= 0.55:
        standing += (
            "; the unedited answers are at chance, so this is a push on answer words and says nothing about"
            " truth"
        )
    return standing
