"""Does a probe treat a statement and its opposite as opposites, and does it read truth or negation?

Four probabilities a pair: a statement A and its opposite N, each answered yes (`a1`, `n1`) and no (`a0`,
`n0`). The report centres rows as the probe did on its train rows; what was published instead is in
`probes.published`.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int

from probes.data.activations import PairActivations
from probes.data.sites import Site
from probes.evidence.finding import Finding
from probes.evidence.polarity_index import contradiction_index, polar_consistency
from probes.evidence.polarity_rule import PolarityNumbers, PolarityWord, off, ruled, sentence
from probes.fitting.linear import LinearProbe
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, auroc, mean
from probes.metrics.resampling import bootstrapped
from probes.metrics.scores import as_scores
from probes.recipes.polarity_ccs import opposites
from probes.recipes.ttpd import negation_flags, polarities, truth_directions

Scores = Float[np.ndarray, "site n"]


@dataclass(frozen=True, eq=False)
class PolarityReport(Displayed):
    """Whether a pair probe reads truth or negation, and how it treats statements and their opposites:
    measures by name, each with one value and interval a site.

    `findings` has a word a site, with the checks and numbers behind it; `answer` is what they come to.
    """

    sites: tuple[Site, ...]
    measures: dict[str, Estimate]
    degenerate: np.ndarray
    n_pairs: int
    sign_from: str
    findings: tuple[Finding[PolarityWord, PolarityNumbers], ...]

    def __getitem__(self, name: str) -> Estimate:
        if name not in self.measures:
            raise KeyError(f"no measure {name!r}; there are {', '.join(self.measures)}")
        return self.measures[name]

    @property
    def answer(self) -> str:
        """Truth or negation: one line a word, the sites it holds at, and the numbers of the clearest."""
        lines = []
        for word in dict.fromkeys(f.word for f in self.findings):
            at = [i for i, f in enumerate(self.findings) if f.word == word]
            best = max(at, key=lambda i: off(self.findings[i].numbers.auroc))
            names = ", ".join(str(self.sites[i]) for i in at)
            where = f" ({self.sites[best]})" if len(at) > 1 else ""
            lines.append(f"{word} at {names}: {sentence(self.findings[best])}{where}")
        return "\n".join(lines)

    @property
    def table(self) -> pd.DataFrame:
        """One row a site: what the probe reads there, one column a measure, and whether it is degenerate."""
        values = {name: np.atleast_1d(e.value) for name, e in self.measures.items()}
        return pd.DataFrame(
            {"reads": [f.word for f in self.findings]} | values | {"degenerate": self.degenerate},
            index=pd.Index([str(s) for s in self.sites], name="site"),
        )

    def __repr__(self) -> str:
        head = f"PolarityReport({self.n_pairs} pairs of opposites, sign from {self.sign_from})"
        return terminal(f"{head}\n{self.answer}\n{self.table.round(3).to_string()}")


def polarity_report(
    probe: LinearProbe, pairs: PairActivations, train: PairActivations | None = None
) -> PolarityReport:
    """Whether a pair probe reads truth or negation, and everything about it on statements and their
    opposites, at every site of `pairs`.

    A probe whose contradiction, kappa and loss are those of a constant one reads nothing.

    Needs y, `pair_id` joining two statements of which one is true, and for the negation rows a column
    `negated` (0/1). `bias`: mean of s_A + s_N - 1 (above 0 the probe agrees with both). `discrimination`:
    mean s_A - s_N. `contradiction`: chance of the same verdict on both, .5 for a constant probe;
    `contradiction_kappa`: 1 - that over its expectation for two statements drawn at random (1 perfect, 0
    unrelated, below 0 contradictory). Flip rates count verdicts at .5. `accuracy_worst_cell` is over truth x
    negation: a negation detector has a cell near 0. `ccs_loss` (.2 for the best constant probe),
    `polar_consistency` and `contradiction_index` are those of the probe as it was trained, whichever side
    labels made the positive one.
    `auroc_negated` says how well the scores tell negation. With `train` (the rows the probe was fitted on,
    with `negated`) there are also `cosine_truth` and `cosine_polarity`, see `truth_cosines`; they have no
    interval. `degenerate` marks credences with a standard deviation below .02. Intervals resample groups of
    pairs. Raises ValueError for pairs that are not one true and one false statement.
    """
    if pairs.y is None:
        raise ValueError("polarity_report needs y: which statement of every pair is true")
    true, false = true_and_false(pairs)
    s = as_scores(probe.probability(pairs))
    measures = _measured(probe, pairs, s, true, false)
    if "negated" in pairs.columns:
        measures |= _negation(s, pairs)
    if train is not None:
        cosines = truth_cosines(probe, train[pairs.sites])
        measures |= {f"cosine_{name}": _exactly(cosines[name].to_numpy(), train) for name in cosines}
    # A probe that hardly moves from one statement to the next can have fine polarity numbers and says
    # nothing.
    degenerate = s.std(1) < 0.02
    findings = tuple(
        ruled(_numbers(measures, i, bool(degenerate[i]), "negated" in pairs.columns))
        for i in range(len(pairs.sites))
    )
    return PolarityReport(pairs.sites, measures, degenerate, len(true), probe.sign_from, findings)


def _measured(
    probe: LinearProbe,
    pairs: PairActivations,
    s: Float[np.ndarray, "site n"],
    true: Int[np.ndarray, " pair"],
    false: Int[np.ndarray, " pair"],
) -> dict[str, Estimate]:
    """Every measure that needs no flag for negation; `true` and `false` are the rows of each pair."""
    # Burns' loss and the published indices are not the same for p and 1 - p: they are of what was trained.
    trained = probe.as_trained
    p_yes, p_no = (as_scores(trained.probability(pairs, side=side)) for side in ("yes", "no"))
    a, n = s[:, true], s[:, false]
    groups = pairs.groups[true]

    def over(values: np.ndarray) -> Estimate:
        return mean(values, groups)

    four = p_yes[:, true], p_no[:, true], p_yes[:, false], p_no[:, false]
    same = a * n + (1 - a) * (1 - n)
    return {
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


def _numbers(measures: dict[str, Estimate], i: int, degenerate: bool, flagged: bool) -> PolarityNumbers:
    def at(name: str) -> Estimate | None:
        return measures[name][i] if name in measures else None

    return PolarityNumbers(
        auroc=measures["auroc"][i],
        auroc_negated=at("auroc_negated"),
        worst_cell=at("accuracy_worst_cell"),
        contradiction=measures["contradiction"][i],
        kappa=measures["contradiction_kappa"][i],
        loss=measures["ccs_loss"][i],
        degenerate=degenerate,
        flagged=flagged,
    )


def true_and_false(pairs: PairActivations) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the true statement and of the false one of every pair.

    Raises ValueError for pairs that are not one true and one false statement.
    """
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

    return bootstrapped(statistic, a.shape[:1], a.shape[1], groups, within=(-1.0, 1.0))


