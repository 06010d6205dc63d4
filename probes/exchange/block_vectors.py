"""Vectors that are added to the output of blocks, as files of other tools hold them, and `Direction`
values.

A direction that was read has the length of the file's vector as its gap, so adding one gap of it adds exactly
what the file says.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.checks.settings import check_number
from probes.data.sites import Site
from probes.fitting.directions import Direction, check_direction
from probes.models.given import check_model
from probes.models.model import Model


def check_file(path: Any, what: str) -> Path:
    """The path of a file; raises for what is none, and where no file lies."""
    if not isinstance(path, str | Path):
        raise TypeError(f"{what} takes the path of a file, got a {type(path).__name__}")
    if not Path(path).is_file():
        there = "is a folder" if Path(path).is_dir() else "is not there"
        raise FileNotFoundError(f"{path} {there}; {what} takes the path of a file")
    return Path(path)


def directions_of(
    path: Path, vectors: Mapping[int, Tensor], told: Mapping[str, Any], model: Model | None
) -> tuple[Direction, ...]:
    """One direction a block, from what is added to its output."""
    if model is not None:
        check_model(model, "a file of vectors")
    receipt: dict[str, Any] = {"file": {"name": path.name, **told}} | (
        {} if model is None else {"model": model.fingerprint.as_dict()}
    )
    found = []
    for block, vector in sorted(vectors.items()):
        if vector.ndim != 1 or not torch.isfinite(vector).all():
            raise ValueError(
                f"{path} holds a vector of shape {tuple(vector.shape)} for block {block}; expected one row of"
                " finite numbers"
            )
        length = float(vector.norm())
        if abs(length - 1) < 1e-6:
            length = 1.0  # of unit length but for the rounding of float32: kept as it is, bit by bit
        if length > 0:
            found.append(
                Direction(
                    (vector / length).float(), Site("resid_post", block), length, "file", path.name, receipt
                )
            )
    widths = sorted({len(d.unit) for d in found})
    if len(widths) != 1:
        raise ValueError(
            f"{path} holds vectors of"
            f" {'different widths ' + str(widths) if widths else 'zeros only, or none'}; expected one width"
            " for all blocks"
        )
    if model is not None:
        found[0].check_model(model)
        model.sites([d.site for d in found])
    return tuple(found)


def vectors_of(
    directions: Sequence[Direction], gaps: float | int | None = 1.0
) -> dict[int, Float[Tensor, " d"]]:
    """What to add to the output of each block, in float32; the unit vectors themselves with `gaps=None`."""
    if isinstance(directions, Direction) or not isinstance(directions, Iterable):
        raise TypeError(f"a file takes a list of Direction, got a {type(directions).__name__}: [direction]")
    if gaps is not None:
        check_number("gaps", gaps, finite=False)
    found: dict[int, Tensor] = {}
    for d in directions:
        check_direction(d, "what a file holds")
        if d.site != Site("resid_post", d.site.block):
            raise ValueError(
                f"cannot write {d.site}: these files add one vector to the output of a block; give directions"
                " at resid_post.N, one a block"
            )
        if d.site.block in found:
            raise ValueError(
                f"cannot write two directions at one block, {d.site}: these files add one vector to the"
                " output of a block; write two files, or leave one out"
            )
        length = 1.0 if gaps is None else np.nan if d.gap is None else d.gap * gaps
        if not np.isfinite(length):
            raise ValueError(
                f"cannot write {d!r} at strength {gaps}: a strength is stated in gaps, and it needs one; use"
                " direction.calibrated(acts)"
            )
        if length == 0:
            raise ValueError(
                f"cannot write {d!r} at strength {gaps}: that adds nothing, and such a file is refused when"
                " it is read"
            )
        found[d.site.block] = (d.unit.detach().cpu().double() * length).float()
    if len({len(v) for v in found.values()}) != 1:
        raise ValueError(
            "expected at least one direction and one width for all, got widths"
            f" {[len(v) for v in found.values()]}"
        )
    return found
