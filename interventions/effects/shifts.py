"""A shift as large as another edit, token by token, another way."""

from dataclasses import dataclass

from torch import Tensor

from interventions.writes.changes import turned
from probes.data.lowrank import LowRank
from probes.data.positions import Position
from probes.data.sites import Site
from probes.models.writes import Act, Chosen, Identity, Write


@dataclass(frozen=True, eq=False)
class RandomShift:
    """Moves every token as far as another edit would (`times` as far), but the way that another linear change
    would move it; keeps the length of h where the edit keeps it.
    """

    of: Write
    towards: LowRank
    times: float = 1.0

    @property
    def site(self) -> Site:
        return self.of.site

    @property
    def at(self) -> Position:
        return self.of.at

    @property
    def label(self) -> str:
        return f"random shift as large as {self.of!r}"

    @property
    def needs_prompts(self) -> bool:
        return self.of.needs_prompts

    @property
    def width(self) -> int:
        return self.of.width

    @property
    def keeps_norm(self) -> bool:
        return self.of.keeps_norm

    def on(self, batch: Chosen | None) -> Act:
        act = self.of.on(batch)
        return lambda h, first: self.moved(h, act(h, first))

    def as_data(self) -> LowRank | None:
        return None

    def identity(self) -> Identity | None:
        return None

    def moved(self, h: Tensor, after: Tensor) -> Tensor:
        """Where a token goes that the edit takes from h to `after`."""
        way = self.towards.delta(h.float())
        unit = way / way.norm(dim=-1, keepdim=True).clamp_min(1e-30)
        if self.keeps_norm:
            return turned(h.float(), after.float(), unit).to(h.dtype)
        length = self.times * (after - h).float().norm(dim=-1, keepdim=True)
        return h + (length * unit).to(h.dtype)

    def __repr__(self) -> str:
        return self.label
