"""What taking a direction out says of its use: it moves behaviour, and the right answers go."""

from typing import Literal

from interventions.effects.unedited import not_above_chance
from interventions.effects.verdict import Verdict
from probes.metrics.estimates import Estimate

Word = Literal["no behaviour to remove", "used", "not shown to be used"]


def removal_word(base: Estimate, after: Estimate, verdict: Verdict) -> Word:
    """Whether the answers use a direction, from their balanced accuracy unedited and without it, and from
    what may be said of the edit.
    """
    if not_above_chance(base):
        return "no behaviour to remove"
    return "used" if verdict.moves and after.high < base.low else "not shown to be used"
