"""First half of the truth experiment: where is truth linearly decodable, and what else do such probes
read?
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.report import Report
from experiments.statements import as_pairs, binary_columns
from probes import (
    CCS,
    Activations,
    Estimate,
    Examples,
    LinearProbe,
    Logistic,
    MassMean,
    Model,
    PairActivations,
    Site,
    auroc,
    capture,
    capture_pairs,
    cosine_map,
    plots,
)
from probes.controls import Null, shuffled_null, surface_baselines

SHARES = (0.5, 0.2, 0.3)


@dataclass(frozen=True, eq=False)
class Reading:
    """What reading found: the parts of the data, the probes, the chosen site and whether its number
    beats the controls.
    """

    train: Activations
    validation: Activations
    test: Activations
    ccs: LinearProbe
    pairs: tuple[PairActivations, ...]
    probe: LinearProbe
    site: Site
    at_site: Estimate
    null: Null
    surface: dict[str, Estimate]

    @property
    def decodable(self) -> bool:
        """Above shuffled labels with the choice of site paid for, and above everything the text alone
        gives away.
        """
        return self.null.p_value <= 0.05 and float(self.at_site.low) > max(
            0.5, *(float(s.value) for s in self.surface.values())
        )


def read(
    model: Model,
    prompts: Examples,
    table: pd.DataFrame,
    template: tuple[str, str],
    at: str,
    shuffles: int,
    seed: int,
    report: Report,
) -> Reading:
    sites = ["resid_pre.0", *(f"resid_post.{i}" for i in range(model.n_blocks))]
    parts = prompts.split(SHARES, seed=seed)
    report.say(
        f"{len(table)} statements, {len(prompts)} prompts; groups train/validation/test:"
        f" {'/'.join(str(len(np.unique(p.groups))) for p in parts)}"
    )
    train, validation, test = (capture(model, part, sites, at) for part in parts)
    pairs = capture_pairs(model, as_pairs(table, template), sites, "mean" if at == "mean" else "last")
    pair_parts = [pairs.rows(np.isin(pairs.groups, np.unique(p.groups))) for p in parts]
    fits = {
        "MassMean": (MassMean(), train, validation, test),
        "Logistic": (Logistic(), train, validation, test),
        "CCS": (CCS(seed=seed), *pair_parts),
    }
    probes = {name: recipe.fit(a) for name, (recipe, a, _, _) in fits.items()}  # pyright: ignore
    chosen: dict[str, int] = {}
    curves: dict[str, Estimate] = {}
    for name, (_, _, b, c) in fits.items():
        on_validation = auroc(probes[name].score(b), b.y, n_boot=1).value  # pyright: ignore
        # The earliest site within half a point of the best: later blocks can still use what lies there.
        chosen[name] = int(np.flatnonzero(on_validation >= on_validation.max() - 0.005)[0])
        curves[name] = auroc(probes[name].score(c), c.y, c.groups)  # pyright: ignore
        for i, site in enumerate(c.sites):
            report.add("auroc", curves[name][i], site=site, recipe=name, label="truth", split="test")
    null = shuffled_null(MassMean(), train, test, shuffles, seed)
    surface = surface_baselines(_texts(train, prompts), train.y, _texts(test, prompts), test.y, test.groups)
    for name, value in surface.items():
        report.add("auroc", value, recipe=f"text alone: {name}", label="truth", split="test")
    report.add(
        "null_auroc_95",
        null.level(),
        recipe="MassMean",
        label="truth",
        split="test",
        shuffles=shuffles,
        p_value=null.p_value,
    )
    site = train.sites[chosen["MassMean"]]
    rows = [
        (_named(s), *(f"{curves[n][i]}" + (" ←" if chosen[n] == i else "") for n in fits))
        for i, s in enumerate(train.sites)
    ]
    best_text = max(surface.items(), key=lambda kv: kv[1].value)
    rows += [
        ("shuffled labels, best site 95%", f"{null.level():.2f}", "", ""),
        (f"text alone ({best_text[0]})", f"{best_text[1]}", "", ""),
    ]
    shown = report.table(
        "Truth from hidden states: AUROC on test groups (← site chosen on validation)", ("site", *fits), rows
    )
    found = Reading(
        train,
        validation,
        test,
        probes["CCS"],
        tuple(pair_parts),
        probes["MassMean"],
        site,
        curves["MassMean"][chosen["MassMean"]],
        null,
        surface,
    )
    figures = [
        (
            report.figure("layer_curve", plots.layer_curve(train.sites, curves, null, surface, site)),
            "AUROC by site, 95% intervals over groups",
        ),
        (
            report.figure(
                "score_histogram",
                plots.score_histogram(found.probe[site].score(test[site])[0], test.y, ("false", "true")),
            ),
            f"Scores of the probe at {site} on test groups",
        ),
    ]
    report.section(
        "Is truth linearly decodable?",
        "Probes were fitted on half of the groups; the site (shaded) was chosen on validation groups and"
        f" every number is from test groups. MassMean and Logistic read position {at}; CCS reads statements"
        " answered as true and as false and saw labels only for its sign. The grey band is the same pipeline"
        " on shuffled labels; the dashed line is the best classifier that sees only the text.",
        (shown,),
        tuple(figures),
    )
    return found


def what_it_reads(model: Model, prompts: Examples, reading: Reading, at: str, report: Report) -> None:
    """Each label's own probe against every label: a truth probe that also tells negation or a tag
    apart is not one.
    """
    # A column that is truth under another name (the answer, when there is one template) has nothing of its
    # own to tell.
    y = prompts.column("y")
    own = {
        name: values
        for name, values in binary_columns(prompts).items()
        if not np.array_equal(values, y) and not np.array_equal(values, 1 - y)
    }
    labels = {"truth": prompts.y} | own
    parts = {at: (reading.train, reading.validation, reading.test)}
    if at != "last" and model.generates:
        halves = [prompts.rows(np.isin(prompts.groups, np.unique(a.groups))) for a in parts[at]]
        parts["last"] = tuple(capture(model, h, reading.train.sites, "last") for h in halves)  # pyright: ignore
    names, matrix, at_site = [], [], []
    values = dict(
        zip(map(str, prompts.ids), np.stack([np.asarray(v) for v in labels.values()], axis=1), strict=True)
    )

    def column(acts: Activations, k: int) -> np.ndarray:
        return np.array([values[str(i)][k] for i in acts.ids], dtype=int)

    for position, (train, validation, test) in parts.items():
        for k, label in enumerate(labels):
            y = column(train, k)
            if min(len(np.unique(column(a, k))) for a in (train, validation, test)) < 2:
                continue
            probe = MassMean().fit(train.with_y(y))
            usable = [s for s in train.sites if probe.has_direction(s)]
            if not usable:
                # such as the answer at the end of the statement: the question has not been asked yet
                continue
            best = int(
                np.argmax(
                    auroc(probe[usable].score(validation[usable]), column(validation, k), n_boot=1).value
                )
            )
            scores = probe[usable[best]].score(test[usable[best]])[0]
            reads = [auroc(scores, column(test, j), test.groups) for j in range(len(labels))]
            names.append(f"{label}, {_position(position)}")
            at_site.append(probe.direction(usable[best]))
            matrix.append([float(r.value) for r in reads])
            for other, value in zip(labels, reads, strict=True):
                report.add(
                    "auroc",
                    value,
                    recipe="MassMean",
                    site=usable[best],
                    position=position,
                    probe_of=label,
                    label=other,
                    split="test",
                )
    _, validation, test = reading.pairs
    best = int(np.argmax(auroc(reading.ccs.score(validation), validation.y, n_boot=1).value))
    credence = reading.ccs.score(test)[best]
    here = {"truth": test.y} | binary_columns(test)
    row = []
    for label in labels:
        if label not in here:  # the answer is not a property of a statement that is answered both ways
            row.append(float("nan"))
            continue
        value = auroc(credence, here[label], test.groups)
        row.append(float(value.value))
        report.add(
            "auroc",
            value,
            recipe="CCS",
            site=test.sites[best],
            probe_of="truth (unsupervised)",
            label=label,
            split="test",
        )
    names.append("CCS, yes/no pairs")
    matrix.append(row)
    shown = report.table(
        "What does each probe read? AUROC on test groups (.50: nothing)",
        ("probe", *labels),
        [
            (f"{n}", *("-" if np.isnan(v) else f"{v:.2f}" for v in r))
            for n, r in zip(names, matrix, strict=True)
        ],
    )
    figures = [
        (
            report.figure(
                "what_it_reads", plots.heatmap(matrix, names, list(labels), "AUROC", limits=(0, 1))
            ),
            (
                "Rows: the probe of a label, read at a position. Columns: what it is scored against. A clean"
                " probe is dark red on its own label and white elsewhere."
            ),
        ),
        (
            report.figure("cosines", plots.heatmap(cosine_map(at_site), names[:-1], names[:-1], "cosine")),
            "Cosines between the directions, each at the site chosen for it",
        ),
    ]
    reads_truth = dict(zip(labels, matrix[0], strict=True))
    others = {k: v for k, v in reads_truth.items() if k != "truth"}
    if others:
        worst = max(others, key=lambda k: abs(others[k] - 0.5))
        if not reading.decodable:
            best_read = (
                f"what it reads most is {worst} (AUROC {others[worst]:.2f})"
                if abs(others[worst] - 0.5) > 0.1
                else "it reads none of the other labels either"
            )
            report.claim(f"The would-be truth probe is at chance for truth; {best_read}.")
        else:
            report.claim(
                f"The truth probe's largest AUROC on another label is {others[worst]:.2f} ({worst}); .50"
                " means it cannot tell them apart."
            )
    if len({i for i in prompts.columns["form"]}) == 1 and model.generates:
        report.claim(
            "With one template the answer word and truth are the same label, so reading truth and reading the"
            " answer cannot be told apart; give a second template that swaps them."
        )
    report.section(
        "What does each probe read?",
        "One mass-mean probe was fitted for every two-valued label, each at the site that validation chose"
        " for it, and scored against all labels.",
        (shown,),
        tuple(figures),
    )


def _texts(acts: Activations, prompts: Examples) -> list[str]:
    where = {str(i): n for n, i in enumerate(prompts.ids)}
    return [str(prompts.columns["statement"][where[str(i)]]) for i in acts.ids]


def _named(site: Site) -> str:
    return "embedding" if site == Site("resid_pre", 0) else str(site)


def _position(position: str) -> str:
    return {"span_end:statement": "end of statement", "last": "end of prompt"}.get(position, position)
