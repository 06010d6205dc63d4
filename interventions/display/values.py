"""How the values of `interventions` look in a notebook or on a page: importing this registers their looks."""

from typing import Any

import numpy as np
import pandas as pd

from interventions.behaviours.agreement import Agreement
from interventions.behaviours.footprint import Footprint
from interventions.behaviours.honesty import KINDS, Honesty
from interventions.behaviours.records import Records
from interventions.effects.doses import Doses
from interventions.effects.effect import Effect
from interventions.effects.transitions import Transitions, answers_of
from interventions.effects.verdict import Verdict
from interventions.monitor.watched import Watched
from interventions.rewriting.arms import ORIGINAL
from interventions.rewriting.candidates import Candidates
from interventions.rewriting.elasticity import Elasticity
from interventions.rewriting.gates import Gated
from interventions.rewriting.outcomes import Remeasured
from interventions.rewriting.verdict import ArmVerdict
from interventions.searching.patching import PatchingGrid
from interventions.searching.searched import Searched
from interventions.searching.selecting import Selected
from probes.markup.pieces import Markup, grid, joined, listed, table, tag, verdict
from probes.markup.tokens import LINE, shaded, strip
from probes.markup.values import draw, html

SHOWN = 10  # rows of a long table


def _begun(about: str, rows: pd.DataFrame) -> Markup:
    """What a table is about, and its first rows."""
    more = len(rows) - SHOWN
    rest = tag("p", f"and {more} more rows, see .table()") if more > 0 else ""
    return joined(tag("p", about), table(rows.head(SHOWN), index=False), rest)


@html.register(Records)
def records(value: Records) -> Markup:
    """The mean, and the first prompts."""
    return _begun(repr(value), value.table())


@html.register(Searched)
def searched(value: Searched) -> Markup:
    """What was searched, and the options."""
    return _begun(value.about, value.table())


@html.register(Selected)
def selected(value: Selected) -> Markup:
    """What was chosen among, and the candidates, the best first."""
    return _begun(value.about, value.table())


@draw.register(Selected)
def selected_drawn(value: Selected, ax: Any = None) -> Any:
    """What is left with the direction of each place taken out."""
    from interventions.display.selection_plots import selection_map

    return selection_map(value, ax=ax)


@html.register(PatchingGrid)
def patching_grid(value: PatchingGrid) -> Markup:
    """The largest change, and every place as a picture."""
    from interventions.display.patching_plots import patching_map
    from probes.display.pictures import picture

    seen = picture(patching_map(value).figure, "change of the behaviour by site and token")
    return joined(tag("p", tag("b", repr(value))), seen)


@draw.register(PatchingGrid)
def patching_grid_drawn(value: PatchingGrid, ax: Any = None) -> Any:
    """By how much the patch moves the behaviour, site by token."""
    from interventions.display.patching_plots import patching_map

    return patching_map(value, ax=ax)


@html.register(Candidates)
def candidates(value: Candidates) -> Markup:
    """Who wrote them, and the first ones."""
    return _begun(repr(value), value.table())


@html.register(Gated)
def gated(value: Gated) -> Markup:
    """How many pass, and the first ones with their checks."""
    return _begun(repr(value), value.table())


@html.register(Verdict)
@html.register(ArmVerdict)
def edit_verdict(value: Verdict | ArmVerdict) -> Markup:
    """The sentence, and what stands against more."""
    return verdict(value.sentence, value.why_not_more)


@html.register(Effect)
def effect(value: Effect) -> Markup:
    """What may be said, the edit beside its controls, and of kinds of answers which became which."""
    shown = [tag("p", value.verdict().sentence), table(value.table(), index=False)]
    if answers_of(value.before) is not None:
        shown.append(html(value.transitions()))
    return joined(*shown)


@html.register(Doses)
def doses(value: Doses) -> Markup:
    """One row a dose."""
    return table(value.table(), index=False, float_format=lambda v: f"{v:.3f}")


@draw.register(Doses)
def doses_drawn(value: Doses, ax: Any = None) -> Any:
    """Mean behaviour over doses."""
    # matplotlib takes a while to load, and only pictures need it.
    from interventions.display.plots import dose_response

    return dose_response(value.doses, value.effects, value.effects[0].before.unit, ax)


@html.register(Transitions)
def transitions(value: Transitions) -> Markup:
    """Counts of answers before by after, and the test."""
    (_, kinds), *rows = value.shown()
    counts = grid(((name, *row) for name, row in rows), ("before / after", *kinds), named=True)
    return joined(counts, tag("p", value.summary))


@html.register(Remeasured)
def remeasured(value: Remeasured) -> Markup:
    """Every arm, and what may be said about each."""
    arms = (arm for arm in value.arms if arm != ORIGINAL)
    said = (joined(tag("b", arm), ": ", value.verdict(arm).sentence) for arm in arms)
    return joined(table(value.shown()), listed(said))


@html.register(Elasticity)
def elasticity(value: Elasticity) -> Markup:
    """The ratio, and whose definition it is."""
    return joined(tag("p", repr(value)), tag("p", tag("small", value.definition)))


@html.register(Watched)
def watched(value: Watched) -> Markup:
    """The answer with every token shaded by how far its score lies on either side of the threshold."""
    finite = bool(np.isfinite(value.threshold))
    centre = value.threshold if finite else float(np.median(value.scores))
    read = len(value.scores)
    tokens = ("(prompt)", *value.tokens)
    scored = shaded(tokens[:read], value.scores, centre, bold=finite)
    # The last token written was never read, so it has no score.
    unread = tokens[read:]
    rest = strip(unread, [""] * len(unread), ["not read"] * len(unread))
    return tag("div", scored, rest, style=LINE)


@html.register(Agreement)
def agreement(value: Agreement) -> Markup:
    """Every number with its interval."""
    return grid(value.shown(), caption=f"judge against human, n={value.observed.n}")


@html.register(Footprint)
def footprint(value: Footprint) -> Markup:
    """Shares of tokens, and the tokens that are shifted most often."""
    about = f"{len(value.rank)} tokens of {len(value.texts)} texts written by the {value.writer} model"
    return joined(grid(value.shown(), caption=about), table(value.shifted_tokens(), index=False))


@html.register(Honesty)
def honesty(value: Honesty) -> Markup:
    """The matrix of answers, shaded by count, the numbers, and why some are undefined."""
    largest = max(1, int(value.counts.max()))
    head = tag("tr", *(tag("th", name) for name in ("after \\ before", *KINDS)))
    rows = []
    for kind, counts in zip(KINDS, value.counts.tolist(), strict=True):
        cells = (tag("td", n, style=_shade(n / largest)) for n in counts)
        rows.append(tag("tr", tag("th", kind), *cells))
    notes = [f"undefined: {why}" for why in value.undefined]
    notes += [f"{value.left_out} prompts not measured"] if value.left_out else []
    return joined(tag("table", head, *rows), grid(value.rows()), *(tag("p", note) for note in notes))


def _shade(share: float) -> str:
    return f"text-align:right;background:rgba(0,114,178,{0.45 * share:.2f})"
