"""Do probes that were found without labels treat a statement and its opposite as opposites, or do they read the negation?

Runs on the embedded model by default. With your own data: a CSV with columns statement and label (0/1) and either a column that joins a
statement with its opposite (--pair) or the two halves of the file in the same order (--pair halves).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.organism.language import opposites
from experiments.organism.world import make_world
from experiments.report import Report
from experiments.statements import EMBEDDED, as_pairs, model_path
from probes import CCS, CRC, ContrastEigen, Estimate, PairActivations, PolarityAwareCCS, Transform, auroc, capture_pairs, load_model, plots
from probes.controls import surface_baselines
from probes.polarity import PolarityReport, polarity_report, published_metrics

QUESTION = "Do unsupervised probes treat a statement and its opposite as opposites, or do they read the negation?"
SHARES = (0.5, 0.2, 0.3)
NEGATION = r"\b(?:not|never|no|cannot)\b|n't\b"
SHOWN = {
    "auroc": "AUROC", "accuracy": "right", "auroc_negated": "AUROC neg.", "accuracy_worst_cell": "worst cell", "contradiction": "contrad.",
    "contradiction_kappa": "kappa", "correct_flip": "flips", "bias": "bias", "ccs_loss": "CCS loss",
}  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Knobs of the polarity experiment; every default works without a network."""

    model: str = f"{EMBEDDED}truth"
    """embedded:truth, embedded:truth_control, a folder, or a hub name"""
    data: Path | None = None
    """CSV with a statement column and a 0/1 label column"""
    label: str = "label"
    """name of the label column"""
    pair: str = "pair"
    """column that joins a statement with its opposite, or "halves": row i belongs to row i + N/2"""
    template: str = ""
    """what is read, around {statement} and with the answer behind it (default: "{statement} true ?" or "{statement}")"""
    answers: str = ""
    """the answers for a true and a false statement: yes,no"""
    at: str = "last"
    """token to read: last, mean, ..."""
    limit: int | None = 800
    """at most so many statements, whole pairs kept together"""
    restarts: int = 10
    """restarts of CCS"""
    device: str = "cpu"
    out: Path = Path("runs")
    """folder that receives polarity/<id>/"""
    seed: int = 0


def main(config: Config, report: Report) -> None:
    embedded = config.data is None
    model = load_model(model_path(config.model), device=config.device)
    table = load_opposites(config)
    template = config.template or ("{statement} true ?" if embedded else "{statement}")
    pairs = as_pairs(table.assign(text=table.statement), (template, config.answers or ("yes,no" if embedded else "Yes.,No.")))
    report.say(f"{model!r}; {len(table)} statements in {table.pair_id.nunique()} pairs, {table.negated.mean():.0%} negated; reading {config.at}")
    acts = capture_pairs(model, pairs, ["resid_pre.0", *(f"resid_post.{i}" for i in range(model.n_blocks))], config.at)
    train, validation, test = acts.split(SHARES, seed=config.seed)
    report.facts.update(model=model.fingerprint.as_dict(), data=pairs.sides[0].hash, template=template)
    per_flag, erased = Transform(centre="mean", scale="rms", by="negated"), Transform(centre="mean", scale="rms", erase=("negated",))
    ccs = CCS(seed=config.seed, restarts=config.restarts)
    recipes = {
        "CCS": ccs,
        "CCS, per flag": CCS(seed=config.seed, restarts=config.restarts, prepare=per_flag),
        "CCS, cells erased": CCS(seed=config.seed, restarts=config.restarts, prepare=erased),
        "PolarityAwareCCS": PolarityAwareCCS(seed=config.seed, restarts=config.restarts),
        "CRC, per flag": CRC(prepare=per_flag),
        "ContrastEigen, per flag": ContrastEigen(prepare=per_flag),
    }
    probes = {name: recipe.fit(train) for name, recipe in recipes.items()}
    reports = {name: polarity_report(probe, test) for name, probe in probes.items()}
    chosen = {name: int(np.argmax(auroc(probe.score(validation), validation.y, n_boot=1).value)) for name, probe in probes.items()}
    surface = surface_baselines(train.columns["text"].tolist(), train.y, test.columns["text"].tolist(), test.y, test.groups)
    compare(reports, chosen, test, max(surface.items(), key=lambda kv: float(kv[1].value)), report)
    published(config, train, test, report)
    curves(reports, test, report)


