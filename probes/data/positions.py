"""Which tokens: one small language for reading and for editing, made absolute before a backend sees it.

- `last`, `first`, `all`: special tokens included
- `last_content`: the last one that is no special token
- `mean`: the average over all (reading only)
- `3`, `-2`: one token, counted from the start or from the end
- `2:5`, `-3:`, `:4`, `slice(2, 5)`: a range, read like a slice of a Python list
- `span:COLUMN`, `span_end:COLUMN`: the last occurrence of the substring that the column holds; its last
  token
- `chars:COLUMN`: the tokens that touch the characters (start, end) of the text that the column holds
- `text:SUBSTRING`, `text_end:SUBSTRING`: every occurrence of these very words; the last one's last token
- `turn:ROLE`, `turn_end:ROLE`: the content of every chat turn with that role; the last content token of
  each such turn
- `answer`, `prompt`: the content of a chat's last turn, the assistant's (in plain text: the last place where
  column `answer` stands); all before
- `after_instruction`: what follows the content of the last user turn, up to the end of the text
- `generated`: from the token on whose number column `prompt_tokens` holds
- `from_last`: the prompt's last token and all that come after it, those of an answer too, also while it is
  being written (a prompt is the whole text, or as many tokens as column `prompt_tokens` says)

Substrings, characters and turns are looked up in the text that was tokenised (a chat as its template renders
it), and a token belongs to them if it shares a character with them.
"""

import operator
import re
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from probes.data.chat import Turn
from probes.data.spans import characters, occurrences, overlapping
from probes.data.tables import missing
from probes.data.tokens import Encoded

WORDS = (
    *("last", "last_content", "first", "mean", "all", "prompt", "answer", "after_instruction", "generated"),
    "from_last",
)
ARGUMENTS = {
    "span": "COLUMN",
    "span_end": "COLUMN",
    "chars": "COLUMN",
    "text": "SUBSTRING",
    "text_end": "SUBSTRING",
    "turn": "ROLE",
    "turn_end": "ROLE",
}
ONE_PER_TEXT = ("last", "last_content", "first", "mean", "index", "span_end", "text_end")
INTEGER, RANGE = re.compile(r"-?[0-9]+"), re.compile(r"(-?[0-9]+)?:(-?[0-9]+)?")


