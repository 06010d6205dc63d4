"""Printing on the terminal: texts are shown as they are, never read as markup, emoji names or commands."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from probes.markup.terminal import terminal


def make_console(width: int = 140, stderr: bool = False) -> Console:
    """As wide as the terminal; wide enough for the tables when the output goes to a file."""
    stream = sys.stderr if stderr else sys.stdout
    fixed = None if stream.isatty() else width
    return Console(stderr=stderr, width=fixed, markup=False, emoji=False, highlight=False)


def shown(*parts: Any) -> Text:
    """Parts one after the other, through the terminal door: texts, or pairs of a text and its style."""
    found = Text()
    for part in parts:
        text, style = part if isinstance(part, tuple) else (part, "")
        found.append(terminal(text), style)
    return found


def table_of(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> Table:
    """A table for the terminal: columns of names, the first ones, on the left and numbers on the right."""
    made = Table(title=shown((title, "bold")), title_justify="left", header_style="bold")
    for i, name in enumerate(header):
        made.add_column(shown(name), justify="left" if i < names else "right", overflow="fold")
    for row in rows:
        made.add_row(*map(shown, row))
    return made
