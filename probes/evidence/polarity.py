"""Does a probe treat a statement and its opposite as opposites? The published polarity metrics, and ones that
can be trusted.

Four probabilities a pair: a statement A and its opposite N, each answered yes (`a1`, `n1`) and no (`a0`,
`n0`). The published numbers (PA-CCS, AAAI doi 10.1609/aaai.v40i44.41126) centre each of the four groups of
test rows by itself, which removes what tells A from N; `published_metrics` does the same on request.
`polarity_report` keeps the train centring and adds what shows whether the probe reads truth or negation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from probes.data.activations import PairActivations
from probes.data.sites import Site
from probes.fitting.linear import LinearProbe
from probes.fitting.transforms import unit
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, auroc, bootstrapped, mean
from probes.metrics.scores import as_scores, probabilities
from probes.recipes.polarity_ccs import opposites
from probes.recipes.ttpd import negation_flags, polarities, truth_directions


def polar_consistency(a1: Any, a0: Any, n1: Any, n0: Any) -> Any:
    """0.5 [(a1 - n0)^2 + (a0 - n1)^2] sign(a1 - n1) sign(n0 - a0), elementwise: 0 for opposites, but also for
    a constant probe.

    Ranges over [-1, 1]; averages cancel, so look at its absolute value and at flip rates too.
    """
    a1, a0, n1, n0 = _four(a1, a0, n1, n0)
    return (0.5 * ((a1 - n0) ** 2 + (a0 - n1) ** 2) * np.sign(a1 - n1) * np.sign(n0 - a0))[()]


def contradiction_index(a1: Any, a0: Any, n1: Any, n0: Any, symmetric: bool = False) -> Any:
    """a1 n1 + a0 n0, elementwise: 0 when a statement and its opposite never get the same answer, 2 when they
    always get both.

    A constant probe at .4 has .32 and at .6 has .72, though neither reads anything; `symmetric` averages the
    index over p and 1 - p, which is .52 for both.
    """
    a1, a0, n1, n0 = _four(a1, a0, n1, n0)
    plain = a1 * n1 + a0 * n0
    return ((plain + (1 - a1) * (1 - n1) + (1 - a0) * (1 - n0)) / 2 if symmetric else plain)[()]


def ideal_distance(a1: Any, a0: Any, n1: Any, n0: Any) -> Any:
    """Half the Euclidean distance to the ideal probe (1, 0, 0, 1), elementwise, in [0, 1]; it depends
    on the sign of the probe.
    """
    a1, a0, n1, n0 = _four(a1, a0, n1, n0)
    return (0.5 * np.sqrt((a1 - 1) ** 2 + a0**2 + n1**2 + (n0 - 1) ** 2))[()]


def _four(*values: Any) -> list[np.ndarray]:
    return [probabilities(v, name) for v, name in zip(values, ("a1", "a0", "n1", "n0"), strict=True)]


@dataclass(frozen=True, eq=False)
class PolarityReport(Displayed):
    """How a pair probe treats statements and their opposites: measures by name, each with one value
    and interval a site.
    """

    sites: tuple[Site, ...]
    measures: dict[str, Estimate]
    degenerate: np.ndarray
    n_pairs: int
    sign_from: str

    def __getitem__(self, name: str) -> Estimate:
        if name not in self.measures:
            raise KeyError(f"no measure {name!r}; there are {', '.join(self.measures)}")
        return self.measures[name]

    @property
    def table(self) -> pd.DataFrame:
        """One row a site, one column a measure, and whether the probe is degenerate there."""
        values = {name: np.atleast_1d(e.value) for name, e in self.measures.items()}
        return pd.DataFrame(
            values | {"degenerate": self.degenerate},
            index=pd.Index([str(s) for s in self.sites], name="site"),
        )

    def __repr__(self) -> str:
        head = f"PolarityReport({self.n_pairs} pairs of opposites, sign from {self.sign_from})"
        return terminal(f"{head}\n{self.table.round(3).to_string()}")


def polarity_report(
    probe: LinearProbe, pairs: PairActivations, train: PairActivations | None = None
) -> PolarityReport:
    """Everything about a pair probe on statements and their opposites, at every site of `pairs`.

    Needs y, `pair_id` joining two statements of which one is true, and for the negation rows a column
    `negated` (0/1). `bias`: mean of s_A + s_N - 1 (above 0 the probe agrees with both). `discrimination`:
    mean s_A - s_N. `contradiction`: chance of the same verdict on both, .5 for a constant probe;
    `contradiction_kappa`: 1 - that over its expectation for two statements drawn at random (1 perfect, 0
    unrelated, below 0 contradictory). Flip rates count verdicts at .5. `accuracy_worst_cell` is over truth x
    negation: a negation detector has a cell near 0. `ccs_loss` is .2 for the best constant probe.
    `auroc_negated` says how well the scores tell negation. With `train` (the rows the probe was fitted on,
    with `negated`) there are also `cosine_truth` and `cosine_polarity`, see `truth_cosines`; they have no
    interval. `degenerate` marks credences with a standard deviation below .02. Intervals resample groups of
    pairs. Raises ValueError for pairs that are not one true and one false statement.
    """
    if pairs.y is None:
        raise ValueError("polarity_report needs y: which statement of every pair is true")
    true, false = _true_and_false(pairs)
    p_yes, p_no = (as_scores(probe.probability(pairs, side=side)) for side in ("yes", "no"))
    s = (p_yes + 1 - p_no) / 2
    a, n = s[:, true], s[:, false]
    groups = pairs.groups[true]

    def over(values: np.ndarray) -> Estimate:
        return mean(values, groups)

    four = p_yes[:, true], p_no[:, true], p_yes[:, false], p_no[:, false]
    same = a * n + (1 - a) * (1 - n)
    measures = {
        "auroc": auroc(s, pairs.y, pairs.groups),
        "accuracy": mean(((s > 0.5) == (pairs.y == 1)).astype(float), pairs.groups),
        "pair_accuracy": over((a > n) + 0.5 * (a == n)),
        "bias": over(a + n - 1),
        "discrimination": over(a - n),
        "contradiction": over(same),
        "contradiction_kappa": _kappa(a, n, groups),
        "contradiction_symmetric": over(contradiction_index(*four, symmetric=True)),
        "correct_flip": over(((a > 0.5) & (n <= 0.5)).astype(float)),
        "reversed_flip": over(((a <= 0.5) & (n > 0.5)).astype(float)),
        "both_true": over(((a > 0.5) & (n > 0.5)).astype(float)),
        "both_false": over(((a <= 0.5) & (n <= 0.5)).astype(float)),
        "polar_consistency": over(polar_consistency(*four)),
        "polar_consistency_abs": over(np.abs(polar_consistency(*four))),
        "contradiction_index": over(contradiction_index(*four)),
        "inconsistency": mean(np.abs(p_yes + p_no - 1), pairs.groups),
        "ccs_loss": _loss(p_yes, p_no, pairs.groups),
    }
    if "negated" in pairs.columns:
        measures |= _negation(s, pairs)
    if train is not None:
        cosines = truth_cosines(probe, train[pairs.sites])
        measures |= {f"cosine_{name}": _exactly(cosines[name].to_numpy(), train) for name in cosines}
    # A probe that hardly moves from one statement to the next can have fine polarity numbers and says
    # nothing.
    return PolarityReport(pairs.sites, measures, s.std(1) < 0.02, len(true), probe.sign_from)


def _true_and_false(pairs: PairActivations) -> tuple[np.ndarray, np.ndarray]:
    first, second = opposites(pairs)
    y = np.asarray(pairs.y)
    if not (y[first] + y[second] == 1).all():
        bad = int((y[first] + y[second] != 1).sum())
        raise ValueError(
            f"of a statement and its opposite one must be true (y=1) and one false (y=0); {bad} pairs are"
            " not so"
        )
    return np.where(y[first] == 1, first, second), np.where(y[first] == 1, second, first)


def _kappa(a: Float[np.ndarray, "site n"], n: Float[np.ndarray, "site n"], groups: np.ndarray) -> Estimate:
    def statistic(weights: np.ndarray) -> np.ndarray:
        w = weights / weights.sum(1, keepdims=True)
        middle = (w @ a.T + w @ n.T) / 2
        return 1 - (w @ (a * n + (1 - a) * (1 - n)).T) / (middle**2 + (1 - middle) ** 2)

    return bootstrapped(statistic, a.shape[:1], a.shape[1], groups)


def _loss(p_yes: np.ndarray, p_no: np.ndarray, groups: np.ndarray) -> Estimate:
    return mean((p_yes + p_no - 1) ** 2 + np.minimum(p_yes, p_no) ** 2, groups)


def _negation(s: np.ndarray, pairs: PairActivations) -> dict[str, Estimate]:
    negated = negation_flags(pairs)
    right = (s > 0.5) == (pairs.y == 1)
    found = {}
    if len(np.unique(negated)) == 2:
        found["auroc_negated"] = auroc(s, negated, pairs.groups)
    cells = [
        (label, flag) for label in (1, 0) for flag in (0, 1) if ((pairs.y == label) & (negated == flag)).any()
    ]
    for label, flag in cells:
        rows = (pairs.y == label) & (negated == flag)
        found[f"accuracy_{'true' if label else 'false'}_{'negated' if flag else 'affirmative'}"] = mean(
            right[:, rows].astype(float), pairs.groups[rows]
        )
    worst = np.argmin([e.value for e in found.values() if e is not found.get("auroc_negated")], axis=0)
    parts = [e for k, e in found.items() if k.startswith("accuracy_")]
    at = np.arange(len(s))
    found["accuracy_worst_cell"] = Estimate(
        *(np.stack([getattr(p, field) for p in parts])[worst, at] for field in ("value", "low", "high")),
        n=s.shape[1],
        n_groups=parts[0].n_groups,
    )
    return found


def _exactly(values: np.ndarray, rows: PairActivations) -> Estimate:
    """A number that was not sampled, in the place of an estimate."""
    return Estimate(
        values,
        np.full_like(values, np.nan),
        np.full_like(values, np.nan),
        len(rows),
        len(np.unique(rows.groups)),
    )


def truth_cosines(probe: LinearProbe, pairs: PairActivations) -> pd.DataFrame:
    """Cosines of a pair probe's direction with the truth direction and the polarity-sensitive truth direction
    of these pairs, by site.

    The two are least-squares coefficients of truth and of truth x polarity (t_G and t_P of arXiv 2407.12831)
    in the differences of the two texts of a pair, which is what pair probes read, so they need y and
    `negated`; take train pairs. A probe whose direction is nearer to `polarity` than to `truth` turns round
    on negated statements.
    """
    y, _ = pairs.classes
    polarity = polarities(pairs.side("yes"), "negated").to(pairs.yes.device)
    z = pairs.yes.double() - pairs.no.double()
    general, sensitive = truth_directions(z - z.mean(1, keepdim=True), y, polarity)
    units = probe.units[probe.index_of(pairs.sites)].double().cpu()
    cosines = {
        name: torch.nn.functional.cosine_similarity(units, t.cpu(), dim=1).numpy()
        for name, t in (("truth", general), ("polarity", sensitive))
    }
    return pd.DataFrame(cosines, index=pd.Index([str(s) for s in pairs.sites], name="site"))


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
        raise ValueError(
            'the published pipeline uses rows of unit length centred once a side; fit CCS(prepare="l2+mean")'
            " for it"
        )
    true, false = _true_and_false(pairs)
    index = [probe.sites.index(s) for s in pairs.sites]
    weight, bias = probe.weight[index].double(), probe.bias[index].double()[:, None]

    def centred(x: torch.Tensor, rows: np.ndarray) -> np.ndarray:
        own = unit(x[:, rows].double())
        return (
            torch.sigmoid(torch.einsum("snd,sd->sn", own - own.mean(1, keepdim=True), weight) + bias)
            .cpu()
            .numpy()
        )

    four = (
        centred(pairs.yes, true),
        centred(pairs.no, true),
        centred(pairs.yes, false),
        centred(pairs.no, false),
    )
    right = ((probe.score(pairs).cpu().numpy() > 0) == (pairs.y == 1)).mean(1)
    pc = polar_consistency(*four)
    per_pair = {
        "pc": pc,
        "abs_pc": np.abs(pc),
        "ci": contradiction_index(*four),
        "ideal_distance": ideal_distance(*four),
    }
    columns = {"accuracy": np.maximum(right, 1 - right)}
    columns |= {
        f"{name}_{way.__name__}": way(values, axis=1)
        for way in (np.mean, np.median)
        for name, values in per_pair.items()
    }
    return pd.DataFrame(columns, index=pd.Index([str(s) for s in pairs.sites], name="site"))
