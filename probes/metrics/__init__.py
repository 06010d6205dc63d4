"""Numbers with their intervals: AUROC, accuracy, means; resampled over groups, never over rows."""

from probes.metrics.estimates import (
    BOOTSTRAPS,
    Estimate,
    accuracy,
    auroc,
    auroc_difference,
    aurocs,
    bootstrapped,
    delong,
    mean,
    weighted_auroc,
)

__all__ = [
    "BOOTSTRAPS",
    "Estimate",
    "accuracy",
    "auroc",
    "auroc_difference",
    "aurocs",
    "bootstrapped",
    "delong",
    "mean",
    "weighted_auroc",
]
