"""Columns of the rows as numbers that an erasure can take out."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

FEWEST_PER_CLASS = 3  # rows a class that is to be erased has on average


def nuisances(named: Mapping[str, np.ndarray], sides: Sequence[str], n: int, d: int) -> Float[Tensor, "m c"]:
    """What is to be erased: all class columns crossed with each other and the side, and every column of
    floats on each side.
    """
    numbers = [c.astype(float) for c in named.values() if c.dtype.kind == "f"]
    classes = [c.astype(str) for c in named.values() if c.dtype.kind != "f"]
    crossed = ["|".join(row) for row in zip(*classes, strict=True)] if classes else [""] * n
    if (count := len(set(crossed))) > max(2, min(n // FEWEST_PER_CLASS, d)):
        raise ValueError(
            f"erase={tuple(named)} makes {count} classes of {n} rows of width {d}, and erasing them would"
            " take most else along; give a number as a column of floats, which is erased as one number, or"
            " put values together"
        )
    parts = [one_hot([f"{side}|{name}" for side in sides for name in crossed])]
    for number in numbers:
        size = (number - number.mean()) / max(number.std(), 1e-300)
        parts.append(torch.block_diag(*[torch.from_numpy(size)[:, None]] * len(sides)))
    return torch.cat(parts, dim=1)


def one_hot(labels: Sequence[str]) -> Float[Tensor, "n c"]:
    """A column of ones and zeros for every label, in the order of their names."""
    index = np.unique(np.asarray(labels), return_inverse=True)[1]
    return torch.nn.functional.one_hot(torch.from_numpy(index)).double()
