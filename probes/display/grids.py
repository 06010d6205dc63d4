"""Small pictures side by side: rows as points by block, and numbers by block and head."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from probes.data.sites import SiteLike, as_site
from probes.display.plots import axes
from probes.display.point_colours import SCALE, PointColours, point_colours
from probes.display.site_axis import along
from probes.evidence.projections import Projected
from probes.markup.drawn import drawn
from probes.metrics.estimate import Estimate

MOST = 12  # pictures that can be read on one figure
COLUMNS = 4


def scatters(projected: Projected, sites: Sequence[SiteLike] | None = None) -> Figure:
    """Points by site, coloured by label; of many sites twelve, spread evenly, unless some are named.

    Beyond the seventh label markers differ too; numbers of many values have a colour bar, and rows without a
    label are grey.
    """
    wanted = list(projected.sites) if sites is None else [as_site(s) for s in sites]
    if strange := [str(s) for s in wanted if s not in projected.sites]:
        raise ValueError(
            f"there are no points at {strange[0]}; there are {', '.join(map(str, projected.sites))}"
        )
    if sites is None and len(wanted) > MOST:
        wanted = [wanted[i] for i in np.linspace(0, len(wanted) - 1, MOST).round().astype(int)]
    if not wanted:
        raise ValueError("there are no sites to draw; name some or leave sites out")
    looks = point_colours(projected.labels, projected.points.shape[1])
    columns = min(COLUMNS, len(wanted))
    rows = -(-len(wanted) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(1.9 * columns + 0.4, 1.9 * rows + 0.7), squeeze=False, layout="constrained"
    )
    for ax, site in zip(grid.flat, wanted, strict=False):
        _points(ax, projected, projected.sites.index(site), looks)
        ax.set_title(drawn(site), fontsize=9)
    for ax in list(grid.flat)[len(wanted) :]:
        ax.set_visible(False)
    handles, names = grid.flat[0].get_legend_handles_labels()
    if names:
        across = 6 if max(map(len, names)) < 12 else 3
        title = None if projected.by == "y" else drawn(projected.by)
        figure.legend(
            handles,
            names,
            title=title,
            title_fontsize=8,
            frameon=False,
            fontsize=8,
            loc="outside lower center",
            ncols=across,
            markerscale=2,
        )
    if looks.norm is not None:
        shades = ScalarMappable(looks.norm, SCALE)
        bar = figure.colorbar(shades, ax=list(grid.flat), shrink=0.9)
        bar.set_label(drawn(projected.by), fontsize=8)
    held = "; rows of other groups than the axes come from" if projected.held_out else ""
    figure.suptitle(f"{projected.method.upper()} by site{held}", fontsize=10)
    return figure


def _points(ax: Axes, projected: Projected, i: int, looks: PointColours) -> None:
    looks.draw(ax, *projected.points[i].T)
    a, b = projected.shares[i]
    ax.set_xlabel(f"{a:.0%} of variance", fontsize=7)
    ax.set_ylabel(f"{b:.0%}", fontsize=7)
    ax.tick_params(labelsize=6)
    ax.spines[["top", "right"]].set_visible(False)


def head_grid(
    sites: Sequence[SiteLike],
    values: Estimate | Any,
    label: str = "AUROC",
    limits: tuple[float | int, float | int] = (0, 1),
    ax: Axes | None = None,
) -> Axes:
    """Numbers of attention heads as colours, block by head: an `Estimate` or an array with one value a site,
    whose sites are heads (`z.3.7`). Of an Estimate a dot says that the interval leaves out the middle of
    `limits`, and where it knows its sites, the numbers are found by their names. Raises ValueError for other
    sites.
    """
    heads = [as_site(s) for s in sites]
    if not heads:
        raise ValueError("there are no heads to draw; give sites such as z.3.7")
    if isinstance(values, Estimate) and values.sites:
        values = along(values, heads, "the Estimate")
    numbers = np.asarray(values.value if isinstance(values, Estimate) else values, dtype=float)
    if strange := [str(s) for s in heads if s.kind != "z" or s.head is None]:
        raise ValueError(f"a head grid needs sites of heads, such as z.3.7, got {strange[0]}")
    if numbers.shape != (len(heads),):
        raise ValueError(f"there are {len(heads)} heads and values of shape {numbers.shape}; give one a head")
    blocks, columns = sorted({s.block for s in heads}), 1 + max(s.head for s in heads if s.head is not None)
    grid = np.full((len(blocks), columns), np.nan)
    at = [(blocks.index(s.block), s.head or 0) for s in heads]
    for (i, j), number in zip(at, numbers, strict=True):
        grid[i, j] = number
    ax = axes(ax, 2.0 + 0.3 * columns, 1.4 + 0.25 * max(len(blocks), 3))
    ax.set_facecolor("#e4e4e4")
    image = ax.imshow(grid, cmap="RdBu_r", vmin=limits[0], vmax=limits[1], aspect="auto", origin="lower")
    if isinstance(values, Estimate):
        middle = sum(limits) / 2
        apart = (np.asarray(values.low) > middle) | (np.asarray(values.high) < middle)
        for (i, j), marked in zip(at, apart, strict=True):
            if marked:
                ax.plot(j, i, marker="o", ms=2.5, color="white", mec="black", mew=0.5)
    ax.set_xticks(range(columns), [str(j) for j in range(columns)], fontsize=8)
    ax.set_yticks(range(len(blocks)), [str(b) for b in blocks], fontsize=8)
    ax.set(xlabel="head", ylabel="block")
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax)
    bar.set_label(drawn(label), fontsize=8)
    return ax
