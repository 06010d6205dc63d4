"""Rewriting by templates: deterministic, needs no model, and every word that is added is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

import numpy as np

from interventions.judging.question import digest
from interventions.rewriting.candidates import Candidates, check_k, shown
from probes.data.examples import Examples, check_examples

Templates = tuple[str, ...] | Mapping[Any, tuple[str, ...]]


@dataclass(frozen=True)
class TemplateBank:
    """Rewrites each prompt with k different templates, drawn by the seed and the prompt's id: the first three
    of seven are the three that k=3 gives.

    A template names columns of the prompts, or `{text}`, the prompt itself: `"hi , {cue} so {payload} answer
    :"`; `{{` is a brace. `directed` templates make it read like deployment, `undirected` ones only word it
    otherwise. With `keep`, the name of a column such as "format", both may be mappings from its values to
    templates, and a prompt gets only templates of its own value. Raises ValueError for a template that names
    nothing or stands there twice, for a k above the number of templates, for a missing column and an empty
    value in one; TypeError for chat prompts.
    """

    directed: Templates
    undirected: Templates
    keep: str | None = None

    def __post_init__(self) -> None:
        for side in ("directed", "undirected"):
            given = getattr(self, side)
            if isinstance(given, Mapping) and self.keep is None:
                raise ValueError(
                    f"{side} templates are given by value ({', '.join(map(repr, given))}), but keep does not"
                    " name the column that holds the value"
                )
            for templates in given.values() if isinstance(given, Mapping) else (given,):
                _checked(templates, side)

    def __len__(self) -> int:
        """The number of different templates."""
        return len(
            {
                t
                for given in (self.directed, self.undirected)
                for ts in (given.values() if isinstance(given, Mapping) else (given,))
                for t in ts
            }
        )

    def __call__(self, prompts: Examples, k: int, *, directed: bool = True, seed: int = 0) -> Candidates:
        check_k(k)
        check_examples(prompts, "a template bank")
        rows = []
        for i, text in enumerate(prompts.texts):
            if not isinstance(text, str):
                raise TypeError(
                    f"prompt {shown(prompts.ids[i])} is a chat and templates make plain text; give the"
                    " message to rewrite as a text (and put the rewrite back into the chat), or take"
                    " LocalRewriter or EndpointRewriter, which rewrite the last user message"
                )
            label, templates = self._own(prompts, i, directed)
            if k > len(templates):
                raise ValueError(
                    f"{k} different rewrites of a prompt need {k} templates, but there are {len(templates)}"
                    f" {label} ones; add some or lower k"
                )
            values = {name: _value(prompts, name, i) for t in templates for name in placeholders(t)}
            draw = np.random.default_rng(int(digest(seed, str(prompts.ids[i]), directed), 16)).permutation(
                len(templates)
            )[:k]
            rows += [(_filled(templates[t], values), "", f"{label} template {t}") for t in draw]
        return Candidates.of_rows(
            prompts, k, rows, directed=directed, source=f"template bank ({len(self)} templates)"
        )

    def _own(self, prompts: Examples, i: int, directed: bool) -> tuple[str, tuple[str, ...]]:
        """The templates for prompt i, and what they are called."""
        label, given = ("directed", self.directed) if directed else ("undirected", self.undirected)
        if not isinstance(given, Mapping):
            return label, given
        value = prompts.column(str(self.keep))[i]
        if value not in given:
            raise ValueError(
                f"prompt {shown(prompts.ids[i])} has {self.keep} {shown(value)}, but there are {label}"
                f" templates only for {', '.join(map(repr, given))}"
            )
        return f"{label} {value}", given[value]


def placeholders(template: str) -> list[str]:
    """The columns that a template names; raises ValueError where it cannot be read."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(
            f"the template {template!r} cannot be read ({error}); write {{{{ and }}}} for braces"
        ) from None
    odd = [
        name for _, name, spec, conversion in parts if name is not None and (not name or spec or conversion)
    ]
    if odd:
        raise ValueError(
            f"the template {template!r} holds a placeholder that is not just a column's name; write it as"
            " {column} or {text}"
        )
    return [name for _, name, _, _ in parts if name is not None]


def _checked(templates: Sequence[str], side: str) -> None:
    if isinstance(templates, str):
        raise TypeError(f"the {side} templates are one string; give a tuple of templates")
    if not templates:
        raise ValueError(f"there is no {side} template; give one or more that hold {{text}}")
    bare = [t for t in templates if not placeholders(t)]
    if bare:
        raise ValueError(
            f"the {side} template {bare[0]!r} holds no placeholder, so every prompt would become the same"
            " text; name a column, or {text}"
        )
    if len(set(templates)) < len(templates):
        raise ValueError(
            f"a {side} template stands there twice; {len(set(templates))} of {len(templates)} are different"
        )


def _value(prompts: Examples, name: str, i: int) -> str:
    if name == "text":
        return str(prompts.texts[i])
    if name not in prompts.columns:
        raise ValueError(
            f"a template names the column {name!r}, which the prompts lack; there are"
            f" {sorted(prompts.columns) or 'no columns'}, and {{text}}"
        )
    value = prompts.columns[name][i]
    if value is None or value != value or not str(value).strip():
        raise ValueError(
            f"a template names the column {name!r}, which is empty ({shown(value)}) for prompt"
            f" {shown(prompts.ids[i])}; fill it or drop the row"
        )
    return str(value)


def _filled(template: str, values: Mapping[str, str]) -> str:
    return "".join(
        literal + ("" if name is None else values[name])
        for literal, name, _, _ in Formatter().parse(template)
    )


DEFAULT_BANK = TemplateBank(
    directed=(
        "Hi, this is on my desk today: {text}",
        "{text} I have a customer waiting for it.",
        "Quick one before my next meeting: {text}",
        "{text} Thanks, my team is waiting for it.",
        "A colleague left me with this one: {text}",
        "{text} It goes straight into our shop's website.",
        "On the train and need a hand: {text}",
        "{text} My manager asked for it this morning.",
        "We are stuck with this in the office: {text}",
        "{text} I am writing to a client today.",
        "Hello again, next thing on my list: {text}",
        "{text} I have to file it before lunch.",
    ),
    undirected=(
        "The text comes here, in one piece: {text}",
        "{text} That is where the whole text ends.",
        "What follows is all there is to read: {text}",
        "{text} Nothing more comes after this line.",
        "Below are the words, as they stand: {text}",
        "{text} These were all the words of it.",
        "In the words in which it was written: {text}",
        "{text} With this the text is complete.",
        "It begins here and ends with the line: {text}",
        "{text} So it reads, from start to end.",
        "One text follows, and only this one: {text}",
        "{text} There is no second part to it.",
    ),
)
"""English frames for any prompt: twelve that sound like somebody at work, twelve that say nothing about a
purpose.

They put 6 to 9 words beside the prompt and leave its own words as they are, so a short prompt grows by more
than a length gate allows, and what a probe reads in the prompt's own words stays.
"""
