"""What pages are made of: every text and every attribute is escaped here, and only here."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

_EMPTY = ("br", "img", "wbr")
_MARKS = re.compile(r"[^\w\s.,:()-]|_", re.ASCII)


def tag(name: str, *inside: Any, **attributes: str) -> Markup:
    """One element around texts, which are escaped, and pieces (`Markup`), which go in as they are.

    Attributes without a value are left out; a name that Python keeps to itself ends in "_", as in `class_`.
    """
    there = {key.rstrip("_"): value for key, value in attributes.items() if value}
    given = joined(*(Markup(' {}="{}"').format(key, value) for key, value in there.items()))
    opened = Markup("<{}{}>").format(name, given)
    if name in _EMPTY:
        return opened
    return Markup("{}{}</{}>").format(opened, joined(*inside), name)


def code_in_markdown(text: str) -> Markup:
    """A line of code for a page in Markdown: all marks are entities, which are neither tags nor Markdown."""
    return tag("code", Markup(_MARKS.sub(lambda mark: f"&#{ord(mark[0])};", text)))


def joined(*parts: Any) -> Markup:
    """Pieces one after the other; what is no piece is a text, and escaped."""
    return Markup("").join(parts)


def listed(items: Iterable[Any]) -> Markup:
    """A list with a point for every item."""
    return tag("ul", *(tag("li", item) for item in items))


def verdict(sentence: str, reasons: Sequence[str], heading: str = "Why not more:") -> Markup:
    """A sentence in bold and, where there are any, the reasons that stand against saying more."""
    against = joined(tag("p", heading), listed(reasons)) if reasons else ""
    return joined(tag("p", tag("b", sentence)), against)


def grid(
    rows: Iterable[Sequence[Any]],
    head: Sequence[Any] = (),
    caption: str = "",
    named: bool = False,
) -> Markup:
    """A small table of rows of cells; where rows are `named`, the first cell of each is its name."""
    top = [tag("caption", caption)] if caption else []
    top += [tag("tr", *(tag("th", cell) for cell in head))] if head else []
    first = "th" if named else "td"
    body = [tag("tr", tag(first, name), *(tag("td", cell) for cell in cells)) for name, *cells in rows]
    return tag("table", *top, *body)


def table(
    frame: pd.DataFrame,
    index: bool = True,
    float_format: Callable[[float], str] | None = None,
) -> Markup:
    """A table of a data frame; names of rows and columns are escaped like cells."""
    return Markup(frame.to_html(index=index, float_format=float_format, escape=True))
