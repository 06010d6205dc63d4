"""Pictures of readings. Functions take results and an optional `ax`, and return the Axes; they never
fit or load.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from probes.data.sites import Site, SiteLike, as_site
from probes.display.marks import COLOURS, GREY, colour_of, line_look
from probes.display.site_axis import along, site_axis
from probes.evidence.calibration import reliability
from probes.evidence.permutation import Null
from probes.evidence.rivals import best_item
from probes.evidence.sweeps import Sweep
from probes.evidence.transfer import Transfer
from probes.markup.drawn import drawn
from probes.metrics.estimates import Estimate
from probes.metrics.scores import labelled, line_of

FEW = 4  # curves whose intervals can be told apart


def axes(ax: Axes | None, width: float = 6.0, height: float = 3.6) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def layer_curve(
    sites: Sequence[SiteLike],
    curves: Mapping[str, Estimate] | Estimate,
    null: Null | None = None,
    surface: Mapping[str, Estimate] | None = None,
    chosen: SiteLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """AUROC by site with its interval, over the band of shuffled labels and the level that bare text
    reaches. `curves` is one AUROC of all sites, or several by name; `null` and `surface` are what `claim`
    holds under these names, and `chosen` is marked. An Estimate that knows its sites is drawn by their names.
    Of more than four curves the intervals would hide each other: they are then left out, and the names stand
    beside.
    """
    curves = {"AUROC": curves} if isinstance(curves, Estimate) else curves
    if not isinstance(curves, Mapping):
        raise TypeError(
            f"curves are AUROCs by name, got a {type(curves).__name__}; of a site_reading write"
            ' {"MassMean": reading.curve}'
        )
    ax = axes(ax)
    sites = [as_site(site) for site in sites]
    curves = {name: along(curve, sites, name) for name, curve in curves.items()}
    x = np.arange(len(sites))
    if null is not None:
        ax.fill_between(
            x,
            *np.quantile(null.by_site, [0.025, 0.975], axis=0),
            color=GREY,
            alpha=0.25,
            lw=0,
            label="shuffled labels, 95%",
        )
        ax.axhline(null.level(), color=GREY, lw=1, ls=":", label="best site of shuffled labels, 95%")
    if surface:
        name, best = best_item(surface)
        ax.axhline(best.value, color=COLOURS[4], lw=1.2, ls="--", label=f"text alone ({drawn(name)})")
    for k, (name, curve) in enumerate(curves.items()):
        ax.plot(x, curve.value, label=drawn(name), **line_look(k))
        if len(curves) <= FEW:
            ax.fill_between(x, curve.low, curve.high, color=colour_of(k), alpha=0.2, lw=0)
    if chosen is not None:
        if as_site(chosen) not in sites:
            raise ValueError(f"chosen is {as_site(chosen)}, which is not among the sites that are drawn")
        ax.axvline(sites.index(as_site(chosen)), color="#bbbbbb", lw=6, alpha=0.35, zorder=0, label="chosen")
    sites_below(ax, sites)
    ax.set(
        ylabel="AUROC on test groups",
        ylim=(min(0.4, ax.get_ylim()[0]), 1.02),
    )
    if len(curves) > FEW:
        ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    else:
        ax.legend(frameon=False, fontsize=8, loc="best")
    return ax


def sites_below(ax: Axes, sites: Sequence[Site]) -> None:
    """Names of sites beneath an axis; whole names are turned, so that they do not run into each other."""
    names, what = site_axis(sites)
    if what == "site":
        ax.set_xticks(range(len(sites)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    else:
        ax.set_xticks(range(len(sites)), names)
    ax.set(xlabel=what)


def sites_beside(ax: Axes, sites: Sequence[Site]) -> None:
    """Names of sites beside the rows of a map."""
    names, what = site_axis(sites)
    ax.set_yticks(range(len(sites)), names, fontsize=8)
    ax.set(ylabel=what if len(sites) > 1 else "")


def score_histogram(
    scores: Any, y: Any, names: tuple[str, str] = ("negative", "positive"), ax: Axes | None = None
) -> Axes:
    """How a probe's scores spread over the two classes; the threshold is at 0."""
    scores, y, _ = labelled(line_of(scores, "scores"), y)
    ax = axes(ax, 5.0, 3.2)
    bins = np.linspace(scores.min(), scores.max() + 1e-9, 40)
    for name, part, colour in ((names[0], scores[~y], COLOURS[1]), (names[1], scores[y], COLOURS[0])):
        ax.hist(part, bins=bins.tolist(), color=colour, alpha=0.6, label=drawn(f"{name} (n={len(part)})"))
    ax.axvline(0, color="black", lw=0.8)
    ax.set(xlabel="probe score", ylabel="rows")
    ax.legend(frameon=False, fontsize=8)
    return ax


