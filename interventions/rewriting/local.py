"""Rewriting with a local model: samples that depend on nothing but the prompt, the number and the
seed, on disk as they come.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interventions.judging.answers import CUT_OFF, Answered
from interventions.judging.ledger import Entry, Ledger
from interventions.judging.question import digest
from interventions.judging.runs import usage_of
from interventions.rewriting.candidates import Candidates, asked, check_k
from interventions.rewriting.instructions import DIRECTED, UNDIRECTED, cleaned, request_messages
from probes.checks.saying import warn
from probes.data.examples import Examples, Text
from probes.markup.progress import progress_bar
from probes.models.decoding import Decoding, end_tokens, plain
from probes.models.generating import own_choices
from probes.models.given import check_model
from probes.models.model import Model


@dataclass(frozen=True)
class LocalRewriter:
    """Rewrites each prompt k times with a Hugging Face model, in its chat template where the tokenizer has
    one.

    Candidate j of a prompt is sampled with random numbers of its own, made from the seed, the prompt's id
    and j; so it does not depend on the other prompts, on k or on the batch (but for rounding, which can
    tip a choice between tokens). Tokens that the model's generation config suppresses or penalises are
    so. Each answer is in the file `ledger` (JSON lines) once its batch is through and is never made
    again. `instruction` stands in for `DIRECTED`, `undirected` for `UNDIRECTED`. Answers that are no
    rewrite are failures with a name; a warning counts them. Raises ValueError for an edited model, one
    that writes no text, and prompts that leave no room for `max_new_tokens`.
    """

    model: Model
    ledger: str | Path
    instruction: str | None = None
    temperature: float | int = 1.0
    top_p: float | int = 0.95
    max_new_tokens: int = 256
    _: KW_ONLY
    undirected: str | None = None
    batch_size: int | None = None
    progress: bool = field(default=True, compare=False)

    def __post_init__(self) -> None:
        check_model(self.model, "LocalRewriter")
        self.model.require_generation("rewriting prompts")
        if self.model.writes:
            raise ValueError(
                "the model is edited, and its ledger could not tell edits apart; give the base model"
            )
        if self.temperature <= 0 or not 0 < self.top_p <= 1 or self.max_new_tokens < 1:
            raise ValueError(
                "samples need a temperature above 0, a top_p above 0 and at most 1, and room for new tokens;"
                f" got {self.temperature}, {self.top_p} and {self.max_new_tokens}"
            )

    def __call__(self, prompts: Examples, k: int, *, directed: bool = True, seed: int = 0) -> Candidates:
        check_k(k)
        instruction = (self.instruction or DIRECTED) if directed else (self.undirected or UNDIRECTED)
        drawn = (self.temperature, self.top_p, self.max_new_tokens)
        own = plain(own_choices(self.model.hf))
        name = digest("local", self.model.fingerprint.key, instruction, *drawn, *([own] if own else []))
        # One key a row: the id tells prompts apart that have the same text.
        questions = [self._question(instruction, asked(text)) for text in prompts.texts]
        keys = [
            digest(name, seed, str(id), question, j)
            for id, question in zip(prompts.ids, questions, strict=True)
            for j in range(k)
        ]
        ledger = Ledger(self.ledger)
        if ledger.damaged:
            warn(f"{ledger.damaged} lines of {self.ledger} cannot be read; their rewrites are made again")
        self._write(prompts, k, keys, ledger, questions, name)
        entries = [ledger.known[key] for key in keys]
        failed = [e.failure for e in entries if e.failure]
        if failed:
            counts = ", ".join(f"{reason} {failed.count(reason)}" for reason in sorted(set(failed)))
            warn(
                f"{len(failed)} of {len(entries)} answers of {self.model.name!r} are no rewrite ({counts});"
                " their rows have no text"
            )
        own = set(keys)
        usage = usage_of([e for e in ledger.lines if e.key in own], None)
        rows = [(e.label or "", e.failure, f"sample {i % k}") for i, e in enumerate(entries)]
        return Candidates.of_rows(
            prompts, k, rows, directed=directed, source=f"local {self.model.name}", usage=usage
        )

    def _write(
        self,
        prompts: Examples,
        k: int,
        keys: Sequence[str],
        ledger: Ledger,
        questions: Sequence[Text],
        name: str,
    ) -> None:
        """Makes and writes down what the ledger lacks, batch by batch."""
        missing = [row for row, key in enumerate(keys) if key not in ledger.known]
        wanted = sorted({row // k for row in missing})
        encoded = dict(zip(wanted, self.model.encode([questions[r] for r in wanted]), strict=True))
        longest, room = max(map(len, encoded.values()), default=0), self.model.max_length
        if room is not None and longest + self.max_new_tokens > room:
            raise ValueError(
                f"the longest prompt with its instruction has {longest} tokens and max_new_tokens is"
                f" {self.max_new_tokens}, but the model reads at most {room}; lower max_new_tokens, shorten"
                " the prompts, or give a shorter instruction"
            )
        model, own = self.model, own_choices(self.model.hf)
        decoding = Decoding.of(model.hf, model.tokenizer, model.pad_id, self.max_new_tokens, own)
        with progress_bar("rewrite", self.progress, total=len(missing), unit="text") as bar:
            for batch in (
                model.batches(
                    [encoded[row // k] for row in missing], self.batch_size, "left", decoding=decoding
                )
                if missing
                else []
            ):
                rows = [missing[int(i)] for i in batch.rows]
                ledger.catch_up()  # another process may have been here
                rows = [row for row in rows if keys[row] not in ledger.known]
                for row, entry in zip(rows, self._batch(prompts, rows, k, keys, questions), strict=True):
                    ledger.add(
                        Entry(
                            keys[row],
                            name,
                            f"{prompts.ids[row // k]}#{row % k}",
                            **entry,
                            tokens_in=len(encoded[row // k]),
                        )
                    )
                bar.update(len(batch.rows))

    def _batch(
        self, prompts: Examples, rows: Sequence[int], k: int, keys: Sequence[str], questions: Sequence[Text]
    ) -> list[dict[str, Any]]:
        if not rows:
            return []
        sampler = Sampler(
            [int(keys[row], 16) for row in rows],
            self.temperature,
            self.top_p,
            sorted(end_tokens(self.model.hf, self.model.tokenizer)),
        )
        # The rows come longest first, as `batches` gave them, and one batch holds them all: the sampler's
        # rows are these.
        answers = self.model.generate(
            [questions[row // k] for row in rows],
            self.max_new_tokens,
            batch_size=len(rows),
            logits_processor=[sampler],
            **own_choices(self.model.hf),
        )
        found = []
        for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
            answered = (
                cleaned(answer, asked(prompts.texts[row // k]))
                if sampler.ended[i]
                else Answered(failure=CUT_OFF)
            )
            found.append(
                {
                    "label": answered.label,
                    "score": None,
                    "failure": answered.failure,
                    "raw": answer,
                    "model": self.model.name,
                    "finish_reason": "stop" if sampler.ended[i] else "length",
                    "tokens_out": int(sampler.counts[i]),
                    "tries": 1,
                    "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                }
            )
        return found

    def _question(self, instruction: str, text: str) -> Text:
        """One user message, as not every template knows system messages; plain text for a model
        without a template.
        """
        whole = "\n\n".join(m["content"] for m in request_messages(instruction, text))
        return (
            [{"role": "user", "content": whole}]
            if getattr(self.model.tokenizer, "chat_template", None)
            else f"{whole}\n\nRewritten prompt:\n"
        )


class Sampler:
    """Draws the next token of every row with that row's own random numbers: a logits processor that leaves
    nothing but the token drawn.

    The token is where the row's uniform number falls in the cumulated probabilities, likeliest token first,
    cut off behind `top_p`. `ended` [row] says whether a row has drawn an end token, `counts` [row] how many
    tokens it has drawn until then.
    """

    reads_prompts = False

    def __init__(
        self, seeds: Sequence[int], temperature: float | int, top_p: float | int, ends: Sequence[int]
    ) -> None:
        self.draws = [np.random.default_rng(seed) for seed in seeds]
        self.temperature, self.top_p, self.ends = temperature, top_p, ends
        self.ended, self.counts = np.zeros(len(seeds), dtype=bool), np.zeros(len(seeds), dtype=int)

    def __call__(
        self, input_ids: Int[Tensor, "row pos"], scores: Float[Tensor, "row vocab"]
    ) -> Float[Tensor, "row vocab"]:
        assert len(scores) == len(self.draws), f"{len(scores)} rows came for {len(self.draws)} seeds"
        probability, token = (
            (scores.float() / self.temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
        )
        reached = probability.cumsum(-1)
        # The smallest set of likeliest tokens that holds top_p.
        kept = (reached - probability < self.top_p).sum(-1, keepdim=True)
        mass = reached.gather(1, kept - 1)
        uniform = torch.tensor([[draw.random()] for draw in self.draws], dtype=torch.float32).to(
            scores.device
        )
        chosen = token.gather(1, torch.minimum((reached <= uniform * mass).sum(-1, keepdim=True), kept - 1))
        new = chosen[:, 0].cpu().numpy()
        self.counts += ~self.ended
        self.ended |= np.isin(new, self.ends)
        return torch.full_like(scores, float("-inf")).scatter(1, chosen, 0.0)
