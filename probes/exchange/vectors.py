"""Steering vectors of other tools as `Direction` values, and back: control vectors in GGUF, and lm-eval's
`steered` files.

A direction that was read has the length of the file's vector as its gap, so adding one gap of it adds exactly
what the file says.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.data.artefacts import complete
from probes.data.sites import Site
from probes.fitting.directions import Direction
from probes.models.model import Model

_ARCHITECTURE = "controlvector"


def read_gguf(path: str | Path, model: Model | None = None) -> tuple[Direction, ...]:
    """The directions of a llama.cpp, repeng or EasySteer control vector, one a block, in the order of the
    blocks.

    `direction.N` is read as `resid_post.N`: llama.cpp adds it to the output of its 0-based block N
    (`build_cvec` behind the last residual sum, src/llama-adapter.cpp), and repeng (control.py) and EasySteer
    count the same way. llama.cpp alone has no `direction.0` and refuses it. Its own cvector-generator
    (mean.hpp, pca.hpp) names what it measured behind block N - 1 `direction.N`; such a file, too, is read as
    what llama.cpp does with it, one block later.

    `gap` is the length of the vector (`gap_from` is "file"), not a distance between classes: strength 1 adds
    the vector as it stands, like `--control-vector`. `.calibrated(acts)` gives a gap with that meaning.
    Vectors of zeros add nothing and are left out. With `model` they are tied to it. Raises ValueError for a
    file that is incomplete or no control vector, and for a model of another width or with fewer blocks.
    """
    gguf = _gguf()
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"{path} is not a complete GGUF file ({error}); fetch or write it again") from error
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    if fields.get("general.architecture") != _ARCHITECTURE:
        raise ValueError(
            f"{path} holds {fields.get('general.architecture')!r}, expected a control vector"
            f" (general.architecture {_ARCHITECTURE!r})"
        )
    vectors = {}
    for tensor in reader.tensors:
        named = re.fullmatch(r"direction\.(\d+)", tensor.name)
        if named is None or not np.issubdtype(tensor.data.dtype, np.floating):
            raise ValueError(
                f"{path} holds {tensor.name} in {tensor.tensor_type.name}; expected only direction.N, in F32"
            )
        vectors[int(named[1])] = torch.from_numpy(np.array(tensor.data, dtype=np.float64))
    return _directions(Path(path), vectors, fields, model)


def write_gguf(
    path: str | Path,
    directions: Sequence[Direction],
    model_type: str | None = None,
    gaps: float | int = 1.0,
    llama_cpp: bool = True,
) -> Path:
    """A control vector for llama.cpp, repeng or EasySteer that adds `gaps` gaps of every direction at its own
    block.

    `model_type` is what Hugging Face configs call the architecture, such as "llama"; it defaults to what the
    file said that the directions were read from. A file that was read is written back to within one rounding
    of float32 (relative 1.2e-7); vectors of unit length come back bit by bit. Raises ValueError for
    directions without a gap, two at one block, sites other than `resid_post`, and `resid_post.0`, which
    llama.cpp cannot edit; `llama_cpp=False` writes it for the others.
    """
    gguf = _gguf()
    vectors = _vectors(directions, gaps)
    if llama_cpp and 0 in vectors:
        raise ValueError(
            "llama.cpp refuses files with direction.0; leave resid_post.0 out, or write for repeng and"
            " EasySteer: llama_cpp=False"
        )
    known = [d.receipt.get("file", {}).get(f"{_ARCHITECTURE}.model_hint") for d in directions]
    with complete(path) as part:
        writer = gguf.GGUFWriter(part, _ARCHITECTURE)
        writer.add_string(f"{_ARCHITECTURE}.model_hint", model_type or known[0] or "unknown")
        writer.add_uint32(f"{_ARCHITECTURE}.layer_count", len(vectors))
        for block, vector in sorted(vectors.items()):
            writer.add_tensor(f"direction.{block}", vector.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return Path(path)


def read_lm_eval(path: str | Path, model: Model | None = None) -> tuple[Direction, ...]:
    """The directions of a `.pt` file for `lm_eval --model steered`, one a block, in the order of the blocks.

    A hookpoint is a module of `hf.base_model`, such as `layers.5` (`h.5` in GPT-2), and is read as
    `resid_post.5`. With `model` it must be a block of that model and the directions are tied to it. The
    direction is that of vector times coefficient, and `gap` its length (`gap_from` is "file"), so strength 1
    does what the file does. Only tensors and plain values are unpickled. Raises ValueError for anything else
    in the file, for entries that are no addition to a block's output (`clamp`, single heads, parts of
    blocks), and for another model's width. Source: lm_eval/models/hf_steered.py (0.4.13).
    """
    try:
        entries = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
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
        vectors[block] = entry["steering_vector"].detach().double() * float(
            entry.get("steering_coefficient", 1.0)
        )
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
    return _directions(Path(path), vectors, {"format": "lm-eval steered"}, model)


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
    vectors = _vectors(directions, 1.0 if clamp_to is None else None)
    coefficient = float(clamp_to if clamp_to is not None else 1.0 if gaps is None else gaps)
    if not np.isfinite(coefficient):
        raise ValueError(f"cannot write strength {coefficient}: expected a finite number")
    if model is not None:
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


def _directions(
    path: Path, vectors: Mapping[int, Tensor], told: Mapping[str, Any], model: Model | None
) -> tuple[Direction, ...]:
    """One direction a block, from what is added to its output."""
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


def _vectors(
    directions: Sequence[Direction], gaps: float | int | None = 1.0
) -> dict[int, Float[Tensor, " d"]]:
    """What to add to the output of each block, in float32; the unit vectors themselves with `gaps=None`."""
    found: dict[int, Tensor] = {}
    for d in directions:
        if d.site != Site("resid_post", d.site.block) or d.site.block in found:
            raise ValueError(
                f"cannot write {d.site}: these files add one vector to the output of a block; give directions"
                " at resid_post.N, one a block"
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


def _gguf() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise ImportError(
            "control vectors are read and written with llama.cpp's gguf package: pip install"
            ' "hookprobe[formats]"'
        ) from error
    return gguf
