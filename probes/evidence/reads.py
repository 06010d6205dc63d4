"""What a probe reads besides its own label: one that is to read truth may read a negation as well."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from probes.data.activations import Activations, PairActivations
from probes.fitting.linear import LinearProbe
from probes.metrics.estimates import Estimate, auroc
from probes.metrics.floors import cannot_tell

CLEAR = 0.1
"""AUROC away from .5, either way, from which another label counts as read."""

ReadsWord = Literal[
    "degenerate",
    "too few shuffles",
    "at chance",
    "reads other labels",
    "no more than a baseline",
    "reads its label",
]


@dataclass(frozen=True, eq=False)
class LabelsRead:
    """AUROC of one probe's scores against its own label and against others, each with one value a site.

    Far from .5 either way is read: a probe that ranks a label upside down tells it apart as well.
    """

    own: Estimate
    others: Mapping[str, Estimate]

    def strongest(self, at: int) -> str | None:
        """The other label that is read best at one site; None where there are no others."""
        return max(self.others, key=lambda name: _off(self.others[name], at), default=None)

    def rivals(self, at: int) -> tuple[str, ...]:
        """The other labels clearly read at one site, interval included, and at least as well as its own."""
        own = _off(self.own, at)
        return tuple(name for name, e in self.others.items() if _clear(e, at) and _off(e, at) >= own)

    def preferred(self, at: int) -> tuple[str, ...]:
        """The other labels read better than its own at one site, and further from .5 than a tenth."""
        least = max(CLEAR, _off(self.own, at))
        return tuple(name for name, e in self.others.items() if _off(e, at) > least)

    def word(
        self,
        at: int,
        p: float,
        baseline: float,
        degenerate: bool = False,
        alpha: float = 0.05,
        least_p: float = 0.0,
    ) -> ReadsWord:
        """What may be said at one site, given its p under shuffled labels and the AUROC of a baseline.

        A probe that hardly moves from row to row is `degenerate`, and its numbers mean nothing. `least_p` is
        the smallest p that the shuffles could have given; above `alpha` they tell nothing.
        """
        if degenerate:
            return "degenerate"
        low = float(self.own.low[at])
        if low > 0.5 and cannot_tell(least_p, alpha):
            return "too few shuffles"
        if p > alpha or low <= 0.5:
            return "at chance"
        if self.rivals(at):
            return "reads other labels"
        return "no more than a baseline" if low <= baseline else "reads its label"


def labels_read(
    probe: LinearProbe, test: Activations | PairActivations, others: Mapping[str, np.ndarray]
) -> LabelsRead:
    """Scores the test rows once and ranks them by y and by every other label; intervals resample the
    groups."""
    scores = probe.score(test)
    against = {name: auroc(scores, label, test.groups) for name, label in others.items()}
    return LabelsRead(auroc(scores, test.y, test.groups), against)


def lowest_loss(probe: LinearProbe) -> int:
    """The site that the probe's own loss likes best: all that somebody without labels has to go by.

    Where no row differs from another a loss says nothing, so sites without a direction come last.
    Raises ValueError for a probe that was fitted without a loss.
    """
    if probe.losses.isnan().any():
        raise ValueError(
            "this probe keeps no training losses, so it likes no site best; choose one with labels"
        )
    losses = np.where([probe.has_direction(s) for s in probe.sites], probe.losses.numpy(), np.inf)
    return int(np.argmin(losses))


def _off(e: Estimate, at: int) -> float:
    return float(abs(e.value[at] - 0.5))


def _clear(e: Estimate, at: int) -> bool:
    return bool(e.low[at] > 0.5 + CLEAR or e.high[at] < 0.5 - CLEAR)
