"""Scores as probabilities that can be taken at their word: fitted on rows of their own, judged on others."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.checks.saying import warn
from probes.checks.settings import check_count
from probes.data.activations import Activations, PairActivations, check_states
from probes.data.sites import Site
from probes.evidence.readout import check_probe, scored
from probes.fitting.linear import LinearProbe
from probes.fitting.rows_of_fit import refuse_rows_of_fit
from probes.metrics.estimates import Estimate, auroc, mean
from probes.metrics.resampling import bootstrapped
from probes.metrics.scores import labelled, probabilities
from probes.metrics.thresholds import exceeded_at_most
from probes.recipes.logistic import logistic_path

BINS = 15
NO_CHANCE = 0.999
"""Level of the interval that must lie below .5 before scores count as reversed; a probe may have many sites
at chance.
"""


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A probe with the map from its scores to probabilities, one map a site, and the score at which a
    stated rate of false alarms is met.
    """

    probe: Any
    method: str
    sites: tuple[Site | str, ...]
    knots: tuple[tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]], ...]
    negatives: Float[np.ndarray, "site n"]

    def probability(self, acts: Activations | PairActivations) -> Float[np.ndarray, "site n"]:
        """Calibrated probability of the positive class."""
        scores, names = scored(self.probe, acts)
        out = np.empty_like(scores)
        for i, site in enumerate(names):
            if site not in self.sites:
                raise ValueError(
                    f"nothing was calibrated at {site}; there is {', '.join(map(str, self.sites))}"
                )
            a, b = self.knots[self.sites.index(site)]
            out[i] = (
                1 / (1 + np.exp(-(a[0] * scores[i] + b[0])))
                if self.method == "platt"
                else np.interp(scores[i], a, b)
            )
        return out

    def threshold(self, false_positive_rate: float = 0.01) -> Float[np.ndarray, " site"]:
        """The score that at most this share of new negative rows is expected to exceed, one a site.

        Raises ValueError when there are too few negative rows to tell such a rate.
        """
        return exceeded_at_most(self.negatives, false_positive_rate, rows="negative calibration rows")

    def __repr__(self) -> str:
        return f"Calibrated({self.method} at {len(self.sites)} sites, {self.probe!r})"


def calibrate(
    probe: LinearProbe | Any,
    acts: Activations | PairActivations,
    method: Literal["platt", "isotonic"] = "platt",
) -> Calibrated:
    """Fits the map from scores to probabilities on calibration rows, which must be neither the train rows nor
    the test rows of the probe.

    `platt` is a sigmoid with two numbers (arXiv 1706.04599 discusses it), `isotonic` any rising step
    function, which needs some hundred rows. Raises ValueError unless both classes are there, and for rows
    that the probe was fitted on or that share a group with them.
    """
    check_probe(probe, "calibrate")
    check_states(acts, "calibrate")
    refuse_rows_of_fit(probe, acts, "calibration")
    y = acts.classes[0].numpy()
    values, names = scored(probe, acts)
    scores = torch.from_numpy(values)
    _say_reversed(values, y, acts.groups, names)
    if method == "platt":
        slope, offset = platt(scores, y)
        knots = tuple(
            (np.array([float(a)]), np.array([float(b)])) for a, b in zip(slope, offset, strict=True)
        )
    elif method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        fits = [
            IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(row.numpy(), y) for row in scores
        ]
        knots = tuple((np.asarray(f.X_thresholds_), np.asarray(f.y_thresholds_)) for f in fits)
    else:
        raise ValueError(f"unknown method {method!r}; choose platt or isotonic")
    return Calibrated(probe, method, names, knots, scores[:, ~torch.from_numpy(y)].numpy())


def _say_reversed(
    scores: Float[np.ndarray, "site n"], y: np.ndarray, groups: np.ndarray, names: tuple[Site | str, ...]
) -> None:
    """Warns of sites whose scores are higher where the label is 0, by more than chance."""
    found = auroc(scores, y, groups, level=NO_CHANCE)
    below = np.flatnonzero(np.asarray(found.high) < 0.5)
    if len(below):
        warn(
            f"at {len(below)} of {len(names)} sites (such as {names[below[0]]}, AUROC"
            f" {found.value[below[0]]:.2f}) the scores are higher where y is 0 than where it is 1, so"
            " probabilities fall as scores rise, or tell nothing; look whether y means here what it meant"
            " where the probe was fitted"
        )