def _loss(p_yes: np.ndarray, p_no: np.ndarray, groups: np.ndarray) -> Estimate:
    return mean((p_yes + p_no - 1) ** 2 + np.minimum(p_yes, p_no) ** 2, groups)


def _negation(s: Scores, pairs: PairActivations) -> dict[str, Estimate]:
    """How well the scores tell negation, and the accuracy on every kind of statement that there is."""
    negated = negation_flags(pairs)
    found = {}
    if len(np.unique(negated)) == 2:
        found["auroc_negated"] = auroc(s, negated, pairs.groups)
    by_cell = _accuracy_by_cell(s, pairs, negated)
    return found | by_cell | {"accuracy_worst_cell": _lowest(list(by_cell.values()), s.shape[1])}


def _accuracy_by_cell(s: Scores, pairs: PairActivations, negated: np.ndarray) -> dict[str, Estimate]:
    """Accuracy by truth and negation."""
    y = np.asarray(pairs.y)
    right = ((s > 0.5) == (y == 1)).astype(float)
    found = {}
    for label, truth in ((1, "true"), (0, "false")):
        for flag, form in ((0, "affirmative"), (1, "negated")):
            rows = (y == label) & (negated == flag)
            if rows.any():
                found[f"accuracy_{truth}_{form}"] = mean(right[:, rows], pairs.groups[rows])
    return found


def _lowest(parts: list[Estimate], n: int) -> Estimate:
    """At every site the part with the lowest value, with its interval."""
    worst, at = np.argmin([e.value for e in parts], axis=0), np.arange(len(parts[0]))
    value, low, high = (
        np.stack(numbers)[worst, at]
        for numbers in ([e.value for e in parts], [e.low for e in parts], [e.high for e in parts])
    )
    return Estimate(value, low, high, n=n, n_groups=parts[0].n_groups)


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
