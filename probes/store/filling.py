"""Capturing into a store: what is there is kept, what is missing is read, and several processes may do it at once."""

import os
import shutil
import warnings
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from probes.artefacts import complete
from probes.reading import Reading, refuse_unreadable
from probes.sites import Site
from probes.store.plan import DamagedManifest, Plan, content_key, make_plan
from probes.store.shards import check_shard, planned_shards, shard_path, write_shard
from probes.store.stored import StoredActivations, index_bytes, stored

ShardLike = str | tuple[int, int] | None


def fill(reading: Reading, store: str | Path, shard: ShardLike = None, batch_size: int | None = None, progress: bool = True) -> StoredActivations:
    """Reads what the store does not have yet, and gives all that is finished.

    `shard` is this process's part, "2/8" or (2, 8); None looks at RANK and WORLD_SIZE or a SLURM array, and is everything otherwise.
    """
    part, parts = my_part(shard)
    folder = Path(store).expanduser() / content_key(reading)
    plan = _planned(reading, folder, parts, batch_size)
    mine = [s for s in range(plan.n_shards) if s % parts == part and plan.texts[s]]
    todo = {s: found for s in mine if (found := _missing(reading, folder, plan, s))}
    _refuse_small_disk(folder, sum(plan.rows[s] * len(sites) for s, sites in todo.items()) * reading.width * reading.dtype.itemsize)
    total = sum(len(plan.texts[s]) for s in mine)
    done = total - sum(len(plan.texts[s]) for s in todo)
    with tqdm(total=total, initial=done, desc="capture", unit="text", delay=2, leave=False, disable=None if progress else True) as bar:
        _capture_shards(reading, folder, plan, list(todo), bar)
    wanted = {s for s, texts in enumerate(plan.texts) if texts}
    finished = {s for s in wanted if s in mine or not _missing(reading, folder, plan, s)}
    return stored(folder, plan, reading.row_data(), reading.sites, reading.width, finished)


def my_part(shard: ShardLike) -> tuple[int, int]:
    """Which part of how many this process does; raises ValueError for what cannot be one."""
    if shard is None:
        for rank, world in (("RANK", "WORLD_SIZE"), ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")):
            if rank in os.environ and world in os.environ:
                # A SLURM array may start at any number.
                first = int(os.environ.get("SLURM_ARRAY_TASK_MIN", 0)) if rank.startswith("SLURM") else 0
                shard = (int(os.environ[rank]) - first, int(os.environ[world]))
                break
        else:
            return 0, 1
    try:
        part, parts = (int(p) for p in (shard.split("/") if isinstance(shard, str) else shard))
    except ValueError as error:
        raise ValueError(f"shard is {shard!r}; expected 'i/n' with i from 0 to n - 1, such as '0/4'") from error
    if not 0 <= part < parts:
        raise ValueError(f"shard {part}/{parts} does not exist; parts are numbered 0 to {parts - 1}")
    return part, parts


def _planned(reading: Reading, folder: Path, parts: int, batch_size: int | None) -> Plan:
    """The plan that holds in this folder, made if this is the first capture there."""
    try:
        plan = Plan.read(folder)
    except (FileNotFoundError, DamagedManifest):
        _make_folder(folder / ".locks")
        with FileLock(folder / ".locks" / "plan.lock"):
            plan = _make_or_mend(reading, folder, parts, batch_size)
    _keep_index(reading, folder, plan)
    return plan


def _make_or_mend(reading: Reading, folder: Path, parts: int, batch_size: int | None) -> Plan:
    try:
        return Plan.read(folder)  # another process was first
    except FileNotFoundError:
        plan = make_plan(reading, at_least=parts, batch_size=batch_size)
    except DamagedManifest:
        # Every shard says of how many it is one, so the same plan comes out and whole shards stay valid.
        plan = make_plan(reading, planned_shards(folder), at_least=parts, batch_size=batch_size)
    for stale in folder.glob(".saving-*"):
        shutil.rmtree(stale)
    # The index first: a folder with a manifest can always be opened.
    _replace(folder / "rows.parquet", _index(reading, plan))
    _replace(folder / "manifest.json", plan.as_bytes())
    return plan


def _keep_index(reading: Reading, folder: Path, plan: Plan) -> None:
    """Writes the index anew when labels or columns have changed, or when it is damaged."""
    path, body = folder / "rows.parquet", _index(reading, plan)
    if path.is_file() and path.read_bytes() == body:
        return
    try:
        _replace(path, body)
    except OSError as error:
        warnings.warn(
            f"{path} keeps its old labels and columns, since it cannot be written ({error.strerror}); what capture returns has the new ones", stacklevel=4
        )


def _index(reading: Reading, plan: Plan) -> bytes:
    return index_bytes(plan, reading.row_data() | {"width": reading.width})


def _replace(path: Path, body: bytes) -> None:
    with complete(path) as part:
        part.write_bytes(body)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the store {folder} ({error.strerror}); give a folder that can be written to") from error


def _missing(reading: Reading, folder: Path, plan: Plan, shard: int) -> tuple[Site, ...]:
    """Sites whose shard is not there whole; a damaged file counts as missing and is replaced."""
    gone = []
    for site in reading.sites:
        path = shard_path(folder, site, shard)
        if not path.is_file():
            gone.append(site)
            continue
        try:
            check_shard(path, site, shard, (plan.rows[shard], reading.width), reading.dtype, plan.digest)
        except ValueError:
            gone.append(site)
    return tuple(gone)


def _refuse_small_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"this capture writes {needed / 2**30:.2f} GiB more into {folder} and the disk has {free / 2**30:.2f} GiB left; nothing was run")


