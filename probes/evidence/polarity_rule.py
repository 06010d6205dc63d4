"""Does a pair probe read truth or negation? The rule and its words: numbers in, a word and a sentence out."""

from dataclasses import dataclass
from typing import Literal

from probes.evidence.finding import Finding, excludes
from probes.evidence.reads import CLEAR
from probes.metrics.estimates import Estimate

PolarityWord = Literal[
    "reads nothing",
    "reads what opposites share",
    "reads negation",
    "reads truth and negation",
    "reads truth or negation",
    "reads truth upside down",
    "reads truth",
]

# A constant probe between .3 and .5 has contradiction .50, kappa 0 and a loss of .20 to .25.
CONSTANT_CONTRADICTION = (0.4, 0.6)
CONSTANT_KAPPA = (-0.15, 0.15)
CONSTANT_LOSS = (0.15, 0.27)
SAYS_SOMETHING = "says different things of statements"

SAID: dict[PolarityWord, str] = {
    "reads nothing": "tells neither truth nor negation (AUROC {auroc}{negated})",
    "reads what opposites share": (
        "says the same of a statement and its opposite (contradiction {contradiction}), so it reads something"
        " that both share"
    ),
    "reads negation": "reads negation{negated} rather than truth (AUROC {auroc})",
    "reads truth and negation": "reads truth (AUROC {auroc}) and negation as well{negated}{worst}",
    "reads truth or negation": (
        "tells true from false (AUROC {auroc}); without a column `negated` that may be negation"
    ),
    "reads truth upside down": "reads truth with the wrong sign (AUROC {auroc})",
    "reads truth": "reads truth (AUROC {auroc}) and not negation{negated}",
}
AS_A_CONSTANT = (
    "says nearly the same of every statement: contradiction {contradiction}, kappa {kappa}, CCS loss {loss},"
    " as a constant probe (.50, 0, .20), whatever the order of its scores (AUROC {auroc})"
)


@dataclass(frozen=True, eq=False)
class PolarityNumbers:
    """What the word at one site rests on.

    `auroc` is against truth and `auroc_negated` against the negation flag, None where no statement, or every
    one, is negated; `flagged` says whether the flag is known. `worst_cell` is the accuracy in the worst cell
    of truth x negation.
    """

    auroc: Estimate
    auroc_negated: Estimate | None
    worst_cell: Estimate | None
    contradiction: Estimate
    kappa: Estimate
    loss: Estimate
    degenerate: bool
    flagged: bool


def ruled(n: PolarityNumbers) -> Finding[PolarityWord, PolarityNumbers]:
    """The word that the numbers allow; a probe with the numbers of a constant one reads nothing."""
    negated = n.auroc_negated
    checks = {
        SAYS_SOMETHING: not (n.degenerate or as_a_constant(n)),
        "tells truth": excludes(n.auroc, 0.5),
        "the right way round": bool(n.auroc.value > 0.5),
        "negation is known": n.flagged,
        "tells no negation": negated is None or not clear(negated),
        "no cell of truth x negation turned round": n.worst_cell is None or bool(n.worst_cell.high >= 0.5),
        "tells opposites apart": bool(n.contradiction.low < 0.5 + CLEAR),
    }
    return Finding(_word(n, checks), checks, n)


def _word(n: PolarityNumbers, checks: dict[str, bool]) -> PolarityWord:
    if not checks[SAYS_SOMETHING]:
        return "reads nothing"
    negation = n.auroc_negated if not checks["tells no negation"] else None
    if not checks["tells truth"]:
        if negation is not None:
            return "reads negation"
        return "reads nothing" if checks["tells opposites apart"] else "reads what opposites share"
    if negation is not None and off(negation) >= off(n.auroc):
        return "reads negation"
    if not checks["the right way round"]:
        return "reads truth upside down"
    if negation is not None or not checks["no cell of truth x negation turned round"]:
        return "reads truth and negation"
    return "reads truth" if checks["negation is known"] else "reads truth or negation"


def sentence(found: Finding[PolarityWord, PolarityNumbers]) -> str:
    """What the probe reads at one site, with the numbers that say so."""
    n = found.numbers
    still = not found.checks[SAYS_SOMETHING]
    return (AS_A_CONSTANT if still else SAID[found.word]).format(
        auroc=f"{n.auroc.value:.2f}",
        negated="" if n.auroc_negated is None else f", negation {n.auroc_negated.value:.2f}",
        worst="" if n.worst_cell is None else f", worst cell {n.worst_cell.value:.2f}",
        contradiction=f"{n.contradiction.value:.2f}",
        kappa=f"{n.kappa.value:.2f}",
        loss=f"{n.loss.value:.2f}",
    )


def as_a_constant(n: PolarityNumbers) -> bool:
    """Whether contradiction, kappa and loss are all those of a probe that says one thing of everything."""
    return all(
        low <= float(e.value) <= high
        for e, (low, high) in (
            (n.contradiction, CONSTANT_CONTRADICTION),
            (n.kappa, CONSTANT_KAPPA),
            (n.loss, CONSTANT_LOSS),
        )
    )


def off(e: Estimate) -> float:
    """How far an AUROC is from .5, either way."""
    return float(abs(e.value - 0.5))


def clear(e: Estimate) -> bool:
    """Whether an AUROC is further from .5 than a tenth, interval included."""
    return bool(e.low > 0.5 + CLEAR or e.high < 0.5 - CLEAR)
