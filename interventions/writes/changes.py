"""Changes that are not linear: constants, gates, and ones that keep the length of the hidden state."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interventions.writes.lowrank import Change


@dataclass(frozen=True, eq=False)
class Constant:
    """h becomes `value`, whatever it was."""

    value: Float[Tensor, " d"]

    @property
    def width(self) -> int:
        return len(self.value)

    @property
    def keeps_norm(self) -> bool:
        return False

    @property
    def kind(self) -> str:
        return "Constant"

    def delta(self, h: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        return self.value.to(device=h.device, dtype=h.dtype) - h

    def numbers(self) -> tuple[Tensor, ...]:
        return (self.value,)


@dataclass(frozen=True, eq=False)
class Gated:
    """A change made only at tokens whose score h . weight + bias is above 0 (or, if `below`, under 0)."""

    change: Change
    weight: Float[Tensor, " d"]
    bias: float | int
    below: bool = False

    @property
    def width(self) -> int:
        return self.change.width

    @property
    def keeps_norm(self) -> bool:
        return self.change.keeps_norm

    @property
    def kind(self) -> str:
        return f"Gated of {self.change.kind}"

    def open(self, h: Float[Tensor, "... d"]) -> Bool[Tensor, "..."]:
        """Where it acts. The score is taken in float32: half precision would blur the threshold."""
        score = h.float() @ self.weight.to(h.device) + self.bias
        return score < 0 if self.below else score > 0

    def delta(self, h: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        return torch.where(self.open(h)[..., None], self.change.delta(h), torch.zeros_like(h))

    def numbers(self) -> tuple[Tensor, ...]:
        return *self.change.numbers(), self.weight, torch.tensor([self.bias, self.below], dtype=torch.float32)


@dataclass(frozen=True, eq=False)
class NormKept:
    """A change after which h has the length it had."""

    change: Change

    @property
    def width(self) -> int:
        return self.change.width

    @property
    def keeps_norm(self) -> bool:
        return True

    @property
    def kind(self) -> str:
        return f"NormKept of {self.change.kind}"

    def delta(self, h: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        moved = (h + self.change.delta(h)).float()
        length = h.float().norm(dim=-1, keepdim=True)
        return (moved * (length / moved.norm(dim=-1, keepdim=True).clamp_min(1e-30))).to(h.dtype) - h

    def numbers(self) -> tuple[Tensor, ...]:
        return self.change.numbers()


def turned(
    h: Float[Tensor, "... d"], after: Float[Tensor, "... d"], towards: Float[Tensor, "... d"]
) -> Float[Tensor, "... d"]:
    """h turned towards another direction by the angle between h and `after`, its length kept: as far
    from h as `after` is, if that has h's length.
    """
    length = h.norm(dim=-1, keepdim=True).clamp_min(1e-30)
    own = h / length
    # Half the distance between unit vectors is the sine of half their angle, which stays exact for small
    # angles.
    half = (
        (after / after.norm(dim=-1, keepdim=True).clamp_min(1e-30) - own).norm(dim=-1, keepdim=True) / 2
    ).clamp(max=1)
    angle = 2 * torch.arcsin(half)
    side = towards - (own * towards).sum(-1, keepdim=True) * own
    side = side / side.norm(dim=-1, keepdim=True).clamp_min(1e-30)
    return length * (torch.cos(angle) * own + torch.sin(angle) * side)
