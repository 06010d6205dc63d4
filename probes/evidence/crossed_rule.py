"""The rule for what scores read in a crossed design: numbers in, a word and its checks out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from probes.evidence.finding import FEWEST, Finding, excludes
from probes.metrics.estimates import Estimate

BOUND = 0.15  # AUROC by which the format may at most move scores that pass the gate, interval included
SLIGHT = 0.1  # by less than this share of what the context does, a format leaves the threshold where it is

ALL_CELLS = "all four cells"
Word = Literal[
    "reads context",
    "reads context upside down",
    "reads context in one format",
    "reads format",
    "reads both",
    "chance",
    "confounded design",
]


@dataclass(frozen=True, eq=False)
class CrossedNumbers:
    """What the verdict rests on where every cell has rows, and the margin asked.

    `fewest` is the number of groups in the smallest cell, `matched` how many groups stand in both contexts,
    and how many there are. The others are as in `TwoByTwo`.
    """

    contexts: tuple[str, str]
    formats: tuple[str, str]
    rows: int
    fewest: int
    matched: tuple[int, int]
    context: Mapping[str, Estimate]
    format: Mapping[str, Estimate]
    stratified: Estimate
    format_mean: Estimate
    off_diagonal: Estimate
    effects: Mapping[str, Estimate]
    transfer: Mapping[tuple[str, str], Estimate]
    folds: Mapping[str, Estimate]
    unseen: Estimate | None
    surface: Mapping[str, Estimate]
    difference: Estimate | None
    margin: float

    @property
    def paired(self) -> bool:
        """Whether tasks stand in both contexts; half of them, so that a design that lost some rows
        still counts.
        """
        shared, groups = self.matched
        return shared >= groups / 2

    @property
    def told(self) -> bool:
        """Whether the contexts are told apart within both formats, the same way round."""
        return all(e.low > 0.5 for e in self.context.values()) or self.upside_down

    @property
    def upside_down(self) -> bool:
        """Whether scores are the lower, the more the context is the first.

        Asked to be clear on the whole, since scores of rows that were left out of the fit one part at a time
        lie somewhat below chance where there is nothing to read: what is taken out of one class is missing
        there.
        """
        turned = all(e.high < 0.5 for e in self.context.values())
        return bool(turned and self.stratified.high < 0.5 - self.margin)

    @property
    def shown(self) -> bool:
        """Whether a difference between the contexts is there at all."""
        whole = self.stratified.low > 0.5 and self.stratified.value - 0.5 >= self.margin
        part = any(e.low > 0.5 + self.margin for e in self.context.values())
        return bool(self.told or whole or part)

    @property
    def moved(self) -> bool:
        """Whether the format moves the scores, and not just a trace."""
        return not self.slight and _moved(self.format, self.format_mean, self.margin)

    @property
    def slight(self) -> bool:
        """Whether what the format does is a trace beside what the context does.

        Ranks alone would make much of a shift that is tiny beside the context's, where scores within cells
        lie close together.
        """
        return self.told and _slight(self.effects)

    @property
    def outweighed(self) -> bool:
        """Whether scores follow the format where it points the other way."""
        return bool(self.off_diagonal.high < 0.5)

    @property
    def carried(self) -> dict[tuple[str, str], Estimate]:
        """By probes of one format on the other."""
        return {(a, b): e for (a, b), e in self.transfer.items() if a != b}


def ruled(n: CrossedNumbers) -> Finding[Word, CrossedNumbers]:
    """What the numbers allow to be said, and the checks that a claim about context has to pass."""
    within = max(abs(n.format_mean.low - 0.5), abs(n.format_mean.high - 0.5)) <= BOUND
    checks = {
        ALL_CELLS: True,
        "groups in every cell": n.fewest >= FEWEST,
        "tasks in both contexts": n.paired,
        "told apart in both formats": n.told,
        "right way up": not any(e.high < 0.5 for e in n.context.values()),
        "not moved by the format": bool(n.slight or (not n.moved and within)),
    }
    if n.carried:
        checks["carries over to the other format"] = all(e.low > 0.5 for e in n.carried.values())
    if n.unseen is not None:
        checks["carries over to unseen cues"] = bool(n.unseen.low > 0.5)
    ahead = n.difference is not None and n.difference.low > 0 and n.difference.value >= n.margin
    checks["beyond the text"] = bool(ahead)
    return Finding(_word(n), checks, n)


def _word(n: CrossedNumbers) -> Word:
    if n.fewest < FEWEST:
        return "chance"
    if n.shown and not n.paired:
        # What goes with the source cannot be called context; that the format outweighs it can be said all the
        # same.
        return "reads format" if n.moved and n.outweighed else "confounded design"
    if n.moved:
        return "reads both" if n.shown else "reads format"
    if n.told:
        return "reads context upside down" if n.upside_down else "reads context"
    return "reads context in one format" if n.shown else "chance"


def _moved(by: Mapping[str, Estimate], overall: Estimate, margin: float) -> bool:
    """Whether a difference is there, either way round: on the whole, or clearly in one part.

    Two parts tested apart, without the margin, would find one in nothing too often.
    """
    whole = excludes(overall, 0.5) and abs(overall.value - 0.5) >= margin
    return bool(whole or any(e.low > 0.5 + margin or e.high < 0.5 - margin for e in by.values()))


def _slight(effects: Mapping[str, Estimate]) -> bool:
    """Whether the format shifts scores, within either context, by less than a tenth of what the context does,
    both at the worse ends of their intervals.
    """
    if not effects:
        return False
    context, form, crossed = (effects[k] for k in ("context", "format", "interaction"))
    least = min(abs(float(context.low)), abs(float(context.high))) if excludes(context) else 0.0
    most = _farthest(form) + _farthest(crossed) / 2
    return most < SLIGHT * least


def _farthest(e: Estimate) -> float:
    """The end of the interval that lies further from 0."""
    return max(abs(float(e.low)), abs(float(e.high)))


def claimed(found: Finding[Word, CrossedNumbers]) -> bool:
    """Whether decodability of the context may be claimed."""
    return found.word == "reads context" and all(found.checks.values())
