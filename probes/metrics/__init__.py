"""Numbers with their intervals: AUROC, accuracy, means, differences; over groups, never over rows."""

from probes.metrics.estimate import Estimate
from probes.metrics.estimates import (
    accuracy,
    accuracy_difference,
    auroc,
    auroc_difference,
    auroc_within,
    aurocs,
    delong,
    mean,
    mean_difference,
)
from probes.metrics.resampling import BOOTSTRAPS, bootstrapped, weighted_auroc

__all__ = [
    "BOOTSTRAPS",
    "Estimate",
    "accuracy",
    "accuracy_difference",
    "auroc",
    "auroc_difference",
    "auroc_within",
    "aurocs",
    "bootstrapped",
    "delong",
    "mean",
    "mean_difference",
    "weighted_auroc",
]
