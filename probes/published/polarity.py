"""The polarity metrics of PA-CCS (AAAI doi 10.1609/aaai.v40i44.41126) as they were published.

They centre each of the four groups of test rows by itself, which removes what tells a statement from its
opposite.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from probes.data.activations import PairActivations
from probes.evidence.polarity import true_and_false
from probes.evidence.polarity_index import contradiction_index, ideal_distance, polar_consistency
from probes.fitting.linear import LinearProbe
from probes.fitting.transforms import unit
from probes.metrics.scores import as_scores


def published_metrics(probe: LinearProbe, pairs: PairActivations) -> pd.DataFrame:
    """The published pipeline, centring defect included, for comparing with published numbers; do not conclude
    anything from it.

    `probe` is a CCS with transform "l2+mean". The published probabilities subtract the mean of each of the
    four groups (true or false, yes or no) of these very rows, so the difference between a statement and its
    opposite is gone before the probe sees it. Accuracy takes the better of the two signs on these rows
    (centred by train means, where the published code took train medians), and metrics are means over pairs
    (the released code) and medians (the paper's tables). Columns: accuracy and, by mean and median, pc,
    abs_pc, ci, ideal_distance.
    """
    if any(not t.unit_rows or t.read is not None or t.shift.shape[1] > 1 for t in probe.transforms.values()):
        rows = "rows of unit length centred once a side"
        raise ValueError(f'the published pipeline uses {rows}; fit CCS(prepare="l2+mean") for it')
    true, false = true_and_false(pairs)
    sides = ((pairs.yes, true), (pairs.no, true), (pairs.yes, false), (pairs.no, false))
    a1, a0, n1, n0 = (_centred_by_group(probe, pairs, x[:, rows]) for x, rows in sides)
    right = ((as_scores(probe.score(pairs)) > 0) == (pairs.y == 1)).mean(1)
    consistency = polar_consistency(a1, a0, n1, n0)
    per_pair = {
        "pc": consistency,
        "abs_pc": np.abs(consistency),
        "ci": contradiction_index(a1, a0, n1, n0),
        "ideal_distance": ideal_distance(a1, a0, n1, n0),
    }
    columns = {"accuracy": np.maximum(right, 1 - right)}
    columns |= {f"{name}_mean": values.mean(1) for name, values in per_pair.items()}
    columns |= {f"{name}_median": np.median(values, axis=1) for name, values in per_pair.items()}
    return pd.DataFrame(columns, index=pd.Index([str(s) for s in pairs.sites], name="site"))


def _centred_by_group(
    probe: LinearProbe, pairs: PairActivations, x: Float[torch.Tensor, "site n d"]
) -> Float[np.ndarray, "site n"]:
    """Probabilities of rows of unit length from which their own mean was taken."""
    index = probe.index_of(pairs.sites)
    weight, bias = probe.weight[index].double(), probe.bias[index].double()[:, None]
    own = unit(x.double())
    margin = torch.einsum("snd,sd->sn", own - own.mean(1, keepdim=True), weight) + bias
    return as_scores(torch.sigmoid(margin))
