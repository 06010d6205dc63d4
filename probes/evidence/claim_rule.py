"""The rule for what may be claimed of a probe, and its words: numbers in, a level and sentences out."""

from dataclasses import dataclass
from typing import Literal

from probes.evidence.finding import FEWEST, Finding
from probes.evidence.rivals import Rivals
from probes.metrics.estimates import Estimate
from probes.metrics.floors import cannot_tell, too_coarse

ALONG = 0.95  # |cosine| to the probe's direction from which an edit is along it
REMEDY = (
    "put what belongs together into one group before the split: examples.suggest_groups() proposes groups,"
    " split(sizes, groups='column') takes a column. Groups that are given are taken at their word: where"
    " texts are made of parts that come again (A is larger than B), give the part that train and test must"
    " not share"
)
Level = Literal["chance", "decodable", "decodable beyond the text"]


@dataclass(frozen=True)
class Use:
    """What may be said about an edit, whether that is that it moves behaviour, and the |cosine| of its
    direction to the probe's at its site (None where either has none there).
    """

    sentence: str
    moves: bool
    cosine: float | None

    @property
    def along(self) -> bool:
        return self.cosine is not None and self.cosine >= ALONG


@dataclass(frozen=True)
class Seen:
    """How many of the test rows say again, with the same label, what train rows say, and two such texts."""

    rows: int
    of: int
    example: tuple[str, str]

    @property
    def told(self) -> str:
        test, train = (f"{text!r:.70}" for text in self.example)
        what = "resemble train rows of the same label or are about the same thing"
        return f"{self.rows} of {self.of} test rows {what} (such as {test} and {train})"


@dataclass(frozen=True, eq=False)
class ClaimNumbers:
    """What a claim rests on, and the limits asked.

    `auroc` is that of the chosen site on held-out groups, `p` its p-value under `shuffles` of the labels,
    with the best of `n_sites` sites each, and `least_p` the smallest it could have been; `null_level` is what
    they exceed once in twenty. `with_texts` says whether classifiers of the text are among the rivals,
    `with_baselines` whether others are. `use` is None where no edit was measured.
    """

    what: str
    site: str
    linear: bool
    auroc: Estimate
    p: float
    least_p: float
    shuffles: int
    n_sites: int
    null_level: float
    rivals: Rivals
    with_texts: bool
    with_baselines: bool
    use: Use | None
    alpha: float
    margin: float
    seen: Seen | None = None
    read: str = ""


def ruled(n: ClaimNumbers) -> Finding[Level, ClaimNumbers]:
    """The highest level that the numbers allow."""
    to_decode = {
        "enough groups": n.auroc.n_groups >= FEWEST,
        "beyond shuffled labels": n.p <= n.alpha,
        "interval above .5": bool(n.auroc.low > 0.5),
    }
    beyond_the_text = n.with_texts and _ahead(n.rivals, n.margin)
    checks = to_decode | {"beyond the text": beyond_the_text}
    if n.use is not None:
        checks["edited along the probe's direction"] = n.use.along
        checks["used"] = n.use.moves and n.use.along
    if not all(to_decode.values()):
        return Finding("chance", checks, n)
    return Finding("decodable beyond the text" if beyond_the_text else "decodable", checks, n)


def _ahead(rivals: Rivals, margin: float) -> bool:
    """Whether the best rival is left behind by the margin, interval above 0."""
    ahead = rivals.difference
    return bool(ahead is not None and ahead.low > 0 and ahead.value >= margin)


def sentence(found: Finding[Level, ClaimNumbers]) -> str:
    """What may be claimed."""
    n, level = found.numbers, found.word
    read = f", {n.read}" if n.read else ""
    over = f"on {n.auroc.n_groups} held-out groups ({n.auroc.n} rows{read})"
    shuffles = f"p={n.p:.3f} over {n.shuffles} shuffles of the labels, best of {n.n_sites} sites each"
    if level == "chance":
        told = found.checks["beyond shuffled labels"] and found.checks["interval above .5"]
        because = "from too few groups to tell" if told else "as chance would have it"
        if found.checks["interval above .5"] and cannot_tell(n.least_p, n.alpha):
            because = "from too few shuffles or units to tell"
        read = f"{n.what} is read at {n.site} with AUROC {n.auroc} {over}"
        return f"Nothing may be claimed: {read}, {because} ({shuffles})."
    decodable = f"{n.what} is {'linearly ' if n.linear else ''}decodable at {n.site}"
    if level == "decodable":
        return f"{decodable}: AUROC {n.auroc} {over}; {shuffles}.{_use(found)}"
    ahead = f"{n.rivals.difference:+.2f} over the best baseline ({n.rivals.best})"
    return (
        f"{decodable} beyond the baselines of the text: AUROC {n.auroc} {over}, {ahead};"
        f" {shuffles}.{_use(found)}"
    )


def _use(found: Finding[Level, ClaimNumbers]) -> str:
    use = found.numbers.use
    if use is None or not found.checks["used"]:
        return ""
    return f" It is used: {use.sentence}"


def reasons(found: Finding[Level, ClaimNumbers]) -> tuple[str, ...]:
    """What stands in the way of a stronger claim."""
    if found.word == "chance":
        why = _against_any(found)
    elif found.word == "decodable":
        why = _against_beyond(found.numbers)
    else:
        why = _against_all_baselines(found.numbers)
    seen = found.numbers.seen
    left_out = [] if seen is None else [f"{seen.told} and were left out; {REMEDY}"]
    return (*why, *left_out, *_against_use(found))


def _against_any(found: Finding[Level, ClaimNumbers]) -> list[str]:
    n, checks, why = found.numbers, found.checks, []
    if not checks["enough groups"]:
        why.append(
            f"{n.auroc.n_groups} held-out groups cannot carry an interval; at least {FEWEST} are asked"
        )
    if cannot_tell(n.least_p, n.alpha):
        why.append(too_coarse(n.least_p, n.alpha, n.shuffles))
    elif not checks["beyond shuffled labels"]:
        why.append(f"shuffled labels reach {n.null_level:.2f} in the best site of one run in twenty")
    if not checks["interval above .5"]:
        why.append("the interval reaches .5")
    return why


def _against_beyond(n: ClaimNumbers) -> list[str]:
    if not n.with_texts or n.rivals.best is None:
        return ["no texts were given, so the words alone may say as much"]
    best = f"the best baseline ({n.rivals.best}) reaches {n.rivals.values[n.rivals.best]}"
    asked = f"{n.margin:.2f} and an interval above 0 are asked"
    return [f"{best}, a difference of {n.rivals.difference:+.2f}; {asked}"]


def _against_all_baselines(n: ClaimNumbers) -> list[str]:
    if n.with_baselines:
        return []
    others = "an untrained network (random_weights) or the embedding layer may read as much"
    return [f"the baselines are classifiers of words and characters; {others}"]


def _against_use(found: Finding[Level, ClaimNumbers]) -> list[str]:
    n, use, claimed = found.numbers, found.numbers.use, found.word != "chance"
    if use is None:
        asked = "no edit of this direction was measured against controls"
        return [f"decodable is not used: {asked}"] if claimed else []
    if not use.along:
        shown = "none at its site" if use.cosine is None else f"|cosine| {use.cosine:.2f}"
        return [
            f"the edit measured is not along this probe's direction ({shown}), so it says nothing of its use"
        ]
    if not use.moves:
        return [use.sentence] if claimed else []
    return (
        [] if claimed else [f"the edit moves behaviour, but nothing shows that what it changed is {n.what}"]
    )
