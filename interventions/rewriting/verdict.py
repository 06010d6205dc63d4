"""What may be said about an arm of rewrites, in fixed words, and why not more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from interventions.rewriting.arms import RANDOM, UNDIRECTED
from probes.evidence.finding import Finding, excludes
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate

MARGIN = 0.05  # change of the outcome below which nothing is called an effect
AIMLESS = (UNDIRECTED, RANDOM)  # arms that an arm with an aim has to go beyond
MANY = 0.2  # share of prompts without a rewrite from which on it is said
Word = Literal[
    "no effect shown", "not beyond undirected rewriting", "moves behaviour, chosen or not", "moves behaviour"
]


@dataclass(frozen=True, eq=False)
class ArmVerdict(Displayed):
    """The strongest word an arm's controls allow, its sentence, and what stands in the way of more.

    `no effect shown`: the interval of the mean change reaches 0, or the change is smaller than the margin.
    `not beyond undirected rewriting`: it does not, but rewording without any purpose moves as much. `moves
    behaviour, chosen or not`: candidates taken at random move as much. True for `moves behaviour` where a
    probe that took no part in choosing sees the shift too, if one was given.
    """

    word: Word
    sentence: str
    why_not_more: tuple[str, ...]
    checks: Mapping[str, bool]

    def __bool__(self) -> bool:
        return self.word == "moves behaviour" and all(self.checks.values())

    def __repr__(self) -> str:
        reasons = (f"  but: {reason}" for reason in self.why_not_more)
        return terminal("\n".join([self.sentence, *reasons]))


@dataclass(frozen=True)
class Beside:
    """An arm without an aim: its own mean change, and by how much the judged arm's change differs from it."""

    change: Estimate
    gap: Estimate


@dataclass(frozen=True, eq=False)
class ArmNumbers:
    """What the verdict on an arm rests on, and the margin asked.

    `change` is the mean change of the outcome, in `unit`. `aimless` holds the arms without an aim, None for
    one that was not run. `text_gap` is the difference to candidates chosen by a classifier of the bare text,
    `second_shift` the shift of the score of a probe that took no part in choosing; None where there was none.
    `kept` is the share of prompts that stayed as they were.
    """

    arm: str
    unit: str
    change: Estimate
    aimless: Mapping[str, Beside | None]
    text_gap: Estimate | None
    second_shift: Estimate | None
    kept: float
    margin: float


def judged(n: ArmNumbers) -> ArmVerdict:
    """The verdict on an arm; see `ArmVerdict` for the words."""
    found = ruled(n)
    return ArmVerdict(found.word, _sentence(found), _reasons(found), found.checks)


def ruled(n: ArmNumbers) -> Finding[Word, ArmNumbers]:
    """The strongest word the numbers allow."""
    checks = {
        "interval excludes 0": excludes(n.change),
        "at least the margin": abs(float(n.change.value)) >= n.margin,
    }
    for name, beside in n.aimless.items():
        if beside is not None:
            checks[f"beyond {name}"] = _beyond(n.change, beside.gap)
    if n.second_shift is not None:
        checks["seen by the second probe"] = bool(n.second_shift.low > 0)
    return Finding(_word(checks), checks, n)


def _word(checks: Mapping[str, bool]) -> Word:
    if not (checks["interval excludes 0"] and checks["at least the margin"]):
        return "no effect shown"
    if not checks.get(f"beyond {UNDIRECTED}", True):
        return "not beyond undirected rewriting"
    return "moves behaviour" if checks.get(f"beyond {RANDOM}", True) else "moves behaviour, chosen or not"


def _beyond(change: Estimate, gap: Estimate) -> bool:
    """Whether a change is further from the original than another, on the same side."""
    return bool(gap.low > 0 if change.value > 0 else gap.high < 0)


def _sentence(found: Finding[Word, ArmNumbers]) -> str:
    n = found.numbers
    there = {name: beside for name, beside in n.aimless.items() if beside is not None}
    against = ", ".join(f"{float(beside.change.value):+.3f} in {name!r}" for name, beside in there.items())
    said = f"{n.unit} changes by {n.change:+.3f} in {n.arm!r}"
    return f"{found.word.capitalize()}: {said}{f'; {against}' if against else ''}."


def _reasons(found: Finding[Word, ArmNumbers]) -> tuple[str, ...]:
    """What stands in the way of a stronger word."""
    n, checks, why = found.numbers, found.checks, []
    if checks["interval excludes 0"] and not checks["at least the margin"]:
        why.append(f"the change is smaller than {n.margin:g}")
    for name, beside in n.aimless.items():
        if beside is None:
            why.append(f"there is no arm {name!r} beside it")
        elif not checks[f"beyond {name}"]:
            why.append(f"{name} comes as far: the difference of the changes is {beside.gap:+.3f}")
    if n.text_gap is not None and n.text_gap.low <= 0 <= n.text_gap.high:
        by_text = "candidates chosen by a classifier of the bare text come as far"
        why.append(f"{by_text}: the difference of the changes is {n.text_gap:+.3f}")
    if n.second_shift is not None and not checks["seen by the second probe"]:
        why.append(f"a probe that took no part in choosing sees no shift ({n.second_shift:+.2f})")
    if n.kept > MANY:
        why.append(
            f"{n.kept:.0%} of the prompts have no rewrite that passed the gates and stayed as they were"
        )
    return tuple(why)
