"""Looking at what a position selects: `show_tokens(model, examples, at)` prints the texts with the picked tokens marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from probes.data.examples import Examples, Text
from probes.data.positions import At, Position
from probes.data.tokens import Encoded
from probes.models.model import Model

# Half-transparent colours lie well on light and on dark pages; text keeps the page's own colour.
_BOX = "border:1px solid rgba(128,128,128,.35);border-radius:6px;padding:.6em .8em;margin:.5em 0;line-height:2.1;overflow-wrap:anywhere"
_TOKEN = "font-family:ui-monospace,monospace;font-size:.92em;white-space:pre-wrap;padding:.15em .3em;margin:0 .1em;border-radius:4px"
_PLAIN = "background:rgba(128,128,128,.12)"
_PICKED = "background:rgba(255,170,0,.42);box-shadow:inset 0 -2px 0 rgb(230,130,0);font-weight:600"
_SPECIAL = "opacity:.62;font-style:italic"
_QUIET = "opacity:.7;font-size:.85em"


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
class TokenView:
    """Texts with the tokens that a position picks in brackets; notebooks show them highlighted."""

    at: str
    texts: tuple[ShownText, ...]
    n_texts: int

    @property
    def summary(self) -> str:
        picked, tokens = sum(len(t.picked) for t in self.texts), sum(len(t.tokens) for t in self.texts)
        shown = f"{self.n_texts} texts" if len(self.texts) == self.n_texts else f"the first {len(self.texts)} of {self.n_texts} texts"
        return f"position {self.at} picks {picked} of {tokens} tokens in {shown}"

    def __repr__(self) -> str:
        lines = [f"{i}: {_marked(text)}   ({text.summary})" for i, text in enumerate(self.texts)]
        return "\n".join([self.summary, *lines])

    def _repr_html_(self) -> str:
        boxes = [f'<div style="{_BOX}"><div style="{_QUIET}">text {i}: {text.summary}</div>{_highlighted(text)}</div>' for i, text in enumerate(self.texts)]
        return f"<div><div>{escape(self.summary)}</div>{''.join(boxes)}</div>"


def show_tokens(model: Model, examples: Examples | Sequence[Text], at: At, limit: int = 5) -> TokenView:
    """The first `limit` texts, token by token, with those marked that position `at` picks; raises where it picks none."""
    if limit < 1:
        raise ValueError(f"limit must be at least 1 text, got {limit}")
    if not isinstance(examples, Examples):
        examples = Examples(examples)
    position = Position.parse(at)
    shown = []
    for i, encoded in enumerate(model.encode(examples.texts[:limit])):
        picked = position.tokens(encoded, {name: column[i] for name, column in examples.columns.items()})
        shown.append(ShownText(_readable(model.tokenizer, encoded), encoded.special, tuple(picked.tolist())))
    return TokenView(str(position), tuple(shown), len(examples))


def _readable(tokenizer: Any, encoded: Encoded) -> tuple[str, ...]:
    """Each token as it stands in the text; decoded where it does not, as for special tokens that were added."""
    places = encoded.offsets or ((0, 0),) * len(encoded)
    return tuple(encoded.text[a:b] or tokenizer.decode([i]) for i, (a, b) in zip(encoded.ids, places, strict=True))


def _visible(token: str) -> str:
    """Spaces at the ends are left out unless they are all there is; line breaks show as ↵."""
    return (token.strip(" ") or token.replace(" ", "␣")).replace("\n", "↵").replace("\t", "⇥") or "∅"


def _marked(text: ShownText) -> str:
    return " ".join(f"⟦{_visible(token)}⟧" if i in text.picked else _visible(token) for i, token in enumerate(text.tokens))


def _highlighted(text: ShownText) -> str:
    parts = []
    for i, (token, special) in enumerate(zip(text.tokens, text.special, strict=True)):
        style = ";".join([_TOKEN, _PICKED if i in text.picked else _PLAIN, *([_SPECIAL] if special else [])])
        parts.append(f'<span style="{style}" title="token {i}">{escape(_visible(token))}</span>')
        # A chat reads best when each line of its template starts a line.
        parts.append("<br>" if "\n" in token else "<wbr>")
    return "".join(parts)


def _runs(numbers: Sequence[int]) -> str:
    """2, 3, 4, 9 as "2-4, 9"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
