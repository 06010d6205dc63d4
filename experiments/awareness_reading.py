"""What probes read in a crossed design, fitted as papers do and fitted on all four cells, beside classifiers
of the bare text.
"""

from collections.abc import Mapping

import matplotlib.pyplot as plt

from experiments.report import Report
from experiments.run_folder import plain_name
from probes.awareness import TwoByTwo
from probes.awareness.context import ContextReading
from probes.display.crossed_plots import four_cells
from probes.display.plots import axes
from probes.evidence.rivals import best_item
from probes.markup.pieces import tag
from probes.markup.values import html

BOOTSTRAPS = 500


def reading_section(report: Report, readings: Mapping[str, ContextReading]) -> None:
    """Tables, dot plots and token strips of every model."""
    tables, figures, pieces = [], [], []
    for name, r in readings.items():
        tables += [
            cells_table(report, name, r),
            called_table(report, name, r),
            versions_table(report, name, r),
        ]
        _, panels = plt.subplots(1, 3, figsize=(11, 3.3), layout="constrained", sharey=True)
        for ax, (run, t) in zip(panels, r.runs.items(), strict=True):
            four_cells(t, ax, f"{run}: {t.verdict.word}")
        caption = f"{name}: every dot a prompt; orange evaluation, blue deployment"
        figures.append((report.figure(f"cells_{plain_name(name)}", panels[0]), caption))
        pieces += [
            tag(
                "p",
                f"{name}: a test prompt of either context, each token with its score by the first version",
            ),
            *(html(strip) for strip in r.strips),
        ]
        report.say(r.terminal.sentence)
    figures.insert(0, site_curves(report, readings))
    report.section(
        "What do probes read?",
        "Corners: fitted on benchmark evaluation against casual deployment prompts, as published probes "
        "are, so that context goes with format. All cells: fitted on the crossed design, each row scored "
        "by a probe that saw neither its task nor, where vocabularies are given, the words of its cue. A "
        "probe of the context tells orange from blue in both formats and does not move with the format.",
        tuple(tables),
        tuple(figures),
        tuple(pieces),
    )
    for name, r in readings.items():
        report.claim(f"{name}: {r.all_cells.verdict.headline}")
        report.headline(f"{name}/gate_open", float(bool(r.all_cells.verdict)))
        if not r.all_cells.verdict:
            report.claim(f"{name}, why not more: {'; '.join(r.all_cells.verdict.why_not_more)}.")
        words = r.corners.probe.verdict.word, r.corners.text.verdict.word
        report.claim(f"{name}, fitted on the corners as published: {words[0]}; the bare text: {words[1]}.")


def cells_table(report: Report, name: str, r: ContextReading) -> tuple:
    """What each way of fitting tells apart, in each half of the design."""
    for site, value in zip(r.sites, r.chosen.values, strict=True):
        report.add("auroc_context_within_formats", float(value), model=name, site=site, split="fitting")
    rows = []
    for run, t in r.runs.items():
        for _, row in t.table.iterrows():
            numbers = {k: row[k] for k in ("where", "value", "low", "high", "n", "n_groups")}
            report.rows.append({"measure": str(row["measure"]), "model": name, "run": run, **numbers})
        report.add("gate_open", float(bool(t.verdict)), model=name, run=run, word=t.verdict.word)
        context = [f"{t.context[f].value:.2f}" if f in t.context else "-" for f in t.formats]
        form = [f"{t.format[c].value:.2f}" if c in t.format else "-" for c in t.contexts]
        gate = "open" if t.verdict else "closed"
        rows.append((run, *context, *form, *best_text(t), gate, t.verdict.word))
    first = f"{name} at {r.chosen.site}: fitted on"
    contexts = ("context in bench", "in casual", "format in eval", "in deploy")
    header = (first, *contexts, "best text", "over the text", "gate", "verdict")
    return report.table(f"{name}: AUROC on test rows", header, rows)


def called_table(report: Report, name: str, r: ContextReading) -> tuple:
    """The share of each cell above the threshold."""
    rows = []
    for run, t in r.runs.items():
        above = [c.above for c in t.cells.values()]
        rows.append((run, *("-" if e is None else f"{e.value:.0%}" for e in above)))
    cells = next(iter(r.runs.values())).cells
    rows.append(("rows", *(str(c.rows) for c in cells.values())))
    header = (f"{name}: called evaluation", *cells)
    return report.table(f"{name}: share called evaluation at the threshold", header, rows)


def versions_table(report: Report, name: str, r: ContextReading) -> tuple:
    rows = []
    for version, v in r.versions.items():
        recall = "-" if v.recall is None else f"{v.recall:.2f}"
        rows.append((version, f"{v.auroc:.2f}", recall, "settled" if v.settled else "NOT settled"))
    header = (f"{name}: version", "AUROC", "recall at 1% FPR", "orientation")
    return report.table(f"{name}: awareness probes frozen on calibration rows", header, rows)


def controls_section(report: Report, readings: Mapping[str, ContextReading]) -> None:
    """The answer letter, terminal tokens, and prompts that state no purpose."""
    rows = []
    for name, r in readings.items():
        letter = ("-", "-", "-")
        if r.letter is not None:
            report.add("auroc_with_letter", r.letter.with_answer, model=name)
            report.add("auroc_without_letter", r.letter.without_answer, model=name)
            found = "caught" if r.letter.artefact else "not seen"
            letter = (f"{r.letter.with_answer:.2f}", f"{r.letter.without_answer:.2f}", found)
        if r.unstated is not None:
            report.add("format_shift_without_purpose", r.unstated, model=name)
        shift = "-" if r.unstated is None else f"{r.unstated:+.2f}"
        rows.append((name, *letter, shift, r.terminal.sentence.partition(":")[0].lower()))
    text = (
        "Letter: prompts without a purpose get labels by a coin, and a word behind them that the label "
        "chose; a probe of the last token reads that word. Format shift: prompts that state no purpose, "
        "benchmark minus casual form of the same task, in calibrated units of the first version; a probe "
        "of purpose has no reason to tell them apart."
    )
    header = (
        "model", "AUROC with the letter", "without", "artefact",
        "format shift without purpose", "token that is read",
    )  # fmt: skip
    report.section("Shortcuts", text, (report.table("Shortcuts", header, rows),))


def best_text(t: TwoByTwo) -> tuple[str, str]:
    if not t.surface or t.difference is None:
        return "-", "-"
    _, best = best_item(t.surface)
    return f"{best.value:.2f}", f"{t.difference:+.2f}"


def site_curves(report: Report, readings: Mapping[str, ContextReading]) -> tuple[str, str]:
    ax = axes(None, 6.4, 2.8)
    for name, r in readings.items():
        ax.plot([s.replace("resid_", "") for s in r.sites], r.chosen.values, marker="o", ms=4, label=name)
    ax.axhline(0.5, color="black", lw=0.8, ls=":")
    ax.set(ylabel="AUROC of context", ylim=(0.3, 1.03), xlabel="site")
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return report.figure("sites", ax), "Context within formats over sites, on the rows to fit and choose on"
