"""Multiple choice by the log-probability of whole answers, with the options shown in every order, so
that a preference for a letter or a place cancels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import factorial
from string import Formatter
from typing import Any

import numpy as np

from interventions.behaviours.answer_keys import places_of
from interventions.behaviours.asked import asked_of
from interventions.behaviours.logprob import Continuations, continued, logprobs
from interventions.behaviours.records import Records
from probes.data.examples import Examples, Text
from probes.data.tables import missing
from probes.data.tokenised import Tokenised
from probes.models.given import check_model
from probes.models.model import Model

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MOST_ORDERS = 24


@dataclass(frozen=True)
class Choices:
    """Which option a model prefers: the log-probability (nats) of each as an answer, averaged over the orders
    in which the options are shown.

    `options` are texts, or `column:NAME` with a list of texts a row. `right` is `column:NAME` with the right
    option's text or its number counted from 0, refused where it may be another one's text; without it the
    first option stands in, so that ("yes", "no") gives yes over no. Values are the log-probability of the
    right option minus that of the best other one; with `score="right"`, 1 where the right option is the
    chosen one and 0 elsewhere. Labels are the chosen option (for columns its number, as "option 1").
    `columns["consistent"]` is the share of orders whose own choice is the one chosen overall.

    `template` shows {prompt} and {options}, in a chat within the last message; every option becomes a `line`
    of {letter} and {option}, and `answer`, made of the same two, is what is scored: "{letter}" asks for the
    letter alone. A template without {options} has one order. `orders="rotations"` puts each option once at
    every place; "all" takes every permutation, which also cancels who stands behind whom. `per_token` divides
    by the number of tokens, so that long answers are not punished for their length, but then a rare word may
    win by its easy later tokens. `lead` as in `continued`. Sources: order effects arXiv 2309.03882; length
    arXiv 2104.08315.
    """

    options: tuple[str, ...] | str = ("yes", "no")
    right: str | None = None
    template: str = "{prompt}\n{options}\nAnswer:"
    line: str = "{letter}. {option}"
    answer: str = "{option}"
    orders: str = "rotations"
    score: str = "margin"
    per_token: bool = False
    lead: str | None = None

    def __post_init__(self) -> None:
        if self.orders not in ("rotations", "all") or self.score not in ("margin", "right"):
            raise ValueError(
                f"orders={self.orders!r} and score={self.score!r}; expected orders 'rotations' or 'all' and"
                " score 'margin' or 'right'"
            )
        if isinstance(self.options, str) and not self.options.startswith("column:"):
            raise ValueError(
                f"options={self.options!r} is one text; give a tuple of texts, or 'column:NAME' for a column"
                " with a list of texts a row"
            )
        elif not isinstance(self.options, str) and (
            len(self.options) < 2 or not all(isinstance(o, str) and o for o in self.options)
        ):
            raise ValueError(f"options must be 2 to 26 texts, got {self.options!r:.60}")
        if self.right is not None and not self.right.startswith("column:"):
            raise ValueError(
                f"right={self.right!r}; expected 'column:NAME', a column with the right option of every row"
                " (its text or its number from 0)"
            )
        if "prompt" not in _fields(self.template) or not _fields(self.answer) & {"option", "letter"}:
            raise ValueError(
                f"template={self.template!r} must show {{prompt}} and answer={self.answer!r} must hold"
                " {option} or {letter}"
            )
        if "letter" in _fields(self.answer) and "options" not in _fields(self.template):
            raise ValueError(
                f"answer={self.answer!r} asks for a letter but template={self.template!r} does not show the"
                " {options} it belongs to"
            )

    def __call__(self, model: Model, prompts: Examples, batch_size: int | None = None) -> Records:
        """One record a prompt; raises ValueError for options that cannot be told apart, a key that is
        none of them, and more than 24 orders.
        """
        check_model(model, "Choices")
        prompts = model.tokenise(prompts)
        shown = prompts.derived(repr(self), lambda: self._shown(model, prompts))
        options, right, parts = shown.options, shown.right, shown.parts
        scores = logprobs(model, parts, batch_size)
        if self.per_token:
            scores = scores / np.array([len(parts.new(i)) for i in range(len(parts))])
        values, chosen, consistent, start = [], [], [], 0
        for own, orders, key in zip(options, shown.orders, right, strict=True):
            by_order = scores[start : start + len(orders) * len(own)].reshape(len(orders), len(own))
            start += by_order.size
            average = by_order.mean(0)
            best = int(average.argmax())
            values.append(
                average[key] - np.delete(average, key).max() if self.score == "margin" else float(best == key)
            )
            chosen.append(best)
            consistent.append(float((by_order.argmax(1) == best).mean()))
        found = self._records(prompts, options, right, values, chosen, consistent)
        return replace(found, receipt=asked_of(self, model, prompts))

    def _shown(self, model: Model, prompts: Examples) -> "_Shown":
        """Every option of every prompt as an answer behind every order in which the options are shown."""
        if isinstance(prompts, Tokenised) and any(e.given for e in prompts.encoded):
            raise ValueError(
                "Choices writes the options into each prompt's text, and these prompts are token ids; give"
                " the texts"
            )
        options = self._options(prompts)
        right = self._right(prompts, options)
        texts: list[Text] = []
        answers: list[str] = []
        rows: list[int] = []
        orders = [self._orders(len(own)) for own in options]
        for i, (prompt, own) in enumerate(zip(prompts.texts, options, strict=True)):
            for order in orders[i]:
                letters = {o: LETTERS[place] for place, o in enumerate(order)}
                texts += [self._asked(prompt, own, order)] * len(own)
                answers += [
                    self.answer.format(option=option, letter=letters[o]) for o, option in enumerate(own)
                ]
                rows += [i] * len(own)
        columns = {name: column[rows] for name, column in prompts.columns.items()}
        return _Shown(options, right, orders, continued(model, texts, answers, self.lead, columns))

    def _records(
        self, prompts: Examples, options: Any, right: Any, values: Any, chosen: Any, consistent: Any
    ) -> Records:
        fixed = not isinstance(self.options, str)
        classes = (
            tuple(self.options) if fixed else tuple(f"option {k + 1}" for k in range(max(map(len, options))))
        )
        columns = {
            "consistent": np.array(consistent),
            "right": np.array([o[k] for o, k in zip(options, right, strict=True)]),
        }
        columns["chosen"] = np.array([o[k] for o, k in zip(options, chosen, strict=True)])
        per = " per token" if self.per_token else ""
        unit = (
            "share right"
            if self.score == "right"
            else f"log-probability{per} over the best other option (nats)"
        )
        name = f"choices {', '.join(classes)}" if fixed else f"choices from {self.options}"
        return Records.of(
            prompts,
            name,
            unit,
            values,
            labels=np.array([classes[k] for k in chosen]),
            classes=classes,
            columns=columns,
        )

    def _options(self, prompts: Examples) -> list[tuple[str, ...]]:
        if isinstance(self.options, str):
            cells = prompts.column(self.options.removeprefix("column:"))
            lists = [c for c in cells if isinstance(c, str) or not isinstance(c, Sequence | np.ndarray)]
            if lists:
                raise ValueError(
                    f"{self.options} holds {lists[0]!r:.60}; expected a list of option texts in every row"
                )
            found = [tuple("" if missing(o) else str(o) for o in c) for c in cells]
        else:
            found = [tuple(self.options)] * len(prompts)
        for i, own in enumerate(found):
            if (
                not 2 <= len(own) <= len(LETTERS)
                or len({o.strip() for o in own}) != len(own)
                or not all(o.strip() for o in own)
            ):
                raise ValueError(
                    f"prompt {i} has the options {own!r:.100}; expected 2 to {len(LETTERS)} different texts,"
                    " none of them empty"
                )
        return found

    def _right(self, prompts: Examples, options: list[tuple[str, ...]]) -> list[int]:
        if self.right is None:
            return [0] * len(prompts)
        return places_of(prompts.column(self.right.removeprefix("column:")), options)

    def _orders(self, n: int) -> list[tuple[int, ...]]:
        if "options" not in _fields(self.template):
            return [tuple(range(n))]
        if self.orders == "rotations":
            return [tuple((start + k) % n for k in range(n)) for start in range(n)]
        if factorial(n) > MOST_ORDERS:
            raise ValueError(
                f"{n} options have {factorial(n)} orders, more than {MOST_ORDERS}; use orders='rotations',"
                " which puts each option at every place"
            )
        return list(permutations(range(n)))

    def _asked(self, prompt: Text, options: tuple[str, ...], order: tuple[int, ...]) -> Text:
        lines = "\n".join(
            self.line.format(letter=LETTERS[place], option=options[o].strip())
            for place, o in enumerate(order)
        )
        if isinstance(prompt, str):
            return self.template.format(prompt=prompt, options=lines)
        return [
            *prompt[:-1],
            prompt[-1] | {"content": self.template.format(prompt=prompt[-1]["content"], options=lines)},
        ]


@dataclass(frozen=True, eq=False)
class _Shown:
    """What is asked of a model: per prompt its options, the right one and the orders; then every
    answer behind every question.
    """

    options: list[tuple[str, ...]]
    right: list[int]
    orders: list[list[tuple[int, ...]]]
    parts: Continuations


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}
