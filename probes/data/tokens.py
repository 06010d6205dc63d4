"""From texts to token batches: tokenising, bucketing by length, padding with the right position ids."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int

from probes.checks.saying import warn
from probes.data.chat import Chat, Turn
from probes.data.examples import Text

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Encoded:
    """One tokenised text: its ids, which of them are special tokens, where each lies in the text, the chat it
    was rendered from, and the tokenizer that made it, where one did.

    Where the ids were `given` the text was made from them, and tokenising it again may give others.
    """

    ids: tuple[int, ...]
    special: tuple[bool, ...]
    offsets: tuple[tuple[int, int], ...] | None
    text: str
    chat: Chat | None = field(default=None, compare=False, repr=False)
    tokenizer: Any = field(default=None, compare=False, repr=False)
    given: bool = field(default=False, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    # Found when first asked for, since it renders the chat once more for every turn.
    @cached_property
    def turns(self) -> tuple[Turn, ...] | None:
        """The turns of the chat with the characters of each one's content; None for plain text."""
        return None if self.chat is None else self.chat.turns(self.text)


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


def encode(
    tokenizer: Any,
    texts: Sequence[Text],
    max_length: int | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> list[Encoded]:
    """Tokenises texts as the model expects them, special tokens included; chat messages go through the chat
    template, which is given `arguments` of its own.

    Raises ValueError for a text that has no tokens, is longer than `max_length` (nothing is ever cut off
    silently), or would start with two beginning-of-text tokens.
    """
    # Copies of the messages: the list may change after it was encoded.
    own = dict(arguments or {})
    chats = [None if isinstance(t, str) else Chat(tokenizer, tuple(dict(m) for m in t), own) for t in texts]
    rendered = [str(t) if chat is None else chat.render() for t, chat in zip(texts, chats, strict=True)]
    specials = _special_ids(tokenizer)
    found: list[Encoded | None] = [None] * len(rendered)
    for is_chat in (False, True):
        rows = [i for i, chat in enumerate(chats) if (chat is not None) == is_chat]
        if not rows:
            continue
        # One call for all: fast tokenizers work on many texts at once. A chat template writes its own special
        # tokens.
        out = tokenizer(
            [rendered[i] for i in rows],
            add_special_tokens=not is_chat,
            return_offsets_mapping=tokenizer.is_fast,
        )
        spans: list[Any] = out["offset_mapping"] if tokenizer.is_fast else [None] * len(rows)
        for i, ids, span in zip(rows, out["input_ids"], spans, strict=True):
            offsets = None if span is None else tuple((int(a), int(b)) for a, b in span)
            special = tuple(t in specials for t in ids)
            found[i] = Encoded(tuple(ids), special, offsets, rendered[i], chats[i], tokenizer)
    whole = [e for e in found if e is not None]
    for i, e in enumerate(whole):
        _check(i, e, tokenizer.bos_token_id, max_length)
    _say_unknown(whole, tokenizer.unk_token_id)
    return whole


def _special_ids(tokenizer: Any) -> set[int]:
    """The tokens that are not content: named ones, and added ones marked special, such as the headers
    of chat turns.
    """
    # An unknown word is content, unless its token has another office too (GPT-2 has one token for all of
    # them).
    offices = {getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "pad", "cls", "sep")}
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return (added | set(tokenizer.all_special_ids)) - ({tokenizer.unk_token_id} - offices)


def _say_unknown(encoded: Sequence[Encoded], unknown: int | None) -> None:
    """Warns of texts that hold nothing the tokenizer knows, which are all the same to the model."""
    content = [[t for t, special in zip(e.ids, e.special, strict=True) if not special] for e in encoded]
    blank = [i for i, ids in enumerate(content) if ids and all(t == unknown for t in ids)]
    if blank:
        warn(
            f"{len(blank)} of {len(encoded)} texts are unknown tokens only (such as text {blank[0]},"
            f" {encoded[blank[0]].text!r:.60}); this tokenizer has no token for anything in them"
        )


def _check(i: int, e: Encoded, bos: int | None, max_length: int | None) -> None:
    if not e.ids:
        raise ValueError(f"text {i} ({e.text!r:.60}) has no tokens under this tokenizer")
    if max_length is not None and len(e.ids) > max_length:
        raise ValueError(
            f"text {i} has {len(e.ids)} tokens but the model reads at most {max_length}; shorten it"
            f" ({e.text!r:.60})"
        )
    if bos is not None and e.ids[:2] == (bos, bos):
        remedy = "take it out of the text" if e.chat is None else "take it out of the chat template"
        raise ValueError(
            f"text {i} starts with two beginning-of-text tokens; the tokenizer adds one already, so {remedy}"
        )


def encoded_ids(tokenizer: Any, ids: Sequence[int]) -> Encoded:
    """Token ids as a text, taken as they are; where each lies in the text is not known."""
    whole = tuple(int(i) for i in ids)
    if whole and min(whole) < 0:
        raise ValueError(f"token ids are numbers of 0 or more, got {min(whole)}; leave padding (-100) out")
    special = _special_ids(tokenizer)
    text = tokenizer.decode(list(whole), skip_special_tokens=True)
    return Encoded(whole, tuple(i in special for i in whole), None, text, None, tokenizer, given=True)


