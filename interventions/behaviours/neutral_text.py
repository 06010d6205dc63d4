"""What an edit costs on text that has nothing to do with the concept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from probes.metrics import Estimate, mean
from probes.models import Model, Write
from probes.positions import Position
from probes.sites import Site


@dataclass(frozen=True)
class Cost:
    """Damage to unrelated text, per token averaged within each text (nats): how far the next-token distribution moved, and how much loss rose."""

    kl: Estimate
    loss: Estimate
    base_loss: float


@dataclass(frozen=True, eq=False)
class _Everywhere:
    """A write taken from its place to all tokens."""

    site: Site
    at: Position
    act: Write

    def __call__(self, h: Tensor) -> Tensor:
        return self.act(h)


def _everywhere(write: Write) -> _Everywhere:
    return _Everywhere(write.site, Position("all"), write)


def neutral_cost(base: Model, changed: Model, texts: Sequence[str], batch_size: int | None = None) -> Cost:
    """KL(base || changed) of the next-token distribution and the rise in next-token loss; texts are the resampled unit.

    Neutral text has no token that corresponds to a chosen place of a prompt, so edits at single tokens are charged as if they
    acted on all tokens: an upper bound. Raises ValueError for texts of fewer than two tokens, which have no next token to predict.
    """
    base.require_generation("loss on neutral text")
    changed = replace(changed, writes=tuple(w if w.at.kind == "all" else _everywhere(w) for w in changed.writes))
    encoded = base.encode(texts)
    short = [e.text for e in encoded if len(e) < 2]
    if short:
        raise ValueError(f"{len(short)} neutral texts have fewer than two tokens (first: {short[0]!r}); use whole sentences")
    kl, rise, before = (np.zeros(len(encoded)) for _ in range(3))
    for batch in base.batches(encoded, batch_size, side="right"):
        first, second = (
            log_softmax(m.run(batch, write=m.bound_writes(batch, encoded), logits=True).logits[:, :-1].float().cpu(), dim=-1) for m in (base, changed)
        )
        mask = batch.mask[:, 1:].float()
        target = batch.ids[:, 1:]
        count = mask.sum(1)

        def per_text(values: torch.Tensor, mask: torch.Tensor = mask, count: torch.Tensor = count) -> np.ndarray:
            return ((values * mask).sum(1) / count).numpy()

        losses = [cross_entropy(logp.transpose(1, 2), target, reduction="none") for logp in (first, second)]
        kl[batch.rows] = per_text(kl_div(second, first, log_target=True, reduction="none").sum(-1))
        rise[batch.rows] = per_text(losses[1] - losses[0])
        before[batch.rows] = per_text(losses[0])
    return Cost(mean(kl), mean(rise), float(before.mean()))
