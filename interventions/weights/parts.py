"""One module with a weight, and the change of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from probes.data.lowrank import LowRank
from probes.data.sites import Site
from probes.models.backends.points import head_columns
from probes.models.model import Model


@dataclass(frozen=True, eq=False)
class Part:
    """What becomes of one module with a weight: the change of what it takes and of what it gives,
    which is `scale` times its weight's product.
    """

    name: str
    takes: LowRank
    gives: LowRank
    scale: float = 1.0


def composed(changes: Sequence[LowRank], width: int) -> LowRank:
    """One change, in float64, that does what all of them do one after the other."""
    U, V, c = torch.zeros(width, 0).double(), torch.zeros(0, width).double(), torch.zeros(width).double()
    for step in changes:
        u, v, shift = (t.detach().cpu().double() for t in (step.U, step.V, step.c))
        # A step reads what the ones before have made: h (I + U V) u.
        U, V, c = torch.cat([U, u + U @ (V @ u)], dim=1), torch.cat([V, v]), c + (c @ u) @ v + shift
    return LowRank(U, V, c)


def widened(change: LowRank, site: Site, width: int, n_heads: int) -> LowRank:
    """A change of one head as a change of all heads side by side."""
    first, last = head_columns(site, width, n_heads) or (0, width)
    pad, grow = (first, width - last), nn.functional.pad
    return LowRank(grow(change.U, (0, 0, *pad)), grow(change.V, pad), grow(change.c, pad))


def shared(hf: nn.Module, name: str) -> list[str]:
    """Other names under which a module's weight is used."""
    weight = hf.get_submodule(name).weight
    return [
        n for n, p in hf.named_parameters(remove_duplicate=False) if p is weight and n != f"{name}.weight"
    ]


def fan_out(linear: nn.Module) -> int:
    """How many coordinates a linear map gives."""
    return int(linear.weight.shape[1 if transposed(linear) else 0])  # pyright: ignore


def transposed(module: nn.Module) -> bool:
    """Whether a linear map keeps its weight as [in, out], as GPT-2's Conv1D does; known by its name,
    so that importing this package does not load transformers.
    """
    return type(module).__name__ == "Conv1D"


def check_tokens(model: Model) -> Tensor:
    """A few fixed token sequences [3, pos] from all over the vocabulary."""
    draw = torch.Generator().manual_seed(0)
    return torch.randint(
        int(model.config.vocab_size), (3, min(12, model.max_length or 12)), generator=draw
    ).to(model.device)
