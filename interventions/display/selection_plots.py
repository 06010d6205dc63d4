"""The picture of a direction chosen over tokens and blocks."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from interventions.searching.selecting import SCORES, Selected
from probes.display.plots import axes
from probes.markup.drawn import drawn


def selection_map(selected: Selected, show: str = "removed", ax: Axes | None = None) -> Axes:
    """Token (from the end) by site as colours, of one score of the candidates: "removed" (default),
    "induced" or "kl".

    A frame marks the chosen place; a dot that the place passed the filters, in grey what was not measured.
    Where none passed the title says so, and which filter stopped how many.
    """
    if show not in SCORES:
        raise ValueError(f"show must be one of {', '.join(SCORES)}, got {show!r}")
    tokens = sorted({c.token for c in selected.candidates})
    sites = list(dict.fromkeys(c.site for c in selected.candidates))
    values = np.full((len(tokens), len(sites)), np.nan)
    places = {(c.token, c.site): (tokens.index(c.token), sites.index(c.site)) for c in selected.candidates}
    for c in selected.candidates:
        values[places[c.token, c.site]] = c.scores[show]
    ax = axes(ax, 2.4 + 0.3 * len(sites), 1.6 + 0.34 * len(tokens))
    ax.set_facecolor("#e4e4e4")
    image = ax.imshow(values, cmap="viridis", aspect="auto")
    for c in selected.candidates:
        if not c.passed_over:
            i, j = places[c.token, c.site]
            ax.plot(j, i, marker="o", ms=3, color="white", mec="black", mew=0.6)
    if any(not c.passed_over for c in selected.candidates):
        i, j = places[selected.best.token, selected.best.site]
        ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, lw=2, edgecolor="#D55E00"))
    every = max(1, len(sites) // 12)
    ax.set_xticks(
        range(0, len(sites), every), [drawn(s) for s in sites[::every]], rotation=35, ha="right", fontsize=8
    )
    ax.set_yticks(range(len(tokens)), [str(t) for t in tokens])
    ax.set(ylabel="token")
    ax.spines[:].set_visible(False)
    if not selected.passed:
        reasons = "\n".join(f"{why}: {n}" for why, n in selected.stopped.items())
        ax.set_title(
            drawn(f"none of the {len(selected.candidates)} candidates passed\n{reasons}"), fontsize=9
        )
    if np.isnan(values).all():
        return ax  # a bar would show numbers that nobody measured
    unit = "nats" if show == "kl" else selected.unit
    bar = ax.figure.colorbar(image, ax=ax)
    bar.set_label(drawn(f"{SCORES[show]}\n{unit}"), fontsize=8)
    return ax
