"""Looking at what a position selects: `show_tokens(model, examples, at)` prints the texts with the
picked tokens marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from probes.data.examples import Examples, Text
from probes.data.positions import At, Position
from probes.data.tokens import Encoded
from probes.markup.terminal import terminal
from probes.markup.tokens import readable
from probes.markup.values import Displayed
from probes.models.given import check_model
from probes.models.model import Model

ADDED = "▁"  # the space that SentencePiece puts before a text
GOES_ON = "·"  # a token that holds more bytes of a letter that has begun


@dataclass(frozen=True)
class ShownText:
    """One text as its tokens read: which are special, and the indices of the picked ones."""

    tokens: tuple[str, ...]
    special: tuple[bool, ...]
    picked: tuple[int, ...]

    @property
    def summary(self) -> str:
        return f"{len(self.picked)} of {len(self.tokens)} tokens: {_runs(self.picked)}"


@dataclass(frozen=True, repr=False)
class TokenView(Displayed):
    """Texts with the tokens that a position picks in brackets; notebooks show them highlighted."""

    at: str
    texts: tuple[ShownText, ...]
    n_texts: int

    @property
    def summary(self) -> str:
        picked, tokens = sum(len(t.picked) for t in self.texts), sum(len(t.tokens) for t in self.texts)
        shown = (
            f"{self.n_texts} texts"
            if len(self.texts) == self.n_texts
            else f"the first {len(self.texts)} of {self.n_texts} texts"
        )
        return f"position {self.at} picks {picked} of {tokens} tokens in {shown}"

    def __repr__(self) -> str:
        lines = [f"{i}: {_marked(text)}   ({text.summary})" for i, text in enumerate(self.texts)]
        return terminal("\n".join([self.summary, *lines]))


def show_tokens(model: Model, examples: Examples | Sequence[Text], at: At, limit: int = 5) -> TokenView:
    """The first `limit` texts, token by token, with those marked that position `at` picks; raises
    where it picks none.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1 text, got {limit}")
    if not isinstance(examples, Examples):
        examples = Examples(examples)
    position = Position.parse(at)
    shown = []
    check_model(model, "show_tokens")
    asked = model.tokenise(examples.rows(slice(limit)))
    for encoded, picked in zip(asked.encoded, asked.places(position), strict=True):
        shown.append(
            ShownText(token_texts(model.tokenizer, encoded), encoded.special, tuple(picked.tolist()))
        )
    return TokenView(str(position), tuple(shown), len(examples))


def token_texts(tokenizer: Any, encoded: Encoded) -> tuple[str, ...]:
    """Each token as it stands in the text; decoded where it does not, as for special tokens that were
    added. A letter that several tokens share stands at the first of them, and a dot at the others.
    """
    places = encoded.offsets or ((0, 0),) * len(encoded)
    found, end = [], 0
    for i, (a, b) in zip(encoded.ids, places, strict=True):
        if a == b:
            found.append(tokenizer.decode([i]))
        elif encoded.text[a:b].strip() and tokenizer.convert_ids_to_tokens(i) == ADDED:
            found.append(ADDED)  # tokenizers place it on the letter behind, which has a token of its own
        else:
            found.append(encoded.text[max(a, end) : b] or GOES_ON)
            end = max(end, b)
    return tuple(found)


def _marked(text: ShownText) -> str:
    tokens = [readable(token) for token in text.tokens]
    return " ".join(f"⟦{token}⟧" if i in text.picked else token for i, token in enumerate(tokens))


def _runs(numbers: Sequence[int]) -> str:
    """2, 3, 4, 9 as "2-4, 9"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
