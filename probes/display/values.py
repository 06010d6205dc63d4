"""How the values of `probes` look in a notebook or on a page: importing this registers their looks."""

from typing import Any

from probes.data.relatives import SuggestedGroups
from probes.data.strips import TokenStrip
from probes.evidence.claims import Claim
from probes.evidence.crossed import TwoByTwo
from probes.evidence.crossed_verdict import Verdict
from probes.evidence.leaks import Leaks
from probes.evidence.polarity import PolarityReport
from probes.evidence.shortcuts import LetterCheck, TerminalTokens
from probes.evidence.sweeps import Sweep
from probes.markup.pieces import Markup, grid, joined, table, tag, verdict
from probes.markup.tokens import LINE, QUIET, shaded, strip
from probes.markup.values import draw, html
from probes.reading.lens import Lens
from probes.reading.show import ShownText, TokenView

_FRAME = "border:1px solid rgba(128,128,128,.35);border-radius:6px"
_BOX = f"{_FRAME};padding:.6em .8em;margin:.5em 0;line-height:2.1;overflow-wrap:anywhere"
_LETTERS = "font-family:ui-monospace,monospace;font-size:.92em;white-space:pre-wrap"
_TOKEN = f"{_LETTERS};padding:.15em .3em;margin:0 .1em;border-radius:4px"
_PLAIN = "background:rgba(128,128,128,.12)"
_PICKED = "background:rgba(255,170,0,.42);box-shadow:inset 0 -2px 0 rgb(230,130,0);font-weight:600"
_SPECIAL = "opacity:.62;font-style:italic"


def _rounded(value: float) -> str:
    return f"{value:.3f}"


@html.register(TokenView)
def token_view(value: TokenView) -> Markup:
    """Each text in a box of its own, with the picked tokens highlighted."""
    boxes = [_box(i, text) for i, text in enumerate(value.texts)]
    return tag("div", tag("div", value.summary), *boxes)


def _box(number: int, text: ShownText) -> Markup:
    styles = []
    for i, special in enumerate(text.special):
        ground = _PICKED if i in text.picked else _PLAIN
        styles.append(f"{_TOKEN};{ground};{_SPECIAL}" if special else f"{_TOKEN};{ground}")
    titles = [f"token {i}" for i in range(len(text.tokens))]
    # A chat reads best when each line of its template starts a line.
    line = strip(text.tokens, styles, titles, between=tag("wbr"))
    return tag("div", tag("div", f"text {number}: {text.summary}", style=QUIET), line, style=_BOX)


@html.register(TokenStrip)
def token_strip(value: TokenStrip) -> Markup:
    """Every token shaded by how far its score lies on either side of the threshold."""
    line = shaded(value.tokens, value.scores, value.threshold, score_name="z", special=value.special)
    return tag("div", tag("div", value.summary, style=QUIET), tag("div", line, style=LINE))


@html.register(Lens)
def lens(value: Lens) -> Markup:
    """Mean probability of every word by site, and the likeliest tokens of the first text."""
    asked = (
        table(value.table, float_format=_rounded) if value.words else tag("p", "No words were asked about.")
    )
    first = tag("p", "The likeliest tokens of text 0 (.tokens(i) shows text i):")
    return joined(tag("p", repr(value)), asked, first, table(value.tokens(0)))


@draw.register(Lens)
def lens_picture(value: Lens, ax: Any = None) -> Any:
    """The probability of every word by site."""
    from probes.display.lens_plots import lens_curve

    return lens_curve(value, ax=ax)


@html.register(Leaks)
def leaks(value: Leaks) -> Markup:
    """What was found, cell by cell, and which cells share originals."""
    shared = tag("p", "Rows made from an original that another cell uses:")
    return joined(tag("p", value.summary), table(value.table), shared, table(value.shared))


@html.register(SuggestedGroups)
def suggested_groups(value: SuggestedGroups) -> Markup:
    """How many groups there are, and some of the texts that belong together."""
    kinds = (("say nearly the same", value.nearly), ("are about the same thing", value.about))
    rows = [(*pair, kind) for kind, pairs in kinds for pair in pairs]
    return joined(tag("p", value.summary), grid(rows, ("text", "and text", "belong together, since they")))


@html.register(Claim)
def claim(value: Claim) -> Markup:
    """The sentence, what stands against a stronger one, and the baselines on the same rows, best first."""
    best_first = sorted(value.surface.items(), key=lambda item: -item[1].value)
    rows = [(name, f"{e}") for name, e in (("this probe", value.auroc), *best_first)]
    beside = grid(rows, ("AUROC on the same rows", "with 95% interval"))
    return joined(verdict(value.sentence, value.why_not_more), beside)


@html.register(Verdict)
def crossed_verdict(value: Verdict) -> Markup:
    """Word and sentence, and what stands against a claim."""
    return verdict(value.headline, value.why_not_more)


@html.register(TwoByTwo)
def two_by_two(value: TwoByTwo) -> Markup:
    """The verdict, the four cells, and every number."""
    return joined(html(value.verdict), table(value.confusion), table(value.table.round(3), index=False))


@html.register(LetterCheck)
def letter_check(value: LetterCheck) -> Markup:
    """The sentence, in bold where the number with the answer may not be reported."""
    return tag("p", tag("b", value.sentence) if value.artefact else value.sentence)


@html.register(TerminalTokens)
def terminal_tokens(value: TerminalTokens) -> Markup:
    """The sentence and the commonest tokens."""
    return joined(tag("p", value.sentence), table(value.counts.head(8)))


@html.register(PolarityReport)
def polarity_report(value: PolarityReport) -> Markup:
    """What the probe reads, then every measure at every site."""
    about = f"Polarity over {value.n_pairs} pairs of opposites; sign from {value.sign_from}"
    answer = [tag("p", tag("b", line)) for line in value.answer.splitlines()]
    return joined(*answer, tag("p", about), table(value.table, float_format=_rounded))


@html.register(Sweep)
def sweep(value: Sweep) -> Markup:
    """One row a recipe."""
    splits = value.table.seed.nunique()
    about = f"{len(value.recipes)} recipes, {len(value.sites)} sites, {splits} splits by group"
    return joined(tag("p", about), table(value.summary, float_format=_rounded))
