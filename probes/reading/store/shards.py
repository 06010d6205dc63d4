"""One file: the rows of one shard at one site, as safetensors that carry their own checksum."""

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any

import torch
import xxhash
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from probes.data.sites import Site
from probes.reading.store.plan import Plan

_SITE = re.compile(r"[a-z]\w*\.\d+(\.\d+)?", re.ASCII)
_SHARD = re.compile(r"(\d{5,})\.safetensors", re.ASCII)


def shard_path(folder: Path, site: Site, shard: int) -> Path:
    return folder / _name(site) / f"{shard:05d}.safetensors"


def _name(site: Site) -> str:
    return str(site).replace(":", "-")


def shard_files(folder: Path) -> dict[Site, set[int]]:
    """The shards that are there, by site; whatever else lies in the folders, such as copies that a
    synchronised disk made, is none.
    """
    found: dict[Site, set[int]] = {}
    for place in folder.iterdir():
        if not place.is_dir() or not _SITE.fullmatch(place.name):
            continue
        files = (_SHARD.fullmatch(path.name) for path in place.iterdir())
        found[Site.parse(place.name)] = {int(name[1]) for name in files if name is not None}
    return found


def noted_sites(folder: Path) -> set[Site]:
    """The sites that something was ever written at, whether or not it is there still."""
    notes = folder / "sites"
    names = [path.name for path in notes.iterdir()] if notes.is_dir() else []
    return {Site.parse(name) for name in names if _SITE.fullmatch(name)}


def write_shards(
    folder: Path, sites: Sequence[Site], shard: int, states: Float[Tensor, "site n d"], plan: Plan
) -> None:
    """One shard at several sites, two files at a time: one is hashed while the other goes to the disk."""
    with ThreadPoolExecutor(2) as writers:
        list(writers.map(lambda site, x: write_shard(folder, site, shard, x, plan), sites, states))
    # One file a site, since several processes may add sites at once; kept apart from what it tells of.
    (folder / "sites").mkdir(exist_ok=True)
    for site in sites:
        note = folder / "sites" / _name(site)
        if not note.exists():
            note.write_text(f"{site}\n")


def write_shard(folder: Path, site: Site, shard: int, x: Float[Tensor, "n d"], plan: Plan) -> None:
    """Writes the rows; the file appears complete or not at all. Raises OSError, with nothing left
    behind, when the disk is full.
    """
    path = shard_path(folder, site, shard)
    try:
        path.parent.mkdir(exist_ok=True)
        # Left by a process that was killed while it wrote this shard, whose lock we hold now.
        for stale in path.parent.glob(f".saving-{shard:05d}-*"):
            stale.unlink()
        part = path.parent / f".saving-{shard:05d}-{os.getpid()}"
        # Closed by the with below; only the opening has this message.
        file = open(part, "xb", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise OSError(
            f"cannot write to the store {folder} ({error.strerror}); shards that were complete are kept"
        ) from error
    try:
        with file:
            _write_safetensors(file, x, {"site": str(site), "shard": shard} | plan.layout)
        os.replace(part, path)
    except OSError as error:
        raise OSError(
            f"could not write {path} ({error}); shards that were complete are kept, and the same call goes on"
            " from there"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def open_shard(folder: Path, site: Site, shard: int, plan: Plan, width: int) -> Float[Tensor, "n d"]:
    """The rows of a shard, mapped from the file rather than read; raises ValueError if the file is
    not the one planned.
    """
    return _mapped(folder, site, shard, plan, width)[0]


def check_shard(folder: Path, site: Site, shard: int, plan: Plan, width: int) -> Float[Tensor, "n d"]:
    """The rows of a shard after comparing them with their checksum; raises ValueError for a flipped
    bit or a missing end.
    """
    x, header = _mapped(folder, site, shard, plan, width)
    if header.get("xxh3") != _checksum(x):
        raise ValueError(
            f"{shard_path(folder, site, shard)} is damaged: its content does not have the checksum it was"
            " written with"
        )
    return x


def _mapped(
    folder: Path, site: Site, shard: int, plan: Plan, width: int
) -> tuple[Float[Tensor, "n d"], dict[str, Any]]:
    """The rows and what the file says of itself."""
    path = shard_path(folder, site, shard)
    header, x = _opened(path)
    expected: dict[str, Any] = {"site": str(site), "shard": shard} | plan.layout
    wrong = [k for k, v in expected.items() if header.get(k) != v]
    if wrong or tuple(x.shape) != (plan.rows[shard], width) or x.dtype != plan.dtype:
        raise ValueError(
            f"{path} is not the shard planned here: {', '.join(wrong) or 'shape or dtype'} differs"
        )
    return x, header


def _opened(path: Path) -> tuple[dict[str, Any], Tensor]:
    """Header and tensor of any shard file; raises ValueError for what is none."""
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("hookprobe", "null"))
            x = file.get_tensor("x") if list(file.keys()) == ["x"] else None
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    if not isinstance(header, dict) or x is None:
        raise ValueError(f"{path} is damaged: it is no shard of a store")
    return header, x


def planned_shards(folder: Path, key: str) -> int | None:
    """How many shards the plan of a folder had, as most of its shard files tell; None when none can
    be read.
    """
    told: Counter[int] = Counter()
    for path in folder.glob("*/[0-9]*.safetensors"):
        if not (_SITE.fullmatch(path.parent.name) and _SHARD.fullmatch(path.name)):
            continue
        try:
            header, _ = _opened(path)
        except ValueError:
            continue  # a damaged shard; the others tell
        of = header.get("of")
        if header.get("key") == key and isinstance(of, int) and of > 0:
            told[of] += 1
    return max(told, key=lambda of: (told[of], of)) if told else None


PIECE = 2**19  # bytes written at a time: few calls, and still in the cache between hash and write
DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def _write_safetensors(file: FileIO, x: Float[Tensor, "n d"], about: dict[str, Any]) -> None:
    """The rows as a safetensors file, straight from their memory, each piece hashed while the processor's
    cache still has it.

    Not by the library's own functions: save_file has a temporary file of its own, which a killed process
    would leave behind, and save makes a copy of the rows, which halves the speed.
    """
    rows, hashed = _raw(x), xxhash.xxh3_128()
    blank = _header(x, about | {"xxh3": hashed.hexdigest()})
    _write_all(file, blank)
    for start in range(0, len(rows), PIECE):
        piece = rows[start : start + PIECE]
        hashed.update(piece)
        _write_all(file, piece)
    # Every checksum is equally long, so that the true header fits where the blank one is.
    file.seek(0)
    _write_all(file, _header(x, about | {"xxh3": hashed.hexdigest()}))


def _write_all(file: FileIO, body: bytes | memoryview) -> None:
    left = memoryview(body)
    while len(left):
        left = left[file.write(left) :]


def _header(x: Float[Tensor, "n d"], about: dict[str, Any]) -> bytes:
    """One key, because safetensors writes several in no fixed order and the bytes must be the same
    every time.
    """
    told = {"hookprobe": json.dumps(about, sort_keys=True)}
    fields = {
        "__metadata__": told,
        "x": {"dtype": DTYPES[x.dtype], "shape": list(x.shape), "data_offsets": [0, x.nbytes]},
    }
    text = json.dumps(fields).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _raw(x: Float[Tensor, "n d"]) -> memoryview:
    return x.contiguous().view(torch.uint8).numpy().data.cast("B")


def _checksum(x: Float[Tensor, "n d"]) -> str:
    return xxhash.xxh3_128_hexdigest(_raw(x))
