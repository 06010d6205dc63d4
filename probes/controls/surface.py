"""What the bare text gives away: classifiers without hidden states, and the same network with random
weights.
"""

from probes.evidence.surface import STYLE, random_weights, surface_baselines, surface_scores

__all__ = ["STYLE", "random_weights", "surface_baselines", "surface_scores"]
