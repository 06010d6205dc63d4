"""What a model holds of an edit (`Write`), what that is told of a batch (`Chosen`), and the two
together (`Bound`).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from probes.data.lowrank import LowRank
from probes.data.positions import Position
from probes.data.sites import Site

Act = Callable[[Tensor, int], Tensor]
"""A function of hidden states [batch, pos, d] and of the column of the batch with which they begin."""

Identity = tuple[str, tuple[Tensor, ...]]
"""A name and numbers that decide what a write does, by which captures under it are told apart."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """One batch as a write sees it: the numbers of its prompts, of how many in all, and the tokens
    that are meant.
    """

    rows: np.ndarray
    n: int
    places: Bool[Tensor, "batch pos"]


@runtime_checkable
class Write(Protocol):
    """An edit at one site, as a model holds it: where, at which tokens, and what it does there."""

    @property
    def site(self) -> Site: ...

    @property
    def at(self) -> Position: ...

    @property
    def label(self) -> str:
        """What the edit is called that it is part of."""
        ...

    @property
    def needs_prompts(self) -> bool:
        """Whether it can act only where the prompts are known: at chosen tokens, or on each prompt in
        its own way.
        """
        ...

    @property
    def width(self) -> int:
        """Coordinates of the hidden states it changes."""
        ...

    @property
    def keeps_norm(self) -> bool:
        """Whether hidden states keep their length."""
        ...

    def on(self, batch: Chosen | None) -> Act:
        """What it does to a batch; `Bound` keeps to the chosen tokens. None stands for prompts that are not
        known.

        Raises ValueError where it cannot act on these prompts, or without knowing them.
        """
        ...

    def as_data(self) -> LowRank | None:
        """Its linear form, which weights, files and servers can take; None where it has none."""
        ...

    def identity(self) -> Identity | None:
        """What it does, as a name and numbers; None where it cannot be told from others by such."""
        ...


@dataclass(frozen=True, eq=False)
class SiteFunction:
    """A write from any function of the hidden state, for looking on and for trials."""

    site: Site
    at: Position
    act: Callable[[Tensor], Tensor]
    width: int
    label: str = "function"
    keeps_norm: bool = False

    @property
    def needs_prompts(self) -> bool:
        return self.at.kind != "all"

    def on(self, batch: Chosen | None) -> Act:
        return lambda h, first: self.act(h)

    def as_data(self) -> LowRank | None:
        return None

    def identity(self) -> Identity | None:
        return None

    def __repr__(self) -> str:
        return f"{self.label} at {self.site}, {self.at} tokens"


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear change of chosen tokens as plain tensors; `chosen` is None for all tokens."""

    U: Float[Tensor, "d k"]
    V: Float[Tensor, "k d"]
    c: Float[Tensor, " d"]
    chosen: Bool[Tensor, "batch pos"] | None

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Bool[Tensor, "#batch #pos"]]:
        """What travels to a server: U, V, c and which tokens change."""
        gate = torch.ones(1, 1, dtype=torch.bool) if self.chosen is None else self.chosen.cpu()
        return self.U.cpu(), self.V.cpu(), self.c.cpu(), gate


class Bound:
    """A write on one batch, as a function of hidden states: it changes the chosen tokens and leaves the rest.

    Where passes are `cached`, later ones see only new tokens; columns are then counted on from the passes
    before, of which so many columns were `seen`.
    """

    def __init__(self, write: Write, batch: Chosen | None, cached: bool = False, seen: int = 0) -> None:
        self.write, self.batch, self.cached, self._act = write, batch, cached or seen > 0, write.on(batch)
        self._seen = seen

    def as_data(self) -> Linear | None:
        """The same as plain tensors, where the write is linear."""
        data = self.write.as_data()
        if data is None:
            return None
        everywhere = self.batch is None or not self.write.needs_prompts
        return Linear(data.U, data.V, data.c, None if everywhere or self.batch is None else self.batch.places)

    def __call__(self, h: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"]:
        if self.batch is None:
            return self._act(h, 0)
        first, self._seen = self._seen, self._seen + h.shape[1] if self.cached else 0
        part = self.batch.places[:, first : first + h.shape[1]].to(h.device)
        # Tokens made during generation lie behind the prompt, where all or nothing is chosen.
        part = nn.functional.pad(part, (0, h.shape[1] - part.shape[1]), value=self.write.at.onward)
        if not part.any():
            return h
        return torch.where(part[..., None], self._act(h, first), h)

    def __repr__(self) -> str:
        return repr(self.write)


def everywhere(write: Write) -> Callable[[Tensor], Tensor]:
    """The write as a function of hidden states of unknown prompts; raises ValueError where it needs
    to know them.
    """
    act = write.on(None)
    return lambda h: act(h, 0)


def hashed(write: Write) -> str | None:
    """Hash of where a write acts and what it does; None where it is not given by its numbers."""
    found = write.identity()
    if found is None:
        return None
    kind, numbers = found
    body = [f"{write.site} {write.at} {kind}".encode()]
    body += [t.detach().cpu().float().numpy().tobytes() for t in numbers]
    return hashlib.sha256(b"\0".join(body)).hexdigest()[:16]
