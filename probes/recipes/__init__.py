"""One file per method. A recipe is a frozen dataclass of hyper-parameters; `fit(acts)` returns an immutable probe.

A new recipe is one file here and one line in `SINGLE` or `PAIRED`, which puts it through every contract test
(`probes.testing.check_recipe`).
"""

from probes.recipes.ccs import CCS
from probes.recipes.logistic import Logistic
from probes.recipes.mass_mean import MassMean

SINGLE = (MassMean(), MassMean(transform="zscore"), Logistic())
PAIRED = (CCS(restarts=2, steps=300),)

__all__ = ["CCS", "PAIRED", "SINGLE", "Logistic", "MassMean"]