def ids_behind(tokenizer: Any, text: str, new: str) -> tuple[int, ...]:
    """The tokens of a text that goes on from another; raises ValueError where the tokenizer merges them."""
    head, whole = tokenizer([text, text + new], add_special_tokens=False)["input_ids"]
    if list(whole[: len(head)]) != list(head):
        raise ValueError(
            f"behind {text[-60:]!r} the tokenizer merges {new!r:.60} into the prompt; end the prompt before a"
            " space and let what follows start with it"
        )
    return tuple(whole[len(head) :])


def refuse_padding(tokenizer: Any, texts: Sequence[Sequence[int]]) -> None:
    """Raises ValueError for token ids that were padded, since they are read as they are.

    Where the padding token also begins or ends texts, one of it at an end may be meant.
    """
    pad, ends = tokenizer.pad_token_id, (tokenizer.bos_token_id, tokenizer.eos_token_id)
    if pad is None:
        return
    meant = 1 if pad in ends else 0
    for i, ids in enumerate(texts):
        inside = [k for k, token in enumerate(ids) if token != pad]
        before, behind = (inside[0], len(ids) - 1 - inside[-1]) if inside else (len(ids), 0)
        if max(before, behind) > meant:
            where = "begins" if before > meant else "ends"
            raise ValueError(
                f"text {i} {where} with {max(before, behind)} padding tokens ({tokenizer.pad_token!r}), which"
                " would be read as text; give token ids without padding, tokenizer(texts).input_ids"
            )


def text_behind(tokenizer: Any, prompt: Sequence[int], new: Sequence[int]) -> str:
    """New tokens as the text that goes on from the prompt: decoded by themselves, SentencePiece tokens lose
    the space in front of their first word. By themselves all the same where the prompt's text changes with
    them (a character that is half in it).
    """
    head, whole = (tokenizer.decode([*ids], skip_special_tokens=True) for ids in (prompt, [*prompt, *new]))
    if whole.startswith(head):
        return whole[len(head) :]
    return tokenizer.decode([*new], skip_special_tokens=True)


def are_ids(texts: Any) -> bool:
    """Whether texts are given as token ids: whole numbers each."""
    return bool(len(texts)) and all(
        isinstance(t, Collection)
        and not isinstance(t, str | Encoded)
        and len(t)
        and all(isinstance(i, Integral) for i in t)
        for t in texts
    )


def check_vocabulary(encoded: Sequence[Encoded], tokenizer: Any, size: int, name: str) -> None:
    """Raises ValueError where tokens are not those of this tokenizer, or beyond the `size` tokens that the
    model called `name` has.
    """
    makers = {id(e.tokenizer): e.tokenizer for e in encoded if e.tokenizer not in (None, tokenizer)}
    advice = f"encode the texts with this model: model.encode(texts) of {name!r}"
    # Vocabularies are compared only where the tokenizer is another object, since it takes a while.
    if any(maker.get_vocab() != tokenizer.get_vocab() for maker in makers.values()):
        raise ValueError(f"the tokens were made by a tokenizer with another vocabulary; {advice}")
    refuse_beyond(encoded, size, advice)


def refuse_beyond(encoded: Sequence[Encoded], size: int, advice: str) -> None:
    """Raises ValueError for tokens beyond the `size` that a model has embeddings for."""
    beyond = next(((i, max(e.ids)) for i, e in enumerate(encoded) if e.ids and max(e.ids) >= size), None)
    if beyond is not None:
        text, token = beyond
        maker = encoded[text].tokenizer
        if maker is not None and not encoded[text].given:
            word = maker.convert_ids_to_tokens(token)
            told = f"the tokenizer was given {word!r} and the model was not; leave it out of the texts"
            advice = f"{told}, or {advice}"
        raise ValueError(f"text {text} has token {token}, but the model knows {size} tokens; {advice}")


def batches(
    encoded: Sequence[Encoded],
    pad_id: int,
    side: Side,
    batch_size: int | None,
    max_tokens: int = 2048,
    unpadded: bool = False,
) -> Iterator[Batch]:
    """Batches of texts of similar length, longest first, at most `max_tokens` padded tokens or
    `batch_size` rows each; of one length each, where they are to be `unpadded`.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(
            f"batch_size must be at least 1, got {batch_size}; None lets the token budget decide"
        )
    order = sorted(range(len(encoded)), key=lambda i: (-len(encoded[i]), i))
    start = 0
    while start < len(order):
        longest = len(encoded[order[start]])
        size = batch_size if batch_size is not None else max(1, max_tokens // longest)
        chunk = order[start : start + size]
        if unpadded:
            chunk = [i for i in chunk if len(encoded[i]) == longest]
        yield pad([encoded[i] for i in chunk], pad_id, side, np.asarray(chunk))
        start += len(chunk)


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
