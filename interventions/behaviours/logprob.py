"""How probable a model finds given continuations of its prompts: no sampling, and edits act as they
do in generation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.data.examples import Text
from probes.data.thoughts import left_open
from probes.data.tokenised import Tokenised
from probes.data.tokens import Batch, Encoded, ids_behind
from probes.models.given import check_model
from probes.models.model import Model
from probes.models.outputs import endless, refuse_endless_logits


@dataclass(frozen=True)
class Continued:
    """A prompt's tokens, and the same tokens with a continuation behind them. Edits at single tokens
    find them in the prompt alone.
    """

    prompt: Encoded
    whole: Encoded

    @property
    def new(self) -> tuple[int, ...]:
        """The tokens of the continuation."""
        return self.whole.ids[len(self.prompt) :]


@dataclass(frozen=True, eq=False)
class Continuations:
    """Prompts, and the same with a continuation behind each. Edits at single tokens look for them in
    the prompts alone.
    """

    prompts: Tokenised
    wholes: tuple[Encoded, ...]

    def __len__(self) -> int:
        return len(self.wholes)

    def __getitem__(self, i: int | np.integer) -> Continued:
        return Continued(self.prompts.encoded[i], self.wholes[i])

    def new(self, i: int | np.integer) -> tuple[int, ...]:
        """The tokens of one continuation."""
        return self.wholes[i].ids[len(self.prompts.encoded[i]) :]

    def rows(self, which: Sequence[int]) -> "Continuations":
        """Some of them, in this order."""
        return Continuations.of(
            [self[i] for i in which], self.prompts.tokenizer, self.prompts.rows(list(which)).columns
        )

    @classmethod
    def of(
        cls, parts: Sequence[Continued], tokenizer: Any, columns: Mapping[str, np.ndarray] | None = None
    ) -> "Continuations":
        """`columns` are those of the prompts, one value each, read by edits at span positions."""
        return cls(
            Tokenised.of_tokens([p.prompt for p in parts], tokenizer, columns), tuple(p.whole for p in parts)
        )


def continued(
    model: Model,
    texts: Sequence[Text | Encoded],
    continuations: Sequence[str],
    lead: str | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
) -> Continuations:
    """Each prompt with its continuation, tokenised together as the model would meet them.

    Prompts may be tokens; then only the continuation is tokenised. `lead` goes between the two; by default a
    space, unless the prompt (a chat as its template renders it) ends or the continuation begins with white
    space. `columns` are those of the prompts, read by edits at span positions. Raises ValueError for a
    continuation without tokens of its own, where the tokenizer merges it into the prompt, and for a model
    without an output head.
    """
    check_model(model, "a behaviour")
    model.require_generation("the log-probability of a continuation")
    if len(texts) != len(continuations):
        raise ValueError(
            f"{len(texts)} prompts but {len(continuations)} continuations; give one each, and a prompt"
            " several times for several"
        )
    prompts = _encoded(model, texts)
    refuse_open_thoughts(prompts)
    spaced = [
        _space(p.text, c) if lead is None else lead for p, c in zip(prompts, continuations, strict=True)
    ]
    joined = [p.text + s + c for p, s, c in zip(prompts, spaced, continuations, strict=True)]
    found: list[Continued | None] = [None] * len(prompts)
    for is_chat in (False, True):
        rows = [i for i, p in enumerate(prompts) if (p.chat is not None) == is_chat and not p.given]
        # A chat template has written its own special tokens.
        ids = (
            model.tokenizer([joined[i] for i in rows], add_special_tokens=not is_chat)["input_ids"]
            if rows
            else []
        )
        for i, whole in zip(rows, ids, strict=True):
            found[i] = _checked(i, prompts[i], tuple(whole), continuations[i], joined[i], model.max_length)
    for i, p in enumerate(prompts):
        if p.given:
            whole = (*p.ids, *ids_behind(model.tokenizer, p.text, spaced[i] + continuations[i]))
            found[i] = _checked(i, p, whole, continuations[i], joined[i], model.max_length)
    return Continuations.of([c for c in found if c is not None], model.tokenizer, columns)


def _encoded(model: Model, texts: Sequence[Text | Encoded]) -> list[Encoded]:
    """The texts as tokens; those that are tokens already stay."""
    rows = [i for i, t in enumerate(texts) if not isinstance(t, Encoded)]
    fresh = model.encode([t for t in texts if not isinstance(t, Encoded)]) if rows else []
    made = dict(zip(rows, fresh, strict=True))
    return [t if isinstance(t, Encoded) else made[i] for i, t in enumerate(texts)]


def refuse_open_thoughts(prompts: Sequence[Encoded]) -> None:
    """Raises ValueError for a prompt that ends where a thought begins: what follows is no answer."""
    for i, prompt in enumerate(prompts):
        if tag := left_open(prompt.text):
            raise ValueError(
                f"prompt {i} ends with {tag!r}, so what follows it is thought and no answer; end the thought"
                " in the prompt, or load the model with chat_template_kwargs={'enable_thinking': False}"
            )


def logprobs(model: Model, parts: Continuations, batch_size: int | None = None) -> Float[np.ndarray, " n"]:
    """The log-probability (nats) of each continuation behind its prompt, summed over its tokens;
    whether the text then ends does not count.
    """
    total = np.zeros(len(parts))
    for batch in model.batches(parts.wholes, batch_size, side="left"):
        logits = forced_logits(model, batch, parts)
        refuse_endless_logits(endless(logits), bool(model.writes))
        keep = logits.shape[1]
        lengths = torch.tensor([len(parts.new(row)) for row in batch.rows])
        own = torch.arange(keep)[None] >= keep - lengths[:, None]
        target = batch.ids[:, -keep:].to(logits.device)
        scores = logits.float().log_softmax(-1).gather(2, target[..., None])[..., 0].cpu().double()
        # Columns before a shorter continuation hold its prompt; they are left out and not multiplied by 0,
        # which would keep a NaN.
        total[batch.rows] = torch.where(own, scores, torch.zeros_like(scores)).sum(1).numpy()
    return total


def token_logprobs(
    model: Model, parts: Continuations, batch_size: int | None = None
) -> list[Float[np.ndarray, " token"]]:
    """The log-probability (nats) of every new token behind what stands before it."""
    found: list[Any] = [None] * len(parts)
    for batch in model.batches(parts.wholes, batch_size, side="left"):
        logits = forced_logits(model, batch, parts)
        target = batch.ids[:, -logits.shape[1] :].to(logits.device)
        scores = logits.float().log_softmax(-1).gather(2, target[..., None])[..., 0].cpu().double().numpy()
        for i, row in enumerate(batch.rows):
            found[row] = scores[i, -len(parts.new(row)) :]
    return found


def forced_logits(model: Model, batch: Batch, parts: Continuations) -> Float[Tensor, "batch new vocab"]:
    """What the model would have predicted in place of each new token of a left-padded batch: column -j
    belongs to the j-th token from the end.

    Shorter continuations fill their last columns only. Rows of the batch are numbers of `parts`.
    """
    keep = max(len(parts.new(row)) for row in batch.rows)
    # The prompt is what positions are looked up in, as in generation; left padding shifts prompt and whole
    # alike.
    return model.last_logits(batch, parts.prompts, keep + 1)[:, -keep - 1 : -1]


def _space(prompt: str, continuation: str) -> str:
    return "" if prompt[-1:].isspace() or continuation[:1].isspace() else " "


def _checked(
    i: int, prompt: Encoded, ids: tuple[int, ...], continuation: str, joined: str, max_length: int | None
) -> Continued:
    if max_length is not None and len(ids) > max_length:
        raise ValueError(
            f"prompt {i} with its continuation {continuation!r:.60} has {len(ids)} tokens but the model reads"
            f" at most {max_length}; shorten them"
        )
    if ids[: len(prompt)] != prompt.ids:
        raise ValueError(
            f"behind {prompt.text[-60:]!r} the tokenizer merges the continuation {continuation!r:.60} into"
            " the prompt (or ends every text with a special token); end the prompt before a space and let"
            " the continuation start with it"
        )
    if len(ids) == len(prompt):
        raise ValueError(f"the continuation {continuation!r:.60} of prompt {i} has no tokens; give it words")
    return Continued(
        prompt,
        Encoded(ids, (*prompt.special, *[False] * (len(ids) - len(prompt))), None, joined, prompt.chat),
    )
