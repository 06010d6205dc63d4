"""A text with the score of every token."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from probes.markup.terminal import terminal
from probes.markup.tokens import readable
from probes.markup.values import Displayed


@dataclass(frozen=True, eq=False)
class TokenStrip(Displayed):
    """Tokens and their scores in the units of the probe's scale.

    `score` is the whole text's, `threshold` the frozen one.
    """

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
        shown = [
            readable(token) if special else f"{readable(token)}({score:+.1f})"
            for token, special, score in zip(self.tokens, self.special, self.scores, strict=True)
        ]
        return terminal(f"{self.summary}\n{' '.join(shown)}")