def load_opposites(config: Config) -> pd.DataFrame:
    """Statements with label, negated and pair_id, of which every pair has one true and one false."""
    if config.data is None:
        table = opposites(make_world(), seed=config.seed)
    else:
        if not config.data.is_file():
            raise ValueError(f"no file {config.data}; --data takes a CSV file with a statement and a label column")
        table = pd.read_csv(config.data)
        wanted = ["statement", config.label, *([config.pair] if config.pair != "halves" else [])]
        missing = [c for c in wanted if c not in table.columns]
        if missing:
            raise ValueError(
                f"{config.data} has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}; name others with --label and --pair"
            )
        half = len(table) // 2
        ids = np.arange(len(table)) % half if config.pair == "halves" else table[config.pair]
        negated = table.statement.str.contains(NEGATION, case=False, regex=True).astype(int)
        table = pd.DataFrame({"statement": table.statement, "label": table[config.label], "negated": negated, "pair_id": ids})
        sound = table.groupby("pair_id").label.transform(lambda y: len(y) == 2 and y.sum() == 1)
        if not sound.any():
            raise ValueError(f"no pair of {config.data} has one statement of label 0 and one of label 1; see --pair")
        table = table.loc[sound & ~table.duplicated("statement", keep=False)]
        table = table.loc[table.groupby("pair_id").label.transform("size") == 2].reset_index(drop=True)
    if config.limit is not None:
        names = np.random.default_rng(config.seed).permutation(table.pair_id.unique())[: max(2, config.limit // 2)]
        table = table.loc[table.pair_id.isin(names)].reset_index(drop=True)
    return table.assign(group=table.get("group", table.pair_id))


def compare(reports: dict[str, PolarityReport], chosen: dict[str, int], test: PairActivations, text: tuple[str, Estimate], report: Report) -> None:
    """Every probe at its site beside the detector that only looks for a negation word and the best classifier of the bare text."""
    negated = np.asarray(test.columns["negated"])
    shown = [m for m in SHOWN if all(m in r.measures for r in reports.values())]
    detector = float(max((negated == test.y).mean(), (negated != test.y).mean()))
    word = {"auroc": f"{float(auroc(negated, test.y, n_boot=1).value):.2f}", "accuracy": f"{detector:.2f}", "auroc_negated": "1.00"}
    rows: list[tuple[str, ...]] = [("negation word alone", "-", *(word.get(m, "-") for m in shown))]
    rows.append((f"text alone ({text[0]}, with labels)", "-", *(f"{text[1].value:.2f}" if m == "auroc" else "-" for m in shown)))
    report.add("auroc", text[1], recipe=f"text alone: {text[0]}", split="test")
    for name, r in reports.items():
        k = chosen[name]
        rows.append((name, str(r.sites[k]) + (" degenerate" if r.degenerate[k] else ""), *(f"{r[m].value[k]:.2f}" for m in shown)))
        for measure, value in r.measures.items():
            for i, site in enumerate(r.sites):
                report.add(measure, value[i], recipe=name, site=site, split="test", chosen=i == k)
        truth, flag = r["auroc"][k], r["auroc_negated"][k] if "auroc_negated" in r.measures else None
        report.claim(f"{name} at {r.sites[k]}: {_verdict(truth, flag, float(text[1].value), bool(r.degenerate[k]))}.")
    header = ("probe", "site", *(SHOWN[m] for m in shown))
    table = report.table("Statements and their opposites, on test pairs (train centring)", header, rows)
    report.section(
        "Truth or negation?",
        "Labels set the sign of each probe on train pairs and nothing else; the site was chosen on validation pairs. Columns: AUROC and share "
        "right on truth, AUROC on the negation flag, accuracy in the worst cell of truth x negation, how often both statements of a pair get one verdict (contradiction) and its kappa, correct flips, bias towards true, and the CCS loss. A probe of truth has high AUROC, AUROC near .50 against the negation flag, a "
        "high worst cell (truth x negation), contradiction near 0 and kappa near 1. A constant probe has contradiction .50 or so, kappa 0 and a CCS loss of .20.",
        (table,),
    )


def _verdict(truth: Estimate, flag: Estimate | None, text: float, degenerate: bool) -> str:
    if degenerate:
        return "degenerate: its credence hardly moves from statement to statement, so its polarity numbers mean nothing"
    reads = f"AUROC {truth} on truth" + ("" if flag is None else f", {flag} on negation")
    if truth.low <= 0.5:
        if flag is not None and (flag.low > 0.6 or flag.high < 0.4):
            return f"it reads negation and not truth ({reads})"
        return f"at chance for truth ({reads})"
    if flag is not None and abs(flag.value - 0.5) >= abs(truth.value - 0.5):
        return f"it reads negation at least as much as truth ({reads})"
    if truth.low <= text:
        return f"it tells true from false, but not better than a classifier of the bare text ({text:.2f}), so nothing follows for the model ({reads})"
    return f"it tells true from false beyond negation and beyond the bare text ({text:.2f}) ({reads})"


def published(config: Config, train: PairActivations, test: PairActivations, report: Report) -> None:
    """The published pipeline beside the corrected one on the same probe."""
    probe = CCS(seed=config.seed, restarts=config.restarts, prepare="l2+mean", l2=1e-5).fit(train)
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


def curves(reports: dict[str, PolarityReport], test: PairActivations, report: Report) -> None:
    sites = test.sites
    by_site = plots.layer_curve(sites, {name: r["auroc"] for name, r in reports.items()})
    by_site.set_ylabel("AUROC for truth, test pairs")
    figures = [(report.figure("auroc_by_site", by_site), "AUROC for truth by site, 95% intervals over pairs")]
    if all("auroc_negated" in r.measures for r in reports.values()):
        matrix = np.stack([r["auroc_negated"].value for r in reports.values()])
        flags = plots.heatmap(matrix, list(reports), [str(s) for s in sites], "AUROC", limits=(0, 1))
        figures.append((report.figure("reads_negation", flags), "AUROC of the same scores against the negation flag: white is none of it"))
    report.section("By site", "", (), tuple(figures))
