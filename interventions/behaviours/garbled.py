"""Which texts are garbled: they surprise the unedited model, or repeat themselves, more than its own answers
do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from interventions.behaviours.completing import completions
from interventions.behaviours.logprob import Continuations, Continued, token_logprobs
from probes.checks.settings import check_count
from probes.data.examples import Examples
from probes.data.thoughts import answer_of, left_open
from probes.data.tokens import Encoded
from probes.models.given import check_model
from probes.models.model import Model

SURE = 0.99
"""The share of ordinary answers below the thresholds."""
SAMPLED = {"do_sample": True, "temperature": 1.0, "top_p": 0.9, "top_k": 0}
SAMPLES = 100
"""Ordinary answers that the thresholds are taken from, at least."""
MOST = 0.75
"""A text that says less than this for the second time is not called repetitive, whatever is ordinary."""
OPENING = 4
"""First tokens whose surprise does not count: they say what the model does, as no edit leaves it, and not how
it writes.
"""
LEAST, FRESH = 12, 4
"""Tokens from which on a text can be told, and how many of them have to say something for the first time."""
RUN = 2
"""Tokens in a row that are said for the first time or not."""


@dataclass(frozen=True)
class Ordinary:
    """What a model's own answers are like, and so from where on a text is no ordinary one.

    `surprise` is nats a token that says something for the first time, under the unedited model behind the
    prompt; `repeated` the share of a text that was said before. `model` is who is surprised (default: the
    model that is asked, without its edits; give the original of one whose weights were edited). A garbled
    text has no word, or at least `LEAST` tokens and more of either.
    """

    surprise: float | int
    repeated: float | int
    model: Model | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, model: Model, prompts: Examples, max_new_tokens: int = 48, seed: int = 0) -> "Ordinary":
        """The thresholds that 99% of a model's own answers to the prompts stay below.

        Surprise is that of samples (temperature 1, of the likeliest tokens that sum to 0.9): greedy texts
        surprise less than any other, and whatever a model never says unedited, such as an answer where it
        refused, surprises a little. Repetition is that of greedy texts, as behaviours read them. Prompts are
        taken several times where they are fewer than 100; for repetition that does not help, so give 30 or
        more. Raises ValueError for a model under edits.
        """
        check_model(model, "Ordinary.of")
        check_count("max_new_tokens", max_new_tokens)
        if model.acting:
            raise ValueError("ordinary answers are those of the unedited model; this one is under edits")
        asked = model.tokenise(prompts.rows(np.arange(max(SAMPLES, len(prompts))) % len(prompts)))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            written = model.generate(asked, max_new_tokens, **SAMPLED)
        begun = (left_open(e.text) for e in asked.encoded)
        sampled = [answer_of(tag + text) for tag, text in zip(begun, written, strict=True)]
        greedy = [answer_of(text) for text in completions(model, prompts, max_new_tokens)]
        surprise, repeated = surprises(model, asked, sampled), repetitions(model, greedy)
        return cls(_beyond(surprise, float("inf")), max(MOST, _beyond(repeated, MOST)), model)

    def garbled(self, model: Model, prompts: Examples, texts: Sequence[str]) -> Bool[np.ndarray, " n"]:
        """Which of the completions, one a prompt, are garbled; thoughts are no answer."""
        reader = self.model or replace(model, writes=(), meant=())
        answers = [answer_of(text) for text in texts]
        wordless = np.array([not any(c.isalnum() for c in text) for text in answers])
        # Comparisons with NaN, for a text too short to tell, are False.
        strange = surprises(reader, prompts, answers) > self.surprise
        return wordless | strange | (repetitions(reader, answers) > self.repeated)


def surprises(model: Model, prompts: Examples, texts: Sequence[str]) -> Float[np.ndarray, " n"]:
    """How surprising a model finds texts behind its prompts: nats a token, of those that say something for
    the first time, since no repetition surprises. NaN for short ones.
    """
    found = np.full(len(texts), np.nan)
    asked, made, rows = model.tokenise(prompts), [], []
    for i, (prompt, new) in enumerate(zip(asked.encoded, _tokens(model, texts), strict=True)):
        new = new[: None if model.max_length is None else max(0, model.max_length - len(prompt))]
        if len(new) >= LEAST:
            whole = (*prompt.ids, *new)
            special = (*prompt.special, *[False] * len(new))
            made.append(Continued(prompt, Encoded(whole, special, None, prompt.text + texts[i])))
            rows.append(i)
    if made:
        parts = Continuations.of(made, model.tokenizer)
        logs = token_logprobs(model, parts)
        found[rows] = [_surprise(parts.new(i), -each) for i, each in enumerate(logs)]
    return found


def _surprise(ids: Sequence[int], nats: np.ndarray) -> float:
    first = _first_time(ids)
    first[:OPENING] = False
    return float(nats[first].mean()) if first.sum() >= FRESH else float("nan")


def repetitions(model: Model, texts: Sequence[str]) -> Float[np.ndarray, " n"]:
    """The share of each text's runs of tokens that it has said before; NaN for short ones."""
    found = (1 - _first_time(ids).mean() if len(ids) >= LEAST else np.nan for ids in _tokens(model, texts))
    return np.array(list(found))


def _first_time(ids: Sequence[int]) -> np.ndarray:
    """Which tokens end a run that was not said before."""
    runs = [tuple(ids[max(0, i + 1 - RUN) : i + 1]) for i in range(len(ids))]
    first = {run: i for i, run in reversed(list(enumerate(runs)))}
    return np.array([first[run] == i for i, run in enumerate(runs)], dtype=bool)


def _tokens(model: Model, texts: Sequence[str]) -> list[list[int]]:
    return model.tokenizer(list(texts), add_special_tokens=False)["input_ids"]


def _beyond(values: np.ndarray, otherwise: float) -> float:
    """What 99% of the values that there are stay below."""
    known = values[np.isfinite(values)]
    return float(np.quantile(known, SURE)) if len(known) else otherwise
