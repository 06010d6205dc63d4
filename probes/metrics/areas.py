"""AUROCs of one or several parts of the rows, and differences of two, with what the groups tell of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from probes.metrics.intervals import Told
from probes.metrics.placements import STILL, Classes, Placed, placed
from probes.metrics.spread import Weighings

Rows = Bool[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Parts:
    """The rows that pairs are made of, one part after another; an AUROC of them is the mean over parts."""

    rows: tuple[Rows, ...]
    classes: tuple[Classes, ...]
    weighings: Weighings

    @classmethod
    def of(cls, label: Rows, codes: Int[np.ndarray, " n"], n_groups: int, rows: Sequence[Rows]) -> "Parts":
        classes = tuple(Classes.of(label[m], codes[m], n_groups) for m in rows)
        both = (w for c in classes for w in (c.positive, c.negative))
        return cls(tuple(rows), classes, Weighings(tuple(both)))

    @property
    def fewest_groups(self) -> int:
        """Groups that hold the rarer class of the part that has the fewest."""
        return min(c.fewest_groups for c in self.classes)

    def effective(self) -> tuple[float, float]:
        """The numbers of independent positive and negative rows that would tell as much."""
        k = len(self.classes)
        positives = k**2 / sum(1 / c.positive.effective for c in self.classes)
        return positives, k**2 / sum(1 / c.negative.effective for c in self.classes)

    def area(self, scores: Float[np.ndarray, " n"]) -> Told:
        """Of one line of scores."""
        found = self._placed(scores)
        telling = min(p.telling for p in found)
        return self._told([found], (1.0,), telling)

    def difference(self, scores: Float[np.ndarray, " n"], others: Float[np.ndarray, " n"]) -> Told:
        """Of two lines of scores on the same rows."""
        both = [self._placed(scores), self._placed(others)]
        pulls = self._pulls(both, (1.0, -1.0))
        moving = min(int((np.abs(pull) > STILL).sum()) for pull in pulls)
        return self._told(both, (1.0, -1.0), moving)

    def _placed(self, scores: Float[np.ndarray, " n"]) -> list[Placed]:
        return [placed(scores[m], c) for m, c in zip(self.rows, self.classes, strict=True)]

    def _pulls(self, lines: Sequence[Sequence[Placed]], times: Sequence[float]) -> list[np.ndarray]:
        """The influence of each group on every part's positives and negatives."""
        found = []
        for part in zip(*lines, strict=True):
            weighted = [(by / len(self.rows), p) for by, p in zip(times, part, strict=True)]
            found.append(np.sum([by * p.of_positives for by, p in weighted], axis=0))
            found.append(np.sum([by * p.of_negatives for by, p in weighted], axis=0))
        return found

    def _told(self, lines: Sequence[Sequence[Placed]], times: Sequence[float], telling: int) -> Told:
        value = self._sum(times, [[p.value for p in line] for line in lines])
        centre = self._sum(times, [[p.between for p in line] for line in lines])
        found = self.weighings.spread(self._pulls(lines, times))
        return Told(value, centre, found.variance, found.df, telling, found.skew)

    def _sum(self, times: Sequence[float], values: Sequence[Sequence[float]]) -> float:
        """Over lines, each the mean of its parts."""
        return float(np.dot(times, np.mean(values, axis=1)))
