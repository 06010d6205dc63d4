"""Directions along which training plants what a model is to know, and the hooks that read and
exchange the components along them.
"""

import torch
from jaxtyping import Float

from experiments.organism.documents import Drawn


def planted_direction(width: int, seed: int) -> Float[torch.Tensor, " width"]:
    """The unit vector along which training asks for truth (or a policy, or a context) at one token."""
    v = torch.randn(width, generator=torch.Generator().manual_seed(seed + 1234))
    return v / v.norm()


class Interchange:
    """A hook that gives a document the component along the planted direction that another document has at the
    end of its statement.

    The answers are then trained to follow the other document's truth, so nothing but this component can
    decide them (interchange intervention training, arXiv 2112.00826). `held` keeps the components as they
    were.
    """

    def __init__(self, planted: torch.Tensor) -> None:
        self.planted = planted
        self.drawn: Drawn
        self.held: torch.Tensor

    def __call__(self, module: torch.nn.Module, args: tuple, h: torch.Tensor) -> torch.Tensor:
        rows, end = torch.arange(len(h)), self.drawn.end.clamp(min=0)
        self.held = h[rows, end] @ self.planted
        change = self.held[self.drawn.source] - self.held
        return h.index_put((rows, end), change[:, None] * self.planted, accumulate=True)


class Along:
    """A hook that keeps the component along the planted direction at every token, as it was before
    anything is exchanged.
    """

    def __init__(self, planted: torch.Tensor) -> None:
        self.planted = planted
        self.held: torch.Tensor

    def __call__(self, module: torch.nn.Module, args: tuple, h: torch.Tensor) -> None:
        self.held = h @ self.planted
