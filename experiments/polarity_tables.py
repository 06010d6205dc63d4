"""The tables, figures and sentences of the polarity experiment, one function a section."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.report import Report
from probes import Estimate, LinearProbe, PairActivations, Site, auroc, plots
from probes.evidence.method_reading import MethodReading
from probes.evidence.polarity import polarity_report, truth_cosines
from probes.evidence.polarity_rule import SAYS_SOMETHING
from probes.published.polarity import published_metrics

Baseline = tuple[str, Estimate]

SHOWN = {
    "auroc": "AUROC",
    "auroc_negated": "AUROC neg.",
    "accuracy_worst_cell": "worst cell",
    "contradiction": "contrad.",
    "contradiction_kappa": "kappa",
    "correct_flip": "flips",
    "ccs_loss": "CCS loss",
}
SAID = {
    "degenerate": (
        "reads nothing at {site}: it says nearly the same of every statement, as a constant probe does,"
        " whatever the order of its scores (AUROC {own:.2f}, p={p:.2f})"
    ),
    "at chance": "is at chance for truth at {site} (AUROC {own:.2f}, p={p:.2f})",
    "too few shuffles": (
        "could not be told from chance at {site} (AUROC {own:.2f}): under so few shuffles of the labels p"
        " cannot fall to .05 (p={p:.2f})"
    ),
    "reads other labels": (
        "reads {rivals} at least as much as truth at {site} (AUROC {own:.2f} on truth, p={p:.2f})"
    ),
    "no more than a baseline": (
        "tells true from false at {site} (AUROC {own:.2f}, p={p:.2f}), but not better than "
        "the best baseline ({baseline:.2f}), so nothing follows for the model"
    ),
    "reads its label": (
        "reads truth at {site} beyond the other labels and the best baseline ({baseline:.2f}): AUROC"
        " {own:.2f}, p={p:.2f}"
    ),
}


def answer(found: Mapping[str, MethodReading]) -> str:
    """Truth or negation, over all pair probes, each at the site that validation labels chose."""
    words: dict[str, list[str]] = {}
    for name, f in found.items():
        if f.polarity is not None:
            words.setdefault(_read_there(f, f.polarity.findings[f.at].word), []).append(name)
    total = sum(map(len, words.values()))
    counts = [f"“{word}” holds for {len(names)} ({' / '.join(names)})" for word, names in words.items()]
    return f"Truth or negation? Of the {total} methods without labels: {'; '.join(counts)}."


def _read_there(f: MethodReading, word: str) -> str:
    """The polarity report's word for the site, unless shuffled labels that choose their site too read as
    much truth.
    """
    chance = f.reads.word(f.at, f.p, 0.5, False, least_p=f.null.least_p) == "at chance"
    return "is at chance once the choice of site is paid for" if chance and word == "reads truth" else word


def methods(found: Mapping[str, MethodReading], best: Baseline, report: Report) -> None:
    """Which methods found truth and which took a distractor, where labels choose and where they like
    it best.
    """
    report.verdict(answer(found))
    report.headline("auroc_best_baseline", best[1])
    rows = []
    for name, f in found.items():
        truth, liked = f.reads.own, f.liked
        own = ("-", "-", "-")
        if liked is not None:
            site = f.probe.sites[liked]
            own = (str(site), f"{truth.value[liked]:.2f}", strongest(f, liked))
            report.add("auroc", truth[liked], recipe=name, site=site, split="test", chosen="own loss")
        rows.append((name, str(f.site), f"{truth[f.at]:.2f}", f"{f.p:.2f}", strongest(f, f.at), *own))
        report.add("auroc", truth[f.at], recipe=name, site=f.site, split="test", chosen="validation labels")
        report.add("p_shuffled", f.p, recipe=name, site=f.site)
        report.headline(f"auroc/{name}", truth[f.at])
        report.headline(f"p_shuffled/{name}", f.p)
        for label, e in f.reads.others.items():
            for i, site in enumerate(f.probe.sites):
                report.add(f"auroc_{label}", e[i], recipe=name, site=site, split="test")
        report.claim(f"{name} {sentence(f, float(best[1].value))}.")
    header = ("method", "site", "AUROC truth", "p", "also reads", "own choice", "truth there", "reads there")
    table = report.table("Which methods read truth, and what else they read", header, rows)
    labels = ["truth", *next(iter(found.values())).reads.others]
    matrix = [[float(e.value[f.at]) for e in (f.reads.own, *f.reads.others.values())] for f in found.values()]
    figure = plots.heatmap(np.array(matrix), list(found), labels, "AUROC on test pairs", limits=(0, 1))
    caption = (
        "AUROC of each method at its chosen site against truth and against every other label: white is"
        " nothing, dark either way is read"
    )
    report.section(
        "Which methods read truth",
        "Site chosen by truth on validation pairs; p is the share of shuffled labellings whose best site "
        f"reads as much. The best baseline that needs nothing the model has learnt ({best[0]}) reaches "
        f"{best[1]:.2f}. Own choice is the site with the lowest loss, which is all that somebody without "
        "labels has to go by; there a feature that merely flips with the answer can win. MassMean, "
        "Logistic, LDA and TTPD see labels and the statements answered yes; the others see labels for "
        "their sign only.",
        (table,),
        ((report.figure("methods", figure), caption),),
    )


def strongest(f: MethodReading, at: int) -> str:
    name = f.reads.strongest(at)
    return "-" if name is None else f"{name} {f.reads.others[name].value[at]:.2f}"


def sentence(f: MethodReading, baseline: float) -> str:
    """What one method reads at its site, and where its own loss would have taken it."""
    degenerate = f.polarity is not None and not f.polarity.findings[f.at].checks[SAYS_SOMETHING]
    word = f.reads.word(f.at, f.p, baseline, degenerate, least_p=f.null.least_p)
    rivals = ", ".join(f.reads.rivals(f.at))
    said = SAID[word].format(site=f.site, own=f.reads.own[f.at], p=f.p, rivals=rivals, baseline=baseline)
    if word == "degenerate":
        return said
    if word == "at chance" and rivals:
        said += f" and reads {rivals}"
    lost = () if f.liked is None else f.reads.preferred(f.liked)
    if f.liked is not None and lost:
        said += f"; left to its own loss it goes to {f.probe.sites[f.liked]} and reads {', '.join(lost)}"
    return said


def truth_or_negation(
    found: Mapping[str, MethodReading],
    train: PairActivations,
    test: PairActivations,
    best: Baseline,
    report: Report,
) -> None:
    """Every pair probe at its site beside the detector that only looks for a negation word and the best
    baseline.
    """
    reports = {name: f.polarity for name, f in found.items() if f.polarity is not None}
    shown = [m for m in SHOWN if all(m in r.measures for r in reports.values())]
    flags = len(np.unique(train.column("negated"))) == 2
    word = {"auroc": f"{auroc(test.column('negated'), test.y).value:.2f}", "auroc_negated": "1.00"}
    text = {"auroc": f"{best[1].value:.2f}"}
    rows: list[tuple[str, ...]] = [
        ("negation word alone", "-", "-", *(word.get(m, "-") for m in shown), "-", "-"),
        (f"{best[0]} (with labels)", "-", "-", *(text.get(m, "-") for m in shown), "-", "-"),
    ]
    report.add("auroc", best[1], recipe=f"baseline: {best[0]}", split="test")
    for name, r in reports.items():
        k = found[name].at
        cosines = ("-", "-")
        if flags:
            along = truth_cosines(found[name].probe, train).iloc[k]
            cosines = tuple("-" if np.isnan(along[c]) else f"{along[c]:+.2f}" for c in ("truth", "polarity"))
        rows.append(
            (name, str(r.sites[k]), r.findings[k].word, *(f"{r[m].value[k]:.2f}" for m in shown), *cosines)
        )
        for measure, value in r.measures.items():
            for i, each in enumerate(r.sites):
                report.add(measure, value[i], recipe=name, site=each, split="test", chosen=i == k)
    header = ("probe", "site", "answer", *(SHOWN[m] for m in shown), "cos truth", "cos pol.")
    table = report.table("Statements and their opposites, on test pairs (train centring)", header, rows)
    report.section(
        "Truth or negation?",
        "Labels set the sign of each probe on train pairs and nothing else; the site was chosen on "
        "validation pairs. Columns: AUROC on truth, AUROC on the negation flag, accuracy in the worst "
        "cell of truth x negation, how often both statements of a pair get one verdict (contradiction) "
        "and its kappa, correct flips, the CCS loss, and cosines with the truth direction and the "
        "polarity-sensitive one of the train pairs. A probe of truth has high AUROC, AUROC near .50 "
        "against the negation flag, a high worst cell, contradiction near 0 and kappa near 1. A constant "
        "probe has contradiction .50 or so, kappa 0 and a CCS loss of .20, and a probe with such numbers "
        "reads nothing.",
        (table,),
    )


def published(probe: LinearProbe, test: PairActivations, report: Report) -> None:
    """The published pipeline beside the corrected one on the same probe."""
    theirs, ours = published_metrics(probe, test), polarity_report(probe, test)
    rows = []
    for i, site in enumerate(map(str, theirs.index)):
        t = theirs.iloc[i]
        here = [ours[m].value[i] for m in ("accuracy", "contradiction_index", "polar_consistency")]
        shown = [f"{v:.2f}" for v in (t.accuracy, t.ci_mean, t.ci_median)]
        rows.append(
            (site, *shown, f"{t.pc_mean:+.2f}", f"{here[0]:.2f}", f"{here[1]:.2f}", f"{here[2]:+.2f}")
        )
        for name, value in t.items():
            report.add(f"published_{name}", float(value), recipe="CCS l2+mean", site=site, split="test")
    header = (
        "site", "accuracy, better sign", "CI mean", "CI median", "PC mean",
        "accuracy, train sign", "CI, train centring", "PC, train centring",
    )  # fmt: skip
    title = "The same CCS probe through the published pipeline (columns 2 to 5) and with train centring"
    table = report.table(title, header, rows)
    report.section(
        "Compared with the published pipeline",
        "The published numbers centre true and false statements, yes and no, each by their own test mean, "
        "which deletes what tells a statement from its opposite, and take the better of two signs on the "
        "test labels. They are here for comparison with published tables and support no conclusion.",
        (table,),
    )


def by_site(found: Mapping[str, MethodReading], sites: Sequence[Site], report: Report) -> None:
    """Truth by site for every method, and what pair probes read of the negation."""
    # Variants of a method ("CCS, per flag") would crowd the picture.
    curves = {name: f.reads.own for name, f in found.items() if ", " not in name}
    widest = max((f.null for f in found.values()), key=lambda null: null.level())
    figure = plots.layer_curve(sites, curves, widest)
    figure.set_ylabel("AUROC for truth, test pairs")
    caption = "AUROC for truth by site, over the band of shuffled labels; intervals stand in the tables"
    figures = [(report.figure("auroc_by_site", figure), caption)]
    read = {
        name: f.polarity["auroc_negated"].value
        for name, f in found.items()
        if f.polarity is not None and "auroc_negated" in f.polarity.measures
    }
    if read:
        names = [str(s) for s in sites]
        flags = plots.heatmap(np.stack(list(read.values())), list(read), names, "AUROC", limits=(0, 1))
        caption = "AUROC of the same scores against the negation flag: white is none of it"
        figures.append((report.figure("reads_negation", flags), caption))
    report.section("By site", "", (), tuple(figures))
