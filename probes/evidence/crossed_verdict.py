"""What may be said about scores in a crossed design, in fixed words, and why not more. Nothing here says that a model is aware of anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from probes.evidence.claims import FEWEST
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate

if TYPE_CHECKING:
    from probes.evidence.crossed import TwoByTwo

BOUND = 0.15  # AUROC by which the format may at most move scores that pass the gate, interval included
SLIGHT = 0.1  # a format that shifts scores by less than this share of what the context does leaves the threshold where it is

Word = Literal["reads context", "reads context in one format", "reads format", "reads both", "chance", "confounded design"]


@dataclass(frozen=True, eq=False)
class Verdict(Displayed):
    """What the scores read, its sentence, and what stands in the way of a claim.

    `reads context`: the contexts are told apart within both formats, and no shift by the format is seen (`in one format`: within one only). `reads format`: the format moves the scores and
    the contexts are not told apart; or it outweighs them, and no task stands in both, so that what is left may be the source. `reads both`. `chance`: neither.
    `confounded design`: a cell is empty, or the contexts are told apart but no task stands in both. True where every check holds, the text baselines among them; only then may
    decodability of the context be claimed.
    """

    word: Word
    sentence: str
    why_not_more: tuple[str, ...]
    checks: Mapping[str, bool]

    def __bool__(self) -> bool:
        return self.word == "reads context" and all(self.checks.values())

    def __repr__(self) -> str:
        reasons = (f"  not more: {reason}" for reason in self.why_not_more)
        return terminal("\n".join([self.headline, *reasons]))

    @property
    def headline(self) -> str:
        return f"{self.word.capitalize()} (gate {'open' if self else 'closed'}). {self.sentence}"


def judged(t: "TwoByTwo") -> Verdict:
    """The verdict on scores by context and format; see `Verdict` for the words."""
    checks: dict[str, bool] = {}
    why: list[str] = []
    empty = [name for name, cell in t.cells.items() if cell.rows == 0]
    fewest = min(cell.groups for cell in t.cells.values())
    checks["all four cells"] = not empty
    if empty:
        why.append(f"no rows are of {' or '.join(empty)}: here context goes with format, and no score can tell them apart; add those prompts")
        return Verdict("confounded design", f"Nothing may be said about {t.contexts[0]} and {t.contexts[1]}.", tuple(why), checks)
    assert t.stratified is not None and t.off_diagonal is not None and t.format_mean is not None
    checks["groups in every cell"] = fewest >= FEWEST
    shared, groups = t.matched
    # Half, so that a design that lost some rows to cleaning still counts as matched.
    checks["tasks in both contexts"] = matched = shared >= groups / 2
    above = [e.low > 0.5 for e in t.context.values()]
    below = [e.high < 0.5 for e in t.context.values()]
    told = all(above) or all(below)
    checks["told apart in both formats"] = told
    checks["right way up"] = not any(below)
    # Ranks alone would make much of a shift that is tiny beside the context's, where scores within cells lie close together.
    slight = told and _slight(t.effects)
    moved = _shown(t.format, t.format_mean, t.margin) and not slight
    checks["not moved by the format"] = bounded = slight or (not moved and max(abs(t.format_mean.low - 0.5), abs(t.format_mean.high - 0.5)) <= BOUND)
    word = _word(told, _shown(t.context, t.stratified, t.margin), moved, t.off_diagonal.high < 0.5, matched, fewest)

    within = " and ".join(f"{e:.2f} within {f}" for f, e in t.context.items())
    shift = " and ".join(f"{e:.2f} within {c}" for c, e in t.format.items())
    sentence = f"AUROC of {t.contexts[0]} over {t.contexts[1]} {within}; of {t.formats[0]} over {t.formats[1]} {shift} (n={len(t.scores)} in {groups} groups)."
    if fewest < FEWEST:
        why.append(f"{fewest} groups in the smallest cell cannot carry an interval; at least {FEWEST} are asked")
    if not matched:
        why.append(
            f"{shared} of {groups} groups stand in both contexts, so a difference between contexts may be one between sources; give `group`, the task, in a design where each has both"
        )
    if told and any(below):
        why.append(f"scores are higher for {t.contexts[1]}: the orientation fixed elsewhere is wrong on these rows")
    if moved:
        corner = t.effects.get("corner gap")
        split = "" if corner is None else f"; of the gap of {corner:.2f} between the corners {t.effects['format']:.2f} goes with the format"
        why.append(f"the format moves the scores{split}, so a threshold does not carry from one format to the other")
    elif not bounded:
        why.append(
            f"a shift by the format is not excluded: AUROC {t.format_mean:.2f} over both contexts, and the interval has to lie within {0.5 - BOUND:.2f} to {0.5 + BOUND:.2f}"
        )
    if not told:
        lost = [f for f, high, low in zip(t.context, above, below, strict=True) if not (high or low)]
        why.append(f"within {' and '.join(lost)} prompts the contexts are not told apart" if lost else "one format has the contexts the other way round")
    if t.off_diagonal.high < 0.5:
        why.append(
            f"{t.contexts[0]} in {t.formats[1]} form scores below {t.contexts[1]} in {t.formats[0]} form (AUROC {t.off_diagonal:.2f}): the format outweighs the context"
        )
    why += _carried(t, checks) + _text(t, checks)
    if word == "reads context" and all(checks.values()):
        sentence = f"The stated context can be read off the scores in either format, by {t.difference:+.2f} more than off the text: {sentence}"
        why.append("decodable is not used: whether behaviour depends on it takes an edit, and a stated purpose is not what a model believes")
    return Verdict(word, sentence, tuple(why), checks)


def _slight(effects: Mapping[str, Estimate]) -> bool:
    """Whether the format shifts scores, within either context, by less than a tenth of what the context does, both at the worse ends of their intervals."""
    if not effects:
        return False
    context, form, crossed = (effects[k] for k in ("context", "format", "interaction"))
    least = min(abs(float(context.low)), abs(float(context.high))) if context.low > 0 or context.high < 0 else 0.0
    most = max(abs(float(form.low)), abs(float(form.high))) + max(abs(float(crossed.low)), abs(float(crossed.high))) / 2
    return most < SLIGHT * least


def _shown(by: Mapping[str, Estimate], overall: Estimate, margin: float) -> bool:
    """Whether a difference is there: on the whole, or clearly in one part. Two parts tested apart, without the margin, would find one in nothing too often."""
    whole = (overall.low > 0.5 or overall.high < 0.5) and abs(overall.value - 0.5) >= margin
    return bool(whole or any(e.low > 0.5 + margin or e.high < 0.5 - margin for e in by.values()))


def _word(told: bool, shown: bool, moved: bool, outweighed: bool, matched: bool, fewest: int) -> Word:
    shown = told or shown
    if fewest < FEWEST:
        return "chance"
    if shown and not matched:
        # What goes with the source cannot be called context; that the format outweighs it can be said all the same.
        return "reads format" if moved and outweighed else "confounded design"
    if moved:
        return "reads both" if shown else "reads format"
    return "reads context" if told else "reads context in one format" if shown else "chance"


def _carried(t: "TwoByTwo", checks: dict[str, bool]) -> list[str]:
    """Over formats and over cue vocabularies."""
    why = []
    over = {pair: e for pair, e in t.transfer.items() if pair[0] != pair[1]}
    if over:
        checks["carries over to the other format"] = all(e.low > 0.5 for e in over.values())
        why += [f"fitted on {a} prompts alone it does not carry over to {b} ones (AUROC {e:.2f})" for (a, b), e in over.items() if not e.low > 0.5]
    if t.unseen is not None:
        worst = min(t.folds, key=lambda k: t.folds[k].value)
        checks["carries over to unseen cues"] = t.unseen.low > 0.5
        if not t.unseen.low > 0.5:
            why.append(f"on cue vocabularies that were held out it reaches {t.unseen:.2f} (worst {worst}: {t.folds[worst]:.2f})")
    else:
        why.append("no cue vocabulary was held out, so it may read the words of the cues; give fold, with scores of probes that had not seen it")
    return why


def _text(t: "TwoByTwo", checks: dict[str, bool]) -> list[str]:
    """The bare text as a rival."""
    d: Estimate | None = t.difference
    checks["beyond the text"] = d is not None and d.low > 0 and d.value >= t.margin
    if d is None:
        return ["no classifier of the bare text stands beside it; give surface, scores of the same rows"]
    best = max(t.surface, key=lambda name: t.surface[name].value)
    if checks["beyond the text"]:
        return []
    return [f"the bare text ({best}) reaches {t.surface[best]:.2f}, a difference of {d:+.2f}; {t.margin:.2f} and an interval above 0 are asked"]
