"""Files for `lm_eval --model steered`, read and written."""

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from probes.checks.settings import check_number
from probes.data.artefacts import complete
from probes.exchange.block_vectors import check_file, directions_of, vectors_of
from probes.fitting.directions import Direction
from probes.models.given import check_model
from probes.models.model import Model

BROKEN = (
    *(UnpicklingError, RuntimeError, EOFError, LookupError, struct.error),
    *(ValueError, TypeError, AttributeError, OverflowError, AssertionError),
)
"""What unpickling says of bytes that are no pickle, or a damaged one."""


def read_lm_eval(path: str | Path, model: Model | None = None) -> tuple[Direction, ...]:
    """The directions of a `.pt` file for `lm_eval --model steered`, one a block, in the order of the blocks.

    A hookpoint is a module of `hf.base_model`, such as `layers.5` (`h.5` in GPT-2), and is read as
    `resid_post.5`. With `model` it must be a block of that model and the directions are tied to it. The
    direction is that of vector times coefficient, and `gap` its length (`gap_from` is "file"), so strength 1
    does what the file does. Only tensors and plain values are unpickled. Raises ValueError for anything else
    in the file, for entries that are no addition to a block's output (`clamp`, single heads, parts of
    blocks), and for another model's width. Source: lm_eval/models/hf_steered.py (0.4.13).
    """
    path = check_file(path, "read_lm_eval")
    if model is not None:
        check_model(model, "read_lm_eval")
    try:
        entries = torch.load(path, map_location="cpu", weights_only=True)
    except BROKEN as error:
        message = (
            "is incomplete, or holds more than tensors and plain values, which is not opened because it could"
            " run code"
        )
        raise ValueError(
            f"{path} {message} ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error
    if not isinstance(entries, dict) or not all(
        _is_entry(hookpoint, entry) for hookpoint, entry in entries.items()
    ):
        raise ValueError(
            f"{path} is no steering file: expected a dict of hookpoint -> {{'steering_vector': tensor,"
            " 'action': 'add', ...}"
        )
    vectors, refused = {}, []
    for hookpoint, entry in entries.items():
        block = _block(hookpoint, model)
        extras = [f"with {key}" for key in ("bias", "head_index") if entry.get(key) is not None]
        if entry["action"] != "add" or extras or block is None or block in vectors:
            refused.append(" ".join([f"{hookpoint} ({entry['action']})", *extras]))
            continue
        vector, strength = entry["steering_vector"].detach(), entry.get("steering_coefficient", 1.0)
        if vector.is_complex():
            raise ValueError(f"{path} holds a complex vector at {hookpoint}; expected real numbers")
        at = f"{path}: the steering_coefficient at {hookpoint}"
        vectors[block] = vector.double() * check_number(at, strength)
    if refused:
        blocks = (
            "one block, such as layers.5"
            if model is None
            else f"{_blocks_path(model)}.0 to {_blocks_path(model)}.{model.n_blocks - 1}"
        )
        raise ValueError(
            f"{path} has entries that are no directions: {', '.join(refused)}; expected action 'add' at the"
            f" output of {blocks}, once each"
        )
    return directions_of(Path(path), vectors, {"format": "lm-eval steered"}, model)


def write_lm_eval(
    path: str | Path,
    directions: Sequence[Direction],
    gaps: float | int | None = None,
    model: Model | None = None,
    clamp_to: float | int | None = None,
) -> Path:
    """A file for `lm_eval --model steered --model_args pretrained=...,steer_path=...` that adds `gaps` gaps
    (1 unless told) at every token.

    With `clamp_to` the file does what `Clamp` does instead: every token gets that amount (raw units) along
    the direction, and 0 is ablation. `steering_coefficient` is the strength in gaps, or the amount, so it can
    be changed in the file. lm-eval finds blocks by name: `model` gives the right one (for runs with `peft=`,
    the model with its adapter); without it they are called `layers.N`, as in Llama, Qwen, Mistral, Gemma and
    GPT-NeoX. Raises ValueError for a name that does not end in .pt or .pth, `gaps` beside `clamp_to`, a
    strength that is not finite, directions without a gap (which only `clamp_to` can do without), two at one
    block, and sites other than `resid_post`.
    """
    if Path(path).suffix not in (".pt", ".pth"):
        raise ValueError(f"lm-eval reads steering vectors from .pt or .pth files, got {Path(path).name!r}")
    if gaps is not None and clamp_to is not None:
        raise ValueError(
            f"a file adds or clamps: give gaps or clamp_to, got gaps={gaps} and clamp_to={clamp_to}"
        )
    vectors = vectors_of(directions, 1.0 if clamp_to is None else None)
    named, given = ("gaps", 1.0 if gaps is None else gaps) if clamp_to is None else ("clamp_to", clamp_to)
    coefficient = check_number(named, given)
    if model is not None:
        check_model(model, "write_lm_eval")
        model.sites([d.site for d in directions])
        for d in directions:
            d.check_model(model)
    blocks = "layers" if model is None else _blocks_path(model)
    plain = {
        "steering_coefficient": coefficient,
        "action": "add" if clamp_to is None else "clamp",
        "bias": None,
        "head_index": None,
    }
    with complete(path) as part:
        torch.save(
            {
                f"{blocks}.{block}": {"steering_vector": vector, **plain}
                for block, vector in sorted(vectors.items())
            },
            part,
        )
    return Path(path)


def _is_entry(hookpoint: Any, entry: Any) -> bool:
    return (
        isinstance(hookpoint, str)
        and isinstance(entry, dict)
        and isinstance(entry.get("steering_vector"), Tensor)
        and "action" in entry
    )


def _blocks_path(model: Model) -> str:
    """What lm-eval calls the list of blocks: its name within `hf.base_model`."""
    named = model.hf.base_model.named_modules()  # pyright: ignore
    return next(name for name, m in named if m is model.blocks)


def _block(hookpoint: str, model: Model | None) -> int | None:
    """The block a hookpoint means; None when it is no block, or not one of this model."""
    named = re.fullmatch(r"([^\d.][^.]*(?:\.[^\d.][^.]*)*)\.(\d+)", hookpoint)
    if named is None or (
        model is not None and (named[1] != _blocks_path(model) or int(named[2]) >= model.n_blocks)
    ):
        return None
    return int(named[2])
