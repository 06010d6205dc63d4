"""Does a probe treat a statement and its opposite as opposites? The published polarity metrics, and
ones that can be trusted.
"""

from probes.evidence.polarity import (
    PolarityReport,
    contradiction_index,
    ideal_distance,
    polar_consistency,
    polarity_report,
    published_metrics,
    truth_cosines,
)

__all__ = [
    "PolarityReport",
    "contradiction_index",
    "ideal_distance",
    "polar_consistency",
    "polarity_report",
    "published_metrics",
    "truth_cosines",
]
