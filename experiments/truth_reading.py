"""First half of the truth experiment: where is truth linearly decodable, and what else do such probes
read?
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from experiments.headlines import headlines_of_reading
from experiments.report import Report
from experiments.statements import EMBEDDED, as_pairs, labels_in
from probes import CCS, Estimate, Examples, Logistic, MassMean, Model, Site, capture, cosine_map, plots
from probes.data.labels import Label
from probes.evidence.decodable import ALPHA, Decodable, Methods, Parts, Standing, decode
from probes.evidence.site_reading import LabelReading, label_reading, label_readings
from probes.fitting.recipe import Recipe
from probes.metrics.floors import too_coarse

TRUTH = Label("truth", "y")
RECIPES: dict[str, Recipe] = {"MassMean": MassMean(), "Logistic": Logistic()}
WITH_VERDICTS = f"{EMBEDDED}truth_verdicts"  # it learnt to say whether an answer was right
POSITIONS = {"span_end:statement": "end of statement", "last": "end of prompt"}
ONE_TEMPLATE = (
    "With one template the answer word and truth are the same label, so reading truth and reading the answer"
    " cannot be told apart; give a second template that swaps them."
)


def read(
    model: Model,
    prompts: Examples,
    table: pd.DataFrame,
    template: tuple[str, str],
    at: str,
    shuffles: int,
    seed: int,
) -> Decodable:
    """Statements in questions, and answered either way, at every site."""
    pairs_at = "mean" if at == "mean" else "last"
    methods = Methods(RECIPES, {"CCS": CCS(seed=seed)})
    return decode(
        model, prompts, as_pairs(table, template), ["resid_pre.0", "resid_post"], methods=methods, at=at,
        pairs_at=pairs_at, text="statement", shuffles=shuffles, seed=seed,
    )  # fmt: skip


def decodable_section(reading: Decodable, at: str, report: Report) -> None:
    """Truth by site and recipe, beside shuffled labels and the text alone."""
    null, sites = reading.null, reading.parts[0].sites
    for name, each in reading.by_recipe.items():
        for i, site in enumerate(sites):
            report.add("auroc", each.curve[i], site=site, recipe=name, label="truth", split="test")
    for name, value in reading.surface.items():
        report.add("auroc", value, recipe=f"text alone: {name}", label="truth", split="test")
    paid = {"shuffles": len(null.best), "p_value": null.p_value}
    report.add("null_auroc_95", null.level(), recipe=reading.chosen, label="truth", split="test", **paid)
    title = "Truth from hidden states: AUROC on test groups (← site chosen on validation)"
    shown = report.table(title, ("site", *reading.by_recipe), _by_site(reading))
    truth, test = reading.first, reading.parts[2]
    curves = {name: each.curve for name, each in reading.by_recipe.items()}
    curve = plots.layer_curve(sites, curves, null, dict(reading.surface), truth.site)
    scores = truth.probe[truth.site].score(test[truth.site])[0]
    report.section(
        "Is truth linearly decodable?",
        "Probes were fitted on half of the groups; the site (shaded) was chosen on validation groups and"
        f" every number is from test groups. MassMean and Logistic read position {at}; CCS reads statements"
        " answered as true and as false and saw labels only for its sign. The rest of this report is about"
        f" {reading.chosen}: MassMean, unless Logistic does better on validation groups by more than noise."
        " The grey band is the same pipeline on shuffled labels; the dashed line is the best classifier that"
        " sees only the text.",
        (shown,),
        (
            (report.figure("layer_curve", curve), "AUROC by site, 95% intervals over groups"),
            (
                report.figure("score_histogram", plots.score_histogram(scores, test.y, ("false", "true"))),
                f"Scores of the probe at {truth.site} on test groups",
            ),
        ),
    )


def _by_site(reading: Decodable) -> list[tuple[str, ...]]:
    """Rows of the table: one a site, then the controls."""
    rows: list[tuple[str, ...]] = []
    for i, site in enumerate(reading.parts[0].sites):
        name = "embedding" if site == Site("resid_pre", 0) else str(site)
        cells = (f"{each.curve[i]}{' ←' if each.index == i else ''}" for each in reading.by_recipe.values())
        rows.append((name, *cells))
    words, best = reading.best_text
    rows.append(("shuffled labels, best site 95%", f"{reading.null.level():.2f}", "", ""))
    rows.append((f"text alone ({words})", f"{best}", "", ""))
    return rows


def claim_standing(reading: Decodable, report: Report) -> None:
    """The first sentence of the summary."""
    why = too_coarse(reading.null.least_p, ALPHA, len(reading.null.best))
    sentences = {
        "beyond the text": f"Truth is linearly decodable on held-out groups: {reading.numbers}.",
        "cannot tell": f"Whether truth is decodable could not be told: {why} ({reading.numbers}).",
        "told apart": f"Truth is told apart, but no better than by the text alone: {reading.numbers}.",
        "chance": f"Truth is not shown to be decodable: {reading.numbers}.",
    }
    report.verdict(sentences[reading.standing])
    headlines_of_reading(reading, report)


def claim_unsupervised(reading: Decodable, report: Report) -> None:
    """What to make of a probe without labels that finds nothing."""
    found = reading.by_recipe["CCS"]
    if found.at_site.low > 0.5:
        return
    report.claim(
        f"CCS, which sees no labels, finds nothing here (AUROC {found.at_site} at {found.site}). It reads"
        " whether an answered statement is taken to be right, which a model that knows the truth need not"
        f" keep; --model {WITH_VERDICTS} does."
    )


def what_it_reads(model: Model, prompts: Examples, reading: Decodable, at: str, report: Report) -> None:
    """Each label's own probe against every label: a truth probe that also tells negation or a tag
    apart is not one.
    """
    labels = (TRUTH, *labels_in(prompts))
    found: dict[str, LabelReading] = {}
    for position, parts in _positions(model, prompts, reading, at).items():
        for each in label_readings(RECIPES[reading.chosen], *parts, labels):
            found[f"{each.of.name}, {POSITIONS.get(position, position)}"] = each
            where = {"recipe": reading.chosen, "position": position, "probe_of": each.of.name}
            _keep(each, report, **where)
    assert reading.pairs is not None  # `read` gave them
    _, validation, test = reading.pairs
    pairs = label_reading(reading.by_recipe["CCS"].probe, TRUTH, validation, test, labels)
    by_pairs = {} if pairs is None else {"CCS, yes/no pairs": pairs}
    for each in by_pairs.values():
        _keep(each, report, recipe="CCS", probe_of="truth (unsupervised)")
    _labels_section(found, by_pairs, [label.name for label in labels], reading.chosen, report)
    others = {
        name: value
        for name, value in next(iter({**found, **by_pairs}.values())).on.items()
        if name != TRUTH.name
    }
    if others:
        _claim_also_reads(others, reading.standing, report)
    if len(np.unique(prompts.column("form"))) == 1 and model.generates:
        report.claim(ONE_TEMPLATE)


def _positions(model: Model, prompts: Examples, reading: Decodable, at: str) -> dict[str, Parts]:
    """The rows at the position that is read, and at the end of the prompt, where the answer is given."""
    if at == "last" or not model.generates:
        return {at: reading.parts}
    train, validation, test = (
        capture(model, prompts.rows(np.isin(prompts.groups, np.unique(acts.groups))), acts.sites, "last")
        for acts in reading.parts
    )  # fmt: skip
    return {at: reading.parts, "last": (train, validation, test)}


def _keep(each: LabelReading, report: Report, **where: str) -> None:
    for label, value in each.on.items():
        report.add("auroc", value, site=each.site, **where, label=label, split="test")


def _labels_section(
    found: Mapping[str, LabelReading],
    by_pairs: Mapping[str, LabelReading],
    labels: Sequence[str],
    recipe: str,
    report: Report,
) -> None:
    """The matrix of probes and labels, and how the directions lie to each other."""
    every = {**found, **by_pairs}
    matrix = [
        [float(each.on[label].value) if label in each.on else np.nan for label in labels]
        for each in every.values()
    ]
    rows = [
        (name, *("-" if np.isnan(v) else f"{v:.2f}" for v in line))
        for name, line in zip(every, matrix, strict=True)
    ]
    shown = report.table(
        "What does each probe read? AUROC on test groups (.50: nothing)", ("probe", *labels), rows
    )
    cosines = cosine_map([each.direction for each in found.values()])
    report.section(
        "What does each probe read?",
        f"One {recipe} probe was fitted for every two-valued label, each at the site that validation chose"
        " for it, and scored against all labels.",
        (shown,),
        (
            (
                report.figure(
                    "what_it_reads", plots.heatmap(matrix, list(every), list(labels), "AUROC", limits=(0, 1))
                ),
                (
                    "Rows: the probe of a label, read at a position. Columns: what it is scored against. A"
                    " clean probe is dark red on its own label and white elsewhere."
                ),
            ),
            (
                report.figure("cosines", plots.heatmap(cosines, list(found), list(found), "cosine")),
                "Cosines between the directions, each at the site chosen for it",
            ),
        ),
    )


def _farther(e: Estimate, among: int) -> bool:
    """Whether the farthest of several AUROCs lies beyond .5, paid for having looked at all of them."""
    spread = float(e.high - e.low) / (2 * norm.ppf(0.975))
    return bool(abs(float(e.value) - 0.5) > norm.ppf(1 - 0.025 / among) * spread)


def _claim_also_reads(others: Mapping[str, Estimate], standing: Standing, report: Report) -> None:
    """What the first probe reads besides truth."""
    worst = max(others, key=lambda name: abs(float(others[name].value) - 0.5))
    most = others[worst]
    if standing != "chance":
        probe = "would-be truth probe" if standing == "cannot tell" else "truth probe"
        report.claim(
            f"Of {len(others)} other label{'s' * (len(others) > 1)}, {worst} lies farthest from .50 under the"
            f" {probe}: AUROC {most:.2f} (.50: it cannot tell them apart)."
        )
        return
    most_read = f"of {len(others)} other labels it reads {worst} most (AUROC {most:.2f})"
    none = f"that it reads any of {len(others)} other labels is not shown (AUROC {most:.2f} at most, {worst})"
    instead = most_read if _farther(most, among=len(others)) else none
    report.claim(f"The would-be truth probe is not shown to read truth; {instead}.")
