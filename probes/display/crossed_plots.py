"""Pictures of crossed designs. Functions take results and an optional `ax`, and return the Axes; they
never fit or load.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from probes.display.plots import COLOURS, GREY, axes
from probes.evidence.crossed import TwoByTwo

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
        inside = (result.first_context == (cell.context == result.contexts[0])) & (
            result.first_format == (cell.format == result.formats[0])
        )
        # Lines of one format next to each other, so that what changes between neighbours is the context.
        where = {0: 3, 2: 2, 1: 1, 3: 0}[i]
        colour = COLOURS[1] if cell.context == result.contexts[0] else COLOURS[0]
        names.append((where, f"{name}\nn={cell.rows}"))
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
            continue
        line = result.scores[inside]
        line = rng.choice(line, SHOWN, replace=False) if len(line) > SHOWN else line
        ax.plot(
            line,
            where + rng.uniform(-0.28, 0.28, len(line)),
            ls="",
            marker="o",
            ms=2.2,
            mew=0,
            color=colour,
            alpha=0.45,
        )
        ax.errorbar(
            e.value,
            where,
            xerr=[[e.value - e.low], [e.high - e.value]],
            color="black",
            marker="D",
            ms=5,
            capsize=4,
            lw=1.4,
            zorder=5,
        )
    ax.axvline(result.threshold, color=GREY, lw=1, ls="--")
    # Outliers must not squeeze the cells together.
    low, high = np.quantile(result.scores, [0.002, 0.998])
    reach = max(high - low, 1e-9)
    ax.set_xlim(min(low, result.threshold) - 0.05 * reach, max(high, result.threshold) + 0.05 * reach)
    ax.set_yticks([w for w, _ in names], [n for _, n in names], fontsize=8)
    ax.set(xlabel="score", ylim=(-0.6, 3.6), title=title or result.verdict.word)
    return ax


def four_cells_beside(results: dict[str, TwoByTwo], width: float | int = 5.2) -> list[Axes]:
    """One dot plot a named result, side by side."""
    _, rows = plt.subplots(
        1, len(results), figsize=(width * len(results), 2.9), layout="constrained", squeeze=False
    )
    return [
        four_cells(result, ax, f"{name}: {result.verdict.word}")
        for ax, (name, result) in zip(rows[0], results.items(), strict=True)
    ]
