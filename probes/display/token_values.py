"""How what a probe says of tokens, and rows as points, look in a notebook."""

from typing import Any

from probes.evidence.probed_tokens import SHOWN, ProbedTokens
from probes.evidence.projections import Projected
from probes.evidence.token_findings import PlaceReading, TopTokens
from probes.markup.pieces import Markup, grid, joined, tag
from probes.markup.tokens import LINE, QUIET, quiet, shaded
from probes.markup.values import draw, html

PANELS = 4  # sites of a projection in a notebook


@html.register(ProbedTokens)
def probed_tokens(value: ProbedTokens) -> Markup:
    """The first texts with every token shaded by its score, which shows when it is pointed at; of several
    sites the last, and block by token for the first text.
    """
    from probes.display.pictures import picture  # what draws is loaded when something is drawn
    from probes.display.token_plots import token_map

    site = value.sites[-1]
    one = value.at(site)
    elsewhere = f"; it was fitted at {value.fitted_at}, elsewhere it is read off its place"
    about = f"score at {site}, red above 0{elsewhere if value.fitted_at else ''}"
    lines = []
    for i in range(min(SHOWN, len(one))):
        line = shaded(
            one.tokens[i],
            one.scores[i][0],
            0.0,
            special=quiet(one.special[i]).tolist(),
            reach=one.reach,
            leads=one.leads[i],
        )
        lines.append(tag("div", tag("div", f"text {i}", style=QUIET), tag("div", line, style=LINE)))
    more = tag("p", f"and {len(one) - SHOWN} more texts", style=QUIET) if len(one) > SHOWN else ""
    map_ = (
        picture(token_map(value).figure, "score of every token of text 0 by site")
        if len(value.sites) > 1
        else ""
    )
    return joined(tag("p", tag("b", repr(value))), tag("div", about, style=QUIET), *lines, more, map_)


@draw.register(ProbedTokens)
def probed_tokens_drawn(value: ProbedTokens, ax: Any = None) -> Any:
    """Block by token of the first text."""
    from probes.display.token_plots import token_map

    return token_map(value, ax=ax)


@html.register(TopTokens)
def top_tokens(value: TopTokens) -> Markup:
    """Every token in bold within its text."""
    rows = [
        (f"{r.score:+.2f}", joined(r.before, tag("b", r.piece), r.behind), r.text, r.token)
        for r in value.rows
    ]
    return joined(tag("p", tag("b", value.summary)), grid(rows, ("score", "token", "text", "its number")))


@html.register(PlaceReading)
def place_reading(value: PlaceReading) -> Markup:
    """AUROC by site and place as a picture."""
    from probes.display.pictures import picture
    from probes.display.token_plots import place_map

    return joined(
        tag("p", tag("b", repr(value))), picture(place_map(value).figure, "AUROC by site and token")
    )


@draw.register(PlaceReading)
def place_reading_drawn(value: PlaceReading, ax: Any = None) -> Any:
    """AUROC by site and place."""
    from probes.display.token_plots import place_map

    return place_map(value, ax=ax)


@html.register(Projected)
def projected(value: Projected) -> Markup:
    """Points at a few sites, spread evenly, and what share of the variance each axis has at all."""
    from probes.display.grids import scatters
    from probes.display.pictures import picture

    shares = [(site, *(f"{s:.1%}" for s in of)) for site, of in zip(value.sites, value.shares, strict=True)]
    n = len(value.sites)
    few = sorted({round(i * (n - 1) / (PANELS - 1)) for i in range(PANELS)})  # each costs a tenth of a second
    seen = picture(scatters(value, [value.sites[i] for i in few]), "rows as points by site")
    more = f"{len(few)} of {n} sites; plots.scatters(projected, sites) draws others" if len(few) < n else ""
    return joined(
        tag("p", tag("b", repr(value))),
        seen,
        tag("div", more, style=QUIET) if more else "",
        grid(shares, ("share of variance", "first axis", "second")),
    )
