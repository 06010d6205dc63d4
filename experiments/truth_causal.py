"""Second half of the truth experiment: do the model's answers use the direction, and how much pushes them over?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from experiments.report import Report
from experiments.truth_reading import Reading
from interventions import Ablate, Add, Answers, Edit, Effect, Erase, edited, effect
from interventions import plots as effect_plots
from probes import Examples, Model, Site
from probes.metrics import accuracy, auroc

ANSWERS = Answers("column:if_true", "column:if_false")
ALL = "resid_post"
COST_LIMIT = 2.0  # nats of KL on neutral text above which a dose is not considered


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
            name = ", ".join([*([] if len(np.unique(negated)) < 2 else ["negated" if n else "affirmative"]), f"form {f + 1}"])
            found.append(Cell(name, (form == f) & (negated == n)))
    return found


def distance_from_chance(values: np.ndarray, prompts: Examples) -> float:
    """The worst cell's distance from .5, over balanced accuracy and AUROC: 0 when nothing about truth is left in the answers."""
    worst = 0.0
    for cell in cells(prompts):
        y = prompts.column("y")[cell.rows]
        for metric in (auroc(values[cell.rows], y, n_boot=1), accuracy(values[cell.rows], y, balanced=True, n_boot=1)):
            worst = max(worst, abs(float(metric.value) - 0.5))
    return worst


def ablate(model: Model, prompts: tuple[Examples, Examples], reading: Reading, edit_at: str, neutral: Sequence[str], controls: int, seed: int, report: Report) -> dict[str, Effect]:
    """The four ways to take the direction out; which site and which way is decided on validation, all four are shown on test."""
    validation, test = prompts
    sites = [s for s in reading.probe.sites if s.kind == ALL and reading.probe.has_direction(s)]
    eraser = Erase.fit(reading.train[sites], at=edit_at)
    one: dict[str, dict[Site, Edit]] = {
        "Ablate": {s: Ablate(reading.probe.direction(s), at=edit_at) for s in sites},
        "Erase": {s: eraser.only([s], model) for s in sites},
    }
    options: dict[str, Edit] = {}
    scores: dict[str, float] = {}
    chosen: dict[str, Site] = {}
    with tqdm(total=2 * len(sites), desc="choosing a site", delay=2, leave=False) as bar:
        for name, edits in one.items():
            left: dict[Site, float] = {}
            for site, edit in edits.items():
                left[site] = distance_from_chance(ANSWERS(edited(model, edit), validation), validation)
                report.add("distance_from_chance", left[site], edit=name, site=site, split="validation")
                bar.update()
            chosen[name] = min(left, key=lambda s: left[s])
            options[f"{name} one site"], scores[f"{name} one site"] = edits[chosen[name]], left[chosen[name]]
    options["Ablate all sites"] = Ablate(reading.probe.direction(chosen["Ablate"]), sites=ALL, at=edit_at)
    options["Erase all sites"] = eraser
    for name in ("Ablate all sites", "Erase all sites"):
        scores[name] = distance_from_chance(ANSWERS(edited(model, options[name]), validation), validation)
    best = min(scores, key=lambda n: scores[n])
    before = ANSWERS(model, test)
    effects = {n: effect(model, e, ANSWERS, test, neutral=neutral, n_controls=controls, seed=seed, before=before) for n, e in options.items()}
    header = ("prompts", "unedited", *(f"{n}{' ←' if n == best else ''}" for n in effects))
    rows = []
    for cell in [*cells(test), Cell("all", np.ones(len(test), dtype=bool))]:
        base = next(iter(effects.values()))
        rows.append((cell.name, _both(base, "base", cell), *(_both(e, "after", cell) for e in effects.values())))
        for name, e in {"unedited": base, **effects}.items():
            of = "base" if name == "unedited" else "after"
            for measure, value in (("balanced_accuracy", e.accuracy(of, cell.rows)), ("answer_auroc", e.auroc(of, cell.rows))):
                report.add(measure, value, edit=name, cell=cell.name, split="test", chosen=name == best)
    moved = {n: np.abs(e.accuracy("controls").value - e.accuracy("base").value) for n, e in effects.items()}
    rows.append(("matched random moves it by at most", "", *(f"{moved[n].max():.3f}" for n in effects)))
    rows.append(("KL on neutral text (random)", "", *(f"{e.cost.kl.value:.3f} ({np.mean([c.kl.value for c in e.control_costs]):.3f})" for e in effects.values())))  # pyright: ignore
    rows.append(("loss rise on neutral text", "", *(f"{e.cost.loss.value:+.3f}" for e in effects.values())))  # pyright: ignore
    for name, e in effects.items():
        for k, value in enumerate(e.accuracy("controls").value):
            report.add("balanced_accuracy", float(value), edit=f"{name}, matched random {k}", cell="all", split="test")
        report.add("neutral_kl", e.cost.kl, edit=name)  # pyright: ignore
        report.add("neutral_loss_rise", e.cost.loss, edit=name)  # pyright: ignore
    shown = report.table("Answers after taking the direction out: balanced accuracy / AUROC of the logit difference", header, rows)
    figure = report.figure("ablation", effect_plots.before_after(effects))
    report.section(
        "Do the answers use it?",
        "Balanced accuracy of the answers (.50: they no longer depend on truth) and AUROC of the logit difference, per polarity and form, on test groups. "
        f"Sites were chosen on validation groups ({', '.join(f'{n} {s}' for n, s in chosen.items())}), and so was the arrowed edit; all four are shown. "
        f"Each edit stands beside {controls} random edits that change the hidden state by the same mean length per token at every site.",
        (shown,), ((figure, "Balanced accuracy of answers: unedited, edited, and the range over matched random edits"),),
    )  # fmt: skip
    report.facts["chosen_edit"] = best
    e = effects[best]
    base, after, control = e.accuracy("base"), e.accuracy("after"), e.accuracy("controls").value
    if base.low <= 0.55:
        report.claim(f"The unedited model answers at chance (balanced accuracy {base}), so there is no behaviour for an edit to remove.")
    elif (control > after.high).mean() >= 0.95 and after.high < base.low:
        report.claim(
            f"The answers use the direction: {best} takes balanced accuracy from {base} to {after}, "
            f"while {len(control)} matched random edits leave it at {control.min():.2f} to {control.max():.2f}."
        )
    else:
        report.claim(
            f"Not shown to be used: {best} takes balanced accuracy from {base} to {after}, matched random edits to {control.min():.2f} to {control.max():.2f}."
        )
    return effects


