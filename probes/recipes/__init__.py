"""One file per method. A recipe is a frozen dataclass of hyper-parameters; `fit(acts)` returns an immutable probe.

A new recipe is one file here and one line in `SINGLE` or `PAIRED`, which puts it through every contract test
(`probes.testing.check_recipe`).
"""

from probes.recipes.ccs import CCS
from probes.recipes.contrast_eigen import ContrastEigen
from probes.recipes.crc import CRC
from probes.recipes.lda import LDA
from probes.recipes.logistic import Logistic
from probes.recipes.mass_mean import MassMean
from probes.recipes.polarity_ccs import PolarityAwareCCS
from probes.recipes.ridge import Ridge
from probes.recipes.ttpd import TTPD

SINGLE = (MassMean(), MassMean(transform="zscore"), MassMean(whiten=True), Logistic(), LDA(), Ridge(), TTPD())
PAIRED = (CCS(restarts=2), CCS(restarts=2, loss="symmetric"), PolarityAwareCCS(restarts=2), CRC(), ContrastEigen(), ContrastEigen(form="covariance"))

__all__ = ["CCS", "CRC", "LDA", "PAIRED", "SINGLE", "TTPD", "ContrastEigen", "Logistic", "MassMean", "PolarityAwareCCS", "Ridge"]
