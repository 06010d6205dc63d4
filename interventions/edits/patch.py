"""Put hidden states of other prompts in place of a model's own."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interventions.writes.held import HoldsRows
from interventions.writes.lowrank import position_of, target_sites
from probes.data.activations import Activations, check_states
from probes.data.lowrank import LowRank
from probes.data.positions import Position
from probes.data.sites import Site, SitesLike
from probes.models.model import Model
from probes.models.writes import Act, Chosen, Identity


@dataclass(frozen=True, eq=False)
class PatchedSite:
    """The rows that one site gets: what a model holds as a write. `example[i]` is the prompt that row
    i goes to.
    """

    site: Site
    at: Position
    rows: Float[Tensor, "n d"]
    example: np.ndarray
    label: str

    @property
    def needs_prompts(self) -> bool:
        return True

    @property
    def width(self) -> int:
        return int(self.rows.shape[1])

    @property
    def keeps_norm(self) -> bool:
        return False

    def as_data(self) -> LowRank | None:
        return None

    def identity(self) -> Identity | None:
        return None

    def on(self, batch: Chosen | None) -> Act:
        """Puts each prompt's rows at its chosen tokens; raises ValueError for other prompts than the
        rows are of.
        """
        if batch is None:
            raise ValueError(
                f"{self.label} puts in rows prompt by prompt, so it acts only where the prompts are known:"
                " capture, logits, generate of edited(model, ...)"
            )
        prompts = 1 + int(self.example.max())
        if prompts not in (1, batch.n):
            raise ValueError(
                f"{self.label} holds rows of {prompts} prompts and the model is run on {batch.n}; patch the"
                " very same prompts, or rows of a single one"
            )
        values = self.rows.new_zeros(*batch.places.shape, self.rows.shape[1])
        for i, text in enumerate(batch.rows):
            mine = np.flatnonzero(self.example == (0 if prompts == 1 else text))
            places = batch.places[i].nonzero()[:, 0]
            if len(mine) != len(places):
                raise ValueError(
                    f"{self.label}: position {self.at} picks {len(places)} tokens of prompt {text} and there"
                    f" are {len(mine)} rows for it; capture the source at positions that pick as many tokens,"
                    " in prompts of the same length where at='all'"
                )
            values[i, places] = self.rows[torch.from_numpy(mine)]
        # Tokens made later lie behind the prompt, where nothing is chosen.
        return lambda h, first: _over(h, values[:, first : first + h.shape[1]])

    def __repr__(self) -> str:
        return f"{self.label} at {self.site}, {self.at} tokens"


def _prompts(source: Activations) -> np.ndarray:
    """Which prompt each row goes to, in the order of the rows: the next one begins where the text changes or
    its tokens begin anew.
    """
    text = source.example
    token = np.zeros(len(source), dtype=int) if source.token is None else source.token
    new = (text[1:] != text[:-1]) | (token[1:] <= token[:-1])
    return np.concatenate([[0], np.cumsum(new)])


def _over(h: Tensor, values: Tensor) -> Tensor:
    values = values.to(device=h.device, dtype=h.dtype)
    return torch.cat([values, h[:, values.shape[1] :]], dim=1)


@dataclass(frozen=True, eq=False)
class Patch(HoldsRows):
    """The hidden states `source` in place of the model's own, at the chosen tokens of each prompt: activation
    patching.

    `source` holds one row for each token that `at` picks, prompt by prompt in the order in which the model
    will be run (`capture` of the other prompts gives them so; `acts.rows(order)` puts them in another), or
    the rows of a single prompt, which then go into every prompt. Sites default to all of the source's; the
    last patched one decides what follows. `at` defaults to the position at which the source was captured.
    Raises ValueError, when it is run, for another
    number of prompts or tokens. Source: Meng et al., arXiv 2202.05262; Zhang and Nanda, arXiv 2309.16042.
    """

    HELD: ClassVar[str] = "source"

    source: Activations
    sites: SitesLike | None = None
    at: str | int | Position | None = None

    def __post_init__(self) -> None:
        check_states(self.source, "Patch", single=True)
        self._counted()

    def compile(self, model: Model) -> tuple[PatchedSite, ...]:
        self._as_made()
        model.refuse_foreign(self.source.receipt, "the source of the patch")
        at = self.source.receipt.get("at") if self.at is None else self.at
        if at is None:
            raise ValueError(
                "the source does not say at which tokens it was captured; say where its rows go:"
                " Patch(source, at='last')"
            )
        if position_of(at).onward:
            raise ValueError(
                f"position {at} goes on as long as tokens come, and a patch has its number of rows; patch at"
                " 'last', or add a direction there"
            )
        example = _prompts(self.source)
        sites = target_sites(
            model, self.source.sites[0], list(self.source.sites) if self.sites is None else self.sites
        )
        return tuple(
            PatchedSite(s, position_of(at), self.source[s].x[0].cpu(), example, repr(self)) for s in sites
        )

    def __repr__(self) -> str:
        return f"Patch({len(self.source)} rows, {', '.join(map(str, self.source.sites))})"
