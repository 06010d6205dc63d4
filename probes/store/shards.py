"""One file: the rows of one shard at one site, as safetensors that carry their own checksum."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import xxhash
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from probes.sites import Site
from probes.store.plan import Plan


def shard_path(folder: Path, site: Site, shard: int) -> Path:
    return folder / str(site).replace(":", "-") / f"{shard:05d}.safetensors"


def write_shard(folder: Path, site: Site, shard: int, x: Float[Tensor, "n d"], plan: Plan) -> None:
    """Writes the rows; the file appears complete or not at all. Raises OSError, with nothing left behind, when the disk is full."""
    path = shard_path(folder, site, shard)
    try:
        path.parent.mkdir(exist_ok=True)
        # Left by a process that was killed while it wrote this shard, whose lock we hold now.
        for stale in path.parent.glob(f".saving-{shard:05d}-*"):
            stale.unlink()
        descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".saving-{shard:05d}-")
    except OSError as error:
        raise OSError(f"cannot write to the store {folder} ({error.strerror}); shards that were complete are kept") from error
    os.close(descriptor)
    # One key, because safetensors writes several in no fixed order and the bytes must be the same every time.
    header = json.dumps({"xxh3": _checksum(x), "plan": plan.digest, "site": str(site), "shard": shard, "of": plan.n_shards}, sort_keys=True)
    try:
        save_file({"x": x}, part, metadata={"hookprobe": header})
        os.chmod(part, 0o644)
        os.replace(part, path)
    except (SafetensorError, OSError) as error:
        raise OSError(f"could not write {path} ({error}); shards that were complete are kept, and the same call goes on from there") from error
    finally:
        if os.path.exists(part):
            os.unlink(part)


def open_shard(path: Path, site: Site, shard: int, shape: Sequence[int], dtype: torch.dtype, plan: str) -> Float[Tensor, "n d"]:
    """The rows of a shard, mapped from the file rather than read; raises ValueError if the file is not the one planned."""
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("hookprobe", "null"))
            names = list(file.keys())
            x = file.get_tensor("x") if names == ["x"] else None
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    if not isinstance(header, dict) or x is None:
        raise ValueError(f"{path} is damaged: it is no shard of a store")
    expected: dict[str, Any] = {"plan": plan, "site": str(site), "shard": shard}
    wrong = [k for k, v in expected.items() if header.get(k) != v]
    if wrong or tuple(x.shape) != tuple(shape) or x.dtype != dtype:
        raise ValueError(f"{path} is not the shard planned here: {', '.join(wrong) or 'shape or dtype'} differs")
    return x


def check_shard(path: Path, site: Site, shard: int, shape: Sequence[int], dtype: torch.dtype, plan: str) -> Float[Tensor, "n d"]:
    """The rows of a shard after comparing them with their checksum; raises ValueError for a flipped bit or a missing end."""
    x = open_shard(path, site, shard, shape, dtype, plan)
    with safe_open(str(path), framework="pt") as file:
        written = json.loads(file.metadata()["hookprobe"])["xxh3"]
    if _checksum(x) != written:
        raise ValueError(f"{path} is damaged: its content does not have the checksum it was written with")
    return x


def planned_shards(folder: Path) -> int | None:
    """How many shards the plan of a folder had, told by its shard files; None when none can be read."""
    for path in sorted(folder.glob("*/[0-9]*.safetensors")):
        try:
            with safe_open(str(path), framework="pt") as file:
                of = json.loads(file.metadata()["hookprobe"])["of"]
        except (SafetensorError, ValueError, KeyError, TypeError):
            continue  # a damaged shard; another one may tell
        if isinstance(of, int) and of > 0:
            return of
    return None


def _checksum(x: Float[Tensor, "n d"]) -> str:
    return xxhash.xxh3_128_hexdigest(memoryview(x.contiguous().view(torch.uint8).numpy()).cast("B"))
