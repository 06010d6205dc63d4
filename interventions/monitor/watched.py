"""What a monitor saw: answers with a score for every token."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from probes.data.thoughts import answer_of
from probes.markup.values import Displayed


@dataclass(frozen=True)
class Step:
    """One step of writing. `score` belongs to `token`, the one just read ("" for the prompt's last);
    `written` is the token chosen after it.
    """

    number: int
    token: str
    written: str
    score: float
    probability: float | None
    alarm: bool


@dataclass(frozen=True, eq=False)
class Watched(Displayed):
    """An answer and its scores: `scores[0]` is the prompt's last token's, `scores[k]` the k-th written
    token's, as far as it was read.

    `thinking[k]` says whether the k-th written token is part of a thought, `answer` is the text without it.
    `alarm` is the first step above the threshold, None if there was none. `counts[k]` says whether the score
    of step k could raise it: all do, unless the monitor leaves thoughts out.
    """

    text: str
    tokens: tuple[str, ...]
    scores: Float[np.ndarray, " k"]
    probability: Float[np.ndarray, " k"] | None
    threshold: float
    alarm: int | None
    thinking: tuple[bool, ...] = ()
    counts: tuple[bool, ...] = ()

    @property
    def highest(self) -> float:
        """The highest score that counts; NaN where none does, as in an answer that is all thought."""
        counted = self.scores[np.array(self.counts, dtype=bool)] if self.counts else self.scores
        return float(counted.max()) if len(counted) else float("nan")

    @property
    def answer(self) -> str:
        return answer_of(self.text)

    def __repr__(self) -> str:
        said = (
            "no alarm"
            if self.alarm is None
            else "alarm at the end of the prompt"
            if self.alarm == 0
            else f"alarm at token {self.alarm}"
        )
        return f"Watched({self.text!r:.60}, highest score {self.highest:.3g}, {said})"
