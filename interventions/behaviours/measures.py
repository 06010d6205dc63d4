"""What a behaviour is judged by, by name, and what counts as a changed answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from probes.metrics.estimates import Estimate, accuracy, auroc, mean

ROUNDING = 1e-5  # share of the spread of values below which two of them are the same number


@dataclass(frozen=True, eq=False)
class Given:
    """What one run of a behaviour gave, as a measure sees it: values in a unit, kinds of answers where the
    behaviour sorts them.
    """

    values: Float[np.ndarray, " n"]
    labels: Shaped[np.ndarray, " n"] | None = None


@runtime_checkable
class Measure(Protocol):
    """What a behaviour is judged by.

    `by_answers` says which number decides whether an edit moves the behaviour: the share of answers it
    changes, or else the mean of the values. `shown` are the numbers that people read, the first being the
    headline. A measure of your own is a frozen dataclass with these three; one whose values are answers by
    the side of 0 on which they lie also says `sides = True`.
    """

    @property
    def by_answers(self) -> bool: ...

    def shown(
        self,
        values: Float[np.ndarray, "*run n"],
        groups: Shaped[np.ndarray, " n"],
        y: Int[np.ndarray, " n"] | None,
        unit: str,
    ) -> Mapping[str, Estimate]:
        """The behaviour's numbers by name, for one run or several at once; `y` says what is right."""
        ...

    def changed(self, before: Given, now: Given) -> Bool[np.ndarray, " n"]:
        """Which prompts got another answer."""
        ...


@dataclass(frozen=True)
class TwoSided:
    """One of two answers, by the side of 0 on which the value lies: balanced accuracy and AUROC where y says
    which is right, the share of positive answers where nothing does.
    """

    by_answers: bool = True
    sides: bool = True

    def shown(self, values: Any, groups: Any, y: Any, unit: str) -> Mapping[str, Estimate]:
        if y is None or len(np.unique(y)) < 2:
            return {"share answered positive": mean((values > 0).astype(float), groups)}
        return {
            # By sign alone: differences that all lie between 0 and 1 are no probabilities.
            "balanced accuracy": accuracy(np.sign(values), y, groups, balanced=True),
            "AUROC": auroc(values, y, groups),
        }

    def changed(self, before: Given, now: Given) -> Bool[np.ndarray, " n"]:
        return (before.values > 0) != (now.values > 0)


@dataclass(frozen=True)
class Kinds:
    """Answers sorted into kinds, with a value of 1 for the kind that counts: its share."""

    by_answers: bool = True

    def shown(self, values: Any, groups: Any, y: Any, unit: str) -> Mapping[str, Estimate]:
        return {unit if unit.startswith("share") else f"mean {unit}": mean(values, groups)}

    def changed(self, before: Given, now: Given) -> Bool[np.ndarray, " n"]:
        if before.labels is None or now.labels is None:
            raise ValueError("answers without kinds cannot be compared by kind; give the Records labels")
        return np.asarray(before.labels != now.labels, dtype=bool)


@dataclass(frozen=True)
class MeanValue:
    """A score for every prompt: its mean. An answer has changed where its score is another number. `sides`
    says that the side of 0 on which a value lies is an answer, as of a logit difference.
    """

    by_answers: bool = False
    sides: bool = False

    def shown(self, values: Any, groups: Any, y: Any, unit: str) -> Mapping[str, Estimate]:
        return {f"mean {unit}": mean(values, groups)}

    def changed(self, before: Given, now: Given) -> Bool[np.ndarray, " n"]:
        both = np.concatenate([before.values, now.values])
        spread = float(np.ptp(both[np.isfinite(both)])) if np.isfinite(both).any() else 0.0
        return np.abs(now.values - before.values) > ROUNDING * spread
