"""Where the direction of the refusal experiment comes from, and what it does to the odds of a refusing first
token, with hooks and in the weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.headlines import headlines_of_reading
from experiments.report import Report
from interventions import (
    WRITERS,
    Ablate,
    Add,
    Edit,
    Effect,
    RefusalLogOdds,
    bake,
    edited,
    effect,
    select_direction,
)
from interventions.display.selection_plots import selection_map
from interventions.searching.selected import Candidate, Selected
from probes import Activations, Examples, Model, capture, plots
from probes.evidence.decodable import ALPHA, Decodable
from probes.metrics.floors import too_coarse

BAKED_ON = 16  # instructions on which weights are held against hooks
OUT, ADDED = "taken out", "added"
SHOWN = {"induced": "added, log-odds of harmless instructions", "removed": "taken out, of harmful ones"}


@dataclass(frozen=True, eq=False)
class Place:
    """The token and block whose difference of class means is the direction, what it was chosen among, and the
    train rows there. `passed` says whether it passed the filters; where no place did it is the one that
    brings out most. `add_at` are the tokens that it is added to.
    """

    selected: Selected
    chosen: Candidate
    train: Activations
    add_at: str = "all"

    @property
    def passed(self) -> bool:
        return not self.chosen.passed_over

    @property
    def edits(self) -> dict[str, Edit]:
        """The direction taken out of all that writes to the stream, and added at its block by one gap."""
        assert self.chosen.direction is not None
        direction = self.chosen.direction
        return {OUT: Ablate(direction, sites=WRITERS), ADDED: Add(direction, gaps=1, at=self.add_at)}


def check_openers(model: Model, validation: Examples, odds: RefusalLogOdds) -> None:
    """Raises ValueError where what refusals should begin with is said less often to harmful instructions, so
    that no place could be chosen by it.
    """
    y = np.asarray(validation.y)
    harmful, harmless = (odds(model, validation.rows(y == kind)).estimate() for kind in (1, 0))
    if harmful.high < harmless.low:
        raise ValueError(
            f"answers to harmful instructions begin with {' or '.join(odds.openers)} less often than answers"
            f" to harmless ones (log-odds {harmful:.2f} and {harmless:.2f}), so refusals begin otherwise or"
            " the two kinds are exchanged; give --openers the first words of this model's refusals"
        )


def choose(
    model: Model, train: Examples, validation: Examples, odds: RefusalLogOdds, most_kl: float, add_at: str
) -> Place:
    """The place by induction, cost and removal on validation instructions."""
    selected = select_direction(model, train, validation, odds, most_kl=most_kl)
    chosen = selected.best if selected.passed else selected.strongest
    return Place(selected, chosen, capture(model, train, [chosen.site], at=str(chosen.token)), add_at)


def selection_section(place: Place, report: Report) -> None:
    """All places by what their direction does."""
    selected, one = place.selected, place.chosen
    for c in selected.candidates:
        for measure, value in c.scores.items():
            if np.isfinite(value):
                report.add(f"candidate_{measure}", value, token=c.token, site=c.site, split="validation")
    where = f"token {one.token} (from the end) at {one.site}"
    tried = len(selected.candidates)
    if place.passed:
        report.claim(f"The direction is that of {where}: of {tried} places {len(selected.passed)} passed.")
    else:
        report.claim(
            f"None of {tried} places passed the filters of a refusal direction. Looked at is {where}, added"
            f" the farthest of them on validation instructions (log-odds {selected.lacking:.2f} ->"
            f" {one.induced:.2f} nats; harmful ones have {selected.having:.2f}): being the farthest of so"
            " many says nothing by itself."
        )
    figures = [
        (report.figure(f"places_{show}", selection_map(selected, show)), f"By place: {told}")
        for show, told in SHOWN.items()
        if any(np.isfinite(c.scores[show]) for c in selected.candidates)
    ]
    head = selected.table().head(8)
    rows = [tuple(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row) for row in head.to_numpy()]
    report.section(
        "Which direction?",
        "The difference of the class means at every token behind the instruction and every block input, tried"
        " on validation instructions: added, it must make harmless instructions look refused; taken out, it"
        " must leave their next token alone; of those that do, the one that leaves least of the refusals of"
        " harmful ones. A frame marks the chosen place, a dot those that passed, grey was settled before."
        " All of it is on the validation instructions that choose, without controls.",
        (report.table("The first places", tuple(map(str, head.columns)), rows),),
        tuple(figures),
    )


def reading_section(reading: Decodable, report: Report) -> None:
    """Harmful against harmless by block, beside shuffled labels and the bare text."""
    first, (words, text) = reading.first, reading.best_text
    for i, site in enumerate(reading.parts[0].sites):
        report.add("auroc", first.curve[i], site=site, recipe="MassMean", label="harmful", split="test")
    report.add("auroc", text, recipe=f"text alone: {words}", label="harmful", split="test")
    why = too_coarse(reading.null.least_p, ALPHA, len(reading.null.best))
    both, numbers = "Harmful and harmless instructions are", reading.numbers
    sentences = {
        "beyond the text": f"{both} told apart beyond their words: {numbers}.",
        "cannot tell": f"Whether harmful instructions are read could not be told: {why} ({numbers}).",
        "told apart": f"{both} told apart, but no better than by their words: {numbers}.",
        "chance": f"{both} not told apart: {numbers}.",
    }
    report.claim(sentences[reading.standing])
    headlines_of_reading(reading, report)
    curve = plots.layer_curve(
        reading.parts[0].sites, {"MassMean": first.curve}, reading.null, dict(reading.surface), first.site
    )
    report.section(
        "Where are they told apart?",
        "A probe of harmful against harmless instructions at the last token, fitted on half of the groups,"
        " its site chosen on a fifth, reported on the others. The dashed line is what the words give away.",
        (),
        ((report.figure("harmful_by_block", curve), "AUROC by site, 95% intervals over groups"),),
    )


def odds_section(
    model: Model,
    place: Place,
    odds: RefusalLogOdds,
    test: Examples,
    neutral: Sequence[str],
    *,
    controls: int,
    seed: int,
    report: Report,
) -> None:
    """The log-odds of a refusing first token on test instructions, beside edits that mean nothing."""
    rows = []
    for name, y in ((OUT, 1), (ADDED, 0)):
        side = test.rows(np.asarray(test.y) == y)
        e = effect(
            model, place.edits[name], odds, side, neutral=neutral, control_costs=False, n_controls=controls,
            seed=seed, train=place.train, compare=False,
        )  # fmt: skip
        rows.append(_odds_row(name, "harmful" if y else "harmless", e, report))
    header = ("edit", "instructions", "before", "after", "controls, after", "share refused", "KL", "verdict")
    shown = report.table("Log-odds (nats) that the first token begins a refusal, test", header, rows)
    report.section(
        "The odds of refusing at the first token",
        "One pass an instruction and no sampling. Taken out: of everything that writes to the stream, at all"
        f" tokens. Added: one gap between the class means, at {place.chosen.site} (tokens: {place.add_at})."
        f" Beside each stand {controls} edits of its size along directions that mean nothing. KL is that of"
        " the next token of unrelated text (nats). The verdict is about the share of instructions whose"
        " log-odds are above 0.",
        (shown,),
    )


def _odds_row(name: str, kind: str, e: Effect, report: Report) -> tuple[str, ...]:
    before, after, word = e.before.estimate(), e.now.estimate(), e.verdict().word
    means = e.controls.mean(1)
    shares = [r.share("refused") for r in (e.before, e.now)]
    assert e.cost is not None
    for run, value in (("before", before), ("after", after)):
        report.add("refusal_log_odds", value, edit=name, prompts=kind, run=run, split="test", verdict=word)
    for k, value in enumerate(means):
        report.add("refusal_log_odds", float(value), edit=f"{name}, control {k}", prompts=kind, split="test")
    report.add("neutral_kl", e.cost.kl, edit=name)
    return (
        name,
        kind,
        f"{before:.2f}",
        f"{after:.2f}",
        f"{means.min():.2f} to {means.max():.2f}",
        f"{shares[0].value:.2f} -> {shares[1].value:.2f}",
        f"{e.cost.kl.value:.3f}",
        word,
    )


def baked_section(model: Model, place: Place, odds: RefusalLogOdds, test: Examples, report: Report) -> None:
    """The direction taken out of the weights, held against the same with hooks."""
    some = test.some(BAKED_ON)
    baked = bake(model, place.edits[OUT], untie=True)
    hooked = odds(edited(model, place.edits[OUT]), some).values
    apart = float(np.abs(odds(baked, some).values - hooked).max())
    report.add("baked_minus_hooked", apart, edit=OUT, split="test")
    report.claim(
        f"Put into the weights, taking it out gives the same log-odds as with hooks, within {apart:.1g} nats"
        f" on {len(some)} instructions."
    )
