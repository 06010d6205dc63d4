"""What may be said about an arm of rewrites, in fixed words, and why not more."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

from interventions.rewriting.arms import ORIGINAL, RANDOM, SELECTED, TEXT, UNDIRECTED
from probes.metrics.estimates import Estimate

if TYPE_CHECKING:
    from interventions.rewriting.outcomes import Remeasured

MARGIN = 0.05  # change of the outcome below which nothing is called an effect
Word = Literal["no effect shown", "not beyond undirected rewriting", "moves behaviour, chosen or not", "moves behaviour"]


@dataclass(frozen=True, eq=False)
class ArmVerdict:
    """The strongest word an arm's controls allow, its sentence, and what stands in the way of more.

    `no effect shown`: the interval of the mean change reaches 0, or the change is smaller than the margin. `not beyond undirected rewriting`: it does not, but rewording without any purpose moves as much. `moves
    behaviour, chosen or not`: candidates taken at random move as much. True for `moves behaviour` where a probe that took no part in choosing sees the shift too, if one was given.
    """

    word: Word
    sentence: str
    why_not_more: tuple[str, ...]
    checks: Mapping[str, bool]

    def __bool__(self) -> bool:
        return self.word == "moves behaviour" and all(self.checks.values())

    def __repr__(self) -> str:
        return "\n".join([self.sentence, *(f"  but: {reason}" for reason in self.why_not_more)])

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(self.sentence)}</b></p><ul>{''.join(f'<li>{escape(r)}</li>' for r in self.why_not_more)}</ul>"


def judged(r: "Remeasured", arm: str, margin: float) -> ArmVerdict:
    """The verdict on an arm; see `ArmVerdict` for the words."""
    change, why = r.change(arm), []
    checks = {"interval excludes 0": bool(change.low > 0 or change.high < 0)}
    checks["at least the margin"] = abs(float(change.value)) >= margin
    if checks["interval excludes 0"] and not checks["at least the margin"]:
        why.append(f"the change is smaller than {margin:g}")
    beyond: dict[str, Estimate] = {}
    for control in (UNDIRECTED, RANDOM):
        if control == arm:
            continue
        if control not in r.records:
            why.append(f"there is no arm {control!r} beside it")
            continue
        beyond[control] = gap = r.change(arm, than=control)
        # Beyond a control means further from the original than it, on the same side.
        checks[f"beyond {control}"] = bool(gap.low > 0 if change.value > 0 else gap.high < 0)
        if not checks[f"beyond {control}"]:
            why.append(f"{control} comes as far: the difference of the changes is {gap:+.3f}")
    if arm == SELECTED and TEXT in r.records:
        gap = r.change(arm, than=TEXT)
        if gap.low <= 0 <= gap.high:
            why.append(f"candidates chosen by a classifier of the bare text come as far: the difference of the changes is {gap:+.3f}")
    for by in r.arms[ORIGINAL].scores:
        shift = r.shift(arm, by)
        if by == "second probe":
            checks["seen by the second probe"] = bool(shift.low > 0)
            if not shift.low > 0:
                why.append(f"a probe that took no part in choosing sees no shift ({shift:+.2f})")
    kept = float((~r.arms[arm].rewritten).mean())
    if kept > 0.2:
        why.append(f"{kept:.0%} of the prompts have no rewrite that passed the gates and stayed as they were")
    said = f"{r.unit} changes by {change:+.3f} in {arm!r}"
    against = ", ".join(f"{float(r.change(c).value):+.3f} in {c!r}" for c in beyond)
    if not (checks["interval excludes 0"] and checks["at least the margin"]):
        word: Word = "no effect shown"
    elif not checks.get(f"beyond {UNDIRECTED}", True):
        word = "not beyond undirected rewriting"
    elif not checks.get(f"beyond {RANDOM}", True):
        word = "moves behaviour, chosen or not"
    else:
        word = "moves behaviour"
    sentence = f"{word.capitalize()}: {said}{f'; {against}' if against else ''}."
    return ArmVerdict(word, sentence, tuple(why), checks)
