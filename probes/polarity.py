"""Does a probe treat a statement and its opposite as opposites? The published polarity metrics, and
ones that can be trusted.
"""

from probes.evidence.polarity import PolarityReport, polarity_report, truth_cosines
from probes.evidence.polarity_index import contradiction_index, ideal_distance, polar_consistency
from probes.published.polarity import published_metrics

__all__ = [
    "PolarityReport",
    "contradiction_index",
    "ideal_distance",
    "polar_consistency",
    "polarity_report",
    "published_metrics",
    "truth_cosines",
]
