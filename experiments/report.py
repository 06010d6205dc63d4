"""What is collected while an experiment runs: sentences, tidy rows, tables, figures, every prompt."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from experiments.printing import Console, make_console, shown, table_of
from probes.markup.pieces import Markup
from probes.metrics.estimates import Estimate


@dataclass(frozen=True)
class Section:
    """One part of the report: a title, what to see, and the tables, figures and pieces of HTML (token
    strips) that show it.
    """

    title: str
    text: str
    tables: tuple[tuple[tuple[str, ...], tuple[tuple[str, ...], ...]], ...] = ()
    figures: tuple[tuple[str, str], ...] = ()
    html: tuple[Markup, ...] = ()


@dataclass
class Report:
    """Collects rows, figures and sections while an experiment runs, then writes them all at once."""

    name: str
    question: str
    config: Any
    console: Console = field(default_factory=make_console)
    rows: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)
    leading: int = 0
    prompts: dict[str, pd.DataFrame] = field(default_factory=dict)
    strips: dict[str, tuple[str, Mapping[str, Markup]]] = field(default_factory=dict)
    headlines: dict[str, dict[str, Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.time)

    def add(self, measure: str, value: Estimate | float, **where: Any) -> None:
        """One tidy row: what was measured, where, and its value with interval where it has one."""
        self.rows.append(
            {
                "measure": measure,
                **{k: str(v) if not isinstance(v, int | float | str | bool) else v for k, v in where.items()},
                **_numbers(value),
            }
        )

    def headline(self, name: str, value: Estimate | float) -> None:
        """One of the few numbers by which runs of an experiment are held against each other, under a name
        that is the same in all of them. What led to it stands in the rows.
        """
        self.headlines[name] = _numbers(value)

    def say(self, text: str) -> None:
        """A remark on the terminal."""
        self.console.print(shown((text, "dim")))

    def claim(self, text: str) -> None:
        """A sentence of the summary."""
        self.claims.append(text)

    def verdict(self, text: str) -> None:
        """The sentence that answers the question, one a model: it stands before what it rests on."""
        self.claims.insert(self.leading, text)
        self.leading += 1

    def figure(self, name: str, figure: Any) -> str:
        """Keeps a figure under the name of its file; raises ValueError for a name that is none."""
        if not name or name.startswith(".") or not name.isprintable() or {"/", "\\"} & set(name):
            raise ValueError(
                f"{name!r} cannot be the name of a figure's file; give a plain name without folders, such as"
                " 'layers'"
            )
        found = getattr(figure, "figure", figure)
        self.figures[name] = found
        return name

    def every_prompt(
        self, name: str, rows: pd.DataFrame, strips: Mapping[str, Markup] | None = None, by: str = ""
    ) -> None:
        """Every prompt with what the model did on it (`prompt_rows`): searched in the report, and a file.
        `strips` are prompts with their tokens shaded `by` what is said there.
        """
        self.prompts[name] = rows
        if strips:
            self.strips[name] = by, strips

    def table(
        self, title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]
    ) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """Prints a table on the terminal and returns it for a section."""
        self.console.print(table_of(title, header, rows))
        return header, tuple(rows)

    def section(
        self,
        title: str,
        text: str,
        tables: tuple = (),
        figures: tuple = (),
        html: tuple[Markup, ...] = (),
    ) -> None:
        """`html` are pieces of the page, such as `html(value)`; a text among them is shown as a text."""
        self.sections.append(Section(title, text, tuple(tables), tuple(figures), tuple(html)))


def _numbers(value: Estimate | float) -> dict[str, Any]:
    return value.as_dict() if isinstance(value, Estimate) else {"value": float(value)}
