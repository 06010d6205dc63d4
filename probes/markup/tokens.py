"""Tokens in a line, each with its own look: shaded by score, or marked where they are picked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from probes.markup.pieces import Markup, joined, tag

LINE = "line-height:1.9"
QUIET = "opacity:.7;font-size:.85em"
SPECIAL = "opacity:.55;font-style:italic"
_PADDING = "padding:1px 2px"


def readable(token: str) -> str:
    """Spaces at the ends are left out unless they are all there is; line breaks show as ↵."""
    return (token.strip(" ") or token.replace(" ", "␣")).replace("\n", "↵").replace("\t", "⇥") or "∅"


def place_names(texts: Sequence[Sequence[str]], last: int) -> tuple[str, ...]:
    """Names of the last places of some texts: the token where it is the same in all of them, else the place
    counted from the end. A token that stands at several places has its place behind it, so that no two
    places have one name.
    """
    columns = zip(*(tokens[-last:] for tokens in texts), strict=True)
    common = [readable(of[0]) if len(set(of)) == 1 else None for of in columns]
    names = [None if name is None or common.count(name) > 1 else name for name in common]
    places = [str(i - last) for i in range(last)]
    return tuple(
        at if token is None else f"{token} ({at})" if name is None or name in places else name
        for token, name, at in zip(common, names, places, strict=True)
    )


def quiet(special: Sequence[bool]) -> Bool[np.ndarray, " k"]:
    """Which tokens of a whole text are drawn grey: special ones and the first. At the first one models keep
    what belongs to no token, with states many times as large as others (arXiv 2309.17453, 2402.17762).
    """
    found = np.array(special, dtype=bool)
    found[:1] = True
    return found


def strip(
    tokens: Sequence[str],
    styles: Sequence[str],
    titles: Sequence[str],
    between: Any = " ",
    leads: Sequence[str] | None = None,
) -> Markup:
    """Tokens one after the other, each with its CSS and the title that shows when it is pointed at.

    A token with a line break ends its line; `between` stands behind all others, with `leads` (what of the
    text stands before each token) only where a blank does, so that the pieces of a word are one to search.
    """
    behind = [False, *(token[-1:].isspace() for token in tokens)]
    blank = [True] * len(tokens)
    if leads is not None:
        starts = [(lead + token)[:1].isspace() for lead, token in zip(leads, tokens, strict=True)]
        blank = [a or b for a, b in zip(starts, behind, strict=False)]
    parts = []
    for i, (token, style, title) in enumerate(zip(tokens, styles, titles, strict=True)):
        shown = tag("span", readable(token), title=title, style=style)
        within = i + 1 < len(tokens) and not blank[i + 1]
        parts += [shown, tag("br") if "\n" in token else "" if within else between]
    return joined(*parts)


def shaded(
    tokens: Sequence[str],
    scores: Float[np.ndarray, " k"],
    centre: float,
    *,
    score_name: str = "score",
    special: Sequence[bool] | None = None,
    bold: bool = True,
    reach: float | None = None,
    leads: Sequence[str] | None = None,
) -> Markup:
    """Every token shaded by how far its score lies on either side of the centre: red above, blue below.

    The token furthest away has the deepest colour, or all that are `reach` away and more; those above are
    also in bold type, unless `bold` is off. Special tokens are grey, and set no scale.
    """
    greys = np.zeros(len(tokens), dtype=bool) if special is None else np.asarray(special, dtype=bool)
    reach = reach or max(float(np.abs(scores[~greys] - centre).max(initial=0)), 1e-9)
    styles = []
    for score, grey in zip(scores, greys, strict=True):
        share = float(np.clip((score - centre) / reach, -1, 1))
        weight = "bold" if bold and share > 0 else "normal"
        look = SPECIAL if grey else f"background:{_colour(share)};font-weight:{weight}"
        styles.append(f"{look};{_PADDING}")
    return strip(tokens, styles, [f"{score_name} {score:.3f}" for score in scores], leads=leads)


def _colour(share: float) -> str:
    """Half-transparent colours lie well on light and on dark pages; text keeps the page's own colour."""
    if share > 0:
        return f"rgba(214, 69, 65, {0.75 * share:.2f})"
    return f"rgba(52, 119, 186, {-0.5 * share:.2f})"
