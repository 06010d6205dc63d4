"""How rows look in a notebook: what they are, and the first few of them."""

import numpy as np

from probes.data.rows import Rows
from probes.data.sited import Sited
from probes.markup.names import called
from probes.markup.pieces import Markup, grid, joined, table, tag
from probes.markup.terminal import terminal
from probes.markup.tokens import QUIET
from probes.markup.values import html

FIRST = 5  # rows
LONGEST = 160  # letters of a cell


@html.register(Rows)
def rows(value: Rows) -> Markup:
    """What they are, and the first rows."""
    return joined(tag("p", tag("b", repr(value))), _about(value), _first(value))


@html.register(Sited)
def sited(value: Sited) -> Markup:
    """What they are, where the numbers were read, and the first rows without their numbers."""
    told = {"sites": ", ".join(map(str, few(value.sites)))}
    receipt = value.receipt
    told |= {"read at": str(receipt["at"])} if "at" in receipt else {}
    told |= {"model": called(str(receipt["model"]["name"]))} if "name" in receipt.get("model", {}) else {}
    return joined(
        tag("p", tag("b", repr(value))), grid(told.items(), named=True), _about(value), _first(value)
    )


def few(things: tuple, most: int = 6) -> list[str]:
    names = [str(thing) for thing in things]
    return names if len(names) <= most else [*names[: most - 1], "...", names[-1]]


def _about(value: Rows) -> Markup:
    """Counts: groups, and rows of each label."""
    told = [("groups", len(np.unique(value.groups)))]
    if value.y is not None:
        labels, counts = np.unique(value.y, return_counts=True)
        few = len(labels) <= FIRST
        told += (
            [(f"y = {label:g}", n) for label, n in zip(labels, counts, strict=True)]
            if few
            else [("y", f"{labels[0]:g} to {labels[-1]:g}")]
        )
    return grid([[n for _, n in told]], [name for name, _ in told])


def _first(value: Rows) -> Markup:
    """The first rows as a table; a text that is long is cut."""
    frame = value.rows(slice(FIRST)).to_pandas().drop(columns="id")
    frame = frame.map(lambda cell: _cut(cell) if isinstance(cell, str | list) else cell)
    more = tag("p", f"and {len(value) - FIRST} more", style=QUIET) if len(value) > FIRST else ""
    return joined(table(frame, index=False), more)


def _cut(cell: str | list) -> str:
    text = terminal(
        cell if isinstance(cell, str) else "\n".join(f"{m['role']}: {m['content']}" for m in cell)
    )
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
