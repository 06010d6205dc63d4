"""AUROC taken apart by group: how many pairs each group wins, and how far it pulls the whole.

Pairs within a group are left out here. With many groups they are a vanishing share of all pairs, and rows of
one group are often easier, or harder, to tell apart than rows of two.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from probes.metrics.spread import Weighing

STILL = 1e-9
"""A pull this small is rounding."""
HALF_A_TIE = 0.25


@dataclass(frozen=True, eq=False)
class Classes:
    """Which rows are positive, and how many rows of either class each group has."""

    label: Bool[np.ndarray, " n"]
    codes: Int[np.ndarray, " n"]
    positive: Weighing
    negative: Weighing

    @classmethod
    def of(cls, label: Bool[np.ndarray, " n"], codes: Int[np.ndarray, " n"], n_groups: int) -> "Classes":
        positive, negative = (
            Weighing(np.bincount(codes[rows], minlength=n_groups).astype(float)) for rows in (label, ~label)
        )
        return cls(label, codes, positive, negative)

    @property
    def fewest_groups(self) -> int:
        """Groups that hold the rarer class."""
        return min(self.positive.groups, self.negative.groups)

    @property
    def mixed(self) -> bool:
        """Whether any group holds both classes."""
        return bool((self.positive.rows * self.negative.rows).any())

    def per_group(self, values: Float[np.ndarray, " m"], rows: Bool[np.ndarray, " n"]) -> np.ndarray:
        """Sums over some of the rows, by group."""
        return np.bincount(self.codes[rows], values, minlength=len(self.positive.rows))


@dataclass(frozen=True, eq=False)
class Placed:
    """The AUROC, that over pairs of rows from different groups, and the influence of each group on it.

    `telling` counts groups of the class that shows least: those that have some rows on the wrong side of
    others, and some on the right side.
    """

    value: float
    between: float
    of_positives: Float[np.ndarray, " g"]
    of_negatives: Float[np.ndarray, " g"]
    telling: int


def placed(scores: Float[np.ndarray, " n"], classes: Classes) -> Placed:
    """Takes one line of scores apart, at the cost of sorting it.

    There must be two groups of either class.
    """
    from scipy.stats import rankdata  # half a second to import, so not before it is asked for

    label, positive, negative = classes.label, classes.positive.rows, classes.negative.rows
    ranks = rankdata(scores)
    beaten = ranks[label] - rankdata(scores[label])
    lost_to = label.sum() - (ranks[~label] - rankdata(scores[~label]))
    within = _won_within(scores, classes) if classes.mixed else np.zeros_like(positive)
    # Of each group's positives the pairs won against other groups, and of its negatives the pairs lost.
    won = classes.per_group(beaten, label) - within
    lost = classes.per_group(lost_to, ~label) - within
    pairs_of_positives = positive * (negative.sum() - negative)
    pairs_of_negatives = negative * (positive.sum() - positive)
    pairs = pairs_of_positives.sum()
    between = won.sum() / pairs
    value = beaten.sum() / (positive.sum() * negative.sum())
    pulls = (won - between * pairs_of_positives) / pairs, (lost - between * pairs_of_negatives) / pairs
    telling = min(
        _telling(pull, side, of)
        for pull, side, of in zip(pulls, (won, lost), (pairs_of_positives, pairs_of_negatives), strict=True)
    )
    return Placed(float(value), float(between), *pulls, telling)


def _telling(pull: np.ndarray, won: np.ndarray, pairs: np.ndarray) -> int:
    """The groups with wins or those with losses, whichever are fewer; none where no group differs."""
    if not (np.abs(pull) > STILL).any():
        return 0
    return int(min((won > HALF_A_TIE).sum(), (pairs - won > HALF_A_TIE).sum()))


def _won_within(scores: Float[np.ndarray, " n"], classes: Classes) -> Float[np.ndarray, " g"]:
    """The pairs of each group's own rows that its positives win."""
    order = np.lexsort((scores, classes.codes))
    ranks = _ranks_within(scores, classes.codes, order)
    among_positives = _ranks_within(scores, classes.codes, order[classes.label[order]])
    label = classes.label
    return classes.per_group(ranks[label] - among_positives[label], label)


def _ranks_within(
    scores: Float[np.ndarray, " n"], codes: Int[np.ndarray, " n"], order: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """Rank of each row among those of its group that are listed, ties sharing theirs; 0 for the others."""
    code, score = codes[order], scores[order]
    new_group = np.append(True, code[1:] != code[:-1])
    new_value = new_group | np.append(True, score[1:] != score[:-1])
    starts = np.flatnonzero(new_value)
    lengths = np.diff(np.append(starts, len(order)))
    middle = (starts + (lengths + 1) / 2)[np.cumsum(new_value) - 1]
    first = np.flatnonzero(new_group)[np.cumsum(new_group) - 1]
    ranks = np.zeros(len(scores))
    ranks[order] = middle - first
    return ranks
