"""Passes under edits that begin late in the prompt share what comes before.

In a causal model the keys and values of the tokens before the first edited one are those of the unedited
model. Within `shared_prefixes` they are computed once a batch; a pass under an edit of the last token then
reads that token alone. An effect asks the same prompts under twenty controls and more, so this is most of its
work. What a pass gives is compared with a whole pass the first time that a kind of edit is met.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from probes.data.tokenised import Tokenised
from probes.data.tokens import Batch
from probes.models.backends.around import under_way
from probes.models.compiled import original
from probes.models.model import SHORTER, Model
from probes.models.unwrap import inner_model, text_config
from probes.models.writes import SiteFunction, Write

ROOM = 2**31  # bytes of keys and values that are kept; batches beyond are read whole
WORTH = 1 / 4  # share of the columns that has to come before the edit
CLOSE = 1e-3  # of the largest logit: how far both ways of reading may lie apart
OURS = ("probes", "interventions")
PLAIN_LAYERS = {"full_attention", "sliding_attention"}

Pairs = list[tuple[Tensor, Tensor]]
"""Keys and values of every block."""


@dataclass(eq=False)
class _Shared:
    """What passes of one model have in common, as long as they share."""

    hf: torch.nn.Module
    kept: dict[str, Pairs] = field(default_factory=dict)
    used: int = 0
    agreed: dict[Any, bool] = field(default_factory=dict)

    def last_logits(self, model: Model, batch: Batch, asked: Tokenised, keep: int) -> Tensor | None:
        """Logits at the last `keep` columns, or more; None where a whole pass has to be made."""
        if model.hf is not self.hf or not model.writes:
            return None
        as_it_is = model.fingerprint  # weights, adapters and settings may change between two passes
        if as_it_is.state.hooks or under_way(inner_model(self.hf)):
            return None  # somebody looks at all tokens, or changes them
        columns = batch.ids.shape[1]
        first = min(_first_edited(model, batch, asked), columns - keep)
        kind = tuple(sorted({_kind(w) for w in model.writes}))
        if (
            first < WORTH * columns
            or not batch.mask[:, :first].any(1).all()
            or not self.agreed.get(kind, True)
        ):
            return None
        before = self._before(model, batch, first, repr(as_it_is))
        if before is None:
            return None
        writes = model.bound_writes(batch, asked, seen=first)
        behind = _run(model, batch, slice(first, None), _cache(before), writes, keep)
        if kind in self.agreed:
            return behind
        whole = model.whole_logits(batch, asked, keep)
        apart = (behind[:, -keep:] - whole[:, -keep:]).abs().max()
        self.agreed[kind] = bool(apart <= CLOSE * whole[:, -keep:].abs().max())
        return whole

    def _before(self, model: Model, batch: Batch, first: int, known_as: str) -> Pairs | None:
        """Keys and values of the unedited model at the first columns; None where they find no room."""
        key = repr((*batch.ids.shape, batch.ids.tolist(), batch.mask.tolist(), known_as))
        found = self.kept.get(key)
        if found is not None and found[0][0].shape[-2] >= first:
            return [(k[..., :first, :], v[..., :first, :]) for k, v in found]
        cache = _cache()
        _run(model, batch, slice(0, first), cache, (), 1)
        pairs: Any = [(layer.keys, layer.values) for layer in cache.layers]
        if not pairs or any(k is None or k.shape[-2] != first for k, _ in pairs):
            return None
        self.used += _size(pairs) - _size(self.kept.pop(key, []))
        if self.used > ROOM:
            self.used -= _size(pairs)
            return None
        self.kept[key] = pairs
        return pairs


@contextmanager
def shared_prefixes(model: Model) -> Generator[None]:
    """Within the `with`, logits of this model under edits share what lies before the edits.

    Nothing is shared where it would not be exact: for models below single precision, recurrent ones, compiled
    ones, other backends than plain hooks, edits of one's own making; within `applied` and `recording`, and
    where other people's hooks are on the model.
    """
    if SHORTER.get() is not None or not _able(model):
        yield
        return
    token = SHORTER.set(_Shared(model.hf).last_logits)
    try:
        yield
    finally:
        SHORTER.reset(token)


def _able(model: Model) -> bool:
    layers = getattr(text_config(inner_model(model.hf)), "layer_types", None) or ()
    return (
        model.backend.name == "hooks"
        and model.generates
        and model.dtype in (torch.float32, torch.float64)
        and original(model.hf) is model.hf
        and not model.writes
        and not model.acting
        and model.takes("past_key_values")
        and set(layers) <= PLAIN_LAYERS
    )


def _first_edited(model: Model, batch: Batch, asked: Tokenised) -> int:
    """The first column of the batch that an edit changes; 0 where that cannot be told."""
    if model.edited_as_base or len(model.acting) > len(model.writes):
        return 0
    firsts = []
    for write in model.writes:
        if not _of_one_token(write) or not write.needs_prompts:
            return 0
        columns = asked.chosen(write.at, batch).any(0).nonzero()[:, 0]
        firsts += columns[:1].tolist()
    return min(firsts, default=0)


def _kind(write: Write) -> str:
    """What changes a write is made of."""
    return " ".join(f"{type(part).__module__}.{type(part).__qualname__}" for part in _made_of(write))


def _made_of(part: Any) -> Iterator[Any]:
    """A write or a change, and those within it."""
    yield part
    for within in getattr(part, "__dict__", {}).values():
        if hasattr(within, "delta") or isinstance(within, Write):
            yield from _made_of(within)


def _of_one_token(write: Write) -> bool:
    """Whether it is known to change every token by itself: as all changes here do, and nobody knows of
    other people's.
    """
    ours = all(type(part).__module__.partition(".")[0] in OURS for part in _made_of(write))
    return ours and not isinstance(write, SiteFunction)


def _cache(pairs: Pairs | None = None) -> Any:
    from transformers import DynamicCache  # a large library, loaded when there is a model

    return DynamicCache(pairs)


def _size(pairs: Pairs) -> int:
    return sum(k.nbytes + v.nbytes for k, v in pairs)


def _run(
    model: Model,
    batch: Batch,
    columns: slice,
    cache: Any,
    writes: Sequence[Any],
    keep: int,
) -> Tensor:
    """Logits of a pass over some columns, behind those of the cache, which grows by them."""
    inputs = model.inputs(batch)
    cut = {name: t[:, columns] for name, t in inputs.items() if name != "attention_mask"}
    if "attention_mask" in inputs:  # which is of all tokens so far
        cut["attention_mask"] = inputs["attention_mask"][:, : columns.stop]
    more = {**model.logits_kept(keep), "past_key_values": cache, "use_cache": True}
    found = model.backend.run(cut, (), lambda h: h, writes, True, more).logits
    assert found is not None
    return found
