"""The tables, figures and sentences of the polarity experiment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.report import Report
from experiments.statements import binary_columns
from probes import Activations, Estimate, LinearProbe, PairActivations, Site, auroc, plots
from probes.controls import Null
from probes.evidence.markers import marked_twins
from probes.evidence.polarity import PolarityReport, polarity_report, published_metrics, truth_cosines

SHOWN = {
    "auroc": "AUROC", "auroc_negated": "AUROC neg.", "accuracy_worst_cell": "worst cell", "contradiction": "contrad.",
    "contradiction_kappa": "kappa", "correct_flip": "flips", "ccs_loss": "CCS loss",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Found:
    """One method: its probe, the test rows in its shape, its null, the site chosen on validation, and its polarity report (pair probes)."""

    probe: LinearProbe
    test: Activations | PairActivations
    null: Null
    at: int
    polarity: PolarityReport | None

    @property
    def site(self) -> Site:
        return self.probe.sites[self.at]

    def reads(self, y: np.ndarray) -> Estimate:
        """AUROC of the scores against any label, by site."""
        return auroc(self.probe.score(self.test), y, self.test.groups)


def methods(found: Mapping[str, Found], text: tuple[str, Estimate], report: Report) -> None:
    """Which methods found truth and which took a distractor: at the site labels choose, and at the site the method itself likes best."""
    first = next(iter(found.values()))
    y = np.asarray(first.test.y)
    others = {k: v for k, v in binary_columns(first.test).items() if not np.array_equal(v, y) and not np.array_equal(v, 1 - y)}
    rows, matrix = [], []
    for name, f in found.items():
        truth = f.reads(y)
        read = {k: f.reads(v) for k, v in others.items()}
        p = float(f.null.p_by_site[f.at])
        strongest = _strongest(read, f.at)
        # Where no row differs from another a loss says nothing.
        losses = np.where([f.probe.has_direction(s) for s in f.probe.sites], f.probe.losses.numpy(), np.inf)
        own = int(np.argmin(losses)) if f.polarity is not None else None
        liked = ("-", "-", "-")
        if own is not None:
            worst = _strongest(read, own)
            liked = (str(f.probe.sites[own]), f"{truth.value[own]:.2f}", worst)
            report.add("auroc", truth[own], recipe=name, site=f.probe.sites[own], split="test", chosen="own loss")
        rows.append((name, str(f.site), f"{truth[f.at]}".split(" (")[0], f"{p:.2f}", strongest, *liked))
        report.add("auroc", truth[f.at], recipe=name, site=f.site, split="test", chosen="validation labels")
        report.add("p_shuffled", p, recipe=name, site=f.site)
        for k, e in read.items():
            for i, site in enumerate(f.probe.sites):
                report.add(f"auroc_{k}", e[i], recipe=name, site=site, split="test")
        matrix.append([float(truth.value[f.at]), *(float(e.value[f.at]) for e in read.values())])
        report.claim(f"{name} {_verdict(f, truth, read, p, float(text[1].value), own)}.")
    table = report.table(
        "Which methods read truth, and what else they read",
        ("method", "site", "AUROC truth", "p", "also reads", "own choice", "truth there", "reads there"),
        rows,
    )
    rows_y = list(found)
    figure = plots.heatmap(np.array(matrix), rows_y, ["truth", *others], "AUROC on test pairs", limits=(0, 1))
    report.section(
        "Which methods read truth",
        f"Site chosen by truth on validation pairs; p is the share of shuffled labellings whose best site reads as much. The best baseline that needs nothing the model has learnt ({text[0]}) reaches {text[1]:.2f}. "
        "Own choice is the site with the lowest loss, which is all that somebody without labels has to go by; there a feature that merely flips with the answer can win. "
        "MassMean, Logistic, LDA and TTPD see labels and the statements answered yes; the others see labels for their sign only.",
        (table,),
        (
            (
                report.figure("methods", figure),
                "AUROC of each method at its chosen site against truth and against every other label: white is nothing, dark either way is read",
            ),
        ),
    )


def _strongest(read: Mapping[str, Estimate], at: int) -> str:
    if not read:
        return "-"
    name = max(read, key=lambda k: abs(read[k].value[at] - 0.5))
    return f"{name} {read[name].value[at]:.2f}"


def _verdict(f: Found, truth: Estimate, read: Mapping[str, Estimate], p: float, text: float, own: int | None) -> str:
    here = truth[f.at]
    if f.polarity is not None and f.polarity.degenerate[f.at]:
        return f"is degenerate at {f.site}: its credence hardly moves from statement to statement, so its numbers mean nothing"
    taken = [k for k, e in read.items() if (e.low[f.at] > 0.6 or e.high[f.at] < 0.4) and abs(e.value[f.at] - 0.5) >= abs(here.value - 0.5)]
    if p > 0.05 or here.low <= 0.5:
        said = f"is at chance for truth at {f.site} (AUROC {here:.2f}, p={p:.2f})" + (f" and reads {', '.join(taken)}" if taken else "")
    elif taken:
        said = f"reads {', '.join(taken)} at least as much as truth at {f.site} (AUROC {here:.2f} on truth, p={p:.2f})"
    elif here.low <= text:
        said = f"tells true from false at {f.site} (AUROC {here:.2f}, p={p:.2f}), but not better than the best baseline ({text:.2f}), so nothing follows for the model"
    else:
        said = f"reads truth at {f.site} beyond the other labels and the best baseline ({text:.2f}): AUROC {here:.2f}, p={p:.2f}"
    lost = [k for k, e in read.items() if own is not None and abs(e.value[own] - 0.5) > max(0.1, abs(truth.value[own] - 0.5))]
    return said + (f"; left to its own loss it goes to {f.probe.sites[own]} and reads {', '.join(lost)}" if own is not None and lost else "")


def truth_or_negation(found: Mapping[str, Found], train: PairActivations, test: PairActivations, text: tuple[str, Estimate], report: Report) -> None:
    """Every pair probe at its site beside the detector that only looks for a negation word and the best baseline."""
    reports = {name: f.polarity for name, f in found.items() if f.polarity is not None}
    negated = np.asarray(test.columns["negated"])
    shown = [m for m in SHOWN if all(m in r.measures for r in reports.values())]
    word = {"auroc": f"{float(auroc(negated, test.y, n_boot=1).value):.2f}", "auroc_negated": "1.00"}
    flags = len(np.unique(np.asarray(train.columns["negated"]))) == 2
    rows: list[tuple[str, ...]] = [("negation word alone", "-", *(word.get(m, "-") for m in shown), "-", "-")]
    rows.append((f"{text[0]} (with labels)", "-", *(f"{text[1].value:.2f}" if m == "auroc" else "-" for m in shown), "-", "-"))
    report.add("auroc", text[1], recipe=f"baseline: {text[0]}", split="test")
    for name, r in reports.items():
        k = found[name].at
        along = truth_cosines(found[name].probe, train).iloc[k] if flags else {"truth": np.nan, "polarity": np.nan}
        cosines = tuple("-" if np.isnan(along[c]) else f"{along[c]:+.2f}" for c in ("truth", "polarity"))
        rows.append((name, str(r.sites[k]) + (" degenerate" if r.degenerate[k] else ""), *(f"{r[m].value[k]:.2f}" for m in shown), *cosines))
        for measure, value in r.measures.items():
            for i, site in enumerate(r.sites):
                report.add(measure, value[i], recipe=name, site=site, split="test", chosen=i == k)
    table = report.table(
        "Statements and their opposites, on test pairs (train centring)", ("probe", "site", *(SHOWN[m] for m in shown), "cos truth", "cos pol."), rows
    )
    report.section(
        "Truth or negation?",
        "Labels set the sign of each probe on train pairs and nothing else; the site was chosen on validation pairs. Columns: AUROC "
        "on truth, AUROC on the negation flag, accuracy in the worst cell of truth x negation, how often both statements of a pair get one verdict (contradiction) and its kappa, correct flips, "
        "the CCS loss, and cosines with the truth direction and the polarity-sensitive one of the train pairs. A probe of truth has high AUROC, AUROC near .50 against the negation flag, a "
        "high worst cell, contradiction near 0 and kappa near 1. A constant probe has contradiction .50 or so, kappa 0 and a CCS loss of .20.",
        (table,),
    )


def marker_control(
    found: Mapping[str, Found], test: PairActivations, capture: Callable[[tuple[str, ...], PairActivations], PairActivations], marker: str, report: Report
) -> None:
    """How far the credence moves when a statement is negated, when a marker takes the place of the negation, and between two texts that both hold it."""
    try:
        twins = marked_twins(test.columns["text"].tolist(), test.columns["pair_id"], marker)
    except ValueError as error:
        report.say(f"no marker control: {error}")
        return
    marked, noop = capture(twins.marked, test.rows(twins.negated)), capture(twins.noop, test.rows(twins.plain))
    same = np.flatnonzero(twins.exact)
    rows = []
    for name, f in found.items():
        if f.polarity is None:
            continue
        credence = {k: f.probe.probability(a)[f.at].double().cpu().numpy() for k, a in (("all", test), ("marked", marked), ("noop", noop))}
        plain, negated = credence["all"][twins.plain], credence["all"][twins.negated]
        moves = [np.abs(plain - negated), np.abs(plain - credence["marked"]), np.abs(credence["noop"] - credence["marked"])]
        cells = [f"{m.mean():.2f}" for m in moves] + [f"{m[same].mean():.2f}" if len(same) else "-" for m in moves[:2]]
        for what, m in zip(("negation", "marker", "marker in both"), moves, strict=True):
            report.add("credence_move", float(m.mean()), recipe=name, site=f.site, split="test", change=what)
        rows.append((name, *cells))
    header = ("probe", "negation", f"{marker!r} for it", f"{marker!r} in both", "negation, exact twins", f"{marker!r} for it, exact twins")
    table = report.table(f"Marker control: how far the credence moves ({len(twins)} test pairs, {len(same)} of them exact twins)", header, rows)
    report.section(
        "Marker control",
        f"Mean |change of credence| from the statement without a negation to its opposite, to its opposite with the meaningless {marker!r} in place of the negation, and between two texts that both hold "
        "the marker. Exact twins are equal but for the one word. A probe that reads meaning moves under negation and hardly under the marker between exact twins; one that reacts to any inserted word moves under both; "
        "pairs that are reworded move in the last column for other reasons.",
        (table,),
    )


def published(probe: LinearProbe, test: PairActivations, report: Report) -> None:
    """The published pipeline beside the corrected one on the same probe."""
    theirs, ours = published_metrics(probe, test), polarity_report(probe, test)
    rows = []
    for i, site in enumerate(map(str, theirs.index)):
        t = theirs.iloc[i]
        rows.append((site, f"{t.accuracy:.2f}", f"{t.ci_mean:.2f}", f"{t.ci_median:.2f}", f"{t.pc_mean:+.2f}",
                     f"{ours['accuracy'].value[i]:.2f}", f"{ours['contradiction_index'].value[i]:.2f}", f"{ours['polar_consistency'].value[i]:+.2f}"))  # fmt: skip
        for name, value in t.items():
            report.add(f"published_{name}", float(value), recipe="CCS l2+mean", site=site, split="test")
    header = ("site", "accuracy, better sign", "CI mean", "CI median", "PC mean", "accuracy, train sign", "CI, train centring", "PC, train centring")
    table = report.table("The same CCS probe through the published pipeline (columns 2 to 5) and with train centring", header, rows)
    report.section(
        "Compared with the published pipeline",
        "The published numbers centre true and false statements, yes and no, each by their own test mean, which deletes what tells a statement from its opposite, and take the better of two signs on "
        "the test labels. They are here for comparison with published tables and support no conclusion.",
        (table,),
    )


def by_site(found: Mapping[str, Found], sites: Sequence[Site], report: Report) -> None:
    """Truth by site for every method, and what pair probes read of the negation."""
    y = np.asarray(next(iter(found.values())).test.y)
    curves = {name: f.reads(y) for name, f in found.items() if ", " not in name}
    widest = max((f.null for f in found.values()), key=lambda null: null.level())
    figure = plots.layer_curve(sites, curves, widest)
    figure.set_ylabel("AUROC for truth, test pairs")
    figures = [(report.figure("auroc_by_site", figure), "AUROC for truth by site, 95% intervals over pairs, over the band of shuffled labels")]
    reports = {name: f.polarity for name, f in found.items() if f.polarity is not None and "auroc_negated" in f.polarity.measures}
    if reports:
        matrix = np.stack([r["auroc_negated"].value for r in reports.values()])
        flags = plots.heatmap(matrix, list(reports), [str(s) for s in sites], "AUROC", limits=(0, 1))
        figures.append((report.figure("reads_negation", flags), "AUROC of the same scores against the negation flag: white is none of it"))
    report.section("By site", "", (), tuple(figures))
