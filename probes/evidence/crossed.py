"""Context told apart from format: what anyone's scores do in the four cells of a crossed design."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from probes.checks.arrays import one_order
from probes.evidence.crossed_design import CONTEXTS, FORMATS, CrossedDesign, crossed_design
from probes.evidence.crossed_measures import Cell, Measured
from probes.evidence.crossed_rule import CrossedNumbers
from probes.evidence.crossed_verdict import Verdict, confounded, judged
from probes.evidence.finding import MARGIN
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate
from probes.metrics.resampling import BOOTSTRAPS
from probes.metrics.scores import line_of, say_probabilities


@dataclass(frozen=True, eq=False)
class TwoByTwo(Displayed):
    """Scores by context and format, with every number's interval from resampling groups.

    `cells` go by name ("evaluation, casual"). `context` is the AUROC of the first context over the second
    within each format, `stratified` their mean; `format` and `format_mean` are the AUROC of the first format
    over the second within each context and its mean. `off_diagonal` is the AUROC of (first context, second
    format) over (second context, first format): above .5 the context outweighs the format, below it the
    format does. `effects` splits the gap between the corners (first, first) and (second, second) into context
    + format, in units of the spread within cells. `transfer[a, b]`: fitted on format a, AUROC of context
    within format b. `folds`: by held-out vocabulary. `difference`: `stratified` over the best baseline's.
    """

    scores: Float[np.ndarray, " n"]
    design: CrossedDesign
    threshold: float
    margin: float
    cells: dict[str, Cell]
    context: dict[str, Estimate]
    format: dict[str, Estimate]
    stratified: Estimate | None
    format_mean: Estimate | None
    off_diagonal: Estimate | None
    effects: dict[str, Estimate]
    transfer: dict[tuple[str, str], Estimate]
    folds: dict[str, Estimate]
    unseen: Estimate | None
    surface: dict[str, Estimate]
    difference: Estimate | None

    @cached_property
    def verdict(self) -> Verdict:
        """What the scores read, in fixed words, and why not more."""
        empty = tuple(name for name, cell in self.cells.items() if cell.rows == 0)
        if empty:
            return confounded(self.contexts, empty)
        assert self.stratified is not None and self.off_diagonal is not None and self.format_mean is not None
        numbers = CrossedNumbers(
            contexts=self.contexts,
            formats=self.formats,
            rows=len(self.scores),
            fewest=min(cell.groups for cell in self.cells.values()),
            matched=self.matched,
            context=self.context,
            format=self.format,
            stratified=self.stratified,
            format_mean=self.format_mean,
            off_diagonal=self.off_diagonal,
            effects=self.effects,
            transfer=self.transfer,
            folds=self.folds,
            unseen=self.unseen,
            surface=self.surface,
            difference=self.difference,
            margin=self.margin,
        )
        return judged(numbers)

    @property
    def contexts(self) -> tuple[str, str]:
        return self.design.contexts

    @property
    def formats(self) -> tuple[str, str]:
        return self.design.formats

    @property
    def first_context(self) -> Bool[np.ndarray, " n"]:
        """Which rows are of the first context."""
        return self.design.first_context

    @property
    def first_format(self) -> Bool[np.ndarray, " n"]:
        """Which rows are of the first format."""
        return self.design.first_format

    @property
    def groups(self) -> np.ndarray:
        return self.design.groups

    @property
    def matched(self) -> tuple[int, int]:
        """How many groups stand in both contexts, and how many there are."""
        return self.design.matched

    @property
    def passes(self) -> bool:
        """Whether the gate lets a claim about context through."""
        return bool(self.verdict)

    @property
    def confusion(self) -> pd.DataFrame:
        """The four cells: rows, groups, mean score, and the share called test-like at the frozen
        threshold.
        """
        called = f"called {self.contexts[0]}"
        rows = []
        for name, cell in self.cells.items():
            counts = {"cell": name, "rows": cell.rows, "groups": cell.groups}
            rows.append(counts | {"mean score": _short(cell.mean), called: _short(cell.above)})
        return pd.DataFrame(rows).set_index("cell")

    @property
    def table(self) -> pd.DataFrame:
        """Every number as a row: measure, where, value, interval, rows and groups."""
        named = [
            ("share above the threshold", {k: c.above for k, c in self.cells.items()}),
            ("AUROC of context", {f"within {k}": e for k, e in self.context.items()}),
            (
                "AUROC of context",
                {"mean of formats": self.stratified, "across the diagonal": self.off_diagonal},
            ),
            ("AUROC of format", {f"within {k}": e for k, e in self.format.items()}),
            ("AUROC of format", {"mean of contexts": self.format_mean}),
            ("effect in spreads within cells", self.effects),
            (
                "AUROC of context, transfer",
                {f"fitted on {a}, scored on {b}": e for (a, b), e in self.transfer.items()},
            ),
            ("AUROC of context, unseen vocabulary", self.folds),
            ("AUROC of context, text alone", self.surface),
            ("AUROC of context over the best text baseline", {"mean of formats": self.difference}),
        ]
        rows = [
            _row(measure, where, e) for measure, found in named for where, e in found.items() if e is not None
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return terminal(f"{self.verdict!r}\n{self.confusion.to_string()}")


def two_by_two(
    scores: Any,
    context: Any,
    format: Any,
    group: Any = None,
    *,
    threshold: float | int = 0.0,
    surface: Mapping[str, Any] | None = None,
    crossed: Mapping[str, Any] | None = None,
    fold: Any = None,
    contexts: tuple[str, str] = CONTEXTS,
    formats: tuple[str, str] = FORMATS,
    margin: float | int = MARGIN,
    level: float = 0.95,
    n_boot: int = BOOTSTRAPS,
    seed: int = 0,
) -> TwoByTwo:
    """Measures what scores of held-out rows read, the context or the format, and says it in fixed words
    (`.verdict`). Scores may come from any probe.

    `scores` [n] are high for the first of `contexts`, oriented and with a `threshold` fixed on other rows;
    `context` and `format` hold the names (or 1 for the first, 0 for the second), `group` the unit that was
    kept out of training, the task in matched designs. `surface` maps names of baselines to their scores [n],
    `crossed` a format to the scores [n] of a probe fitted on it alone, `fold` holds the cue vocabulary where
    each row was scored by a probe that had not seen its own (`held_out(..., by="fold")`). An empty cell gives
    the verdict "confounded design". Raises ValueError for NaN, other rows, and other than two of either.
    """
    one_order(scores=scores, context=context, format=format, group=group, fold=fold)
    line = line_of(scores, "scores")
    say_probabilities(line, threshold)
    design = crossed_design(context, format, group, len(line), contexts, formats)
    by = Measured(design, level, n_boot, seed)
    held = {} if fold is None else design.unseen_by(fold)
    rivals = by.rivals(line, surface or {})
    return TwoByTwo(
        scores=line,
        design=design,
        threshold=float(threshold),
        margin=float(margin),
        cells=by.cells(line, threshold),
        context=by.context_within(line),
        format=by.format_within(line),
        stratified=by.stratified(line) if design.with_both_contexts else None,
        format_mean=by.format_mean(line) if design.full else None,
        off_diagonal=by.off_diagonal(line) if design.full else None,
        effects=by.effects(line) if design.full else {},
        transfer=by.transfer(crossed or {}),
        folds=by.by_fold(line, held),
        unseen=by.over_folds(line, held) if held else None,
        surface=rivals.values,
        difference=rivals.difference,
    )


def _row(measure: str, where: str, e: Estimate) -> dict[str, Any]:
    numbers = {"value": e.value, "low": e.low, "high": e.high, "n": e.n, "n_groups": e.n_groups}
    return {"measure": measure, "where": where} | numbers


def _short(value: Estimate | None) -> str:
    return "-" if value is None else f"{value:.2f}"
