"""Saving and loading values as safetensors with a JSON header: safe to load, complete or absent,
never pickle.
"""

import json
import os
import tempfile
from collections.abc import Container, Generator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

FORMAT_VERSION = 2
"""2: linear probes keep their sign beside the weights; 1 is still read."""


def save(path: str | Path, kind: str, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> Path:
    """Writes one artefact; the file appears only once it is complete."""
    target = Path(path)
    full = {
        "kind": kind,
        "format_version": FORMAT_VERSION,
        "versions": {p: version(p) for p in ("torch", "transformers")},
        **header,
    }
    with complete(target) as part:
        # Clones, because the two sides of a pair probe share tensors and safetensors refuses shared memory.
        save_file(
            {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()},
            part,
            metadata={"hookprobe": json.dumps(full)},
        )
    return target


@contextmanager
def complete(path: str | Path) -> Generator[Path]:
    """A place to write to; what was written appears at `path` only when nothing went wrong."""
    target = Path(path)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".saving-") as folder:
        yield Path(folder) / target.name
        os.replace(Path(folder) / target.name, target)


def load(path: str | Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Reads one artefact of the expected kind; raises ValueError saying what the file is instead."""
    try:
        with safe_open(str(path), framework="pt") as file:
            raw = (file.metadata() or {}).get("hookprobe")
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error}); save it again") from error
    if raw is None:
        raise ValueError(f"{path} is a safetensors file without a hookprobe header; expected a saved {kind}")
    header = json.loads(raw)
    if header["kind"] != kind:
        raise ValueError(f"{path} holds a {header['kind']}, expected a {kind}")
    if header["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {header['format_version']}, this hookprobe reads up to"
            f" {FORMAT_VERSION}; upgrade it"
        )
    return tensors, header


def laid_out(value: Any) -> None:
    """Gives a frozen dataclass its tensors the way loading does: row by row, in memory of their own.

    Matrix products round the same numbers differently under other strides, and a value would then
    differ from itself saved and loaded. Cloning, because `contiguous` keeps odd strides of axes of length 1.
    """
    for field in fields(value):
        if isinstance(tensor := getattr(value, field.name), torch.Tensor):
            object.__setattr__(value, field.name, tensor.clone(memory_format=torch.contiguous_format))


def kind_of(path: str | Path, expected: Container[str]) -> str:
    """What an artefact says it is; raises ValueError for a file that says nothing or something that
    is not expected.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            raw = (file.metadata() or {}).get("hookprobe", '{"kind": "file without a hookprobe header"}')
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error}); save it again") from error
    if (kind := json.loads(raw)["kind"]) not in expected:
        raise ValueError(f"{path} holds a {kind}, expected one of {expected}")
    return kind
