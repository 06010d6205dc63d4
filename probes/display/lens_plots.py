"""The picture of a logit lens."""

import numpy as np
from matplotlib.axes import Axes

from probes.display.marks import colour_of, line_look
from probes.display.plots import FEW, axes, sites_below
from probes.markup.drawn import drawn
from probes.reading.lens import Lens


def lens_curve(lens: Lens, ax: Axes | None = None) -> Axes:
    """Mean probability of every word by site, with its interval over groups; of more than four words the
    intervals would hide each other and are left out, and the words stand beside.
    """
    if not lens.words:
        raise ValueError("no words were asked about, so there is no curve; name some in logit_lens(words=)")
    ax = axes(ax)
    x = np.arange(len(lens.sites))
    for i, word in enumerate(lens.words):
        found = lens.probability(word)
        ax.plot(x, found.value, label=drawn(word), **line_look(i))
        if len(lens.words) <= FEW:
            ax.fill_between(x, found.low, found.high, color=colour_of(i), alpha=0.2, lw=0)
    sites_below(ax, lens.sites)
    ax.set(ylabel="probability at the head", ylim=(-0.02, 1.02))
    if len(lens.words) > FEW:
        ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    else:
        ax.legend(frameon=False, fontsize=8, loc="best")
    return ax
