"""Which tokens of one text a position picks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probes.checks.saying import warn
from probes.data.chat import Turn
from probes.data.positions import At, Position
from probes.data.spans import characters, occurrences, overlapping, whole_words
from probes.data.tables import missing
from probes.data.tokens import Encoded


def tokens_at(at: At, encoded: Encoded, columns: dict[str, Any]) -> np.ndarray:
    """The picked token numbers of one text in rising order, counted from its first token; raises ValueError
    if there is none. `columns` holds the text's own cells.
    """
    return _Text(Position.parse(at), encoded, columns).tokens()


def say_within_words(encoded: Sequence[Encoded], answers: Sequence[Any] | np.ndarray) -> None:
    """Warns of plain texts in which the answer is no whole word anywhere: perhaps it is not there at all."""
    within = [
        (str(answer), e.text)
        for answer, e in zip(answers, encoded, strict=True)
        if e.turns is None
        and not missing(answer)
        and str(answer) in e.text
        and not whole_words(e.text, occurrences(e.text, str(answer), "column answer"))
    ]
    if within:
        warn(
            f"in {len(within)} of {len(encoded)} texts column answer stands only within other words, such as"
            f" {within[0][0]!r:.40} in {within[0][1]!r:.80}, and is read there; give the whole words, or say"
            " which characters are meant: at='chars:COLUMN'"
        )


@dataclass(frozen=True)
class _Text:
    """A text and its cells under a position."""

    at: Position
    encoded: Encoded
    columns: dict[str, Any]

    def tokens(self) -> np.ndarray:
        text, n = self.encoded.text, len(self.encoded)
        match self.at.kind:
            case "last":
                return np.array([n - 1])
            case "first":
                return np.array([0])
            case "mean" | "all":
                return np.arange(n)
            case "last_content":
                content = np.flatnonzero(~np.asarray(self.encoded.special))
                if not len(content):
                    raise ValueError(
                        f"{text!r:.60} consists of special tokens only, so it has no last_content"
                    )
                return content[-1:]
            case "index":
                assert self.at.index is not None
                if not -n <= self.at.index < n:
                    raise ValueError(f"token {self.at.index} does not exist: {text!r:.60} has {n} tokens")
                return np.array([self.at.index % n])
            case "range":
                assert self.at.bounds is not None
                return self._some(np.arange(n)[slice(*self.at.bounds)], f"{text!r:.60} has {n} tokens")
            case "from_last":
                prompt = _count(self.columns["prompt_tokens"]) if "prompt_tokens" in self.columns else n
                if not prompt:
                    raise ValueError(
                        f"position from_last: column prompt_tokens says 0 of {text!r:.60}, and a prompt of no"
                        " tokens has no last one; read 'generated' or 'all' where nothing came before"
                    )
                return self._some(
                    np.arange(prompt - 1, n), f"{text!r:.60} has {n} tokens and a prompt of {prompt}"
                )
            case "generated":
                start = _count(self._cell("prompt_tokens"))
                return self._some(
                    np.arange(start, n), f"column prompt_tokens says {start} and {text!r:.60} has {n} tokens"
                )
            case "answer" | "prompt" | "after_instruction" | "turn" | "turn_end":
                return self._tokens_of_turns()
            case _:
                return self._tokens_of_words()

    def _tokens_of_turns(self) -> np.ndarray:
        """The tokens of the kinds that know who says what: chat turns, the answer and what comes
        before it.
        """
        text, n = self.encoded.text, len(self.encoded)
        match self.at.kind:
            case "answer":
                return self._answer()
            case "prompt":
                return self._some(np.arange(self._answer()[0]), f"{text!r:.60} starts with the answer")
            case "after_instruction":
                instruction = self._turns("user")[-1]
                return self._some(
                    np.arange(instruction[-1] + 1, n), f"{text!r:.60} ends with the user's words"
                )
            case "turn":
                return np.unique(np.concatenate(self._turns(self.at.value)))
            case _:  # "turn_end"
                return np.unique([turn[-1] for turn in self._turns(self.at.value)])

    def _tokens_of_words(self) -> np.ndarray:
        """The tokens of the kinds that look up words or characters in the text; raises ValueError for
        an unknown kind.
        """
        text = self.encoded.text
        match self.at.kind:
            case "chars":
                span = characters(self._cell(self.at.column), self.at.column, text)
                nowhere = f"column {self.at.column}: characters {span} lie in no token of {text!r:.80}"
                return self._some(self._inside(*span), nowhere)
            case "text":
                spans = occurrences(text, str(self.at.value), f"position {self.at}")
                found = np.unique(np.concatenate([self._inside(*span) for span in spans]))
                return self._some(found, f"{self.at.value!r:.60} lies in no token of {text!r:.80}")
            case "text_end":
                return self._last_occurrence(str(self.at.value), f"position {self.at}")[-1:]
            case "span" | "span_end":
                wanted = self._words(self.at.column)
                found = self._last_occurrence(wanted, f"column {self.at.column}")
                return found[-1:] if self.at.kind == "span_end" else found
            case _:
                raise ValueError(
                    f"unknown kind of position {self.at.kind!r}; make positions with Position.parse"
                )

    def _some(self, tokens: np.ndarray, otherwise: str) -> np.ndarray:
        if not len(tokens):
            raise ValueError(f"position {self.at} picks no token: {otherwise}")
        return tokens

    def _cell(self, name: str | None) -> Any:
        if name not in self.columns:
            raise ValueError(
                f"position {self.at} needs a column {name!r}; there are"
                f" {sorted(self.columns) or 'no columns'}"
            )
        return self.columns[name]

    def _words(self, name: str | None) -> str:
        """What a column says of a text; raises ValueError where the cell is missing."""
        cell = self._cell(name)
        if missing(cell):
            raise ValueError(
                f"position {self.at} needs column {name!r}, whose cell is missing ({cell!r}) in a row; fill"
                " it or drop the row"
            )
        return str(cell)

    def _inside(self, start: int, end: int) -> np.ndarray:
        """The tokens that share characters with text[start:end]; there may be none."""
        if self.encoded.offsets is None:
            raise ValueError(
                f"position {self.at} needs a fast tokenizer, which says where each token lies in the text"
            )
        return np.array(overlapping(self.encoded.offsets, start, end), dtype=np.int64)

    def _last_occurrence(self, wanted: str, source: str) -> np.ndarray:
        return self._at_span(occurrences(self.encoded.text, wanted, source)[-1], wanted, source)

    def _at_span(self, span: tuple[int, int], wanted: str, source: str) -> np.ndarray:
        return self._some(
            self._inside(*span), f"{source}: {wanted!r:.60} lies in no token of {self.encoded.text!r:.80}"
        )

    def _turns(self, role: str | None) -> list[np.ndarray]:
        """The content tokens of each turn with a role; raises if there is no such turn."""
        if self.encoded.turns is None:
            raise ValueError(
                f"position {self.at} needs chat messages, and {self.encoded.text!r:.60} is plain text"
            )
        found = [self._turn(turn) for turn in self.encoded.turns if turn.role == role]
        if not found:
            roles = ", ".join(dict.fromkeys(turn.role for turn in self.encoded.turns))
            raise ValueError(
                f"position {self.at} needs a turn with role {role!r}; the roles of"
                f" {self.encoded.text!r:.60} are {roles}"
            )
        return found

    def _turn(self, turn: Turn) -> np.ndarray:
        if turn.span is None:
            raise ValueError(
                f"position {self.at}: a turn with role {turn.role!r} cannot be found in the rendered chat:"
                f" {turn.problem}"
            )
        return self._some(
            self._inside(*turn.span),
            f"a turn with role {turn.role!r} of {self.encoded.text!r:.80} is empty",
        )

    def _answer(self) -> np.ndarray:
        """The tokens of the answer: a chat's last turn, or what column `answer` holds of a plain text."""
        if self.encoded.turns is not None:
            last = self.encoded.turns[-1]
            if last.role != "assistant":
                raise ValueError(
                    f"position {self.at} needs a chat whose last turn is the assistant's; the last of"
                    f" {self.encoded.text!r:.60} has role {last.role!r}"
                )
            return self._turn(last)
        if "answer" not in self.columns:
            raise ValueError(
                f"position {self.at} must know where the answer of {self.encoded.text!r:.60} starts: give a"
                " column 'answer' with its words, or chat messages that end with the assistant's turn; there"
                f" are {sorted(self.columns) or 'no columns'}"
            )
        wanted = self._words("answer")
        spans = occurrences(self.encoded.text, wanted, "column answer")
        return self._at_span((whole_words(self.encoded.text, spans) or spans)[-1], wanted, "column answer")


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(
            f"column prompt_tokens holds {value!r:.60}; expected the number of prompt tokens, a whole number"
            " from 0 on"
        )
    return int(value)
