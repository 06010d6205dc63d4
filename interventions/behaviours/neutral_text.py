"""What an edit costs on text that has nothing to do with the concept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from probes.data.positions import Position
from probes.data.text_files import json_or_lines
from probes.data.tokens import Batch
from probes.metrics.estimates import Estimate, mean, mean_difference
from probes.models.given import check_model
from probes.models.model import Model
from probes.models.writes import SiteFunction, Write, everywhere

NEUTRAL = (
    "The train leaves the station at nine and reaches the coast before noon.",
    "She put the blue cup on the shelf and closed the window.",
    "Rain fell on the roof all night, and in the morning the garden was green.",
    "He counted the chairs twice and wrote the number on a small card.",
    "A narrow path follows the river past the mill and the old bridge.",
    "The baker opens early, so the street smells of bread before sunrise.",
    "They carried the table up the stairs and rested on every floor.",
    "In autumn the leaves turn yellow and the wind takes them away.",
    "The cat slept on the warm stones until the shade reached her.",
    "My brother repairs clocks and keeps the spare parts in glass jars.",
    "After lunch the children drew maps of the harbour with coloured pencils.",
    "The library lends books for three weeks and maps for one.",
    "A light in the window told the sailors that the house was near.",
    "We walked along the beach and collected shells in a paper bag.",
    "The teacher wiped the board and asked for a volunteer.",
    "Two dogs ran across the field and stopped at the fence.",
    "The soup needs an hour on a low flame and a little salt.",
    "At the market they sell apples, cheese, rope and clay pots.",
    "He folded the letter, put it in his pocket and went home.",
    "Snow covered the road, so the bus came an hour late.",
)
"""Sentences about nothing in particular, for whoever has no text of their own to measure the cost on."""


def read_texts(path: Path) -> list[str]:
    """The texts of a JSON list, or one text a line; empty ones are left out. Raises ValueError for a file
    without texts, for JSON that is no list of them, and for what is not written in UTF-8.
    """
    texts = json_or_lines(path)
    if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
        raise ValueError(f"{path} holds JSON that is no list of texts; give one, or one text a line")
    found = [text for text in texts if text.strip()]
    if not found:
        raise ValueError(f"{path} has no text in it; give a JSON list of texts, or one text a line")
    return found


@dataclass(frozen=True)
class Cost:
    """Damage to unrelated text, per token averaged within each text (nats): how far the next-token
    distribution moved, and how much loss rose.
    """

    kl: Estimate
    loss: Estimate
    base_loss: float


def _everywhere(write: Write) -> Write:
    """A write taken from its place to all tokens."""
    return SiteFunction(
        write.site, Position("all"), everywhere(write), write.width, repr(write), write.keeps_norm
    )


def neutral_cost(base: Model, changed: Model, texts: Sequence[str], batch_size: int | None = None) -> Cost:
    """KL(base || changed) of the next-token distribution and the rise in next-token loss; texts are the
    resampled unit, those that count as one text (or are of one group) together.

    Neutral text has no token that corresponds to a chosen place of a prompt, so edits at single tokens are
    charged as if they acted on all tokens: an upper bound. Raises ValueError for texts of fewer than two
    tokens, which have no next token to predict.
    """
    return neutral_costs(base, [changed], texts, batch_size)[0]


def neutral_costs(
    base: Model, changed: Sequence[Model], texts: Sequence[str], batch_size: int | None = None
) -> list[Cost]:
    """`neutral_cost` of several changed models, for one pass of the base model."""
    for model in (base, *changed):
        check_model(model, "the cost on neutral text")
    base.require_generation("loss on neutral text")
    spread = [
        replace(m, writes=tuple(_everywhere(w) if w.needs_prompts else w for w in m.writes)) for m in changed
    ]
    asked = base.tokenise(texts)
    encoded = asked.encoded
    short = [e.text for e in encoded if len(e) < 2]
    if short:
        raise ValueError(
            f"{len(short)} neutral texts have fewer than two tokens (first: {short[0]!r}); use whole"
            " sentences"
        )
    kl, loss = np.zeros((len(changed), len(encoded))), np.zeros((len(changed) + 1, len(encoded)))
    for batch in base.batches(encoded, batch_size, side="right"):
        mask, target = batch.mask[:, 1:].float(), batch.ids[:, 1:]

        def per_text(values: Tensor, mask: Tensor = mask) -> np.ndarray:
            return ((values * mask).sum(1) / mask.sum(1)).numpy()

        def run(model: Model, batch: Batch = batch) -> Tensor:
            logits = model.run(batch, writes=model.bound_writes(batch, asked), logits=True).logits
            assert logits is not None
            return log_softmax(logits[:, :-1].float().cpu(), dim=-1)

        reference = run(base)
        loss[0, batch.rows] = per_text(cross_entropy(reference.transpose(1, 2), target, reduction="none"))
        for i, model in enumerate(spread):
            logp = run(model)
            loss[i + 1, batch.rows] = per_text(cross_entropy(logp.transpose(1, 2), target, reduction="none"))
            kl[i, batch.rows] = per_text(kl_div(logp, reference, log_target=True, reduction="none").sum(-1))
    return [
        Cost(
            _at_least_0(mean(k, asked.groups, share=False)),
            mean_difference(after, loss[0], asked.groups),
            float(loss[0].mean()),
        )
        for k, after in zip(kl, loss[1:], strict=True)
    ]


def _at_least_0(kl: Estimate) -> Estimate:
    """A divergence is no less than 0, which an interval about a mean of few texts does not know."""
    return kl if np.isnan(kl.low) else replace(kl, low=max(0.0, float(kl.low)))
