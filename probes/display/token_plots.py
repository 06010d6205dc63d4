"""Pictures of what a probe says of tokens."""

import numpy as np
from matplotlib.axes import Axes

from probes.display.plots import axes, sites_beside
from probes.evidence.probed_tokens import ProbedTokens
from probes.evidence.token_findings import PlaceReading
from probes.markup.drawn import drawn
from probes.markup.tokens import quiet, readable

FEW_TOKENS = 40  # whose names can be read beneath an axis
LONGEST = 18  # letters of a name
LEFT_OUT = "#e4e4e4"  # cells that have no number or whose number belongs to no token


def token_map(probed: ProbedTokens, text: int = 0, ax: Axes | None = None) -> Axes:
    """Block by token: the probe's score of every token of one text at every site, red above 0.

    Scores of several sites have no unit in common (states grow from block to block), so every row has a scale
    of its own. Special tokens and the first of a text are grey, as in strips.
    """
    if not 0 <= text < len(probed):
        raise ValueError(f"there is no text {text}; there are {len(probed)}, counted from 0")
    tokens, scores = probed.tokens[text], probed.scores[text]
    ax = axes(ax, min(1.8 + 0.28 * len(tokens), 14), 1.8 + 0.2 * max(len(scores), 3))
    many = len(probed.sites) > 1
    of_row = np.array([probed.at(site).reach for site in probed.sites])
    shown = np.ma.array(scores / of_row[:, None] if many else scores)
    shown[:, quiet(probed.special[text])] = np.ma.masked
    reach = 1.0 if many else of_row[0]
    ax.set_facecolor(LEFT_OUT)
    image = ax.imshow(shown, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto", origin="lower")
    tokens_below(ax, [readable(token) for token in tokens])
    _sites_beside(ax, probed)
    bar = ax.figure.colorbar(image, ax=ax, extend="both")
    own = ", each row on its own scale\n(1: larger than 98% of its scores)" if many else ""
    bar.set_label(f"probe score{own}", fontsize=8)
    return ax


def place_map(reading: PlaceReading, ax: Axes | None = None) -> Axes:
    """Block by place: AUROC of the probe at every one of the last tokens; a dot where its interval leaves out
    .5.
    """
    values = reading.auroc.value
    ax = axes(ax, max(2.0 + 0.5 * values.shape[1], 4.5), 1.8 + 0.2 * max(len(values), 3))
    image = ax.imshow(values, cmap="RdBu_r", vmin=0, vmax=1, aspect="auto", origin="lower")
    apart = (reading.auroc.low > 0.5) | (reading.auroc.high < 0.5)
    y, x = np.nonzero(apart)
    ax.plot(x, y, ls="", marker="o", ms=2.5, color="white", mec="black", mew=0.5)
    tokens_below(ax, list(reading.places))
    ax.set(xlabel="token (counted from the last, or by name)")
    _sites_beside(ax, reading)
    bar = ax.figure.colorbar(image, ax=ax)
    bar.set_label("AUROC (dot: interval without .5)", fontsize=8)
    return ax


def tokens_below(ax: Axes, names: list[str]) -> None:
    step = -(-len(names) // FEW_TOKENS)
    at = range(0, len(names), step)
    ax.set_xticks(
        at, [drawn(_short(names[i])) for i in at], rotation=60, ha="right", rotation_mode="anchor", fontsize=8
    )


def _short(name: str, longest: int = LONGEST) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _sites_beside(ax: Axes, value: ProbedTokens | PlaceReading) -> None:
    sites_beside(ax, value.sites)
    ax.set_title(drawn(_short(value.probe, 60)), fontsize=9)
    ax.spines[:].set_visible(False)
