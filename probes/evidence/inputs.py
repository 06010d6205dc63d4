"""What the four cells take from a user: one score a row, and two names for context and for format."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool


def two_of(values: Any, n: int, names: tuple[str, str], what: str) -> tuple[Bool[np.ndarray, " n"], tuple[str, str]]:
    """Which rows are of the first name."""
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.shape != (n,):
        raise ValueError(f"{what} has shape {array.shape} but there are {n} scores; give one value a row")
    if array.dtype.kind in "biuf" and np.isin(array, (0, 1)).all():
        return array.astype(bool), names
    seen = sorted(set(array.astype(str).tolist()))
    if not set(seen) <= set(names):
        raise ValueError(f"{what} holds {seen[:5]}; expected {names[0]!r} and {names[1]!r} (name others with {what}s=(first, second)), or 1 and 0")
    return array.astype(str) == names[0], names