@dataclass(frozen=True)
class Position:
    """A rule that picks tokens of a text; `Position.parse` reads what users write.

    `index` is a token's number, `column` names the column that is read, `value` is a substring or a role,
    `bounds` a range.
    """

    kind: str
    index: int | None = None
    column: str | None = None
    value: str | None = None
    bounds: tuple[int | None, int | None] | None = None

    def __str__(self) -> str:
        if self.kind == "index":
            return str(self.index)
        if self.bounds is not None:
            return ":".join("" if bound is None else str(bound) for bound in self.bounds)
        argument = self.column if self.value is None else self.value
        return self.kind if argument is None else f"{self.kind}:{argument}"

    @classmethod
    def parse(cls, at: "At") -> "Position":
        """The position that a word, a token number or a slice stands for; raises ValueError with all
        words for anything else.
        """
        if isinstance(at, Position):
            return at
        if isinstance(at, Integral) and not isinstance(at, bool):  # numpy's whole numbers among them
            return cls("index", index=operator.index(at))
        if isinstance(at, slice):
            return cls("range", bounds=_bounds(at))
        if isinstance(at, str):
            if at in WORDS:
                return cls(at)
            if INTEGER.fullmatch(at):
                return cls("index", index=int(at))
            if found := RANGE.fullmatch(at):
                return cls("range", bounds=(_number(found[1]), _number(found[2])))
            kind, _, argument = at.partition(":")
            if kind in ARGUMENTS and argument:
                return (
                    cls(kind, column=argument) if ARGUMENTS[kind] == "COLUMN" else cls(kind, value=argument)
                )
        forms = [
            *WORDS,
            "a token index",
            "a range such as 2:5, -3: or :4",
            *(f"{kind}:{argument}" for kind, argument in ARGUMENTS.items()),
        ]
        raise ValueError(f"unknown position {at!r}; use {', '.join(forms[:-1])} or {forms[-1]}")

    @property
    def one_per_text(self) -> bool:
        """Whether every text gives exactly one row: one token, or one average."""
        return self.kind in ONE_PER_TEXT

    @property
    def onward(self) -> bool:
        """Whether the tokens that come after the text belong to it too."""
        return self.kind == "from_last"

    def tokens(self, encoded: Encoded, columns: dict[str, Any]) -> np.ndarray:
        """The picked token indices of one text in rising order, counted from its first token; raises
        ValueError if there is none.
        """
        text, n = encoded.text, len(encoded)
        match self.kind:
            case "last":
                return np.array([n - 1])
            case "first":
                return np.array([0])
            case "mean" | "all":
                return np.arange(n)
            case "last_content":
                content = np.flatnonzero(~np.asarray(encoded.special))
                if not len(content):
                    raise ValueError(
                        f"{text!r:.60} consists of special tokens only, so it has no last_content"
                    )
                return content[-1:]
            case "index":
                assert self.index is not None
                if not -n <= self.index < n:
                    raise ValueError(f"token {self.index} does not exist: {text!r:.60} has {n} tokens")
                return np.array([self.index % n])
            case "range":
                assert self.bounds is not None
                return self._some(np.arange(n)[slice(*self.bounds)], f"{text!r:.60} has {n} tokens")
            case "from_last":
                prompt = _count(columns["prompt_tokens"]) if "prompt_tokens" in columns else n
                return self._some(
                    np.arange(max(prompt - 1, 0), n), f"{text!r:.60} has {n} tokens and a prompt of {prompt}"
                )
            case "generated":
                start = _count(self._cell(columns, "prompt_tokens"))
                return self._some(
                    np.arange(start, n), f"column prompt_tokens says {start} and {text!r:.60} has {n} tokens"
                )
            case "answer" | "prompt" | "after_instruction" | "turn" | "turn_end":
                return self._tokens_of_turns(encoded, columns)
            case _:
                return self._tokens_of_words(encoded, columns)

    def _tokens_of_turns(self, encoded: Encoded, columns: dict[str, Any]) -> np.ndarray:
        """The tokens of the kinds that know who says what: chat turns, the answer and what comes
        before it.
        """
        text, n = encoded.text, len(encoded)
        match self.kind:
            case "answer":
                return self._answer(encoded, columns)
            case "prompt":
                return self._some(
                    np.arange(self._answer(encoded, columns)[0]), f"{text!r:.60} starts with the answer"
                )
            case "after_instruction":
                instruction = self._turns(encoded, "user")[-1]
                return self._some(
                    np.arange(instruction[-1] + 1, n), f"{text!r:.60} ends with the user's words"
                )
            case "turn":
                return np.unique(np.concatenate(self._turns(encoded, self.value)))
            case _:  # "turn_end"
                return np.unique([turn[-1] for turn in self._turns(encoded, self.value)])

    def _tokens_of_words(self, encoded: Encoded, columns: dict[str, Any]) -> np.ndarray:
        """The tokens of the kinds that look up words or characters in the text; raises ValueError for
        an unknown kind.
        """
        text = encoded.text
        match self.kind:
            case "chars":
                span = characters(self._cell(columns, self.column), self.column, text)
                nowhere = f"column {self.column}: characters {span} lie in no token of {text!r:.80}"
                return self._some(self._inside(encoded, *span), nowhere)
            case "text":
                spans = occurrences(text, str(self.value), f"position {self}")
                found = np.unique(np.concatenate([self._inside(encoded, *span) for span in spans]))
                return self._some(found, f"{self.value!r:.60} lies in no token of {text!r:.80}")
            case "text_end":
                return self._last_occurrence(encoded, str(self.value), f"position {self}")[-1:]
            case "span" | "span_end":
                wanted = self._words(columns, self.column)
                found = self._last_occurrence(encoded, wanted, f"column {self.column}")
                return found[-1:] if self.kind == "span_end" else found
            case _:
                raise ValueError(
                    f"unknown kind of position {self.kind!r}; make positions with Position.parse"
                )

    def _some(self, tokens: np.ndarray, otherwise: str) -> np.ndarray:
        if not len(tokens):
            raise ValueError(f"position {self} picks no token: {otherwise}")
        return tokens

    def _cell(self, columns: dict[str, Any], name: str | None) -> Any:
        if name not in columns:
            raise ValueError(
                f"position {self} needs a column {name!r}; there are {sorted(columns) or 'no columns'}"
            )
        return columns[name]

    def _words(self, columns: dict[str, Any], name: str | None) -> str:
        """What a column says of a text; raises ValueError where the cell is missing."""
        cell = self._cell(columns, name)
        if missing(cell):
            raise ValueError(
                f"position {self} needs column {name!r}, whose cell is missing ({cell!r}) in a row; fill it"
                " or drop the row"
            )
        return str(cell)

    def _inside(self, encoded: Encoded, start: int, end: int) -> np.ndarray:
        """The tokens that share characters with text[start:end]; there may be none."""
        if encoded.offsets is None:
            raise ValueError(
                f"position {self} needs a fast tokenizer, which says where each token lies in the text"
            )
        return np.array(overlapping(encoded.offsets, start, end), dtype=np.int64)

    def _last_occurrence(self, encoded: Encoded, wanted: str, source: str) -> np.ndarray:
        span = occurrences(encoded.text, wanted, source)[-1]
        return self._some(
            self._inside(encoded, *span), f"{source}: {wanted!r:.60} lies in no token of {encoded.text!r:.80}"
        )

    def _turns(self, encoded: Encoded, role: str | None) -> list[np.ndarray]:
        """The content tokens of each turn with a role; raises if there is no such turn."""
        if encoded.turns is None:
            raise ValueError(f"position {self} needs chat messages, and {encoded.text!r:.60} is plain text")
        found = [self._turn(encoded, turn) for turn in encoded.turns if turn.role == role]
        if not found:
            roles = ", ".join(dict.fromkeys(turn.role for turn in encoded.turns))
            raise ValueError(
                f"position {self} needs a turn with role {role!r}; the roles of {encoded.text!r:.60} are"
                f" {roles}"
            )
        return found

    def _turn(self, encoded: Encoded, turn: Turn) -> np.ndarray:
        if turn.span is None:
            raise ValueError(
                f"position {self}: a turn with role {turn.role!r} cannot be found in the rendered chat:"
                f" {turn.problem}"
            )
        return self._some(
            self._inside(encoded, *turn.span),
            f"a turn with role {turn.role!r} of {encoded.text!r:.80} is empty",
        )

    def _answer(self, encoded: Encoded, columns: dict[str, Any]) -> np.ndarray:
        """The tokens of the answer: a chat's last turn, or what column `answer` holds of a plain text."""
        if encoded.turns is not None:
            last = encoded.turns[-1]
            if last.role != "assistant":
                raise ValueError(
                    f"position {self} needs a chat whose last turn is the assistant's; the last of"
                    f" {encoded.text!r:.60} has role {last.role!r}"
                )
            return self._turn(encoded, last)
        if "answer" not in columns:
            raise ValueError(
                f"position {self} must know where the answer of {encoded.text!r:.60} starts: give a column"
                " 'answer' with its words, or chat messages that end with the assistant's turn; there are"
                f" {sorted(columns) or 'no columns'}"
            )
        return self._last_occurrence(encoded, self._words(columns, "answer"), "column answer")


At = str | int | slice | Position
"""What users write for a position."""


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _bounds(at: slice) -> tuple[int | None, int | None]:
    bounds = (at.start, at.stop)
    if at.step is not None or any(isinstance(b, bool) or not isinstance(b, int | None) for b in bounds):
        raise ValueError(
            f"cannot read {at!r} as a range of tokens; give whole numbers and no step, such as slice(2, 5)"
        )
    return bounds


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(
            f"column prompt_tokens holds {value!r:.60}; expected the number of prompt tokens, a whole number"
            " from 0 on"
        )
    return int(value)