def platt(scores: Tensor, y: Any) -> tuple[Float[Tensor, " site"], Float[Tensor, " site"]]:
    """Slope and offset of the sigmoid that turns the scores [site, n] into probabilities; the targets
    are Platt's, so separable scores stay finite.
    """
    scores, labels = scores.detach().cpu().double(), torch.as_tensor(np.asarray(y)).bool()
    positive, negative = int(labels.sum()), int((~labels).sum())
    spread = scores.std(1, correction=0).clamp_min(1e-12)[:, None]
    # Platt's targets (k + 1) / (k + 2) are rows of both labels in these shares.
    n = len(labels)
    high, low = (positive + 1) / (positive + 2), 1 / (negative + 2)
    target = torch.where(labels, high, low).double()
    both = torch.cat([scores, scores], dim=1)[..., None] / spread[..., None]
    doubled = torch.arange(2 * n) < n
    share = (torch.cat([target, 1 - target]) / n)[None]
    weight, bias, _ = logistic_path(both, doubled[None], torch.tensor([1e-9], dtype=torch.float64), share)
    return weight[0, :, 0] / spread[:, 0], bias[0]


def brier(p: Any, y: Any, groups: Any = None) -> Estimate:
    """Mean squared distance of the probabilities [..., n] from the labels: 0 best, .25 for always
    saying one half.
    """
    p, label = _probabilities(p, y)
    return mean((p - label) ** 2, groups)


def calibration_error(p: Any, y: Any, groups: Any = None, bins: int = BINS) -> Estimate:
    """Expected calibration error: how far, on average, the share of positives lies from the stated
    probability, over bins of equal size.

    0 is best. It is biased upwards with few rows, so compare on equal numbers of rows. p is [..., n]. Source:
    arXiv 1706.04599.
    """
    bins = check_count("bins", bins)
    p, label = _probabilities(p, y)
    flat = p.reshape(-1, p.shape[-1])
    orders = [_bins(row, bins) for row in flat]

    def statistic(weights: np.ndarray) -> np.ndarray:
        found = []
        for row, parts in zip(flat, orders, strict=True):
            gaps = [np.abs((weights[:, part] * (label[part] - row[part])).sum(1)) for part in parts]
            found.append(np.sum(gaps, axis=0) / weights.sum(1))
        return np.stack(found, axis=1)

    return bootstrapped(statistic, p.shape[:-1], p.shape[-1], groups, within=(0.0, 1.0))


def reliability(
    p: Any, y: Any, bins: int = BINS
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """For a reliability plot of one vector of probabilities: mean probability, share of positives and
    number of rows in bins of equal size.
    """
    bins = check_count("bins", bins)
    p, label = _probabilities(p, y)
    if p.ndim != 1:
        raise ValueError(f"reliability takes one line of probabilities, got shape {p.shape}; give p[0]")
    parts = _bins(p, bins)
    return (
        np.array([p[k].mean() for k in parts]),
        np.array([label[k].mean() for k in parts]),
        np.array([len(k) for k in parts]),
    )


def _bins(p: Float[np.ndarray, " n"], bins: int) -> list[np.ndarray]:
    """Rows in bins of about equal size; equal probabilities share a bin, so the order of the rows
    does not matter.
    """
    order = np.argsort(p, kind="stable")
    ends = np.rint(np.linspace(0, len(p), min(bins, len(p)) + 1)).astype(int)[1:-1]
    return [
        part
        for part in np.split(order, np.unique(np.searchsorted(p[order], p[order[ends]], side="left")))
        if len(part)
    ]


def _probabilities(p: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    p = probabilities(p, "p")
    return p, labelled(p, y, both=False)[1].astype(float)
