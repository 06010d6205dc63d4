"""How far a judge can be trusted: its agreement with people, corrected for chance, and how lenient it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from probes.checks.arrays import one_order
from probes.data.row_names import same_names
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, mean
from probes.metrics.resampling import bootstrapped


@dataclass(frozen=True, eq=False)
class Agreement(Displayed):
    """A judge's labels against people's. Chance-corrected numbers are 1 for full agreement and 0 for what the
    marginals alone give.

    `kappa` (Cohen) takes each rater's own marginals, `pi` (Scott) the pooled ones, which also charges a judge
    for saying one label too often. `pc` and `p_plus` describe a judge who follows the people's criterion with
    probability `pc` and otherwise says `positive` with probability `p_plus`: near 1 it lets things pass, near
    0 it is strict. `counts` [judge, human] are rows by `classes`.
    """

    observed: Estimate
    kappa: Estimate
    pi: Estimate
    pc: Estimate
    p_plus: Estimate
    positive: Any
    classes: tuple[Any, ...]
    counts: Int[np.ndarray, "k k"]

    def rows(self) -> list[tuple[str, Estimate]]:
        names = {
            "observed": "observed agreement",
            "kappa": "Cohen's kappa",
            "pi": "Scott's pi",
            "pc": "follows the criterion (Pc)",
            "p_plus": f"else says {self.positive} (P+)",
        }
        return [(names[f.name], getattr(self, f.name)) for f in fields(self) if f.name in names]

    def shown(self) -> list[tuple[str, str]]:
        """Each number by name, with its interval or the word undefined."""
        return [(name, _shown(e)) for name, e in self.rows()]

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} {value}" for name, value in self.shown())
        return terminal(f"Agreement(n={self.observed.n}: {numbers})")


def agreement(
    judge: Sequence[Any] | np.ndarray,
    human: Sequence[Any] | np.ndarray,
    groups: Any = None,
    positive: Any = 1,
) -> Agreement:
    """Compares a judge's labels with people's on the same rows; intervals resample groups (default: each row
    its own).

    Labels are of any kind and number, spelt alike on both sides; for `pc` = TPR - FPR and `p_plus` = FPR /
    (1 - pc) they are split into `positive` and the rest. A number that does not exist is NaN: kappa and pi
    where both only ever use one label, `p_plus` of a judge that never errs. Raises ValueError for different
    lengths, missing labels, labels that differ in type, case or spacing alone, and a `positive` that people
    always or never gave. Sources: Cohen 1960, Scott 1955; leniency after arXiv 2406.12624.
    """
    one_order(judge=judge, human=human, groups=groups)
    first, second = _labels(judge, "judge"), _labels(human, "human")
    if len(first) != len(second) or not len(first):
        raise ValueError(
            f"{len(first)} labels of the judge and {len(second)} of people; give both for the same rows, at"
            " least one"
        )
    truth = np.array([h == positive for h in second])
    if truth.all() or not truth.any():
        raise ValueError(
            f"people {'always' if truth.any() else 'never'} gave the label {positive!r}, so there is no true"
            " and false positive rate; name another one with positive= (their labels:"
            f" {sorted(map(str, set(second)))})"
        )
    classes = tuple(sorted({*first, *second}, key=str))
    _refuse_spellings(classes)
    number = {c: i for i, c in enumerate(classes)}
    both = _Labelled(
        judge=np.array([number[a] for a in first]),
        human=np.array([number[b] for b in second]),
        k=len(classes),
        said=np.array([j == positive for j in first]),
        truth=truth,
    )
    found = {
        name: bootstrapped(lambda w, s=s: s(w)[:, None], (), len(first), groups, within=(-1.0, 1.0))
        for name, s in both.statistics().items()
    }
    found["observed"] = mean((both.judge == both.human).astype(float), groups)
    return Agreement(**found, positive=positive, classes=classes, counts=both.counts())


@dataclass(frozen=True, eq=False)
class _Labelled:
    """Both labels of every row, as numbers below k, and which rows each calls positive. Every statistic
    takes weights of the rows [b, n] and gives [b].
    """

    judge: Int[np.ndarray, " n"]
    human: Int[np.ndarray, " n"]
    k: int
    said: Bool[np.ndarray, " n"]
    truth: Bool[np.ndarray, " n"]

    def statistics(self) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
        return {
            "kappa": lambda w: self._corrected(w, pooled=False),
            "pi": lambda w: self._corrected(w, pooled=True),
            "pc": self._follows,
            "p_plus": lambda w: _ratio(_share(w, self.said, ~self.truth), 1 - self._follows(w)),
        }

    def counts(self) -> Int[np.ndarray, "k k"]:
        return np.bincount(self._pair, minlength=self.k**2).reshape(self.k, self.k)

    @property
    def _pair(self) -> Int[np.ndarray, " n"]:
        return self.judge * self.k + self.human

    def _shares(self, weights: np.ndarray) -> np.ndarray:
        """The share of every pair of labels [b, judge, human]."""
        one_hot = np.eye(self.k**2)[self._pair]
        counts = (weights @ one_hot).reshape(-1, self.k, self.k)
        return counts / counts.sum((1, 2), keepdims=True)

    def _corrected(self, weights: np.ndarray, pooled: bool) -> np.ndarray:
        """Agreement beyond what the marginals give, each rater's own or both pooled."""
        p = self._shares(weights)
        own, theirs = p.sum(2), p.sum(1)
        expected = (((own + theirs) / 2) ** 2).sum(1) if pooled else (own * theirs).sum(1)
        return _ratio(np.trace(p, axis1=1, axis2=2) - expected, 1 - expected)

    def _follows(self, weights: np.ndarray) -> np.ndarray:
        return _share(weights, self.said, self.truth) - _share(weights, self.said, ~self.truth)


def _share(weights: np.ndarray, said: np.ndarray, among: np.ndarray) -> np.ndarray:
    return _ratio(weights @ (said & among), weights @ among.astype(float))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    # Rounding leaves crumbs of 1 - 1, which would make a number out of 0/0.
    return np.divide(above, below, out=np.full_like(above, np.nan, dtype=float), where=np.abs(below) > 1e-12)


def _labels(values: Sequence[Any] | np.ndarray, whose: str) -> list[Any]:
    found = [v.item() if isinstance(v, np.generic) else v for v in values]
    missing = sum(v is None or v != v for v in found)
    if missing:
        raise ValueError(
            f"{missing} of {len(found)} {whose} labels are missing; leave those rows out of both, and report"
            " how many they are"
        )
    return found


def _refuse_spellings(classes: tuple[Any, ...]) -> None:
    """Raises ValueError where two labels differ in type, case or spacing alone, which would never agree."""
    plain = same_names(np.fromiter(classes, dtype=object)).tolist()
    again = next((i for i, name in enumerate(plain) if name in plain[:i]), None)
    if again is not None:
        other = classes[plain.index(plain[again])]
        raise ValueError(
            f"the labels {other!r} ({type(other).__name__}) and {classes[again]!r}"
            f" ({type(classes[again]).__name__}) are spelt alike but for type, case or spacing, and would"
            " count as two; write the judge's labels and people's the same way"
        )


def _shown(e: Estimate) -> str:
    return "undefined" if np.isnan(e.value) else f"{e:.3f}"
