"""What may be said about scores in a crossed design, in fixed words, and why not more.

Nothing here says that a model is aware of anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from probes.evidence.crossed_rule import ALL_CELLS, BOUND, CrossedNumbers, Word, claimed, ruled
from probes.evidence.finding import FEWEST, Finding, excludes
from probes.evidence.rivals import best_of
from probes.markup.terminal import terminal
from probes.markup.values import Displayed

NOT_USED = (
    "decodable is not used: whether behaviour depends on it takes an edit, "
    + "and a stated purpose is not what a model believes"
)


@dataclass(frozen=True, eq=False)
class Verdict(Displayed):
    """What the scores read, its sentence, and what stands in the way of a claim.

    `reads context`: the contexts are told apart within both formats, and no shift by the format is seen (`in
    one format`: within one only; `upside down`: with scores that are higher for the second context). `reads
    format`: the format moves the scores and the contexts are not told apart; or it outweighs them, and no
    task stands in both, so that what is left may be the source. `reads both`. `chance`: neither. `confounded
    design`: a cell is empty, or the contexts are told apart but no task stands in both. True where every
    check holds, the text baselines among them; only then may decodability of the context be claimed.
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


def judged(n: CrossedNumbers) -> Verdict:
    """The verdict on scores by context and format; see `Verdict` for the words."""
    found = ruled(n)
    return Verdict(found.word, _sentence(found), _reasons(found), found.checks)


def confounded(contexts: tuple[str, str], empty: tuple[str, ...]) -> Verdict:
    """The verdict on a design with empty cells."""
    missing = f"no rows are of {' or '.join(empty)}"
    why = f"{missing}: here context goes with format, and no score can tell them apart; add those prompts"
    sentence = f"Nothing may be said about {contexts[0]} and {contexts[1]}."
    return Verdict("confounded design", sentence, (why,), {ALL_CELLS: False})


def _sentence(found: Finding[Word, CrossedNumbers]) -> str:
    n = found.numbers
    within = " and ".join(f"{e:.2f} within {f}" for f, e in n.context.items())
    shift = " and ".join(f"{e:.2f} within {c}" for c, e in n.format.items())
    context, form = (f"{first} over {second}" for first, second in (n.contexts, n.formats))
    said = f"AUROC of {context} {within}; of {form} {shift} (n={n.rows} in {n.matched[1]} groups)."
    if not claimed(found):
        return said
    assert n.difference is not None
    ahead = f"by {n.difference:+.2f} more than off the text"
    return f"The stated context can be read off the scores in either format, {ahead}: {said}"


def _reasons(found: Finding[Word, CrossedNumbers]) -> tuple[str, ...]:
    """What stands in the way of a claim, or of more than one."""
    n, checks = found.numbers, found.checks
    why = [
        *_of_the_design(n),
        *_of_the_format(n, checks["not moved by the format"]),
        *_of_the_context(n),
        *_of_other_prompts(n),
        *_of_the_text(n, checks["beyond the text"]),
    ]
    if claimed(found):
        why.append(NOT_USED)
    return tuple(why)


def _of_the_design(n: CrossedNumbers) -> list[str]:
    why = []
    if n.fewest < FEWEST:
        why.append(
            f"{n.fewest} groups in the smallest cell cannot carry an interval; at least {FEWEST} are asked"
        )
    if not n.paired:
        shared, groups = n.matched
        sources = "so a difference between contexts may be one between sources"
        remedy = "give `group`, the task, in a design where each has both"
        why.append(f"{shared} of {groups} groups stand in both contexts, {sources}; {remedy}")
    if n.told and any(e.high < 0.5 for e in n.context.values()):
        why.append(
            f"scores are higher for {n.contexts[1]}: the orientation fixed elsewhere is wrong on these rows"
        )
    return why


def _of_the_format(n: CrossedNumbers, bounded: bool) -> list[str]:
    if n.moved:
        corner = n.effects.get("corner gap")
        share = "" if corner is None else f"{n.effects['format']:.2f} goes with the format"
        split = "" if corner is None else f"; of the gap of {corner:.2f} between the corners {share}"
        return [
            f"the format moves the scores{split}, so a threshold does not carry from one format to the other"
        ]
    if bounded:
        return []
    limits = f"the interval has to lie within {0.5 - BOUND:.2f} to {0.5 + BOUND:.2f}"
    return [
        f"a shift by the format is not excluded: AUROC {n.format_mean:.2f} over both contexts, and {limits}"
    ]


def _of_the_context(n: CrossedNumbers) -> list[str]:
    why = []
    if not n.told:
        lost = " and ".join(f for f, e in n.context.items() if not excludes(e, 0.5))
        turned = "one format has the contexts the other way round"
        why.append(f"within {lost} prompts the contexts are not told apart" if lost else turned)
    if n.outweighed:
        scored = f"{n.contexts[0]} in {n.formats[1]} form scores below {n.contexts[1]} in {n.formats[0]} form"
        why.append(f"{scored} (AUROC {n.off_diagonal:.2f}): the format outweighs the context")
    return why


def _of_other_prompts(n: CrossedNumbers) -> list[str]:
    """Over formats and over cue vocabularies."""
    lost = {pair: e for pair, e in n.carried.items() if not e.low > 0.5}
    alone = "prompts alone it does not carry over to"
    why = [f"fitted on {a} {alone} {b} ones (AUROC {e:.2f})" for (a, b), e in lost.items()]
    if n.unseen is None:
        words = "no cue vocabulary was held out, so it may read the words of the cues"
        why.append(f"{words}; give fold, with scores of probes that had not seen it")
    elif not n.unseen.low > 0.5:
        worst = min(n.folds, key=lambda k: n.folds[k].value)
        least = f"(worst {worst}: {n.folds[worst]:.2f})"
        why.append(f"on cue vocabularies that were held out it reaches {n.unseen:.2f} {least}")
    return why


def _of_the_text(n: CrossedNumbers, beyond: bool) -> list[str]:
    """The bare text as a rival."""
    best = best_of(n.surface)
    if best is None or n.difference is None:
        return ["no classifier of the bare text stands beside it; give surface, scores of the same rows"]
    if beyond:
        return []
    asked = f"{n.margin:.2f} and an interval above 0 are asked"
    return [
        f"the bare text ({best}) reaches {n.surface[best]:.2f}, a difference of {n.difference:+.2f}; {asked}"
    ]
