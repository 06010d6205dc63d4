"""Capturing into a store: what is there is kept, what is missing is read, and several processes may
do it at once.
"""

import os
import shutil
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from probes.checks.saying import warn
from probes.data.artefacts import complete
from probes.data.sites import Site
from probes.markup.progress import progress_bar
from probes.reading.plan import Reading, refuse_unreadable
from probes.reading.store.index import index_bytes
from probes.reading.store.plan import DamagedManifest, Plan, content_key, make_plan
from probes.reading.store.shards import check_shard, planned_shards, shard_path, write_shards
from probes.reading.store.stored import StoredActivations, stored

PATIENCE = 60.0  # seconds of waiting for another process before that is said
ShardLike = str | tuple[int, int] | None


def fill(
    reading: Reading,
    store: str | Path,
    shard: ShardLike = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> StoredActivations:
    """Reads what the store does not have yet, and gives all that is finished.

    `shard` is this process's part, "2/8" or (2, 8); None looks at RANK and WORLD_SIZE or a SLURM array, and
    is everything otherwise.
    """
    part, parts = my_part(shard)
    store = Path(store).expanduser()
    if store.exists() and not store.is_dir():
        raise NotADirectoryError(
            f"store is {store}, which is a file; give a folder, which is made if there is none"
        )
    reading.model.fingerprinted(whole=True)  # what is kept outlives this process, so nothing may be missed
    folder = store / content_key(reading)
    plan = _planned(reading, folder, parts, batch_size)
    mine = [s for s in range(plan.n_shards) if s % parts == part and plan.texts[s]]
    todo = {s: found for s in mine if (found := _missing(reading, folder, plan, s))}
    _refuse_small_disk(
        folder,
        sum(plan.rows[s] * len(sites) for s, sites in todo.items()) * reading.width * reading.dtype.itemsize,
    )
    total = sum(len(plan.texts[s]) for s in mine)
    done = total - sum(len(plan.texts[s]) for s in todo)
    with progress_bar("capture", progress, total=total, unit="text", initial=done) as bar:
        _capture_shards(reading, folder, plan, list(todo), bar)
    wanted = {s for s, texts in enumerate(plan.texts) if texts}
    finished = {s for s in wanted if s in mine or not _missing(reading, folder, plan, s)}
    found = stored(folder, plan, reading.row_data(), reading.sites, reading.width, finished)
    if found.missing and shard is None:
        warn(
            f"this process read part {part}/{parts}, as the environment says (RANK and WORLD_SIZE, or a SLURM"
            f" array), and {found.missing} of {found.missing + len(found)} rows are not there yet; once all"
            " parts are read, open_store(folder) has every row. shard='0/1' reads all here"
        )
    return found


def my_part(shard: ShardLike) -> tuple[int, int]:
    """Which part of how many this process does; raises ValueError for what cannot be one."""
    given = _environment() if shard is None else shard.split("/") if isinstance(shard, str) else shard
    try:
        part, parts = (int(p) for p in given)
    except ValueError as error:
        raise ValueError(
            f"shard is {shard!r}; expected 'i/n' with i from 0 to n - 1, such as '0/4'"
        ) from error
    if not 0 <= part < parts:
        raise ValueError(f"shard {part}/{parts} does not exist; expected i/n with i from 0 to n - 1")
    return part, parts


def _environment() -> tuple[int, int]:
    """The part that the launcher of this process gave it; everything where there is no launcher."""
    own = os.environ
    try:
        if "RANK" in own and "WORLD_SIZE" in own:
            return int(own["RANK"]), int(own["WORLD_SIZE"])
        if "SLURM_ARRAY_TASK_ID" in own and "SLURM_ARRAY_TASK_COUNT" in own:
            # An array may start at any number and count in steps.
            offset = int(own["SLURM_ARRAY_TASK_ID"]) - int(own.get("SLURM_ARRAY_TASK_MIN", 0))
            return offset // int(own.get("SLURM_ARRAY_TASK_STEP", 1)), int(own["SLURM_ARRAY_TASK_COUNT"])
    except ValueError as error:
        raise ValueError(
            f"RANK and WORLD_SIZE, or the SLURM_ARRAY_TASK variables, must be whole numbers ({error}); or"
            " give shard='i/n'"
        ) from error
    return 0, 1


def _planned(reading: Reading, folder: Path, parts: int, batch_size: int | None) -> Plan:
    """The plan that holds in this folder, made if this is the first capture there; the index has the
    labels of this call.
    """
    try:
        plan = Plan.read(folder, folder.name)
    except (FileNotFoundError, DamagedManifest):
        with _planning(folder):
            plan = _make_or_mend(reading, folder, parts, batch_size)
    _keep_index(reading, folder, plan)
    return plan


@contextmanager
def _planning(folder: Path) -> Generator[None]:
    """Nobody else writes manifest or index meanwhile, and what a killed process left of its own is gone."""
    lock = _lock(folder, "plan", wait=True)
    assert lock is not None
    try:
        for stale in folder.glob(".saving-*"):
            shutil.rmtree(stale)
        yield
    finally:
        lock.release()


def _make_or_mend(reading: Reading, folder: Path, parts: int, batch_size: int | None) -> Plan:
    try:
        return Plan.read(folder, folder.name)  # another process was first
    except (FileNotFoundError, DamagedManifest):
        # Every shard says of how many it is one, so shards that are there stay valid.
        plan = make_plan(reading, planned_shards(folder, folder.name), at_least=parts, batch_size=batch_size)
    # The index first: a folder with a manifest can always be opened.
    _replace(folder / "rows.parquet", _index(reading, plan))
    _replace(folder / "manifest.json", plan.as_bytes())
    return plan


def _keep_index(reading: Reading, folder: Path, plan: Plan) -> None:
    """Writes the index anew when labels or columns have changed, or when it is damaged."""
    path, body = folder / "rows.parquet", _index(reading, plan)
    if path.is_file() and path.read_bytes() == body and not any(folder.glob(".saving-*")):
        return
    try:
        with _planning(folder):
            _replace(path, body)
    except OSError as error:
        warn(
            f"{path} stays as it was ({error}); what this capture returns has the labels and columns of this"
            " call"
        )


def _index(reading: Reading, plan: Plan) -> bytes:
    return index_bytes(plan, reading.row_data(), reading.width)


def _replace(path: Path, body: bytes) -> None:
    try:
        with complete(path) as part:
            part.write_bytes(body)
    except OSError as error:
        raise OSError(
            f"cannot write {path} ({error.strerror}); make room or give a folder that can be written to, and"
            " capture again"
        ) from error


def _lock(folder: Path, name: str, wait: bool) -> FileLock | None:
    """A lock that this process holds now; None when another one holds it and we do not wait. Says so when the
    wait is long, and goes on waiting.
    """
    path = folder / ".locks" / f"{name}.lock"
    lock = FileLock(path, timeout=PATIENCE if wait else 0, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            if not wait:
                return None
            warn(
                f"waiting since {PATIENCE} s for another process that holds {path}; if it is stopped and"
                " not at work, let it go on (kill -CONT) or end it, and this one takes over (fuser"
                f" {path} tells which process it is)"
            )
            lock.acquire(timeout=-1)
    except OSError as error:
        raise OSError(
            f"cannot write to the store {folder} ({error.strerror}); give a folder that can be written to."
            " Finished shards are kept"
        ) from error
    return lock


def _missing(reading: Reading, folder: Path, plan: Plan, shard: int) -> tuple[Site, ...]:
    """Sites whose shard is not there whole; a damaged file counts as missing and is replaced."""
    gone = []
    for site in reading.sites:
        if not shard_path(folder, site, shard).is_file():
            gone.append(site)
            continue
        try:
            check_shard(folder, site, shard, plan, reading.width)
        except ValueError:
            gone.append(site)
    return tuple(gone)


def _refuse_small_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"this capture writes {_size(needed)} more into {folder} and the disk has {_size(free)} left,"
            f" {_size(needed - free)} too few; nothing was run"
        )


def _size(n: int) -> str:
    """Bytes in the unit that leaves a number to read."""
    for step, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if n >= step:
            return f"{n / step:.1f} {unit}"
    return f"{n} bytes"


def _capture_shards(reading: Reading, folder: Path, plan: Plan, shards: Sequence[int], bar: Any) -> None:
    """One shard after the other; each is written while the next is read. A shard that another process
    works on comes last.
    """
    # Two buffers for all shards, one being read into and one being written: memory given back and taken anew
    # would fragment.
    largest = max((plan.rows[s] for s in shards), default=0) * len(reading.sites) * reading.width
    reading_into, being_written = (torch.empty(largest, dtype=reading.dtype) for _ in range(2))
    with ThreadPoolExecutor(1) as writer:
        writing: Future[None] | None = None
        waiting: list[int] = []
        for attempt, of in (("try", shards), ("wait", waiting)):
            for s in of:
                lock = _lock(folder, f"{s:05d}", wait=attempt == "wait")
                if lock is None:
                    waiting.append(s)
                    continue
                try:
                    sites = _missing(reading, folder, plan, s)
                    states = _read_shard(reading, plan, s, sites, reading_into, bar)
                    if writing is not None:
                        writing.result()
                    writing = writer.submit(_write_and_release, folder, sites, s, states, plan, lock)
                    reading_into, being_written = being_written, reading_into
                except BaseException:
                    lock.release()
                    raise
        if writing is not None:
            writing.result()


def _write_and_release(
    folder: Path, sites: Sequence[Site], shard: int, states: Tensor, plan: Plan, lock: FileLock
) -> None:
    try:
        write_shards(folder, sites, shard, states, plan)
    finally:
        lock.release()


def _read_shard(
    reading: Reading, plan: Plan, shard: int, sites: tuple[Site, ...], into: Tensor, bar: Any
) -> Tensor:
    """The rows of one shard at these sites ["site n d"], read in the planned batches into the memory
    given.
    """
    rows = plan.rows[shard]
    x = into[: len(sites) * rows * reading.width].view(len(sites), rows, reading.width).fill_(torch.nan)
    if not sites:
        return x
    start, starts = 0, {}
    for t in plan.texts[shard]:
        starts[t] = start
        start += plan.counts[t]
    for batch in plan.batches[shard]:
        for done, states in reading.passes(reading.batch(batch), sites):
            at = torch.cat([torch.arange(starts[t], starts[t] + plan.counts[t]) for t in done])
            for part, site in zip(x, sites, strict=True):
                if site in states:
                    part[at] = states.pop(site).to(device="cpu", dtype=reading.dtype)
            bar.update(len(done))
    bad = [site for site, part in zip(sites, x, strict=True) if not torch.isfinite(part).all()]
    refuse_unreadable(bad, reading.dtype, reading.model)
    return x
