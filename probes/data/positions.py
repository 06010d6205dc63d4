"""Which tokens: one small language for reading and for editing. `tokens_at` (picking) makes it absolute.

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
  column `answer` stands as whole words, else the last place at all); all before
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
