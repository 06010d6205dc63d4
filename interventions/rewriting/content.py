"""Whether a rewrite says what its source says, by a language model's own probabilities: LogProp
(arXiv 2502.15022), without training and without another judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from interventions.behaviours.logprob import Continuations, Continued, token_logprobs
from probes.data.cells import as_groups
from probes.data.tokens import Encoded
from probes.metrics.estimates import Estimate, auroc
from probes.models.given import check_model
from probes.models.model import Model

CONTEXTS = (
    "Paraphrase the following sentence: {source}",
    "Rewrite the following sentence to be {style}: {source}",
    "Repeat the following sentence: {source}",
)
"""The three requests behind which a rewrite is scored: p1, p2 and p3."""


@dataclass(frozen=True, eq=False)
class ContentScores:
    """Per rewrite: `content` [n], the mean over its tokens of log max(p1, p2, p3), in nats, at most 0;
    `style` [n], the mean of p2 - max(p1, p3), a difference of probabilities; `tokens` [n], how many were
    scored, the end token among them. A token's p_k is its probability behind request k of `CONTEXTS`.
    """

    content: Float[np.ndarray, " n"]
    style: Float[np.ndarray, " n"]
    tokens: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.tokens)


def content_scores(
    model: Model,
    sources: Sequence[str],
    rewrites: Sequence[str],
    style: str = "natural",
    batch_size: int | None = None,
) -> ContentScores:
    """LogProp of every rewrite given its source (arXiv 2502.15022): high content where the model expects
    these words behind a request to paraphrase, restyle or repeat.

    The requests go through the chat template where the tokenizer has one; otherwise a blank line stands
    before the rewrite. Every token of the rewrite counts, from the first to the end token, where the
    tokenizer has one. The paper's released code scores none of the first tokens, passes a mask of one token
    and leaves the blank lines out of its template; this follows the formula instead. Raises ValueError for a
    model without an output head, an empty rewrite, other numbers of sources and rewrites, and a tokenizer
    that splits a rewrite differently behind different requests.
    """
    check_model(model, "content_scores")
    model.require_generation("LogProp")
    texts = _strings(sources, "sources"), _strings(rewrites, "rewrites")
    if len(texts[0]) != len(texts[1]):
        raise ValueError(
            f"{len(texts[0])} sources but {len(texts[1])} rewrites; give one rewrite a source, and a source"
            " several times for several"
        )
    n = len(texts[0])
    parts = [
        part
        for context in CONTEXTS
        for part in answered(model, [context.format(source=s, style=style) for s in texts[0]], texts[1])
    ]
    differ = [i for i in range(n) if len({parts[c * n + i].new for c in range(3)}) > 1]
    if differ:
        raise ValueError(
            f"the tokenizer splits rewrite {differ[0]} ({texts[1][differ[0]]!r:.60}) differently behind"
            " different requests, so its tokens cannot be compared"
        )
    logs = token_logprobs(model, Continuations.of(parts, model.tokenizer), batch_size)
    content, restyled = np.zeros(n), np.zeros(n)
    for i in range(n):
        paraphrase, rewrite, repeat = (logs[c * n + i] for c in range(3))
        content[i] = np.maximum(np.maximum(paraphrase, rewrite), repeat).mean()
        restyled[i] = (np.exp(rewrite) - np.exp(np.maximum(paraphrase, repeat))).mean()
    return ContentScores(content, restyled, np.array([len(part.new) for part in parts[:n]], dtype=np.int64))


def answered(model: Model, requests: Sequence[str], answers: Sequence[str]) -> list[Continued]:
    """Each request with its answer and the end token behind it, tokenised as one text.

    The answer's tokens are those that end behind its first character's place, so that a blank line belongs to
    the request however the tokenizer joins its characters.
    """
    tokenizer = model.tokenizer
    chat = bool(getattr(tokenizer, "chat_template", None))
    prompts = model.encode([[{"role": "user", "content": r}] if chat else r for r in requests])
    if not tokenizer.is_fast:
        raise ValueError(
            f"LogProp finds the answer's tokens by their place in the text, which {type(tokenizer).__name__}"
            " does not tell; load the fast tokenizer"
        )
    leads = [_lead(p, chat) for p in prompts]
    joined = [p.text + lead + answer for p, lead, answer in zip(prompts, leads, answers, strict=True)]
    out = tokenizer(joined, add_special_tokens=not chat, return_offsets_mapping=True)
    end = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
    found = []
    for i, (prompt, lead, ids, spans) in enumerate(
        zip(prompts, leads, out["input_ids"], out["offset_mapping"], strict=True)
    ):
        start = next((t for t, (_, stop) in enumerate(spans) if stop > len(prompt.text + lead)), len(ids))
        # Some tokenizers close every text with the end token themselves.
        ids = tuple(ids)[:-1] if end and ids[-1] == end[0] and spans[-1][0] == spans[-1][1] else tuple(ids)
        if start >= len(ids):
            raise ValueError(f"rewrite {i} ({answers[i]!r:.60}) has no tokens; give it words")
        whole = ids + end
        if model.max_length is not None and len(whole) > model.max_length:
            raise ValueError(
                f"rewrite {i} behind its source has {len(whole)} tokens but the model reads at most"
                f" {model.max_length}; shorten them"
            )
        special = (False,) * len(whole)
        before = Encoded(whole[:start], special[:start], None, prompt.text + lead, prompt.chat)
        found.append(Continued(before, Encoded(whole, special, None, joined[i], prompt.chat)))
    return found


def _lead(prompt: Encoded, chat: bool) -> str:
    """What stands between request and answer: a blank line, or in a chat whatever its template wrote
    (a space where that ends in a bare word).
    """
    if not chat:
        return "\n\n"
    return "" if prompt.text[-1:].isspace() or prompt.special[-1] else " "


def _strings(texts: Sequence[str], what: str) -> list[str]:
    if isinstance(texts, str):
        raise TypeError(f"the {what} are one string; give a list")
    bad = next((i for i, text in enumerate(texts) if not isinstance(text, str) or not text.strip()), None)
    if bad is not None or not len(texts):
        raise ValueError(
            f"{what} must be texts with words, got"
            f" {'none' if bad is None else f'{texts[bad]!r:.60} at {bad}'}"
        )
    return [text.strip() for text in texts]


@dataclass(frozen=True, eq=False)
class ContentGate:
    """Lets a rewrite pass whose `content` under `model` is at least `threshold`.

    `auc` is the AUROC of verified rewrites over ones of another content, where such were given: when its
    interval reaches .5 the model cannot tell the two apart, and using the gate raises ValueError. A gate
    without it is untested, and says so.
    """

    model: Model
    threshold: float
    auc: Estimate | None = None
    style: str = "natural"

    @classmethod
    def calibrated(
        cls,
        model: Model,
        sources: Sequence[str],
        verified: Sequence[str],
        substituted: Sequence[str] | None = None,
        percentile: float | int = 5,
        *,
        style: str = "natural",
        groups: Any = None,
        batch_size: int | None = None,
    ) -> "ContentGate":
        """A threshold that `percentile` percent of the verified rewrites lie below, and, with `substituted`
        rewrites that say something else, how well it tells them.

        Row i of all lists belongs to source i; `groups` (default: each source its own) are resampled for the
        interval. Raises ValueError for too few rewrites to tell such a percentile, and as `content_scores`
        does.
        """
        if not 0 < percentile < 100 or len(verified) * percentile < 100:
            raise ValueError(
                f"{len(verified)} verified rewrites cannot fix a {percentile:g}% threshold; it takes at least"
                f" {np.ceil(100 / percentile) if percentile > 0 else 'more'}"
            )
        right = content_scores(model, sources, verified, style, batch_size).content
        gate = cls(model, float(np.percentile(right, percentile)), None, style)
        if substituted is None:
            return gate
        wrong = content_scores(model, sources, substituted, style, batch_size).content
        own = np.arange(len(right)) if groups is None else as_groups(groups, len(right))
        told = auroc(
            np.concatenate([right, wrong]),
            np.repeat([1, 0], [len(right), len(wrong)]),
            np.concatenate([own, own]),
        )
        return replace(gate, auc=told)

    def passes(
        self, sources: Sequence[str], rewrites: Sequence[str], batch_size: int | None = None
    ) -> tuple[Bool[np.ndarray, " n"], ContentScores]:
        """Which rewrites pass, and their scores; raises ValueError for a gate that tells nothing."""
        self.require_power()
        scores = content_scores(self.model, sources, rewrites, self.style, batch_size)
        return scores.content >= self.threshold, scores

    def require_power(self) -> None:
        if self.auc is not None and not self.auc.low > 0.5:
            raise ValueError(
                f"{self.model.name!r} does not tell rewrites from texts of another content: the AUROC of"
                f" verified over substituted rewrites is {self.auc}, whose interval reaches .5; take another"
                " model, or leave the content gate out and say so"
            )

    def __repr__(self) -> str:
        told = "not tested on other content" if self.auc is None else f"AUROC over other content {self.auc}"
        return f"ContentGate({self.model.name!r}, content >= {self.threshold:.3f}, {told})"
