"""A text with the score of every token, for reading in a terminal, a notebook or a report."""

from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class TokenStrip:
    """Tokens and their scores in the units of the probe's scale; `score` is the whole text's, `threshold` the frozen one."""

    tokens: tuple[str, ...]
    special: tuple[bool, ...]
    scores: Float[np.ndarray, " k"]
    score: float
    threshold: float

    @property
    def summary(self) -> str:
        side = "above" if self.score > self.threshold else "not above"
        return f"z={self.score:.2f}, {side} the threshold of {self.threshold:.2f}"

    def __repr__(self) -> str:
        marked = " ".join(f"{_visible(t)}" if s else f"{_visible(t)}({z:+.1f})" for t, s, z in zip(self.tokens, self.special, self.scores, strict=True))
        return f"{self.summary}\n{marked}"

    def _repr_html_(self) -> str:
        """Every token shaded by how far its score lies on either side of the threshold: red above, blue below. Special tokens are grey, and set no scale."""
        content = ~np.asarray(self.special)
        reach = max(float(np.abs(self.scores[content] - self.threshold).max(initial=0)), 1e-9)
        spans = []
        for token, special, score in zip(self.tokens, self.special, self.scores, strict=True):
            share = float(np.clip((score - self.threshold) / reach, -1, 1))
            colour = f"rgba(214, 69, 65, {0.75 * share:.2f})" if share > 0 else f"rgba(52, 119, 186, {-0.5 * share:.2f})"
            style = "opacity:.55;font-style:italic" if special else f"background:{colour};font-weight:{'bold' if share > 0 else 'normal'}"
            spans.append(f'<span title="z {score:.3f}" style="{style};padding:1px 2px">{escape(_visible(token))}</span>')
            spans += ["<br>"] * ("\n" in token)
        return f'<div><div style="opacity:.7;font-size:.85em">{escape(self.summary)}</div><div style="line-height:1.9">{" ".join(spans)}</div></div>'


def _visible(token: str) -> str:
    """Spaces at the ends are left out unless they are all there is; line breaks show as ↵."""
    return (token.strip(" ") or token.replace(" ", "␣")).replace("\n", "↵").replace("\t", "⇥") or "∅"