def _both(e: Effect, of: str, cell: Cell) -> str:
    return f"{e.accuracy(of, cell.rows).value:.2f} / {e.auroc(of, cell.rows).value:.2f}"


def push(model: Model, prompts: tuple[Examples, Examples], reading: Reading, doses: Sequence[float], edit_at: str, neutral: Sequence[str], controls: int, seed: int, report: Report) -> list[Effect]:
    """Adding the direction: site and dose from validation, the whole curve on test."""
    validation, test = prompts
    before = ANSWERS(model, validation)
    sites = [s for s in reading.probe.sites if s.kind == ALL and reading.probe.has_direction(s)]
    strong = max(abs(d) for d in doses) / 2

    def turned(values: np.ndarray, towards: int) -> float:
        could = (before > 0) != bool(towards)
        return float(((values[could] > 0) == bool(towards)).mean()) if could.any() else 0.0

    def run(site: Site, dose: float) -> np.ndarray:
        return ANSWERS(edited(model, Add(reading.probe.direction(site), gaps=dose, at=edit_at)), validation)

    both = {s: min(turned(run(s, strong), 1), turned(run(s, -strong), 0)) for s in tqdm(sites, desc="choosing a site", delay=2, leave=False)}
    site = max(both, key=lambda s: both[s])
    direction = reading.probe.direction(site)
    curve = {d: run(site, d) for d in doses}
    picked: dict[int, float] = {}
    for towards, sign in ((1, 1), (0, -1)):
        side = sorted((d for d in doses if d * sign > 0), key=abs)
        if not side:
            raise ValueError(f"doses need values above and below 0, got {list(doses)}")
        reached = [d for d in side if turned(curve[d], towards) >= 0.95]
        picked[towards] = reached[0] if reached else max(side, key=lambda d: turned(curve[d], towards))
    effects = []
    base = ANSWERS(model, test)
    for dose in tqdm(doses, desc="doses", delay=2, leave=False):
        e = effect(model, Add(direction, gaps=dose, at=edit_at), ANSWERS, test, neutral=neutral, n_controls=controls, seed=seed, before=base, progress=False)
        effects.append(e)
        report.add("logit_difference_change", e.change(), edit="Add", site=site, dose=dose, split="test")
        report.add("control_change_max", float(np.abs(e.control_changes()).max()), edit="Add", site=site, dose=dose, split="test")
        report.add("neutral_kl", e.cost.kl, edit="Add", site=site, dose=dose)  # pyright: ignore
    rows, lines = [], []
    for dose, e in zip(doses, effects, strict=True):
        cost = e.cost.kl.value  # pyright: ignore
        shares = []
        for towards in (1, 0):
            could = (e.base > 0) != bool(towards)
            share = e.turned(towards) if could.any() else None
            random = float(np.mean(e.turned(towards, "controls").value)) if could.any() else float("nan")
            shares.append("-" if share is None else f"{share.value:.2f} ({random:.2f})")
            if share is not None:
                report.add("turned", share, edit="Add", site=site, dose=dose, towards="true" if towards else "false", split="test", chosen=picked[towards] == dose)
            if picked[towards] == dose and share is not None:
                lines.append(f"{dose:+g} gaps turn {share} of the answers that said {'false' if towards else 'true'} (matched random {random:.2f})")
        mark = " ←" if dose in picked.values() else ""
        rows.append((f"{dose:+g}{mark}", f"{e.change():.2f}", f"{np.abs(e.control_changes()).max():.2f}", *shares, f"{cost:.3f}"))
    header = ("gaps", "change of mean logit difference", "largest random change", "turned to true (random)", "turned to false (random)", "KL neutral")
    shown = report.table(f"Adding the direction at {site}", header, rows)
    figure = report.figure("dose_response", effect_plots.dose_response(doses, effects, "logit difference (true minus false)"))
    report.section(
        "Does pushing along it turn the answers?",
        f"The direction was added at {site}, {edit_at} tokens; the site and the arrowed doses (smallest that turn 95% each way, or the best there is) come from validation groups. "
        "The logit difference is that of the answer that calls the statement true over the one that calls it false.",
        (shown,), ((figure, "Mean logit difference by dose, with 95% interval and the range over matched random directions of the same length"),),
    )  # fmt: skip
    significant = [e.p_value() <= 1 / (1 + controls) for e, d in zip(effects, doses, strict=True) if d in picked.values()]
    if accuracy(base, test.y, n_boot=1, balanced=True).value <= 0.55:
        report.claim(f"Adding it ({site}): {'; '.join(lines)} - but the unedited answers are at chance, so this shows a push on the answer words, not on truth.")
    else:
        report.claim(f"Adding it ({site}): {'; '.join(lines)}; {'beyond' if all(significant) else 'not beyond'} every matched random direction.")
    return effects
