"""One batch of prompts watched while their answers are written."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interventions.monitor.watched import Step, Watched
from probes.data.sites import Site
from probes.data.thoughts import decoded, in_thought, left_open, thinking
from probes.data.tokenised import Tokenised
from probes.data.tokens import Batch
from probes.models.backends.hooking import hooked
from probes.models.backends.hooks import Hooks
from probes.models.decoding import Decoding
from probes.models.model import Model
from probes.models.writes import Write, everywhere


@dataclass(eq=False)
class WatchedBatch:
    """One batch being watched: scores so far, and which rows have had their alarm.

    A score is weight . h + bias at `site`; `triggered` writes begin to act in a row at its alarm. Without
    `thoughts` the tokens of thoughts raise none.
    """

    model: Model
    batch: Batch
    asked: Tokenised
    site: Site
    weight: Float[Tensor, " d"]
    bias: float
    threshold: float
    probability: Callable[[np.ndarray], np.ndarray | None]
    triggered: Sequence[Write]
    stop: bool
    tell: Callable[[Step], None] | None = None
    thoughts: bool = True
    counted: list[Bool[Tensor, " batch"]] = field(default_factory=list)
    scores: list[Float[Tensor, " batch"]] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    wrote: bool = False
    columns: int = 0

    def __post_init__(self) -> None:
        self.alarmed: Bool[Tensor, " batch"] = torch.zeros(
            len(self.batch.rows), dtype=torch.bool, device=self.model.device
        )
        self.heed([[]] * len(self.batch.rows))

    def generate(self, decoding: Decoding) -> list[list[int]]:
        """The new tokens of every row; raises ValueError for ways of decoding that cannot be watched."""
        model = self.model
        backend = model.backend
        assert isinstance(backend, Hooks)
        # Behind the model's own edits, which act whether or not there is an alarm.
        writes = [(w.site, self._if_alarmed(w)) for w in self.triggered]
        with hooked(backend.inner, [(backend.point(self.site), self._read)]):
            return model.generate_batch(self.batch, self.asked, decoding, writes, [_Stop(self)])

    def heed(self, written: Sequence[Sequence[int]]) -> None:
        """Whether the score of the last token of each row counts, given what was written so far."""
        prompts = [self.asked.encoded[row].text for row in self.batch.rows]
        heeded = [
            self.thoughts or not in_thought(self.model.tokenizer, prompt, ids)
            for prompt, ids in zip(prompts, written, strict=True)
        ]
        self.heeded: Bool[Tensor, " batch"] = torch.tensor(heeded, device=self.model.device)

    def _read(self, h: Tensor) -> None:
        """The score of the newest token of every row, once the prompt was read whole."""
        self.columns += h.shape[1]
        if self.columns < self.batch.ids.shape[1]:  # a part of a long prompt that is read in chunks
            return
        with torch.autocast(h.device.type, enabled=False):
            score = h[:, -1].float() @ self.weight.to(h.device) + self.bias
        self.scores.append(score)
        self.counted.append(self.heeded)
        self.alarmed |= (score > self.threshold).to(self.alarmed.device) & self.heeded

    def _if_alarmed(self, write: Write) -> Callable[[Tensor], Tensor]:
        change = everywhere(write)

        def act(h: Tensor) -> Tensor:
            # The prompt is read before anything could have been written, so nothing in it is changed.
            if not self.wrote or not self.alarmed.any():
                return h
            return torch.where(self.alarmed.to(h.device)[:, None, None], change(h), h)

        return act

    def watched(self, i: int, new: list[int]) -> Watched:
        """What was written in row i, up to its end, and the scores of the prompt's last token and of every
        token that was read.
        """
        length = len(new)
        scores = torch.stack(self.scores, dim=1)[i].cpu().numpy().astype(np.float64)
        counts = torch.stack(self.counted, dim=1)[i].cpu().numpy()
        above = np.flatnonzero((scores[: length + 1] > self.threshold) & counts[: length + 1])
        decode = self.model.tokenizer.decode
        if self.stop and len(above):
            length = min(
                length, int(above[0])
            )  # rows of a batch end together; what a stopped row was padded with is no text
        scores = scores[: length + 1]
        tokens = tuple(decode([t]) for t in new[:length])
        prompt = self.asked.encoded[self.batch.rows[i]].text
        return Watched(
            left_open(prompt) + decoded(self.model.tokenizer, new[:length]),
            tokens,
            scores,
            self.probability(scores),
            self.threshold,
            int(above[0]) if len(above) else None,
            tuple(thinking(self.model.tokenizer, prompt, new[:length])),
            tuple(counts[: length + 1].tolist()),
        )


class _Stop:
    """Called after every step: tells the reader, and ends rows that have had their alarm."""

    def __init__(self, run: WatchedBatch) -> None:
        self.run = run

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        run = self.run
        run.wrote = True
        if not run.thoughts:
            run.heed(input_ids[:, run.batch.ids.shape[1] :].tolist())
        if run.tell is not None:
            score = float(run.scores[-1][0])
            p = run.probability(np.array([score]))
            step = len(run.scores) - 1
            # The score is that of the token read, which is the one before the token now written.
            token = "" if step == 0 else run.model.tokenizer.decode([int(input_ids[0, -2])])
            run.tell(
                Step(
                    step,
                    token,
                    run.model.tokenizer.decode([int(input_ids[0, -1])]),
                    score,
                    None if p is None else float(p[0]),
                    bool(run.alarmed[0]),
                )
            )
        if run.left.is_set():
            return torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
        return (
            run.alarmed.to(input_ids.device)
            if run.stop
            else torch.zeros_like(run.alarmed).to(input_ids.device)
        )
