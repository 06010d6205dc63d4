"""One file per method. A recipe is a frozen dataclass of hyper-parameters; `fit(acts)` returns an immutable
probe.

A new recipe is one file here and one line in `SINGLE`, `PAIRED` or `TOKENS`, which puts it through every
contract test (`probes.testing.check_recipe`).
"""

from probes.fitting.linear import LinearProbe
from probes.fitting.probe import Probe
from probes.recipes.attention import AttentionPooled, AttentionProbe
from probes.recipes.ccs import CCS
from probes.recipes.concatenated import Concatenated, ConcatenatedProbe
from probes.recipes.contrast_eigen import ContrastEigen
from probes.recipes.crc import CRC
from probes.recipes.lda import LDA
from probes.recipes.logistic import Logistic
from probes.recipes.mass_mean import MassMean
from probes.recipes.mlp import MLP, MLPProbe
from probes.recipes.one_vs_rest import one_vs_rest
from probes.recipes.polarity_ccs import PolarityAwareCCS
from probes.recipes.ridge import Ridge
from probes.recipes.ttpd import TTPD
from probes.recipes.vinc import VINC

SINGLE = (
    MassMean(),
    MassMean(prepare="zscore"),
    MassMean(whiten=True),
    Logistic(),
    Logistic(l2=(1e-3, 1e-1)),
    LDA(),
    Ridge(),
    TTPD(),
    MLP(hidden=8, restarts=2),
    Concatenated(),
    Concatenated(MassMean()),
)
PAIRED = (
    CCS(restarts=2),
    CCS(restarts=2, loss="symmetric"),
    PolarityAwareCCS(restarts=2),
    CRC(),
    ContrastEigen(),
    ContrastEigen(form="covariance"),
    VINC(prepare="rms"),
    VINC(confidence=1, prepare="rms"),
)
TOKENS = (AttentionPooled(),)

# What a saved probe can turn out to be.
KINDS: dict[str, type[Probe]] = {
    c.KIND: c for c in (LinearProbe, MLPProbe, AttentionProbe, ConcatenatedProbe)
}

__all__ = [
    "CCS",
    "CRC",
    "KINDS",
    "LDA",
    "MLP",
    "PAIRED",
    "SINGLE",
    "TOKENS",
    "TTPD",
    "VINC",
    "AttentionPooled",
    "Concatenated",
    "ContrastEigen",
    "Logistic",
    "MassMean",
    "PolarityAwareCCS",
    "Ridge",
    "one_vs_rest",
]
