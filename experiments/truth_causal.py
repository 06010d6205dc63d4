"""Second part of the truth experiment: do the model's answers use the direction?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.prompt_rows import effect_rows, strips
from experiments.report import Report
from interventions import Add, Answers, Cost, Edit, Effect, Goal, effect
from interventions import plots as effect_plots
from interventions.behaviours.records import Records
from interventions.effects.removal import removal_word
from interventions.effects.unedited import not_above_chance, said_of_unedited
from interventions.searching.goals import distance_from_chance
from interventions.searching.ways import Ways, ways_out
from probes import Estimate, Examples, Model, Site, accuracy, auroc
from probes.evidence.decodable import Decodable

ANSWERS = Answers("column:if_true", "column:if_false")
ALL = "resid_post"
PRICED = 5  # controls whose cost is measured: a mean is all that is shown of it


@dataclass(frozen=True, eq=False)
class Setting:
    """What both questions share: the model, the prompts to choose on and to report on, where edits
    act, the controls.
    """

    model: Model
    validation: Examples
    test: Examples
    reading: Decodable
    edit_at: str
    neutral: Sequence[str]
    controls: int
    seed: int

    @property
    def sites(self) -> list[Site]:
        """Sites that can be edited: block outputs at which the probe found a direction."""
        probe = self.reading.first.probe
        return [s for s in probe.sites if s.kind == ALL and probe.has_direction(s)]

    @property
    def bound(self) -> str:
        """Neutral text has no such place as the end of a statement, so the cost of an edit there is
        an upper bound.
        """
        return "" if self.edit_at == "all" else ", edited at every token"

    def added(self, site: Site, dose: float) -> Add:
        return Add(self.reading.first.probe.direction(site), gaps=dose, at=self.edit_at)

    def effect(self, edit: Edit, before: Records, priced: bool = True) -> Effect:
        """With `priced` a few of the controls are priced too, which tells what their like costs."""
        return effect(
            self.model, edit, ANSWERS, self.test, neutral=self.neutral, n_controls=self.controls,
            seed=self.seed, before=before, control_costs=PRICED if priced else 0, compare=False,
            train=self.reading.parts[0],
        )  # fmt: skip


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


def ablate(s: Setting, report: Report) -> dict[str, Effect]:
    """What is left of the answers on test groups after each of the four edits, beside matched random
    edits. Nothing is taken out where the unedited answers are at chance, which no edit can change.
    """
    before = ANSWERS(s.model, s.test)
    base = accuracy(before.values, s.test.y, s.test.groups, balanced=True)
    if not_above_chance(base):
        _nothing_to_remove(s, before, base, report)
        return {}
    goal, probe = nothing_left(s.validation), s.reading.first.probe
    train = s.reading.parts[0]
    how: dict[str, Any] = {"everywhere": ALL, "at": s.edit_at, "neutral": s.neutral}
    ways = ways_out(s.model, probe, train, ANSWERS, s.validation, goal, **how)
    for name, searched in ways.by_site.items():
        for site, left in searched.values(goal).items():
            report.add("distance_from_chance", left, edit=name, site=site, split="validation")
    best = ways.best.name
    effects = {str(o.name): s.effect(o.edit, before, o.name == best) for o in ways.found.options}
    _ablate_section(s, ways, effects, report)
    return effects


def _nothing_to_remove(s: Setting, before: Records, base: Estimate, report: Report) -> None:
    rows = []
    for cell in [*cells(s.test), Cell("all", np.ones(len(s.test), dtype=bool))]:
        values, y, groups = (x[cell.rows] for x in (before.values, np.asarray(s.test.y), s.test.groups))
        found = {
            "balanced_accuracy": accuracy(values, y, groups, balanced=True),
            "answer_auroc": auroc(values, y, groups),
        }
        for measure, value in found.items():
            report.add(measure, value, edit="unedited", cell=cell.name, split="test")
        rows.append((cell.name, *(f"{value:.2f}" for value in found.values())))
    title = "Answers of the unedited model, on test groups"
    shown = report.table(title, ("prompts", "balanced accuracy", "AUROC"), rows)
    report.section(
        "Do the answers use it?",
        "The unedited model's answers are not shown to be above chance, so nothing was taken out: no edit"
        " could be seen to remove them, and no control could show anything.",
        (shown,),
    )
    report.verdict(not_beyond_chance(base))
    report.headline("balanced_accuracy", base)


def not_beyond_chance(base: Estimate) -> str:
    """What is said of answers that are not shown to be above chance."""
    said = said_of_unedited("balanced accuracy", base, so="nothing was taken out")
    assert said is not None
    return said


def _ablate_section(s: Setting, ways: Ways, effects: Mapping[str, Effect], report: Report) -> None:
    best = str(ways.best.name)
    rows = [*_by_cell(s.test, effects, best, report), *_costs(s, effects)]
    for name, e in effects.items():
        for k, value in enumerate(e.accuracy("controls").value):
            random = f"{name}, matched random {k}"
            report.add("balanced_accuracy", float(value), edit=random, cell="all", split="test")
        report.add("neutral_kl", cost_of(e).kl, edit=name)
        report.add("neutral_loss_rise", cost_of(e).loss, edit=name)
    header = ("prompts", "unedited", *(f"{name}{' ←' if name == best else ''}" for name in effects))
    title = "Answers after taking the direction out: balanced accuracy / AUROC of the logit difference"
    shown = report.table(title, header, rows)
    where = ", ".join(f"{name} {site}" for name, site in ways.sites.items())
    figure = report.figure("ablation", effect_plots.before_after(effects))
    report.section(
        "Do the answers use it?",
        "Balanced accuracy of the answers (.50: they no longer depend on truth) and AUROC of the logit"
        " difference, per polarity and form, on test groups. Sites were chosen on validation groups"
        f" ({where}), and so was the arrowed edit, the cheapest of those as good within noise; all four"
        f" are shown. Each stands beside {s.controls} edits of its size along directions that mean nothing.",
        (shown,),
        ((figure, "Balanced accuracy of answers: unedited, edited, and under matched random edits"),),
    )
    report.facts["chosen_edit"] = best
    _claim_use(best, effects[best], report)
    first = s.reading.first
    seen = strips(s.model, first.probe, first.site, s.test)
    by = f"the score of the {s.reading.chosen} probe at {first.site}, red above 0 (true)"
    report.every_prompt("test prompts", effect_rows(effects[best], best, s.test), seen, by)


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
        shown = (" / ".join(f"{e.value:.2f}" for e in measures.values()) for measures in numbers.values())
        rows.append((cell.name, *shown))
    return rows


def _measures(e: Effect, of: str, cell: Cell) -> dict[str, Estimate]:
    return {"balanced_accuracy": e.accuracy(of, cell.rows), "answer_auroc": e.auroc(of, cell.rows)}


def _costs(s: Setting, effects: Mapping[str, Effect]) -> list[tuple[str, ...]]:
    """Rows of what random edits do, and of what each edit costs."""
    every = effects.values()
    moved = [np.abs(e.accuracy("controls").value - e.accuracy("base").value).max() for e in every]
    kl = [f"{cost_of(e).kl.value:.3f}" + (f" ({random_kl(e):.3f})" if e.control_costs else "") for e in every]
    loss = [f"{cost_of(e).loss.value:+.3f}" for e in every]
    return [
        ("controls move it by at most", "", *(f"{m:.3f}" for m in moved)),
        (f"KL on neutral text{s.bound} (random)", "", *kl),
        (f"loss rise on neutral text{s.bound}", "", *loss),
    ]


def _claim_use(name: str, e: Effect, report: Report) -> None:
    base, after, control = e.accuracy("base"), e.accuracy("after"), e.accuracy("controls").value
    along = f"along directions that mean nothing ({e.drawn.source})"
    randoms = (
        f"{len(control)} edits of its size {along} leave it at {control.min():.2f} to {control.max():.2f}"
    )
    moved = f"{name} takes balanced accuracy from {base} to {after}"
    cost = f"It costs {cost_of(e).kl.value:.3f} nats of KL per token of unrelated text"
    sentences = {
        "no behaviour to remove": lambda: not_beyond_chance(base),
        "used": lambda: f"The answers use the direction: {moved}, while {randoms}. {cost}.",
        "not shown to be used": lambda: f"Not shown to be used: {moved}, and {randoms}.",
    }
    report.verdict(sentences[removal_word(base, after, e.verdict())]())
    report.headline("balanced_accuracy", base)
    report.headline("balanced_accuracy_taken_out", after)
    report.headline("balanced_accuracy_random_min", float(control.min()))
    report.headline("kl_neutral", cost_of(e).kl)


def cost_of(e: Effect) -> Cost:
    assert e.cost is not None
    return e.cost


def random_kl(e: Effect) -> float:
    return float(np.mean([c.kl.value for c in e.control_costs]))
