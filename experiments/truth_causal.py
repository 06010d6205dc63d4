"""Second half of the truth experiment: do the model's answers use the direction, and how much pushes
them over?
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from experiments.report import Report
from experiments.truth_reading import Reading
from interventions import Ablate, Add, Answers, Cost, Edit, Effect, Erase, edited, effect
from interventions import plots as effect_plots
from interventions.behaviours.records import Records
from probes import Examples, Model, Site
from probes.metrics.estimates import accuracy, auroc

ANSWERS = Answers("column:if_true", "column:if_false")
ALL = "resid_post"
TURNED = 0.95  # share of answers on validation that a dose should turn


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
        return [s for s in self.reading.probe.sites if s.kind == ALL and self.reading.probe.has_direction(s)]

    @property
    def bound(self) -> str:
        """Neutral text has no such place as the end of a statement, so the cost of an edit there is
        an upper bound.
        """
        return "" if self.edit_at == "all" else ", edited at every token"

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


def distance_from_chance(values: np.ndarray, prompts: Examples) -> float:
    """The worst cell's distance from .5, over balanced accuracy and AUROC: 0 when nothing about truth
    is left in the answers.
    """
    worst = 0.0
    for cell in cells(prompts):
        y = prompts.column("y")[cell.rows]
        for metric in (
            auroc(values[cell.rows], y, n_boot=1),
            accuracy(values[cell.rows], y, balanced=True, n_boot=1),
        ):
            worst = max(worst, abs(float(metric.value) - 0.5))
    return worst


def choose_ablation(s: Setting, report: Report) -> tuple[dict[str, Edit], str, dict[str, Site]]:
    """The four ways to take the direction out, each at its best site, and the best of the four; all
    decided on validation.
    """
    eraser = Erase.fit(s.reading.train[s.sites], at=s.edit_at)
    one: dict[str, dict[Site, Edit]] = {
        "Ablate": {site: Ablate(s.reading.probe.direction(site), at=s.edit_at) for site in s.sites},
        "Erase": {site: eraser.only([site], s.model) for site in s.sites},
    }
    options: dict[str, Edit] = {}
    left: dict[str, float] = {}
    chosen: dict[str, Site] = {}
    with tqdm(total=2 * len(s.sites), desc="choosing a site", delay=2, leave=False, disable=None) as bar:
        for name, edits in one.items():
            by_site: dict[Site, float] = {}
            for site, edit in edits.items():
                by_site[site] = distance_from_chance(
                    ANSWERS(edited(s.model, edit), s.validation).values, s.validation
                )
                report.add("distance_from_chance", by_site[site], edit=name, site=site, split="validation")
                bar.update()
            chosen[name] = min(by_site, key=lambda site: by_site[site])
            options[f"{name} one site"], left[f"{name} one site"] = edits[chosen[name]], by_site[chosen[name]]
    options["Ablate all sites"] = Ablate(s.reading.probe.direction(chosen["Ablate"]), sites=ALL, at=s.edit_at)
    options["Erase all sites"] = eraser
    for name in ("Ablate all sites", "Erase all sites"):
        left[name] = distance_from_chance(
            ANSWERS(edited(s.model, options[name]), s.validation).values, s.validation
        )
    return options, min(left, key=lambda name: left[name]), chosen


def ablate(s: Setting, report: Report) -> dict[str, Effect]:
    """What is left of the answers on test groups after each of the four edits, beside matched random
    edits.
    """
    options, best, chosen = choose_ablation(s, report)
    before = ANSWERS(s.model, s.test)
    effects = {name: s.effect(edit, before) for name, edit in options.items()}
    rows = []
    for cell in [*cells(s.test), Cell("all", np.ones(len(s.test), dtype=bool))]:
        numbers = {"unedited": _measures(effects[best], "base", cell)} | {
            name: _measures(e, "after", cell) for name, e in effects.items()
        }
        rows.append(
            (cell.name, *(f"{right.value:.2f} / {ranked.value:.2f}" for right, ranked in numbers.values()))
        )
        for name, measures in numbers.items():
            for measure, value in zip(("balanced_accuracy", "answer_auroc"), measures, strict=True):
                report.add(measure, value, edit=name, cell=cell.name, split="test", chosen=name == best)
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
    moved = [np.abs(e.accuracy("controls").value - e.accuracy("base").value).max() for e in effects.values()]
    rows.append(("matched random edits move it by at most", "", *(f"{m:.3f}" for m in moved)))
    rows.append(
        (
            f"KL on neutral text{s.bound} (random)",
            "",
            *(f"{_cost(e).kl.value:.3f} ({_random_kl(e):.3f})" for e in effects.values()),
        )
    )
    rows.append(
        (
            f"loss rise on neutral text{s.bound}",
            "",
            *(f"{_cost(e).loss.value:+.3f}" for e in effects.values()),
        )
    )
    header = ("prompts", "unedited", *(f"{name}{' ←' if name == best else ''}" for name in effects))
    shown = report.table(
        "Answers after taking the direction out: balanced accuracy / AUROC of the logit difference",
        header,
        rows,
    )
    report.section(
        "Do the answers use it?",
        "Balanced accuracy of the answers (.50: they no longer depend on truth) and AUROC of the logit"
        " difference, per polarity and form, on test groups. Sites were chosen on validation groups"
        f" ({', '.join(f'{name} {site}' for name, site in chosen.items())}), and so was the arrowed edit; all"
        f" four are shown. Each stands beside {s.controls} random edits that change the hidden state by the"
        " same mean length per token at every site.",
        (shown,),
        (
            (
                report.figure("ablation", effect_plots.before_after(effects)),
                "Balanced accuracy of answers: unedited, edited, and under matched random edits",
            ),
        ),
    )
    report.facts["chosen_edit"] = best
    report.claim(_use_claim(best, effects[best]))
    return effects


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


def _measures(e: Effect, of: str, cell: Cell) -> tuple:
    return e.accuracy(of, cell.rows), e.auroc(of, cell.rows)


def _cost(e: Effect) -> Cost:
    assert e.cost is not None
    return e.cost


def _random_kl(e: Effect) -> float:
    return float(np.mean([c.kl.value for c in e.control_costs]))


def choose_dose(s: Setting, doses: Sequence[float]) -> tuple[Site, dict[int, float]]:
    """Where to add the direction and how much of it turns the answers each way, decided on validation."""
    before = ANSWERS(s.model, s.validation).values
    strong = max(abs(d) for d in doses) / 2

    def turned(site: Site, dose: float, towards: int) -> float:
        could = (before > 0) != bool(towards)
        values = ANSWERS(
            edited(s.model, Add(s.reading.probe.direction(site), gaps=dose, at=s.edit_at)), s.validation
        ).values
        return float(((values[could] > 0) == bool(towards)).mean()) if could.any() else 0.0

    both = {
        site: turned(site, strong, 1) + turned(site, -strong, 0)
        for site in tqdm(s.sites, desc="choosing a site", delay=2, leave=False, disable=None)
    }
    site = max(both, key=lambda k: both[k])
    picked: dict[int, float] = {}
    for towards, sign in ((1, 1), (0, -1)):
        side = {d: turned(site, d, towards) for d in sorted((d for d in doses if d * sign > 0), key=abs)}
        picked[towards] = next(
            (d for d, share in side.items() if share >= TURNED), max(side, key=lambda d: side[d])
        )
    return site, picked


def push(s: Setting, doses: Sequence[float], report: Report) -> list[Effect]:
    """What adding the direction does to the answers on test groups, over all doses."""
    if not (min(doses) < 0 < max(doses)):
        raise ValueError(f"doses need values above and below 0, got {list(doses)}")
    site, picked = choose_dose(s, doses)
    before = ANSWERS(s.model, s.test)
    effects = []
    for dose in tqdm(doses, desc="doses", delay=2, leave=False, disable=None):
        add = Add(s.reading.probe.direction(site), gaps=dose, at=s.edit_at)
        effects.append(s.effect(add, before, control_costs=dose in picked.values()))
    rows, turns = [], []
    for dose, e in zip(doses, effects, strict=True):
        largest = float(np.abs(e.control_changes()).max())
        report.add("logit_difference_change", e.change(), edit="Add", site=site, dose=dose, split="test")
        report.add("control_change_max", largest, edit="Add", site=site, dose=dose, split="test")
        report.add("neutral_kl", _cost(e).kl, edit="Add", site=site, dose=dose)
        shares = []
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
                turns.append(
                    f"{dose:+g} gaps turn {share} of the other answers to {word} (matched random"
                    f" {random:.2f})"
                )
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
    figure = report.figure(
        "dose_response", effect_plots.dose_response(doses, effects, "logit difference (true minus false)")
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
    beyond = all(
        e.p_value() <= 1 / (1 + s.controls)
        for e, d in zip(effects, doses, strict=True)
        if d in picked.values()
    )
    standing = f"{'beyond' if beyond else 'not beyond'} every matched random direction"
    if accuracy(before.values, s.test.y, n_boot=1, balanced=True).value <= 0.55:
        standing += (
            "; the unedited answers are at chance, so this is a push on answer words and says nothing about"
            " truth"
        )
    report.claim(f"Adding it at {site}: {'; '.join(turns)}; {standing}.")
    return effects