def _capture_shards(reading: Reading, folder: Path, plan: Plan, shards: Sequence[int], bar: Any) -> None:
    """One shard after the other; each is written while the next is read. A shard that another process works on comes last."""
    if not shards:
        return
    locks = folder / ".locks"
    _make_folder(locks)
    with ThreadPoolExecutor(1) as writer:
        writing: Future[None] | None = None
        waiting: list[int] = []
        for attempt, of in (("try", shards), ("wait", waiting)):
            for s in of:
                try:
                    lock = FileLock(locks / f"{s:05d}.lock", timeout=0 if attempt == "try" else -1, thread_local=False)
                    lock.acquire()
                except Timeout:
                    waiting.append(s)
                    continue
                try:
                    sites = _missing(reading, folder, plan, s)
                    states = _read_shard(reading, plan, s, sites, bar) if sites else []
                    if writing is not None:
                        writing.result()
                    writing = writer.submit(_write_and_release, folder, sites, s, states, plan, lock)
                except BaseException:
                    lock.release()
                    raise
        if writing is not None:
            writing.result()


def _write_and_release(folder: Path, sites: Sequence[Site], shard: int, states: Sequence[Tensor], plan: Plan, lock: FileLock) -> None:
    try:
        for site, x in zip(sites, states, strict=True):
            write_shard(folder, site, shard, x, plan)
    finally:
        lock.release()


def _read_shard(reading: Reading, plan: Plan, shard: int, sites: tuple[Site, ...], bar: Any) -> list[Tensor]:
    """The rows of one shard at these sites, read in the planned batches."""
    texts = plan.texts[shard]
    start, starts = 0, {}
    for t in texts:
        starts[t] = start
        start += plan.counts[t]
    x = [torch.full((start, reading.width), torch.nan, dtype=reading.dtype) for _ in sites]
    for rows in plan.batches[shard]:
        for done, states in reading.passes(reading.batch(rows), sites):
            at = torch.cat([torch.arange(starts[t], starts[t] + plan.counts[t]) for t in done])
            for part, site in zip(x, sites, strict=True):
                if site in states:
                    part[at] = states[site].to(device="cpu", dtype=reading.dtype)
            bar.update(len(done))
    refuse_unreadable([site for site, part in zip(sites, x, strict=True) if not torch.isfinite(part).all()])
    return x
