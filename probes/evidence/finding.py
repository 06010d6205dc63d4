"""What a rule finds: a word of its ladder, the checks passed and failed, and the numbers behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from probes.metrics.estimates import Estimate

FEWEST = 10  # held-out groups that can carry an interval
MARGIN = 0.05  # AUROC that hidden states have to add to the best classifier of the text

Word = TypeVar("Word", bound=str)
Numbers = TypeVar("Numbers")


@dataclass(frozen=True, eq=False)
class Finding(Generic[Word, Numbers]):
    """The strongest word that the checks allow, before anything is put into a sentence."""

    word: Word
    checks: Mapping[str, bool]
    numbers: Numbers


def excludes(estimate: Estimate, value: float | int = 0) -> bool:
    """Whether the interval lies to one side of a value; one without limits excludes nothing."""
    return bool(estimate.low > value or estimate.high < value)
