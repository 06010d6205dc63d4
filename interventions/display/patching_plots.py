"""The picture of a patching grid."""

import numpy as np
from matplotlib.axes import Axes

from interventions.searching.patching import PatchingGrid
from probes.display.plots import axes, sites_beside
from probes.display.token_plots import tokens_below
from probes.markup.drawn import drawn


def patching_map(grid: PatchingGrid, ax: Axes | None = None) -> Axes:
    """Block by token: by how much the patch moves the behaviour. A dot says that it moves it, and further
    that way than states of other prompts' sources do where there are these, both by interval: less than they
    do is no dot.
    """
    change = grid.change
    specific = change if grid.specific is None else grid.specific
    up = (np.asarray(change.low) > 0) & (np.asarray(specific.low) > 0)
    down = (np.asarray(change.high) < 0) & (np.asarray(specific.high) < 0)
    ax = axes(ax, max(2.4 + 0.45 * len(grid.places), 4.5), 1.8 + 0.22 * max(len(grid.sites), 3))
    reach = max(float(np.nanmax(np.abs(change.value))), 1e-12)
    image = ax.imshow(change.value, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto", origin="lower")
    y, x = np.nonzero(up | down)
    ax.plot(x, y, ls="", marker="o", ms=2.5, color="white", mec="black", mew=0.5)
    tokens_below(ax, list(grid.places))
    sites_beside(ax, grid.sites)
    ax.set(xlabel="token patched (counted from the last, or by name)")
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax)
    dot = "dot: moved" if grid.specific is None else "dot: beyond other sources"
    bar.set_label(drawn(f"change in {grid.unit}\n({dot})"), fontsize=8)
    return ax
