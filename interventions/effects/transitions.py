"""Which kind of answer became which: before and after, prompt by prompt."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from interventions.behaviours.asked import refuse_other_question
from interventions.behaviours.records import Records, check_records
from probes.checks.choices import mask
from probes.markup.terminal import terminal
from probes.markup.values import Displayed

FEW = 10  # prompts exchanged by two classes below which chi-squared is not to be trusted
OUTCOMES = 2_000_000
SIDES = ("below 0", "above 0")


@dataclass(frozen=True, eq=False)
class Transitions(Displayed):
    """`counts[i, j]` prompts went from class i to class j. `p_value` tests whether as many go one way as the
    other.

    Two classes: McNemar's exact test; more: Bowker's test of symmetry, from its exact distribution where two
    classes exchanged fewer than ten prompts. Both take prompts as independent; where several share a group,
    the interval of `Effect.change`, which resamples groups, is the one to go by. A small p says that the mix
    of answers changed, not why.
    """

    classes: tuple[str, ...]
    counts: Int[np.ndarray, "before after"]

    @property
    def changed(self) -> int:
        """How many prompts got another kind of answer."""
        return int(self.counts.sum() - np.trace(self.counts))

    @property
    def test(self) -> str:
        if len(self.classes) == 2:
            return "McNemar exact"
        up, down = self._exchanged()
        return "Bowker exact" if (up + down < FEW)[up + down > 0].any() else "Bowker"

    def _exchanged(self) -> tuple[np.ndarray, np.ndarray]:
        """For each pair of classes, how many prompts went one way and how many the other."""
        above = np.triu_indices(len(self.classes), 1)
        return self.counts[above], self.counts.T[above]

    @property
    def p_value(self) -> float:
        up, down = self._exchanged()
        moved = up + down > 0
        if not moved.any():
            return 1.0
        if len(self.classes) == 2:
            return _evenly(int(up[0]), int(down[0]))
        return bowker(up[moved], down[moved])

    def against_rest(self, kind: str) -> float:
        """McNemar's exact p-value for one class against all others: whether as many prompts came to
        it as left it.
        """
        if kind not in self.classes:
            raise ValueError(f"there is no class {kind!r}; there are {', '.join(self.classes)}")
        k = self.classes.index(kind)
        left, came = (int(of.sum() - self.counts[k, k]) for of in (self.counts[k], self.counts[:, k]))
        return _evenly(came, left) if came + left else 1.0

    def shown(self) -> list[tuple[str, list[str]]]:
        """Rows of the table, the first being its head, with classes that never occur left out."""
        there = [i for i in range(len(self.classes)) if self.counts[i].any() or self.counts[:, i].any()]
        return [
            ("", [self.classes[i] for i in there]),
            *((self.classes[i], [str(n) for n in self.counts[i, there]]) for i in there),
        ]

    @property
    def summary(self) -> str:
        """How many changed, and the test of whether as many went one way as the other."""
        return f"{self.changed} of {self.counts.sum()} changed, {self.test} p={self.p_value:.3g}"

    def __repr__(self) -> str:
        width = max(6, *(len(c) for c in self.classes))
        lines = [
            f"{name or 'before / after':<{max(width, 14)}} " + " ".join(f"{c:>{width}}" for c in row)
            for name, row in self.shown()
        ]
        return terminal("\n".join([*lines, self.summary]))


def _evenly(came: int, left: int) -> float:
    from scipy.stats import binomtest  # half a second to import, so not before it is asked for

    return float(binomtest(came, came + left).pvalue)


def bowker(up: Int[np.ndarray, " k"], down: Int[np.ndarray, " k"]) -> float:
    """The p-value of symmetry of k pairs of classes that exchanged prompts: chi-squared, or exact where a
    pair exchanged fewer than ten.

    Exact: given how many each pair exchanged, each prompt is as likely to have gone either way; all outcomes
    are counted, or 100,000 drawn when there are too many.
    """
    from scipy.stats import binom, chi2

    total = up + down
    statistic = ((up - down) ** 2 / total).sum()
    if (total >= FEW).all():
        return float(chi2.sf(statistic, len(total)))
    if np.prod(total + 1.0) <= OUTCOMES:
        found, chance = np.zeros(1), np.ones(1)
        for n in total.tolist():
            ways = np.arange(n + 1)
            found = np.add.outer(found, (2 * ways - n) ** 2 / n).ravel()
            chance = np.multiply.outer(chance, binom.pmf(ways, n, 0.5)).ravel()
        return float(min(1.0, chance[found >= statistic - 1e-9].sum()))
    drawn = np.random.default_rng(0).binomial(total, 0.5, (100_000, len(total)))
    found = ((2 * drawn - total) ** 2 / total).sum(1)
    return float((1 + (found >= statistic - 1e-9).sum()) / (1 + len(found)))


def answers_of(records: Records) -> tuple[tuple[str, ...], np.ndarray] | None:
    """The kinds of answers that there are, and each prompt's: its label, or the side of 0 on which its value
    lies where that is an answer. None of numbers, which are of no kind.
    """
    if records.labels is not None:
        return records.classes, records.labels
    if not getattr(records.measure, "sides", False):
        return None
    return SIDES, np.where(records.values > 0, SIDES[1], SIDES[0])


def transitions(before: Records, after: Records, where: Any = None) -> Transitions:
    """Transitions over the prompts measured both times; answers by the side of 0 (`Answers`) are two kinds.

    `where` picks some of the prompts, by a boolean mask or by positions. Raises ValueError for records of
    different prompts or behaviours, settings of the behaviour and answer keys included, and for numbers,
    which are of no kind.
    """
    for records in (before, after):
        check_records(records, "transitions")
    if before.behaviour != after.behaviour or not np.array_equal(before.ids, after.ids):
        raise ValueError(
            f"before is {before.behaviour} of {len(before)} prompts and after {after.behaviour} of"
            f" {len(after)}; compare one behaviour on the same prompts"
        )
    refuse_other_question(before.receipt, after.receipt)
    rows = before.measured & after.measured & mask(where, len(before))
    first, second = answers_of(before), answers_of(after)
    if first is None or second is None:
        raise ValueError(
            f"{before.behaviour} gives numbers ({before.unit}) and no kinds of answers, so none became"
            " another: effect.change() says how far the mean moved, effect.changed() how many got another"
            " number; for kinds give the Records labels and classes, or judged_by=TwoSided() where the side"
            " of 0 is one"
        )
    (classes, was), (_, now) = first, second
    index = {c: i for i, c in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, ([index[c] for c in was[rows]], [index[c] for c in now[rows]]), 1)
    return Transitions(tuple(classes), counts)
