"""Saving and loading values as safetensors with a JSON header: safe to load, complete or absent,
never pickle.
"""

import json
import os
import tempfile
from collections.abc import Callable, Container, Generator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from probes.data.digest import digest
from probes.data.stored import Stored
from probes.markup.terminal import terminal

T = TypeVar("T")

FORMAT_VERSION = 2
"""2: linear probes keep their sign beside the weights; 1 is still read."""


def save(path: str | Path, kind: str, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> Path:
    """Writes one artefact; the file appears only once it is complete."""
    target = Path(path)
    full = {
        "kind": kind,
        "format_version": FORMAT_VERSION,
        "versions": {p: version(p) for p in ("torch", "transformers")},
        **json.loads(json.dumps(header)),
    }
    full["digests"] = _digests(tensors, full)
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
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot save {target}: there is no folder {target.parent}; make it first")
    if target.is_dir():
        raise IsADirectoryError(f"cannot save {target}: it is a folder; give the name of a file in it")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".saving-") as folder:
        yield Path(folder) / target.name
        os.replace(Path(folder) / target.name, target)


def load(path: str | Path, kind: str, build: Callable[[Stored], T]) -> T:
    """Reads one artefact of the expected kind; `build` makes the value of what the file holds.

    Raises ValueError naming the file, and where there is one the field, for a file that is something else, is
    damaged, or holds other values than were saved.
    """
    stored = _read(path)
    if stored.header["kind"] != kind:
        raise ValueError(f"{path} holds a {_said(stored.header['kind'])}, expected a {kind}")
    if stored.header["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {stored.header['format_version']}, this hookprobe reads up to"
            f" {FORMAT_VERSION}; upgrade it"
        )
    try:
        made = build(stored)
    except ValueError as error:
        raise error if str(path) in str(error) else ValueError(f"{path}: {error}") from None
    _check_unchanged(stored)
    return made


def _read(path: str | Path) -> Stored:
    """The parts of a file, its header as far as that all artefacts have it."""
    if not Path(path).is_file():
        there = "is a folder" if Path(path).is_dir() else "is not there"
        raise FileNotFoundError(f"{path} {there}; expected a saved file, as probe.save(path) writes it")
    try:
        with safe_open(str(path), framework="pt") as file:
            raw = (file.metadata() or {}).get("hookprobe")
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error}); save it again") from error
    if raw is None:
        raise ValueError(
            f"{path} is a safetensors file without a hookprobe header; expected a saved probe or direction"
        )
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError(f"{path} has a hookprobe header that is no JSON; save it again") from None
    if not isinstance(header, dict):
        raise ValueError(f"{path} has a hookprobe header that is no object of fields; save it again")
    stored = Stored(path, tensors, header)
    stored.plain("kind", str)
    if stored.plain("format_version", int) < 1:
        raise stored.fault("format_version", f"is {header['format_version']}, expected 1 or more")
    return stored


def _said(name: str) -> str:
    """A name from a file, in an error."""
    return terminal(name if len(name) <= 40 else f"{name[:37]}...")


def _digests(tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> dict[str, str]:
    """What tells whether a tensor or a field of the header is as it was saved."""
    numbers = {f"tensor {name}": digest([("", t)]) for name, t in tensors.items()}
    texts = {f"field {name}": json.dumps(value, sort_keys=True) for name, value in header.items()}
    return numbers | {name: xxhash.xxh3_128_hexdigest(text.encode()) for name, text in texts.items()}


def _check_unchanged(stored: Stored) -> None:
    """Raises ValueError for a tensor or a field that is not as it was saved; older files do not tell."""
    if "digests" not in stored.header or stored.header["format_version"] < FORMAT_VERSION:
        return
    was = stored.plain("digests", dict[str, str])
    now = _digests(stored.tensors, {k: v for k, v in stored.header.items() if k != "digests"})
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            raise stored.fault(f"the {name}", "is not as it was saved")


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
    kind = _read(path).header["kind"]
    if kind not in expected:
        raise ValueError(f"{path} holds a {_said(kind)}, expected one of {expected}")
    return kind
