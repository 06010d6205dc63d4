"""From texts to token batches: tokenising, bucketing by length, padding with the right position ids."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int

from probes.examples import Text

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Encoded:
    """One tokenised text: its ids, which of them the tokenizer added, and where each lies in the text."""

    ids: tuple[int, ...]
    special: tuple[bool, ...]
    offsets: tuple[tuple[int, int], ...] | None
    text: str

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Batch:
    """Padded tokens. `rows` says which texts these are; `start[i]` is the column of text i's first token."""

    rows: np.ndarray
    ids: Int[torch.Tensor, "batch pos"]
    mask: Int[torch.Tensor, "batch pos"]
    start: np.ndarray

    @property
    def padded(self) -> bool:
        return bool((self.mask == 0).any())


def encode(tokenizer: Any, texts: Sequence[Text], max_length: int | None = None) -> list[Encoded]:
    """Tokenises texts as the model expects them, special tokens included; chat messages go through the chat template.

    Raises ValueError for a text that has no tokens, is longer than `max_length` (nothing is ever cut off
    silently), or would start with two beginning-of-text tokens.
    """
    rendered = [_render(tokenizer, text) for text in texts]
    # An unknown word is content, unless its token has another office too (GPT-2 has one token for all of them).
    offices = {getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "pad", "cls", "sep")}
    specials = set(tokenizer.all_special_ids) - ({tokenizer.unk_token_id} - offices)
    bos = tokenizer.bos_token_id
    found: list[Encoded | None] = [None] * len(rendered)
    for is_chat in (False, True):
        rows = [i for i, (_, chat) in enumerate(rendered) if chat == is_chat]
        if not rows:
            continue
        # One call for all: fast tokenizers work on many texts at once.
        out = tokenizer([rendered[i][0] for i in rows], add_special_tokens=not is_chat, return_offsets_mapping=tokenizer.is_fast)
        spans: list[Any] = out["offset_mapping"] if tokenizer.is_fast else [None] * len(rows)
        for i, ids, span in zip(rows, out["input_ids"], spans, strict=True):
            offsets = None if span is None else tuple((int(a), int(b)) for a, b in span)
            found[i] = Encoded(tuple(ids), tuple(t in specials for t in ids), offsets, rendered[i][0])
    for i, e in enumerate(found):
        assert e is not None
        ids, text = e.ids, e.text
        if not ids:
            raise ValueError(f"text {i} ({text!r:.60}) has no tokens under this tokenizer")
        if max_length is not None and len(ids) > max_length:
            raise ValueError(f"text {i} has {len(ids)} tokens but the model reads at most {max_length}; shorten it ({text!r:.60})")
        if bos is not None and ids[:2] == (bos, bos):
            raise ValueError(f"text {i} starts with two beginning-of-text tokens; the tokenizer adds one already, so take it out of the text")
    return [e for e in found if e is not None]


def _render(tokenizer: Any, text: Text) -> tuple[str, bool]:
    if isinstance(text, str):
        return text, False
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("the examples are chat messages but this tokenizer has no chat template; set one or pass plain texts")
    # The template writes its own special tokens, so none are added when it is tokenised.
    last_is_user = text[-1]["role"] != "assistant"
    return tokenizer.apply_chat_template(text, tokenize=False, add_generation_prompt=last_is_user), True


def batches(encoded: Sequence[Encoded], pad_id: int, side: Side, batch_size: int | None, max_tokens: int = 2048) -> Iterator[Batch]:
    """Batches of texts of similar length, longest first, at most `max_tokens` padded tokens or `batch_size` rows each."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}; None lets the token budget decide")
    order = sorted(range(len(encoded)), key=lambda i: (-len(encoded[i]), i))
    start = 0
    while start < len(order):
        longest = len(encoded[order[start]])
        size = batch_size if batch_size is not None else max(1, max_tokens // longest)
        chunk = order[start : start + size]
        yield pad([encoded[i] for i in chunk], pad_id, side, np.asarray(chunk))
        start += size


def pad(encoded: Sequence[Encoded], pad_id: int, side: Side, rows: np.ndarray) -> Batch:
    width = max(len(e) for e in encoded)
    ids = torch.full((len(encoded), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    start = np.zeros(len(encoded), dtype=np.int64)
    for i, e in enumerate(encoded):
        start[i] = width - len(e) if side == "left" else 0
        span = slice(int(start[i]), int(start[i]) + len(e))
        ids[i, span] = torch.tensor(e.ids)
        mask[i, span] = 1
    return Batch(rows, ids, mask, start)
