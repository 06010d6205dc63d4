"""Do probes that were found without labels treat a statement and its opposite as opposites, or do they read
the negation?

Runs on the embedded model by default. With another model the statements are plain facts about cities, Spanish
words and animals, each with its denial; with your own data: a CSV with columns statement and label (0/1) and
either a column that joins a statement with its opposite (--pair) or the two halves of the file in the same
order (--pair halves).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.facts import facts_in_pairs
from experiments.knobs import refuse_unused
from experiments.organism.language import opposites
from experiments.organism.world import make_world
from experiments.polarity_markers import marker_control
from experiments.polarity_tables import (
    by_site,
    methods,
    published,
    truth_or_negation,
)
from experiments.report import Report
from experiments.statements import EMBEDDED, as_pairs, model_path, other_labels, read_table
from probes import (
    CCS,
    CRC,
    LDA,
    TTPD,
    Activations,
    ContrastEigen,
    Logistic,
    MassMean,
    Model,
    PairActivations,
    PolarityAwareCCS,
    Transform,
    auroc,
    capture_pairs,
    load_model,
)
from probes.controls import random_weights, surface_baselines
from probes.evidence.method_reading import MethodReading, method_reading
from probes.evidence.opposites import HALVES, pairs_of_opposites
from probes.evidence.rivals import best_item
from probes.fitting.recipe import Recipe
from probes.metrics.estimates import Estimate, aurocs

QUESTION = (
    "Do unsupervised probes treat a statement and its opposite as opposites, or do they read the negation?"
)
SHARES = (0.5, 0.2, 0.3)


@dataclass(frozen=True)
class Config:
    """Knobs of the polarity experiment; every default works without a network."""

    model: str = f"{EMBEDDED}truth_verdicts"
    """embedded:truth_verdicts, embedded:truth, embedded:truth_control, smollm2 (a chat model that a package
    carries), a folder, a GGUF file or a hub name
    """
    data: Path | None = None
    """CSV with a statement column and a 0/1 label column"""
    topics: tuple[str, ...] = ("cities", "words", "animals")
    """which of the built-in facts, where the model is not an embedded one and no file is given"""
    label: str = "label"
    """name of the label column"""
    pair: str = "pair"
    """column that joins a statement with its opposite, or "halves": row i belongs to row i + N/2"""
    group: str = ""
    """column whose values must not cross a split, such as what a statement is about (default: the pair)"""
    template: str = ""
    """what is read, around {statement} and with the answer behind it (default: "{statement} true ?" or
    "{statement}")
    """
    answers: str = ""
    """the answers for a true and a false statement: yes,no"""
    marker: str = ""
    """the meaningless word of the marker control (default: "ttt", or "and" for the embedded models, whose
    vocabulary is closed)
    """
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


QUICK = {"limit": 200, "restarts": 3, "shuffles": 19}
"""What --quick turns down."""


def main(config: Config, report: Report) -> None:
    embedded = config.data is None and config.model.startswith(EMBEDDED)
    if embedded or config.data is not None:
        refuse_unused(config, ["topics"], "the built-in facts are asked of other models without --data")
    if config.data is None:
        refuse_unused(config, ["label", "pair"], "they name columns of a file, and there is no --data")
    model = load_model(model_path(config.model), device=config.device)
    table = load_opposites(config)
    template = config.template or ("{statement} true ?" if embedded else "{statement}")
    wording = (template, config.answers or ("yes,no" if embedded else "Yes.,No."))
    marker = config.marker or ("and" if embedded else "ttt")
    counts = f"{len(table)} statements in {table.pair_id.nunique()} pairs, {table.negated.mean():.0%} negated"
    report.say(f"{model!r}; {counts}; reading {config.at}")
    data = as_pairs(table, wording).sides[0].hash
    report.facts.update(model=model.fingerprint.as_dict(), data=data, template=template)

    acts = read(model, table, wording, config.at)
    parts = acts.split(SHARES, seed=config.seed)
    answered_yes = [part.side("yes") for part in parts]
    train, _, test = parts
    unsupervised, supervised = recipes_of(config, train)
    found: dict[str, MethodReading] = {}
    for name, recipe in (unsupervised | supervised).items():
        rows = parts if name in unsupervised else answered_yes
        others = other_labels(rows[-1])
        found[name] = method_reading(recipe, rows, others, config.shuffles, config.seed)
        report.say(f"{name}: {found[name].site}")
    words = surface_baselines(*labelled_texts(train), *labelled_texts(test), test.groups)
    fresh = read(random_weights(model, config.seed), table, wording, config.at).side("yes")
    baselines = {f"bare text, {name}": e for name, e in words.items()}
    baselines["untrained network, Logistic"] = at_best_site(Logistic(), fresh.split(SHARES, seed=config.seed))
    for name, e in baselines.items():
        report.add("auroc", e, recipe=f"baseline: {name}", split="test")
    best = best_item(baselines)

    methods(found, best, report)
    truth_or_negation(found, train, test, best, report)
    marker_control(found, test, partial(read_again, model, wording, config.at), marker, report)
    as_published = CCS(seed=config.seed, restarts=config.restarts, prepare="l2+mean")
    published(as_published.fit(train), test, report)
    by_site(found, acts.sites, report)


def recipes_of(config: Config, train: PairActivations) -> tuple[dict[str, Recipe], dict[str, Recipe]]:
    """The methods that see labels for their sign at most, and those that are fitted on them."""
    per_flag = Transform(centre="mean", scale="rms", by="negated")
    erased = Transform(centre="mean", scale="rms", erase=("negated",))
    clusters = Transform(centre="mean", scale="rms", clusters=2)
    ccs = CCS(seed=config.seed, restarts=config.restarts)
    unsupervised: dict[str, Recipe] = {
        "CCS": ccs,
        "CCS, per flag": replace(ccs, prepare=per_flag),
        "CCS, cells erased": replace(ccs, prepare=erased),
        "CCS, 2 clusters": replace(ccs, prepare=clusters),
        "PolarityAwareCCS": PolarityAwareCCS(seed=config.seed, restarts=config.restarts),
        "CRC": CRC(),
        "CRC, per flag": CRC(prepare=per_flag),
        "ContrastEigen": ContrastEigen(),
        "ContrastEigen, per flag": ContrastEigen(prepare=per_flag),
    }
    supervised: dict[str, Recipe] = {"MassMean": MassMean(), "Logistic": Logistic(), "LDA": LDA()}
    if len(np.unique(train.column("negated"))) == 2:
        supervised["TTPD"] = TTPD()
    return unsupervised, supervised


def at_best_site(recipe: Recipe, parts: Sequence[Activations]) -> Estimate:
    """AUROC on the test rows at the site that the validation rows choose."""
    train, validation, test = parts
    probe = recipe.fit(train)
    at = int(np.argmax(aurocs(probe.score(validation), np.asarray(validation.y))))
    return auroc(probe.score(test)[at], test.y, test.groups)


def read(model: Model, table: pd.DataFrame, wording: tuple[str, str], at: str) -> PairActivations:
    """Every statement answered either way, read at every site."""
    sites = ["resid_pre.0", *(f"resid_post.{i}" for i in range(model.n_blocks))]
    return capture_pairs(model, as_pairs(table, wording), sites, at)


def read_again(
    model: Model, wording: tuple[str, str], at: str, rows: PairActivations, statements: Sequence[str]
) -> PairActivations:
    """Other statements in the place of those of given rows, read in the same way."""
    table = pd.DataFrame(
        {"statement": statements, "label": rows.y, "group": rows.groups} | dict(rows.columns)
    )
    return read(model, table, wording, at)


def labelled_texts(rows: PairActivations) -> tuple[list[str], np.ndarray]:
    return rows.column("text").tolist(), np.asarray(rows.y)


def load_opposites(config: Config) -> pd.DataFrame:
    """Statements (also as the column `text`) with label, negated, pair_id and group; of every pair one is
    true.
    """
    if config.data is None and config.model.startswith(EMBEDDED):
        table = opposites(make_world(), seed=config.seed)
    elif config.data is None:
        told = facts_in_pairs(config.topics, config.seed)
        table = pairs_of_opposites(told, "label", "pair", config.group or "entity")
    else:
        named = [
            config.label,
            *([config.pair] if config.pair != HALVES else []),
            *([config.group] if config.group else []),
        ]
        advice = "it needs a statement and a label column; name others with --label, --pair and --group"
        read_in = read_table(config.data, ["statement", *named], advice)
        table = pairs_of_opposites(read_in, config.label, config.pair, config.group or None)
    if config.limit is not None:
        names = np.random.default_rng(config.seed).permutation(table.pair_id.unique())[
            : max(2, config.limit // 2)
        ]
        table = table.loc[table.pair_id.isin(names)].reset_index(drop=True)
    return table.assign(text=table.statement)