def heatmap(
    values: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    ax: Axes | None = None,
    limits: tuple[float | int, float | int] = (-1, 1),
) -> Axes:
    """A table of numbers as colours with the numbers written in: cosines, or which probe reads which
    label.
    """
    values = np.asarray(values)
    ax = axes(ax, 2.2 + 0.75 * len(columns), 1.2 + 0.42 * len(rows))
    image = ax.imshow(values, cmap="RdBu_r", vmin=limits[0], vmax=limits[1], aspect="auto")
    ax.set_xticks(
        range(len(columns)), [drawn(c) for c in columns], rotation=35, ha="right", rotation_mode="anchor"
    )
    ax.set_yticks(range(len(rows)), [drawn(r) for r in rows])
    middle, half = sum(limits) / 2, (limits[1] - limits[0]) / 2
    for i, j in np.ndindex(values.shape):
        strong = abs(values[i, j] - middle) > 0.65 * half
        if np.isnan(values[i, j]):
            continue
        ax.text(
            j,
            i,
            f"{values[i, j]:.2f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if strong else "black",
        )
    ax.spines[:].set_visible(False)
    ax.figure.colorbar(image, ax=ax, label=drawn(label), shrink=0.9)
    return ax


def sweep_curves(sweep: Sweep, recipes: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """AUROC by site of every recipe of a sweep, over the band that shuffled labels give (the widest
    of the recipes); level lines for recipes that read all sites together.
    """
    names = list(recipes or sweep.recipes)
    curves = {
        name: (
            e
            if len(e := sweep.curve(name)) == len(sweep.sites)
            else _level(sweep.together(name), len(sweep.sites))
        )
        for name in names
    }
    widest = max(
        (
            sweep.nulls[n]
            for n in curves
            if n in sweep.nulls and sweep.nulls[n].by_site.shape[1] == len(sweep.sites)
        ),
        key=lambda null: null.level(),
        default=None,
    )
    return layer_curve(sweep.sites, curves, widest, ax=axes(ax, 6.5, 4.0))


def _level(value: Estimate, n: int) -> Estimate:
    """One number for all sites, at every site."""
    return Estimate(
        *(np.full(n, getattr(value, field)) for field in ("value", "low", "high")),
        n=value.n,
        n_groups=value.n_groups,
    )


def sweep_heatmap(sweep: Sweep, ax: Axes | None = None) -> Axes:
    """Recipe by site as colours, mean test AUROC over splits; a frame marks the site chosen most
    often. Recipes that read all sites together have a column of their own.
    """
    names = list(sweep.recipes)
    seen = set(sweep.table.site)
    columns = [s for s in [*map(str, sweep.sites), "all sites"] if s in seen]
    values = (
        sweep.table.pivot_table(index="recipe", columns="site", values="auroc")
        .reindex(index=names, columns=columns)
        .to_numpy()
    )
    ax = heatmap(values, names, columns, "AUROC on test groups", ax, (0, 1))
    for i, name in enumerate(names):
        at = columns.index(sweep.chosen[sweep.chosen.recipe == name].site.mode().iloc[0])
        ax.add_patch(Rectangle((at - 0.5, i - 0.5), 1, 1, fill=False, lw=2, edgecolor="black"))
    return ax


def transfer_map(transfer: Transfer, site: SiteLike, ax: Axes | None = None) -> Axes:
    """Trained on (rows) against scored on (columns) at one site; white is chance, blue is reversed."""
    table = transfer.table(site)
    ax = heatmap(table.to_numpy(), list(table.index), list(table.columns), "AUROC", ax, (0, 1))
    ax.set(xlabel="scored on", ylabel="trained on", title=drawn(site))
    return ax


def calibration_curve(curves: Mapping[str, Any], y: Any, bins: int = 10, ax: Axes | None = None) -> Axes:
    """Stated probability against the share of positives, in bins of equal size; on the diagonal
    probabilities can be taken at their word.
    """
    ax = axes(ax, 4.2, 4.0)
    ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="calibrated")
    for k, (name, p) in enumerate(curves.items()):
        if np.ndim(p) > 1 and len(p) > 1:
            raise ValueError(f"{name!r} holds {len(p)} sites; give the probabilities of one, such as p[0]")
        stated, share, _ = reliability(np.ravel(p), y, bins)
        ax.plot(stated, share, label=drawn(name), **line_look(k))
    ax.set(
        xlabel="stated probability",
        ylabel="share of positives",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        aspect="equal",
    )
    ax.legend(frameon=False, fontsize=8)
    return ax
