"""What probes read in a crossed design, fitted as papers do and fitted on all four cells, beside classifiers of the bare text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from experiments.purpose_data import Prompts
from experiments.report import Report
from probes import Activations, Examples, Logistic, Model, Site, auroc, capture
from probes.awareness import TokenStrip, TwoByTwo, fit_awareness, held_out, held_out_text, letter_check, recall_at, terminal_tokens, two_by_two
from probes.data.sites import SitesLike
from probes.display.crossed_plots import four_cells
from probes.display.plots import axes
from probes.evidence.shortcuts import LetterCheck
from probes.evidence.surface import surface_scores
from probes.markup.pieces import tag
from probes.markup.values import html
from probes.metrics.estimates import Estimate, mean, weighted_auroc

BOOTSTRAPS = 500
TEXT = "characters"


@dataclass(frozen=True, eq=False)
class Reading:
    """One model's readings: context by site on the fitting rows, and at the best site on the test rows the two ways of training and what the text gives away.

    `published` is fitted on the corners, where context goes with format; `crossed` on all four cells, without the row's group and, where there are
    several, without its cue vocabulary.
    """

    sites: tuple[Site, ...]
    by_site: Float[np.ndarray, " site"]
    site: Site
    published: TwoByTwo
    published_text: TwoByTwo
    crossed: TwoByTwo
    versions: dict[str, tuple[Estimate, Estimate | None, str]]
    no_cue: Estimate | None
    letter: LetterCheck | None
    strips: tuple[TokenStrip, ...]
    terminal: str


def read(model: Model, prompts: Prompts, sites: SitesLike, at: str, versions: Sequence[str], seed: int) -> Reading:
    """Chooses the site on the fitting rows and reads the test rows there."""
    fitting, test = prompts.fitting, prompts.test
    seen, by_site = sites_of(model, fitting, sites, at, seed)
    site = seen.sites[int(np.argmax(by_site))]
    acts = capture(model, test, site, at)
    by = "fold" if "fold" in test.columns and len(np.unique(test.column("fold"))) > 1 else None
    scores = held_out(Logistic(), acts, by=by, seed=seed)[0]
    text = held_out_text(test, by=by, seed=seed)
    form, context = test.column("format"), test.column("context")
    crossed = {str(f): held_out(Logistic(), acts, by=by, trained_on=form == f, seed=seed)[0] for f in np.unique(form)}
    how: dict[str, Any] = {"n_boot": BOOTSTRAPS, "seed": seed}
    whole = two_by_two(scores, context, form, test.groups, surface=text, crossed=crossed, fold=None if by is None else test.column("fold"), **how)
    corner = (fitting.column("context") == "evaluation") == (fitting.column("format") == "benchmark")
    known = fitting.rows(corner)
    published = Logistic().fit(seen[site].rows(corner)).score(acts)[0].numpy()
    characters = surface_scores([str(t) for t in known.texts], known.y, [str(t) for t in test.texts])[TEXT]
    as_published = two_by_two(published, context, form, test.groups, surface={TEXT: characters}, **how)
    text_published = two_by_two(characters, context, form, test.groups, **how)
    found, strips, no_cue = _versions(model, prompts, site, at, versions, seed)
    return Reading(
        seen.sites, by_site, site, as_published, text_published, whole, found, no_cue,
        None if prompts.plain is None else _letters(model, prompts.plain, prompts.letters, site, seed), strips, terminal_tokens(model, test, at).sentence,
    )  # fmt: skip


def sites_of(model: Model, fitting: Examples, sites: SitesLike, at: str, seed: int) -> tuple[Activations, Float[np.ndarray, " site"]]:
    """The fitting rows at every site, and how well held-out rows tell the context within formats there."""
    seen = capture(model, fitting, sites, at)
    return seen, _within_formats(held_out(Logistic(), seen, seed=seed), seen)


def _within_formats(scores: Float[np.ndarray, "site n"], acts: Activations) -> Float[np.ndarray, " site"]:
    """AUROC of context within each format, averaged over the formats that have both contexts."""
    form, label = acts.column("format"), np.asarray(acts.y) == 1
    parts = [form == f for f in np.unique(form) if len(np.unique(label[form == f])) == 2]
    if not parts:
        raise ValueError("no format has prompts of both contexts among the fitting rows, so context and format cannot be told apart; add the missing cells")
    one = np.ones((1, 1))
    return np.array([np.mean([weighted_auroc(line[m], label[m], one.repeat(m.sum(), 1))[0] for m in parts]) for line in scores])


def _versions(
    model: Model, prompts: Prompts, site: Site, at: str, versions: Sequence[str], seed: int
) -> tuple[dict[str, tuple[Estimate, Estimate | None, str]], tuple[TokenStrip, ...], Estimate | None]:
    """AUROC and recall at 1% false positives of each version on the test rows, token strips, and how far the format moves prompts that state no purpose."""
    train, calibration = prompts.fitting.split((0.6, 0.4), seed=seed)
    test, found = prompts.test, {}
    first, no_cue = None, None
    for name in versions:
        probe = fit_awareness(model, train, calibration, site, name, at=at)
        z = probe.score_texts(model, test)
        recall = recall_at(z, test.y, test.groups, n_boot=BOOTSTRAPS) if (test.y == 0).sum() >= 100 else None  # pyright: ignore
        found[name] = (auroc(z, test.y, test.groups, n_boot=BOOTSTRAPS), recall, "settled" if probe.scale.settled else "NOT settled")
        if first is None:
            first = probe
    assert first is not None
    texts = [str(t) for t in test.texts]
    strips = tuple(first.strip(model, texts[int(np.flatnonzero(test.y == label)[0])]) for label in (1, 0))
    if prompts.plain is not None:
        z, form = first.score_texts(model, prompts.plain), prompts.plain.column("format")
        by_group = {g: [float(z[(prompts.plain.groups == g) & (form == f)].mean()) for f in ("benchmark", "casual")] for g in np.unique(prompts.plain.groups)}
        no_cue = mean(np.array([b - c for b, c in by_group.values()]), np.array(list(by_group)))
    return found, strips, no_cue


def _letters(model: Model, plain: Examples, letters: tuple[str, str], site: Site, seed: int) -> LetterCheck:
    """Prompts without any purpose, labelled by a coin, with a word behind them that the label chose: reading that word is not reading the prompt."""
    rng = np.random.default_rng(seed)
    groups = np.unique(plain.groups)
    coin = dict(zip(groups, rng.permutation(np.arange(len(groups)) % 2), strict=True))
    y = np.array([coin[g] for g in plain.groups])
    answered = Examples([f"{t} {letters[label]}" for t, label in zip(plain.texts, y, strict=True)], y, plain.groups)
    scores = [held_out(Logistic(), capture(model, rows, site, "last"), seed=seed)[0] for rows in (answered, plain.with_y(y))]
    return letter_check(scores[0], scores[1], y, plain.groups, n_boot=BOOTSTRAPS)


def reading_section(report: Report, readings: dict[str, Reading]) -> None:
    """Tables, dot plots and token strips of every model."""
    tables, figures, pieces = [], [], []
    for name, r in readings.items():
        for i, site in enumerate(r.sites):
            report.add("auroc_context_within_formats", float(r.by_site[i]), model=name, site=site, split="fitting")
        runs = {"text, corners": r.published_text, "probe, corners": r.published, "probe, all cells": r.crossed}
        for run, t in runs.items():
            for _, row in t.table.iterrows():
                report.rows.append(
                    {"measure": str(row["measure"]), "model": name, "run": run, **{k: row[k] for k in ("where", "value", "low", "high", "n", "n_groups")}}
                )
            report.add("gate_open", float(bool(t.verdict)), model=name, run=run, word=t.verdict.word)
        rows = [(run, *_cells(t), *_best_text(t), "open" if t.verdict else "closed", t.verdict.word) for run, t in runs.items()]
        header = (
            f"{name} at {r.site}: fitted on",
            "context in bench",
            "in casual",
            "format in eval",
            "in deploy",
            "best text",
            "over the text",
            "gate",
            "verdict",
        )
        tables.append(report.table(f"{name}: AUROC on test rows", header, rows))
        tables.append(_confusion(report, name, runs))
        shown = [(v, f"{a:.2f}", "-" if c is None else f"{c:.2f}", s) for v, (a, c, s) in r.versions.items()]
        tables.append(
            report.table(f"{name}: awareness probes frozen on calibration rows", (f"{name}: version", "AUROC", "recall at 1% FPR", "orientation"), shown)
        )
        _, panels = plt.subplots(1, 3, figsize=(14, 3.1), layout="constrained")
        for ax, (run, t) in zip(panels, runs.items(), strict=True):
            four_cells(t, ax, f"{run}: {t.verdict.word}")
        figures.append((report.figure(f"cells_{name}", panels[0]), f"{name}: every dot a prompt; red evaluation, blue deployment"))
        pieces += [
            tag("p", f"{name}: a test prompt of either context, each token with its score by the first version"),
            *(html(strip) for strip in r.strips),
        ]
        report.say(r.terminal)
    figures.insert(0, (report.figure("sites", _site_curves(readings)), "Context within formats over sites, on the rows to fit and choose on"))
    report.section(
        "What do probes read?",
        "Corners: fitted on benchmark evaluation against casual deployment prompts, as published probes are, so that context goes with format. All cells: fitted on the crossed "
        "design, each row scored by a probe that saw neither its task nor, where vocabularies are given, the words of its cue. A probe of the context tells red from blue in both "
        "formats and does not move with the format.",
        tuple(tables), tuple(figures), tuple(pieces),
    )  # fmt: skip
    for name, r in readings.items():
        report.claim(f"{name}: {r.crossed.verdict.headline}")
        if not r.crossed.verdict:
            report.claim(f"{name}, why not more: {'; '.join(r.crossed.verdict.why_not_more)}.")
        report.claim(f"{name}, fitted on the corners as published: {r.published.verdict.word}; the bare text: {r.published_text.verdict.word}.")


def controls_section(report: Report, readings: dict[str, Reading]) -> None:
    """The answer letter, terminal tokens, and prompts that state no purpose."""
    rows = []
    for name, r in readings.items():
        if r.letter is not None:
            report.add("auroc_with_letter", r.letter.with_answer, model=name)
            report.add("auroc_without_letter", r.letter.without_answer, model=name)
        if r.no_cue is not None:
            report.add("format_shift_without_purpose", r.no_cue, model=name)
        letter = (
            ("-", "-", "-")
            if r.letter is None
            else (f"{r.letter.with_answer:.2f}", f"{r.letter.without_answer:.2f}", "caught" if r.letter.artefact else "not seen")
        )
        rows.append((name, *letter, "-" if r.no_cue is None else f"{r.no_cue:+.2f}", r.terminal.partition(":")[0].lower()))
    header = ("model", "AUROC with the letter", "without", "artefact", "format shift without purpose", "token that is read")
    text = (
        "Letter: prompts without a purpose get labels by a coin, and a word behind them that the label chose; a probe of the last token reads that word. "
        "Format shift: prompts that state no purpose, benchmark minus casual form of the same task, in calibrated units of the first version; a probe of purpose has no reason to tell them apart."
    )
    report.section("Shortcuts", text, (report.table("Shortcuts", header, rows),))


def _cells(t: TwoByTwo) -> tuple[str, str, str, str]:
    context = [f"{t.context[f].value:.2f}" if f in t.context else "-" for f in t.formats]
    form = [f"{t.format[c].value:.2f}" if c in t.format else "-" for c in t.contexts]
    return context[0], context[1], form[0], form[1]


def _best_text(t: TwoByTwo) -> tuple[str, str]:
    if not t.surface or t.difference is None:
        return "-", "-"
    best = max(t.surface.values(), key=lambda e: e.value)
    return f"{best.value:.2f}", f"{t.difference:+.2f}"


def _confusion(report: Report, name: str, runs: dict[str, TwoByTwo]) -> tuple:
    cells = next(iter(runs.values())).cells
    shown = []
    for run, t in runs.items():
        above = [c.above for c in t.cells.values()]
        shown.append((run, *("-" if e is None else f"{e.value:.0%}" for e in above)))
    shown.append(("rows", *(str(c.rows) for c in cells.values())))
    return report.table(f"{name}: share called evaluation at the threshold", (f"{name}: called evaluation", *cells), shown)


def _site_curves(readings: dict[str, Reading]) -> Axes:
    ax = axes(None, 6.4, 2.8)
    for name, r in readings.items():
        ax.plot([str(s).replace("resid_", "") for s in r.sites], r.by_site, marker="o", ms=4, label=name)
    ax.axhline(0.5, color="black", lw=0.8, ls=":")
    ax.set(ylabel="AUROC of context", ylim=(0.3, 1.03), xlabel="site")
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return ax
