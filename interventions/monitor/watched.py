"""What a monitor saw: answers with a score for every token."""

from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Step:
    """One step of writing. `score` belongs to `token`, the one just read ("" for the prompt's last); `written` is the token chosen after it."""

    number: int
    token: str
    written: str
    score: float
    probability: float | None
    alarm: bool


@dataclass(frozen=True, eq=False)
class Watched:
    """An answer and its scores: `scores[0]` is the prompt's last token's, `scores[k]` the k-th written token's, as far as it was read.

    `alarm` is the first step above the threshold, None if there was none.
    """

    text: str
    tokens: tuple[str, ...]
    scores: Float[np.ndarray, " k"]
    probability: Float[np.ndarray, " k"] | None
    threshold: float
    alarm: int | None

    def __repr__(self) -> str:
        said = "no alarm" if self.alarm is None else "alarm at the end of the prompt" if self.alarm == 0 else f"alarm at token {self.alarm}"
        return f"Watched({self.text!r:.60}, highest score {self.scores.max():.3g}, {said})"

    def _repr_html_(self) -> str:
        """The answer with every token shaded by how far its score lies on either side of the threshold."""
        finite = np.isfinite(self.threshold)
        centre = self.threshold if finite else float(np.median(self.scores))
        reach = max(float(np.abs(self.scores - centre).max()), 1e-9)
        spans = []
        for token, score in zip(("(prompt)", *self.tokens), self.scores, strict=False):
            share = (float(score) - centre) / reach
            colour = f"rgba(214, 69, 65, {0.75 * share:.2f})" if share > 0 else f"rgba(52, 119, 186, {-0.5 * share:.2f})"
            weight = "bold" if finite and score > self.threshold else "normal"
            spans.append(f'<span title="score {score:.3f}" style="background:{colour};font-weight:{weight};padding:1px 2px">{escape(token)}</span>')
        # The last token written was never read, so it has no score.
        spans += [f'<span title="not read">{escape(t)}</span>' for t in self.tokens[max(0, len(self.scores) - 1) :]]
        return f'<div style="line-height:1.9">{" ".join(spans)}</div>'
