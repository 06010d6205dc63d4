"""Do probes that were found without labels treat a statement and its opposite as opposites, or do they read the negation?

Runs on the embedded model by default. With your own data: a CSV with columns statement and label (0/1) and either a column that joins a
statement with its opposite (--pair) or the two halves of the file in the same order (--pair halves).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.organism.language import opposites
from experiments.organism.world import make_world
from experiments.polarity_tables import Found, by_site, marker_control, methods, published, truth_or_negation
from experiments.report import Report
from experiments.statements import EMBEDDED, as_pairs, model_path
from probes import (
    CCS,
    CRC,
    LDA,
    TTPD,
    ContrastEigen,
    Logistic,
    MassMean,
    Model,
    PairActivations,
    Pairs,
    PolarityAwareCCS,
    Transform,
    auroc,
    capture_pairs,
    load_model,
)
from probes.controls import random_weights, shuffled_null, surface_baselines
from probes.evidence.markers import NEGATION
from probes.evidence.polarity import polarity_report
from probes.metrics.estimates import Estimate, aurocs

QUESTION = "Do unsupervised probes treat a statement and its opposite as opposites, or do they read the negation?"
SHARES = (0.5, 0.2, 0.3)


@dataclass(frozen=True)
class Config:
    """Knobs of the polarity experiment; every default works without a network."""

    model: str = f"{EMBEDDED}truth_verdicts"
    """embedded:truth_verdicts, embedded:truth, embedded:truth_control, a folder, or a hub name"""
    data: Path | None = None
    """CSV with a statement column and a 0/1 label column"""
    label: str = "label"
    """name of the label column"""
    pair: str = "pair"
    """column that joins a statement with its opposite, or "halves": row i belongs to row i + N/2"""
    group: str = ""
    """column whose values must not cross a split, such as what a statement is about (default: the pair)"""
    template: str = ""
    """what is read, around {statement} and with the answer behind it (default: "{statement} true ?" or "{statement}")"""
    answers: str = ""
    """the answers for a true and a false statement: yes,no"""
    marker: str = ""
    """the meaningless word of the marker control (default: "ttt", or "and" for the embedded models, whose vocabulary is closed)"""
    at: str = "last"
    """token to read: last, mean, ..."""
    limit: int | None = 800
    """at most so many statements, whole pairs kept together"""
    restarts: int = 10
    """restarts of CCS"""
    shuffles: int = 99
    """shuffled labellings behind every p-value"""
    device: str = "cpu"
    out: Path = Path("runs")
    """folder that receives polarity/<id>/"""
    seed: int = 0


def recipes_of(config: Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """The methods that see no labels, and those that do (fitted on the statements answered yes)."""
    per_flag, erased = Transform(centre="mean", scale="rms", by="negated"), Transform(centre="mean", scale="rms", erase=("negated",))
    ccs: dict[str, Any] = {"seed": config.seed, "restarts": config.restarts}
    return {
        "CCS": CCS(**ccs),
        "CCS, per flag": CCS(**ccs, prepare=per_flag),
        "CCS, cells erased": CCS(**ccs, prepare=erased),
        "CCS, 2 clusters": CCS(**ccs, prepare=Transform(centre="mean", scale="rms", clusters=2)),
        "PolarityAwareCCS": PolarityAwareCCS(**ccs),
        "CRC": CRC(),
        "CRC, per flag": CRC(prepare=per_flag),
        "ContrastEigen": ContrastEigen(),
        "ContrastEigen, per flag": ContrastEigen(prepare=per_flag),
    }, {"MassMean": MassMean(), "Logistic": Logistic(), "LDA": LDA(), "TTPD": TTPD()}


def main(config: Config, report: Report) -> None:
    embedded = config.data is None
    model = load_model(model_path(config.model), device=config.device)
    table = load_opposites(config)
    template = config.template or ("{statement} true ?" if embedded else "{statement}")
    wording = (template, config.answers or ("yes,no" if embedded else "Yes.,No."))
    pairs = as_pairs(table.assign(text=table.statement), wording)
    report.say(f"{model!r}; {len(table)} statements in {table.pair_id.nunique()} pairs, {table.negated.mean():.0%} negated; reading {config.at}")
    sites = ["resid_pre.0", *(f"resid_post.{i}" for i in range(model.n_blocks))]
    acts = capture_pairs(model, pairs, sites, config.at)
    train, validation, test = acts.split(SHARES, seed=config.seed)
    report.facts.update(model=model.fingerprint.as_dict(), data=pairs.sides[0].hash, template=template)

    unsupervised, supervised = recipes_of(config)
    both_flags = len(np.unique(np.asarray(train.columns["negated"]))) == 2
    found: dict[str, Found] = {}
    for name, recipe in (unsupervised | supervised).items():
        if name == "TTPD" and not both_flags:
            continue
        parts = [p if name in unsupervised else p.side("yes") for p in (train, validation, test)]
        probe = recipe.fit(parts[0])
        null = shuffled_null(recipe, parts[0], parts[2], config.shuffles, config.seed, probe=probe)
        at = int(np.argmax(auroc(probe.score(parts[1]), parts[1].y, n_boot=1).value))
        polarity = polarity_report(probe, test) if name in unsupervised else None
        found[name] = Found(probe, parts[2], null, at, polarity)
        report.say(f"{name}: {acts.sites[at]}")
    surface = surface_baselines(train.columns["text"].tolist(), train.y, test.columns["text"].tolist(), test.y, test.groups)
    surface = {f"bare text, {name}": e for name, e in surface.items()} | {"untrained network, Logistic": untrained(model, pairs, sites, config)}
    for name, e in surface.items():
        report.add("auroc", e, recipe=f"baseline: {name}", split="test")
    text = max(surface.items(), key=lambda kv: float(kv[1].value))
    methods(found, text, report)
    truth_or_negation(found, train, test, text, report)
    marker_control(found, test, _captured(model, wording, sites, config), config.marker or ("and" if embedded else "ttt"), report)
    published(CCS(seed=config.seed, restarts=config.restarts, prepare="l2+mean", l2=1e-5).fit(train), test, report)
    by_site(found, acts.sites, report)


def untrained(model: Model, pairs: Pairs, sites: list[str], config: Config) -> Estimate:
    """What a labelled probe reads in a network of the same shape with random weights, at the site that validation pairs choose."""
    parts = capture_pairs(random_weights(model, config.seed), pairs, sites, config.at).side("yes").split(SHARES, seed=config.seed)
    probe = Logistic().fit(parts[0])
    at = int(np.argmax(aurocs(probe.score(parts[1]), np.asarray(parts[1].y))))
    return auroc(probe.score(parts[2])[at], parts[2].y, parts[2].groups)


def _captured(model: Model, wording: tuple[str, str], sites: list[str], config: Config) -> Any:
    """Captures other statements in the same wording, at the same sites and position, with the columns of given rows."""

    def capture(statements: tuple[str, ...], like: PairActivations) -> PairActivations:
        table = pd.DataFrame({"statement": statements, "label": like.y, "group": like.groups} | {k: v for k, v in like.columns.items() if k != "statement"})
        return capture_pairs(model, as_pairs(table, wording), sites, config.at)

    return capture


def load_opposites(config: Config) -> pd.DataFrame:
    """Statements with label, negated and pair_id, of which every pair has one true and one false."""
    if config.data is None:
        table = opposites(make_world(), seed=config.seed)
    else:
        if not config.data.is_file():
            raise ValueError(f"no file {config.data}; --data takes a CSV file with a statement and a label column")
        table = pd.read_csv(config.data)
        wanted = ["statement", config.label, *([config.pair] if config.pair != "halves" else []), *([config.group] if config.group else [])]
        missing = [c for c in wanted if c not in table.columns]
        if missing:
            raise ValueError(
                f"{config.data} has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}; name others with --label, --pair and --group"
            )
        half = len(table) // 2
        ids = np.arange(len(table)) % half if config.pair == "halves" else table[config.pair]
        negated = table.statement.str.contains(NEGATION, case=False, regex=True).astype(int)
        table = pd.DataFrame(
            {
                "statement": table.statement,
                "label": table[config.label],
                "negated": negated,
                "pair_id": ids,
                "group": table[config.group] if config.group else ids,
            }
        )
        sound = table.groupby("pair_id").label.transform(lambda y: len(y) == 2 and y.sum() == 1)
        if (table.groupby("pair_id").group.nunique() > 1).any():
            raise ValueError(f"column {config.group!r} of {config.data} differs between a statement and its opposite; a group must hold whole pairs")
        if not sound.any():
            raise ValueError(f"no pair of {config.data} has one statement of label 0 and one of label 1; see --pair")
        table = table.loc[sound & ~table.duplicated("statement", keep=False)]
        table = table.loc[table.groupby("pair_id").label.transform("size") == 2].reset_index(drop=True)
    if config.limit is not None:
        names = np.random.default_rng(config.seed).permutation(table.pair_id.unique())[: max(2, config.limit // 2)]
        table = table.loc[table.pair_id.isin(names)].reset_index(drop=True)
    return table
