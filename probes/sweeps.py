"""Many recipes at all sites over several splits, with the choice of the site inside the train groups
and the null beside every number.
"""

from probes.evidence.sweeps import Sweep, sweep

__all__ = ["Sweep", "sweep"]
