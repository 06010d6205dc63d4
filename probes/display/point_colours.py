"""How labels colour points: a colour and a marker a class, or a scale for numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from probes.display.marks import COLOURS, GREY, MARKERS, again, colour_of
from probes.markup.drawn import drawn

MOST_CLASSES = 21  # which markers and colours tell apart at the size of a point
SCALE = "viridis"
# Values that are drawn as classes; whole numbers may be names, up to as many as can be told apart.
MOST_VALUES = {"f": len(COLOURS), "i": MOST_CLASSES, "u": MOST_CLASSES}


@dataclass(frozen=True, eq=False)
class PointColours:
    """Which rows share a look, each with its name in the legend; numbers of many values have a scale instead.
    Rows without a label are grey.
    """

    parts: tuple[tuple[str, Bool[np.ndarray, " n"], dict[str, Any]], ...]
    numbers: np.ndarray | None = None
    norm: Normalize | None = None

    def draw(self, ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
        look = {"s": 5, "alpha": 0.6, "lw": 0}
        for name, mine, own in self.parts:
            ax.scatter(x[mine], y[mine], label=name, **(look | own))
        if self.numbers is not None:
            there = ~np.isnan(self.numbers)
            shade = {"c": self.numbers[there], "cmap": SCALE, "norm": self.norm}
            ax.scatter(x[there], y[there], **(look | shade))


def point_colours(labels: np.ndarray | None, n: int) -> PointColours:
    """The looks of n rows: numbers of more values than there are colours by a scale, others by class, of very
    many classes the most frequent.
    """
    if labels is None:
        return PointColours((("_all", np.ones(n, dtype=bool), {"color": GREY}),))
    without = np.asarray(pd.isna(labels), dtype=bool)
    missing = ((f"no label (n={without.sum()})", without, {"color": GREY}),) if without.any() else ()
    classes, counts = np.unique(_comparable(labels[~without]), return_counts=True)
    if labels.dtype.kind in "fiu" and len(classes) > MOST_VALUES[labels.dtype.kind]:
        numbers = np.where(without, np.nan, labels.astype(float))
        whole = numbers[np.isfinite(numbers)]
        return PointColours(missing, numbers, Normalize(whole.min(), whole.max()) if len(whole) else None)
    kept = sorted(np.argsort(-counts, kind="stable")[:MOST_CLASSES])
    text = _comparable(labels)
    parts = [(drawn(classes[c]), ~without & (text == classes[c]), _look(k)) for k, c in enumerate(kept)]
    rest = ~without & ~np.logical_or.reduce([mine for _, mine, _ in parts]) if parts else np.zeros(n, bool)
    if rest.any():
        parts.append((f"{len(classes) - len(kept)} others", rest, {"color": GREY, "marker": "x", "lw": 0.5}))
    return PointColours((*parts, *missing))


def _look(k: int) -> dict[str, Any]:
    return {"color": colour_of(k), "marker": again(k, MARKERS), "s": 5 if k < len(COLOURS) else 11}


def _comparable(labels: np.ndarray) -> np.ndarray:
    """Labels of several types, which have no order, as texts."""
    return labels if labels.dtype.kind != "O" else np.array([str(label) for label in labels])
