"""The one form that every linear change of hidden states takes: h + (h U) V + c."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LowRank:
    """The affine change h -> h + (h U) V + c of rank k; k = 0 is a pure shift. Hooks, weights and
    files all read this form.
    """

    U: Float[Tensor, "d k"]
    V: Float[Tensor, "k d"]
    c: Float[Tensor, " d"]

    def delta(self, h: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """What the edit adds to h, in h's precision and on its device."""
        to = {"device": h.device, "dtype": h.dtype}
        shift = self.c.to(**to)
        return shift.expand_as(h) if self.U.shape[1] == 0 else (h @ self.U.to(**to)) @ self.V.to(**to) + shift

    @property
    def width(self) -> int:
        return len(self.c)

    @property
    def keeps_norm(self) -> bool:
        return False

    @property
    def kind(self) -> str:
        return "LowRank"

    def numbers(self) -> tuple[Tensor, ...]:
        return self.U, self.V, self.c

    def scaled(self, by: float | int) -> "LowRank":
        """The same change, `by` times as large."""
        return self if by == 1 else LowRank(self.U, self.V * by, self.c * by)

    @classmethod
    def shift(cls, c: Float[Tensor, " d"]) -> "LowRank":
        return cls(c.new_zeros(len(c), 0), c.new_zeros(0, len(c)), c)

    @classmethod
    def holding(cls, directions: Float[Tensor, "k d"], to: Float[Tensor, " k"]) -> "LowRank":
        """Sets h's component along each direction to the given amount, and leaves what is orthogonal to all
        of them.

        The directions need not be orthogonal; raises ValueError when one lies in the span of the others.
        """
        D = directions.double()
        if torch.linalg.matrix_rank(D) < len(D):
            raise ValueError(
                f"the {len(D)} directions span fewer dimensions than there are directions; leave out those"
                " that the others already hold"
            )
        back = torch.linalg.solve(D @ D.T, D)
        return cls(
            directions.T.contiguous(), -back.to(directions.dtype), (to.double() @ back).to(directions.dtype)
        )
