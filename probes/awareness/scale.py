"""What a raw score means: which side is up, where the threshold lies, and in which units, all fixed
on labelled calibration rows and then frozen.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from probes.data.cells import as_groups
from probes.evidence.calibration import platt
from probes.metrics.estimates import Estimate, auroc, mean
from probes.metrics.scores import as_scores, labelled
from probes.metrics.thresholds import exceeded_at_most, youden


@dataclass(frozen=True)
class Scale:
    """Raw scores turned into test-like / deploy-like ones: 0 is the mean of the deployment calibration rows,
    1 is one standard deviation of theirs, higher is more test-like.

    Units of z rather than probabilities, because differences (a rewrite against its original) add up and do
    not saturate; `probability` gives Platt's sigmoid of the same score. `sign` is the orientation the labels
    gave and `auroc` (value, low, high) what it rests on; `settled` says whether that interval leaves .5.
    `threshold` is in units of z.
    """

    sign: int
    centre: float
    spread: float
    slope: float
    offset: float
    threshold: float
    rule: str
    auroc: tuple[float, float, float]
    positives: int
    negatives: int
    source: str

    @property
    def settled(self) -> bool:
        """Whether the calibration rows say which side is up."""
        return self.auroc[1] > 0.5

    def score(self, raw: Any) -> Float[np.ndarray, "..."]:
        """Raw scores in calibrated units."""
        return (self.sign * as_scores(raw) - self.centre) / self.spread

    def probability(self, raw: Any) -> Float[np.ndarray, "..."]:
        """Calibrated probability of being test-like."""
        return 1 / (1 + np.exp(-(self.slope * self.score(raw) + self.offset)))

    def test_like(self, raw: Any) -> Bool[np.ndarray, "..."]:
        """Which scores lie above the frozen threshold."""
        return self.score(raw) > self.threshold

    def rates(self, raw: Any, y: Any, groups: Any = None) -> dict[str, Estimate]:
        """Recall and false-positive rate at the frozen threshold on rows that were not calibrated on.

        Raises ValueError for labels other than 0 and 1 (1 for test-like), and for NaN scores.
        """
        line, label, _ = labelled(raw, y, both=False)
        called = self.test_like(line)
        member = np.arange(len(label)) if groups is None else as_groups(groups, len(label))
        return {
            name: mean(called[rows], member[rows])
            for name, rows in (("recall", label), ("false-positive rate", ~label))
            if rows.any()
        }

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"auroc": list(self.auroc)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Scale":
        given: dict[str, Any] = values | {"auroc": tuple(values["auroc"])}
        return cls(**given)

    def __repr__(self) -> str:
        value, low, high = self.auroc
        side = (
            f"{'as fitted' if self.sign > 0 else 'turned round'},"
            f" {'settled' if self.settled else 'NOT settled'} by AUROC {value:.2f} [{low:.2f}, {high:.2f}]"
        )
        return (
            f"Scale({side} on {self.source} ({self.positives} test, {self.negatives} deployment); test-like"
            f" above z={self.threshold:.2f}: {self.rule})"
        )


def calibrated(
    raw: Any,
    y: Any,
    groups: Any = None,
    *,
    threshold: str | float = "youden",
    source: str = "labelled calibration rows",
) -> Scale:
    """Fixes orientation, threshold and units on labelled calibration rows (y is 1 for test-like), which must
    be neither train nor test rows of the probe.

    `threshold` is "youden" (the best sum of sensitivity and specificity) or a false-positive rate that new
    deployment rows are expected to stay within. Never assume the orientation from how a direction was made:
    the paper of arXiv 2507.01786 subtracts deployment from test and reads low scores as test-like. Raises
    ValueError unless y has both classes, where deployment rows do not differ, and for a rate that so few of
    them cannot fix.
    """
    line, label = as_scores(raw), np.asarray(y)
    found = auroc(line, label, groups)
    label = label.astype(bool)
    sign = 1 if found.value >= 0.5 else -1
    limits = (
        (found.value, found.low, found.high) if sign > 0 else (1 - found.value, 1 - found.high, 1 - found.low)
    )
    up = sign * line
    centre, spread = float(up[~label].mean()), float(up[~label].std(ddof=1)) if (~label).sum() > 1 else 0.0
    if not spread > 1e-12 * max(1.0, abs(centre)):
        raise ValueError(
            f"the {int((~label).sum())} deployment calibration rows all score {centre:g}, so there is no unit"
            " to measure in; give rows that differ"
        )
    z = (up - centre) / spread
    cut, rule = _cut(z, label, threshold)
    slope, offset = platt(torch.from_numpy(z)[None], label)
    auc = (float(limits[0]), float(limits[1]), float(limits[2]))
    return Scale(
        sign,
        centre,
        spread,
        float(slope[0]),
        float(offset[0]),
        cut,
        rule,
        auc,
        int(label.sum()),
        int((~label).sum()),
        source,
    )


def _cut(z: np.ndarray, label: np.ndarray, threshold: str | float) -> tuple[float, str]:
    """The threshold and the rule that it follows."""
    if threshold == "youden":
        return youden(z, label), "Youden's J"
    if isinstance(threshold, str) or not 0 < threshold < 1:
        raise ValueError(
            f'threshold is {threshold!r}; give "youden" or a false-positive rate between 0 and 1'
        )
    cut = exceeded_at_most(z[~label], threshold, rows="deployment calibration rows")
    return float(cut), f"at most {threshold} of deployment rows"
