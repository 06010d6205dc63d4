"""Pictures of crossed designs. Functions take results and an optional `ax`, and return the Axes; they
never fit or load.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from probes.display.plots import COLOURS, GREY, axes
from probes.evidence.crossed import TwoByTwo
from probes.evidence.crossed_measures import Cell
from probes.markup.drawn import drawn

SHOWN = 400  # dots a cell


def four_cells(result: TwoByTwo, ax: Axes | None = None, title: str = "") -> Axes:
    """Every score as a dot, one line a cell, with the cell's mean and its interval and the frozen threshold.

    A probe of the context has the colours apart and each colour's two lines level; a probe of the format has
    the two lines of each format level.
    """
    ax = axes(ax, 6.2, 2.9)
    rng = np.random.default_rng(0)
    names = []
    for i, (name, cell) in enumerate(result.cells.items()):
        # Lines of one format next to each other, so that what changes between neighbours is the context.
        where = {0: 3, 2: 2, 1: 1, 3: 0}[i]
        names.append((where, f"{drawn(name)}\nn={cell.rows}"))
        _draw_cell(ax, result, cell, where, rng)
    ax.axvline(result.threshold, color=GREY, lw=1, ls="--")
    ax.set_xlim(*_shown_range(result))
    ax.set_yticks([w for w, _ in names], [n for _, n in names], fontsize=8)
    ax.set(xlabel="score", ylim=(-0.6, 3.6), title=drawn(title or result.verdict.word))
    return ax


def _draw_cell(ax: Axes, result: TwoByTwo, cell: Cell, where: int, rng: np.random.Generator) -> None:
    """One line of the picture: at most `SHOWN` dots, the mean with its interval, or the word that
    there are no rows.
    """
    e = cell.mean
    if e is None:
        ax.text(
            0.5,
            (where + 0.5) / 4,
            "no rows",
            transform=ax.transAxes,
            ha="center",
            va="center",
            fontsize=8,
            color=GREY,
        )
        return
    of_context = result.first_context == (cell.context == result.contexts[0])
    of_format = result.first_format == (cell.format == result.formats[0])
    line = result.scores[of_context & of_format]
    line = rng.choice(line, SHOWN, replace=False) if len(line) > SHOWN else line
    colour = COLOURS[1] if cell.context == result.contexts[0] else COLOURS[0]
    heights = where + rng.uniform(-0.28, 0.28, len(line))
    ax.plot(line, heights, ls="", marker="o", ms=2.2, mew=0, color=colour, alpha=0.45)
    ends = [[e.value - e.low], [e.high - e.value]]
    ax.errorbar(e.value, where, xerr=ends, color="black", marker="D", ms=5, capsize=4, lw=1.4, zorder=5)


def _shown_range(result: TwoByTwo) -> tuple[float, float]:
    """The ends of the score axis: outliers must not squeeze the cells together."""
    low, high = np.quantile(result.scores, [0.002, 0.998])
    margin = 0.05 * max(high - low, 1e-9)
    return min(low, result.threshold) - margin, max(high, result.threshold) + margin


def four_cells_beside(results: dict[str, TwoByTwo], width: float | int = 5.2) -> list[Axes]:
    """One dot plot a named result, side by side."""
    _, rows = plt.subplots(
        1, len(results), figsize=(width * len(results), 2.9), layout="constrained", squeeze=False
    )
    return [
        four_cells(result, ax, f"{name}: {result.verdict.word}")
        for ax, (name, result) in zip(rows[0], results.items(), strict=True)
    ]
