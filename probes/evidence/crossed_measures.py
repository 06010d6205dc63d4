"""What is measured of one line of scores in a crossed design, every number with its interval over groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from probes.evidence.crossed_design import CrossedDesign, Rows
from probes.evidence.rivals import Rivals, compared, upright
from probes.metrics.estimates import Estimate, auroc, auroc_within, mean
from probes.metrics.resampling import bootstrapped
from probes.metrics.scores import line_of

Line = Float[np.ndarray, " n"]

CONTRASTS: dict[str, tuple[float, ...]] = {
    "context": (0.5, 0.5, -0.5, -0.5),
    "format": (0.5, -0.5, 0.5, -0.5),
    "interaction": (1, -1, -1, 1),
    "corner gap": (1, 0, 0, -1),
}
"""Weights of the four cell means; context and format make up the corner gap."""


@dataclass(frozen=True)
class Cell:
    """Rows and groups of one cell, their mean score, and the share of them above the frozen threshold."""

    context: str
    format: str
    rows: int
    groups: int
    mean: Estimate | None
    above: Estimate | None


@dataclass(frozen=True, eq=False)
class Measured:
    """Measures of a design with intervals over its groups; `n_boot` resamples and their `seed` are for the
    contrasts of cell means.
    """

    design: CrossedDesign
    level: float
    n_boot: int
    seed: int

    def cells(self, line: Line, threshold: float | int) -> dict[str, Cell]:
        """The four cells by name ("evaluation, casual")."""
        found = {}
        for (context, form), rows in self.design.cells.items():
            groups = self.design.groups[rows]
            there = rows.any()
            average = self._mean(line, rows, share=False) if there else None
            above = self._mean(line > threshold, rows, share=True) if there else None
            counts = int(rows.sum()), len(np.unique(groups))
            found[f"{context}, {form}"] = Cell(context, form, *counts, average, above)
        return found

    def context_within(self, line: Line) -> dict[str, Estimate]:
        """AUROC of the first context over the second within each format that has both."""
        return {f: self._of_context(line, rows) for f, rows in self.design.with_both_contexts.items()}

    def format_within(self, line: Line) -> dict[str, Estimate]:
        """AUROC of the first format over the second within each context that has both."""
        label = self.design.first_format
        return {c: self._auroc(line, label, rows) for c, rows in self.design.with_both_formats.items()}

    def off_diagonal(self, line: Line) -> Estimate:
        """AUROC of context where the format points the other way."""
        return self._of_context(line, self.design.corners)

    def stratified(self, line: Line) -> Estimate:
        """The mean over formats of the AUROC of context."""
        return self._of_strata(line)

    def format_mean(self, line: Line) -> Estimate:
        """The mean over contexts of the AUROC of format."""
        label, parts = self.design.first_format, list(self.design.with_both_formats.values())
        return auroc_within(line, label, parts, self.design.groups, level=self.level)

    def transfer(self, crossed: Mapping[str, Any]) -> dict[tuple[str, str], Estimate]:
        """AUROC of context within each format by probes that were fitted on one format alone."""
        found = {}
        for fitted_on, scores in crossed.items():
            if fitted_on not in self.design.formats:
                known = " and ".join(self.design.formats)
                raise ValueError(
                    f"crossed has scores of a probe fitted on {fitted_on!r}; the formats are {known}"
                )
            line = line_of(scores, f"crossed[{fitted_on!r}]", len(self.design))
            for scored_on, rows in self.design.with_both_contexts.items():
                found[fitted_on, scored_on] = self._of_context(line, rows)
        return found

    def by_fold(self, line: Line, folds: Mapping[str, Rows]) -> dict[str, Estimate]:
        """AUROC of context, the mean of formats, on the rows of each fold."""
        return {name: self._of_strata(line, [m]) for name, m in folds.items()}

    def over_folds(self, line: Line, folds: Mapping[str, Rows]) -> Estimate:
        """The mean over folds of the same."""
        return self._of_strata(line, list(folds.values()))

    def rivals(self, line: Line, surface: Mapping[str, Any]) -> Rivals:
        """What scores made from the bare text reach, and how far the line is ahead of the best of them."""
        n = len(self.design)
        lines = {name: line_of(scores, f"surface[{name!r}]", n) for name, scores in surface.items()}
        if not self.design.with_both_contexts:
            return Rivals({})
        lines = {name: upright(other, float(self.stratified(other).value)) for name, other in lines.items()}
        return compared(lines, self.stratified, lambda best: self._of_strata(line, others=best))

    def effects(self, line: Line) -> dict[str, Estimate]:
        """Contrasts of the four cell means in units of the pooled spread within cells; none without a
        spread.
        """
        centred, contrasts = line - line.mean(), np.array(list(CONTRASTS.values())).T
        member = np.stack(list(self.design.cells.values())).astype(float)

        def statistic(weights: np.ndarray) -> np.ndarray:
            totals = weights @ member.T
            with np.errstate(invalid="ignore", divide="ignore"):
                means = (weights * centred) @ member.T / totals
                second = (weights * centred**2) @ member.T / totals
                variance = (totals * (second - means**2)).sum(1) / totals.sum(1)
                return means @ contrasts / np.sqrt(np.maximum(variance, 0))[:, None]

        if not (statistic(np.ones((1, len(line)))) < np.inf).all():
            return {}
        how = (self.design.groups, self.level, self.n_boot, self.seed)
        found = bootstrapped(statistic, (len(CONTRASTS),), len(line), *how)
        return {name: found[i] for i, name in enumerate(CONTRASTS)}

    def _of_strata(
        self, line: Line, within: Sequence[Rows] | None = None, others: Line | None = None
    ) -> Estimate:
        """The mean over formats of the AUROC of context in each of them, or in each and each set of rows
        `within`; with `others`, how far theirs is surpassed.

        A format with one context is skipped.
        """
        formats = self.design.with_both_contexts.values()
        parts = [m if rows is None else m & rows for rows in within or [None] for m in formats]
        label, groups = self.design.first_context, self.design.groups
        return auroc_within(line, label, parts, groups, others=others, level=self.level)

    def _of_context(self, line: Line, rows: Rows) -> Estimate:
        return self._auroc(line, self.design.first_context, rows)

    def _auroc(self, line: Line, label: Rows, rows: Rows) -> Estimate:
        return auroc(line[rows], label[rows], self.design.groups[rows], level=self.level)

    def _mean(self, values: np.ndarray, rows: Rows, share: bool) -> Estimate:
        return mean(values[rows], self.design.groups[rows], share=share, level=self.level)
