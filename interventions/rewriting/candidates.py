"""Rewrites of prompts as data: k for every prompt, where each came from, and why one is missing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from interventions.judging.runs import Usage
from probes.data.examples import Examples, Text
from probes.markup.terminal import terminal
from probes.markup.values import Displayed


@dataclass(frozen=True, eq=False)
class Candidates(Displayed):
    """k rewrites of every prompt, row by row: row r * k + j is candidate j of prompt r.

    `texts` [n * k] are the rewrites, "" where none came; `failures` [n * k] says why there is none, "" where
    there is; `names` [n * k] says which template or sample it is. `directed` tells rewrites made to read like
    deployment from plain rewordings; `usage` is the tokens and cost of a model that wrote them. Of a chat,
    the rewrite stands for its last user message. Raises ValueError for parts of other lengths and for a row
    that has both a text and a failure, or neither.
    """

    prompts: Examples
    k: int
    texts: tuple[str, ...]
    directed: bool
    source: str
    failures: tuple[str, ...]
    names: tuple[str, ...]
    usage: Usage | None = None

    def __post_init__(self) -> None:
        check_k(self.k)
        n = len(self.prompts) * self.k
        wrong = {
            name: len(part)
            for name, part in (("texts", self.texts), ("failures", self.failures), ("names", self.names))
            if len(part) != n
        }
        if wrong:
            raise ValueError(
                f"{len(self.prompts)} prompts with {self.k} candidates each make {n} rows, but {wrong} came;"
                " give one each, candidate by candidate"
            )
        odd = [
            i
            for i, (text, failure) in enumerate(zip(self.texts, self.failures, strict=True))
            if bool(text.strip()) == bool(failure)
        ]
        if odd:
            raise ValueError(
                f"row {odd[0]} has text {self.texts[odd[0]]!r:.60} and failure {self.failures[odd[0]]!r:.60};"
                " every row has exactly one of the two"
            )

    @classmethod
    def of_rows(
        cls, prompts: Examples, k: int, rows: Iterable[tuple[str, str, str]], **more: Any
    ) -> "Candidates":
        """Candidates from (text, failure, name) row by row."""
        texts, failures, names = zip(*rows, strict=True)
        return cls(prompts, k, texts=texts, failures=failures, names=names, **more)

    def __len__(self) -> int:
        return len(self.prompts) * self.k

    @property
    def of(self) -> np.ndarray:
        """The number of every row's prompt [n * k]."""
        return np.repeat(np.arange(len(self.prompts)), self.k)

    @property
    def ok(self) -> np.ndarray:
        """Which rows have a text [n * k]."""
        return np.array([bool(text) for text in self.texts])

    @property
    def distinct(self) -> float:
        """How many different texts a prompt has on average, among prompts that have any; NaN where
        none has. k where a rewriter samples, 1 where it always says the same.
        """
        written = {(int(r), text) for r, text in zip(self.of, self.texts, strict=True) if text}
        return len(written) / len({r for r, _ in written}) if written else float("nan")

    @property
    def all_alike(self) -> bool:
        """Whether no prompt has two different texts though some prompt has several, so that there is
        nothing to choose between.
        """
        return self.distinct == 1 and int(self.ok.sum()) > int(self.ok.reshape(-1, self.k).any(1).sum())

    def examples(self) -> Examples:
        """The rewrites as prompts with ids `{id}#{candidate}` and the groups, y and columns of their
        originals.

        Rows without a text keep the original's, so that shapes stay: `ok` says which these are.
        """
        p, of = self.prompts, self.of
        texts = [
            with_asked(p.texts[r], text) if text else p.texts[r]
            for r, text in zip(of, self.texts, strict=True)
        ]
        ids = [f"{p.ids[r]}#{i % self.k}" for i, r in enumerate(of)]
        return Examples(
            texts,
            None if p.y is None else p.y[of],
            p.groups[of],
            {name: column[of] for name, column in p.columns.items()},
            ids,
        )

    def table(self) -> pd.DataFrame:
        """One row a candidate: id and group of the prompt, number, name, text and failure."""
        p, of = self.prompts, self.of
        found = {"id": p.ids[of], "group": p.groups[of], "candidate": np.arange(len(self)) % self.k}
        return pd.DataFrame(
            found | {"name": list(self.names), "text": list(self.texts), "failure": list(self.failures)}
        )

    def __repr__(self) -> str:
        missing = pd.Series([f for f in self.failures if f], dtype=object).value_counts()
        lost = (
            ""
            if missing.empty
            else (
                f", {missing.sum()} without a text"
                f" ({', '.join(f'{name} {count}' for name, count in missing.items())})"
            )
        )
        written = [(int(r), text) for r, text in zip(self.of, self.texts, strict=True) if text]
        twice = len(written) - len(set(written))
        kind = "directed" if self.directed else "undirected"
        repeated = f", {twice} the same as another of their prompt" if twice else ""
        rewrites = f"{len(self.prompts)} prompts x {self.k} {kind} rewrites"
        return terminal(f"Candidates({rewrites}, {self.source}{lost}{repeated})")


@runtime_checkable
class Rewriter(Protocol):
    """Something that writes k other wordings of every prompt: a template bank, a local model, an
    endpoint, or your own.
    """

    def __call__(self, prompts: Examples, k: int, *, directed: bool = True, seed: int = 0) -> Candidates:
        """k candidates of every prompt, the same for the same seed and for each prompt the same
        whatever others stand beside it.
        """
        ...


def check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k is how many rewrites each prompt gets, 1 or more; got {k}")


def asked(text: Text) -> str:
    """What is rewritten: the prompt itself, or the last user message of a chat; raises ValueError for
    a chat without one.
    """
    if isinstance(text, str):
        return text
    content = next((m["content"] for m in reversed(text) if m["role"] == "user"), None)
    if not isinstance(content, str) or not content.strip():
        raise ValueError(
            f"the chat {text!r:.80} has no user message with text, so there is nothing to rewrite; add one,"
            " or drop the row"
        )
    return content


def with_asked(text: Text, new: str) -> Text:
    """The prompt with what is rewritten replaced."""
    if isinstance(text, str):
        return new
    last = max(i for i, m in enumerate(text) if m["role"] == "user")
    return [m | {"content": new} if i == last else m for i, m in enumerate(text)]


def shown(value: Any) -> str:
    """A value from an array as an error message shows it."""
    return repr(value.item() if isinstance(value, np.generic) else value)
