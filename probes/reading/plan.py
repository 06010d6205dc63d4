"""What a capture does, batch by batch, whether the rows go to memory or to a store."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.data.begun import beginning, say_mixed
from probes.data.examples import Examples
from probes.data.fingerprint import Fingerprint
from probes.data.positions import Position
from probes.data.receipts import place
from probes.data.sites import Site
from probes.data.tokenised import Tokenised
from probes.data.tokens import Batch, Encoded, pad
from probes.models.backends.points import Average, Pick, Select
from probes.models.model import Model
from probes.models.selfcheck import self_check
from probes.models.writes import Write


@dataclass(frozen=True, eq=False)
class Reading:
    """Texts made ready to be read: tokens, the positions picked in each, and where each text's rows go."""

    model: Model
    examples: Examples
    sites: tuple[Site, ...]
    position: Position
    dtype: torch.dtype
    asked: Tokenised
    width: int
    checked: dict[str, Any] | None
    # The largest batch that still fitted into memory, learnt on the way.
    room: list[int] = field(default_factory=list)

    @classmethod
    def prepare(
        cls,
        model: Model,
        examples: Examples,
        sites: tuple[Site, ...],
        position: Position,
        dtype: torch.dtype | None,
        check: bool = True,
    ) -> "Reading":
        """Tokenises, finds the positions and checks the sites; raises ValueError for what cannot be
        read, before anything is run.
        """
        asked = model.tokenise(examples)
        asked.places(position)
        say_mixed(asked.encoded)
        width, checked = common_width(model, sites), self_check(model, asked.encoded) if check else None
        return cls(model, examples, sites, position, dtype or model.dtype, asked, width, checked)

    @property
    def encoded(self) -> tuple[Encoded, ...]:
        """The tokens of each text."""
        return self.asked.encoded

    @property
    def writes(self) -> tuple[Write, ...]:
        """The edits that act on what is read: of every `applied` around the capture and the model's own."""
        return self.model.acting

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Who the model is at the first time of asking: one reading is of one model."""
        return self.model.fingerprint

    @property
    def tokens(self) -> tuple[np.ndarray, ...]:
        """The numbers of the picked tokens of each text."""
        return self.asked.places(self.position)

    @property
    def averaged(self) -> bool:
        return self.position.kind == "mean"

    @cached_property
    def counts(self) -> np.ndarray:
        """Rows that each text gives."""
        return np.array([1 if self.averaged else len(t) for t in self.tokens])

    @cached_property
    def first_row(self) -> np.ndarray:
        """Where each text's rows begin, with the number of all rows behind."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def rows_of(self, texts: np.ndarray) -> np.ndarray:
        """The rows that these texts give, in their order."""
        return np.concatenate([np.arange(int(self.first_row[t]), int(self.first_row[t + 1])) for t in texts])

    def passes(
        self, batch: Batch, sites: tuple[Site, ...] | None = None
    ) -> Iterator[tuple[np.ndarray, dict[Site, Tensor]]]:
        """Texts and their picked states [row, d] on the model's device; a batch too large for the
        memory is halved until it fits.
        """
        if self.room and batch.ids.numel() > self.room[0] and len(batch.rows) > 1:
            yield from self._halves(batch, sites)
            return
        writes = self.model.bound_writes(batch, self.asked)
        try:
            states = self.model.run(batch, sites or self.sites, self._select(batch), writes).states
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if len(batch.rows) == 1:
                raise MemoryError(
                    f"the memory does not hold one text of {batch.ids.shape[1]} tokens; shorten it, or load"
                    " the model in bfloat16"
                ) from error
            states = None
        if states is None:  # outside the handler, whose error holds the failed pass's tensors
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.room[:] = [batch.ids.numel() // 2]
            yield from self._halves(batch, sites)
        else:
            yield batch.rows, states

    def _halves(
        self, batch: Batch, sites: tuple[Site, ...] | None
    ) -> Iterator[tuple[np.ndarray, dict[Site, Tensor]]]:
        for rows in np.array_split(batch.rows, 2):
            yield from self.passes(self.batch(rows), sites)

    def batch(self, texts: Sequence[int] | np.ndarray) -> Batch:
        """These texts as one padded batch."""
        return pad(
            [self.encoded[t] for t in texts],
            self.model.pad_id,
            self.model.tokenizer.padding_side,
            np.asarray(texts),
        )

    def _select(self, batch: Batch) -> Select:
        """Picks (or averages) this batch's tokens from [batch, pos, d] where the hidden state lies."""
        if self.averaged:
            return Average(batch.mask)
        row = np.repeat(np.arange(len(batch.rows)), [len(self.tokens[r]) for r in batch.rows])
        column = np.concatenate([self.tokens[r] + batch.start[i] for i, r in enumerate(batch.rows)])
        return Pick(torch.from_numpy(row), torch.from_numpy(column))

    @property
    def example(self) -> np.ndarray:
        """Which text each row came from."""
        return np.repeat(np.arange(len(self.encoded)), self.counts)

    @property
    def token(self) -> np.ndarray | None:
        """Which of its tokens each row is, counted from the text's first; None for averages."""
        return None if self.averaged else np.concatenate(self.tokens)

    def row_data(self) -> dict[str, Any]:
        """Labels, groups, ids and columns of every row, and the receipt: all of an Activations but
        its numbers.
        """
        of, example, token = self.examples, self.example, self.token
        one = self.averaged or self.position.one_per_text
        ids = (
            of.ids
            if one or token is None
            else np.asarray([f"{of.ids[e]}@{t}" for e, t in zip(example, token, strict=True)])
        )
        return {
            "y": None if of.y is None else of.y[example],
            "groups": of.groups[example],
            "ids": ids,
            "columns": {k: c[example] for k, c in of.columns.items()},
            "text_keys": None if of.text_keys is None else of.text_keys[example],
            "sites": self.sites,
            "example": example,
            "token": token,
            "receipt": self.receipt,
        }

    def _also_at(self) -> str:
        """The other name of the last token, where no text ends with a special one."""
        other = {"last": "last_content", "last_content": "last"}.get(str(place(self.position)), "")
        return "" if any(e.special[-1] for e in self.encoded) else other

    @property
    def receipt(self) -> dict[str, Any]:
        also = self._also_at()
        return {
            "model": self.fingerprint.as_dict(),
            "backend": self.model.backend.name,
            "at": str(self.position),
            **({"also_at": also} if also else {}),
            **beginning(self.encoded, self.position, also or self.position),
            "sites": [str(s) for s in self.sites],
            "data": self.examples.hash,
            "dtype": str(self.dtype).removeprefix("torch."),
            "edits": [repr(w) for w in self.writes],
            **({"chat_template_kwargs": dict(own)} if (own := self.model.chat_template_kwargs) else {}),
            "self_check": self.checked or "skipped",
            "versions": {p: version(p) for p in ("torch", "transformers")},
        }


def common_width(model: Model, sites: Sequence[Site]) -> int:
    """The width that sites captured together share; raises ValueError where they differ."""
    widths = {site: model.width_at(site) for site in sites}
    if len(set(widths.values())) > 1:
        named = {w: str(next(s for s in sites if widths[s] == w)) for w in sorted(set(widths.values()))}
        shown = ", ".join(f"{name} has {width} coordinates" for width, name in named.items())
        raise ValueError(
            f"sites captured together must have one width, and {shown}; capture them in separate calls"
        )
    return next(iter(widths.values()))


def refuse_unreadable(bad: Sequence[Site], kept: torch.dtype, model: Model) -> None:
    """Raises ValueError when sites were never reached or overflowed, in the model or as they were kept."""
    if bad:
        as_asked = kept == torch.float16 != model.dtype
        remedy = (
            "they may be beyond what dtype=torch.float16 holds: leave dtype= out, or take torch.bfloat16"
            if as_asked
            else "load the model in float32 or bfloat16"
        )
        raise ValueError(
            f"the hidden states have NaN or infinite values at {', '.join(map(str, bad))}; {remedy}"
        )


def _out_of_memory(error: Exception) -> bool:
    """The allocators of CPU and MPS have no error class of their own."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        s in str(error) for s in ("allocate memory", "not enough memory", "MPS backend out of memory")
    )
