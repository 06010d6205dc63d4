"""Pictures of effects. Functions take results and an optional `ax`, and return the Axes; they never
run a model.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from interventions.behaviours.footprint import Footprint
from interventions.behaviours.records import Records
from interventions.effects.effect import Effect
from probes.display.plots import COLOURS, GREY, axes
from probes.markup.drawn import drawn

KINDS = (*COLOURS, GREY)
UP = 0.2  # of a row's height by which what is unedited stands above what is edited
HATCHES = ("", "///", "...")  # of kinds behind those that have a colour of their own


def dose_response(
    doses: Sequence[float], effects: Sequence[Effect], unit: str = "logit difference", ax: Axes | None = None
) -> Axes:
    """Mean behaviour over doses with its interval, beside what matched random directions do at the
    same strength, of the prompts that were measured at every dose. Raises ValueError where there are none,
    and for effects of different prompts.
    """
    if not effects or len(effects) != len(doses):
        raise ValueError(f"there are {len(doses)} doses and {len(effects)} effects; give one effect a dose")
    order = np.argsort(doses, kind="stable")
    doses, effects = [list(doses)[i] for i in order], [effects[i] for i in order]
    rows = _measured(effects)
    ax = axes(ax)
    base = effects[0].base[rows].mean()
    changes = [e.change(rows) for e in effects]
    controls = [e.control_changes(rows) for e in effects]
    counts = sorted({len(c) for c in controls})
    ax.axhline(base, color="black", lw=0.8, ls=":", label="unedited")
    ax.fill_between(
        doses,
        [base + c.min() for c in controls],
        [base + c.max() for c in controls],
        color=GREY,
        alpha=0.3,
        lw=0,
        label=f"{' to '.join(map(str, counts[:: len(counts) - 1 or 1]))} matched random",
    )
    ax.plot(
        doses, [base + c.value for c in changes], color=COLOURS[0], marker="o", ms=4, label="direction found"
    )
    ax.fill_between(
        doses,
        [base + c.low for c in changes],
        [base + c.high for c in changes],
        color=COLOURS[0],
        alpha=0.2,
        lw=0,
    )
    ax.set(xlabel="strength (gaps between the class means)", ylabel=f"mean {drawn(unit)}")
    ax.legend(frameon=False, fontsize=8)
    return ax


def _measured(effects: Sequence[Effect]) -> np.ndarray:
    """Which prompts were measured in all of the effects."""
    if len({len(e.base) for e in effects}) > 1:
        counts = ", ".join(str(len(e.base)) for e in effects)
        raise ValueError(f"the effects are of {counts} prompts; give effects of the same ones at every dose")
    rows = np.all([np.isin(np.arange(len(e.base)), e.rows(None)) for e in effects], axis=0)
    if not rows.any():
        raise ValueError("no prompt was measured at every dose, so there is nothing to draw")
    return rows


def before_after(effects: Mapping[str, Effect], ax: Axes | None = None) -> Axes:
    """What the tables of the effects show (balanced accuracy of answers, the share of a kind, the mean of a
    number) before and after each edit with its interval, and the range over matched random edits. Raises
    ValueError for no effect, and for effects that show different measures.
    """
    if not effects:
        raise ValueError("there is no effect to draw; give one or more by name, {'Ablate': effect(...)}")
    measure = _measure(effects.values())
    ax = axes(ax, 6.4, 0.9 + 0.6 * len(effects))
    names = [drawn(name) for name in effects]
    for i, e in enumerate(effects.values()):
        base, after, controls = (e.shown(of)[measure] for of in ("base", "after", "controls"))
        ax.plot(
            [controls.value.min(), controls.value.max()],
            [i, i],
            color=GREY,
            lw=7,
            alpha=0.45,
            solid_capstyle="butt",
            marker="|",  # seen also where all are at one place
            ms=14,
            mew=3,
            label="matched random, range" if not i else None,
        )
        for value, y, name, look in (
            (base, i - UP, "unedited", {"color": "black", "marker": "|", "ms": 12}),
            (after, i, "edited", {"color": COLOURS[1], "marker": "o", "ms": 5, "capsize": 3}),
        ):
            reach = [[value.value - value.low], [value.high - value.value]]
            ax.errorbar(value.value, y, xerr=reach, label=None if i else name, ls="", **look)
    shares = measure == "balanced accuracy" or "share" in measure.split()
    if measure == "balanced accuracy":
        ax.axvline(0.5, color="black", lw=0.8, ls=":")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(f"{measure} of the answers" if measure == "balanced accuracy" else drawn(measure))
    if shares:
        ax.set_xlim(-0.02, 1.02)
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


def _measure(effects: Iterable[Effect]) -> str:
    """The measure that all effects show first."""
    names = list(dict.fromkeys(next(iter(e.shown("base"))) for e in effects))
    if len(names) > 1:
        raise ValueError(f"the effects show {' and '.join(names)}; draw one picture for each of them")
    return names[0]


def answer_kinds(runs: Mapping[str, Records], ax: Axes | None = None, legend: bool = True) -> Axes:
    """Share of each kind of answer in every run, as stacked bars. Raises ValueError for a behaviour
    without kinds, and for no run.
    """
    if not runs:
        raise ValueError("there is no run to draw; give one or more by name, {'unedited': records}")
    ax = axes(ax, 1.6 + 1.1 * len(runs), 3.4)
    classes = next(iter(runs.values())).classes
    if not classes:
        raise ValueError(f"{next(iter(runs.values())).behaviour} does not sort answers into kinds")
    x, bottom = np.arange(len(runs)), np.zeros(len(runs))
    for i, kind in enumerate(classes):
        shares = np.array([float(r.share(kind).value) for r in runs.values()])
        lap, of = divmod(i, len(KINDS))
        look = {"color": KINDS[of], "hatch": HATCHES[lap % len(HATCHES)], "edgecolor": "white", "lw": 0}
        ax.bar(x, shares, 0.75, bottom=bottom, label=drawn(kind), **look)
        bottom += shares
    ax.set_xticks(x, [drawn(name) for name in runs])
    ax.set(ylabel="share of answers", ylim=(0, 1))
    if legend:
        ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


def footprint_curves(found: Footprint, ax: Axes | None = None) -> Axes:
    """Shares of shifted and marginal tokens over positions, and KL on a second axis; gives the
    shares' Axes.
    """
    ax = axes(ax)
    for name, ranks, colour in (("shifted", "> 3", COLOURS[1]), ("marginal", "2 and 3", COLOURS[0])):
        curve = found.curve(name)
        x = np.arange(len(curve))
        ax.plot(x, curve.value, color=colour, label=f"{name} (rank {ranks})")
        ax.fill_between(x, curve.low, curve.high, color=colour, alpha=0.2, lw=0)
    kl = found.curve("kl")
    right = ax.twinx()
    right.plot(np.arange(len(kl)), kl.value, color=GREY, ls="--", label="KL(changed || base)")
    right.set(ylabel="KL (nats)", ylim=(0, None))
    right.spines[["top"]].set_visible(False)
    ax.set(xlabel="position in the continuation", ylabel="share of tokens", ylim=(0, 1.02))
    ax.set_title(f"written by the {drawn(found.writer)} model")
    lines = [*ax.get_lines(), *right.get_lines()]
    ax.legend(lines, [str(line.get_label()) for line in lines], frameon=False, fontsize=8)
    return ax
