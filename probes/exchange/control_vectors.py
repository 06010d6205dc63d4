"""Control vectors of llama.cpp, repeng and EasySteer in GGUF files, read and written."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probes.data.artefacts import complete
from probes.exchange.block_vectors import check_file, directions_of, vectors_of
from probes.fitting.directions import Direction
from probes.models.model import Model

_ARCHITECTURE = "controlvector"
# Architectures that llama.cpp calls otherwise than Hugging Face configs do, after signs are left out.
_OTHERWISE = {
    "llama": ("mistral", "mixtral"),
    "phi2": ("phi",),
    "starcoder": ("gptbigcode",),
    "commandr": ("cohere",),
    "deepseek2": ("deepseekv2", "deepseekv3"),
}


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
    file that is incomplete or no control vector, and for a model of another type or width or with fewer
    blocks.
    """
    gguf, path = _gguf(), check_file(path, "read_gguf")
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
    found = directions_of(Path(path), vectors, fields, model)
    _check_told(path, fields, vectors, model)
    return found


def _check_told(
    path: Path, fields: Mapping[str, Any], vectors: Mapping[int, Any], model: Model | None
) -> None:
    """Raises ValueError where what a file tells of itself disagrees with its vectors or with the model."""
    blocks = len(model.sites("resid_post")) if model is not None else 0
    count = fields.get(f"{_ARCHITECTURE}.layer_count", len(vectors))
    # The vectors, the blocks up to the last one, or those of the model, the first of which llama.cpp leaves.
    if count not in (len(vectors), max(vectors), max(vectors) + 1, blocks, blocks - 1):
        raise ValueError(
            f"{path} says it holds {count} layers and holds {len(vectors)} vectors (up to block"
            f" {max(vectors)}), so some may be lost; fetch or write it again, or give the model where the"
            " number is that of its blocks"
        )
    hint = str(fields.get(f"{_ARCHITECTURE}.model_hint", "unknown"))
    if model is None or hint.lower() in ("", "unknown"):
        return
    kind: str = str(getattr(model.hf.config, "model_type", hint))
    told, own = _plain(hint), _plain(kind)
    if not (told.startswith(own) or own.startswith(told) or own in _OTHERWISE.get(told, ())):
        raise ValueError(
            f"{path} was made for {hint!r} and the model is of type {kind!r}, whose"
            " states mean something else; where it is meant, read it without a model and say why:"
            " [d.on(model, reason='...') for d in read_gguf(path)]"
        )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


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
    vectors = vectors_of(directions, gaps)
    if not isinstance(model_type, str | None):
        raise TypeError(
            f"model_type is what a config calls the architecture, 'llama', got {model_type!r:.60}"
        )
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


def _gguf() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise ImportError(
            "control vectors are read and written with llama.cpp's gguf package: pip install"
            ' "hookprobe[formats]"'
        ) from error
    return gguf
