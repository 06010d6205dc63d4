"""Pictures of rewriting: how far each arm moved the scores, and what the model then did. Functions
take results and an optional `ax`, and return the Axes.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from interventions.display.plots import answer_kinds
from interventions.rewriting.arms import ORIGINAL
from interventions.rewriting.outcomes import Remeasured
from probes.display.plots import COLOURS, axes
from probes.markup.drawn import drawn


def score_shifts(result: Remeasured, ax: Axes | None = None, legend: bool = True) -> Axes:
    """Mean shift of every arm in the direction asked for, with its interval, as each scorer sees it:
    what chose an arm sees more than what did not.
    """
    names = [a for a in result.arms if a != ORIGINAL]
    scorers = list(result.arms[ORIGINAL].scores)
    ax = axes(ax, 6.4, 0.9 + 0.42 * len(names))
    for j, by in enumerate(scorers):
        shifts = [result.shift(a, by) for a in names]
        y = np.arange(len(names)) + (j - (len(scorers) - 1) / 2) * 0.22
        x = np.array([float(s.value) for s in shifts])
        reach = [[float(s.value - s.low) for s in shifts], [float(s.high - s.value) for s in shifts]]
        ax.errorbar(x, y, xerr=reach, ls="", marker="o", ms=4.5, capsize=3, color=COLOURS[j], label=drawn(by))
    ax.axvline(0, color="black", lw=0.8, ls=":")
    ax.set_yticks(range(len(names)), [drawn(name) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(
        f"shift towards {drawn(result.towards)}\n(standard deviations of deployment prompts)", fontsize=9
    )
    if legend:
        ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


def arm_answers(result: Remeasured, ax: Axes | None = None, title: str = "") -> Axes:
    """Share of each kind of answer in every arm, edits last."""
    ax = answer_kinds(
        {name.replace(" ", "\n"): r for name, r in result.records.items()},
        axes(ax, 2.2 + 1.05 * len(result.records), 3.3),
    )
    ax.tick_params(axis="x", labelsize=8)
    ax.set_title(drawn(title), fontsize=10)
    return ax


def flows(result: Remeasured, arms: Mapping[str, Axes]) -> list[Axes]:
    """Which kind of answer became which, one table of counts an arm; the diagonal is what stayed."""
    filled = []
    for name, ax in arms.items():
        moves = result.transitions(name)
        there = [i for i in range(len(moves.classes)) if moves.counts[i].any() or moves.counts[:, i].any()]
        counts = moves.counts[np.ix_(there, there)]
        ax.imshow(counts / max(1, counts.sum()), cmap="Blues", vmin=0, vmax=1)
        for (i, j), n in np.ndenumerate(counts):
            ax.text(
                j,
                i,
                str(n),
                ha="center",
                va="center",
                fontsize=9,
                color="white" if n > 0.55 * counts.sum() else "black",
                weight="normal" if i == j else "bold",
            )
        labels = [drawn(moves.classes[i]) for i in there]
        ax.set_xticks(range(len(labels)), labels, fontsize=8)
        ax.set_yticks(range(len(labels)), labels, fontsize=8)
        ax.set(xlabel="after", ylabel="before")
        ax.set_title(f"{drawn(name)}\n{moves.test} p={moves.p_value:.2g}", fontsize=9)
        for side in ("top", "right"):
            ax.spines[side].set_visible(True)
        filled.append(ax)
    return filled
