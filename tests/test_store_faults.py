"""Damage, full disks, read-only folders, kills and two processes at once: a clear error, nothing
lost, and the same bytes in the end.
"""

import errno
import io
import itertools
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import warnings
from collections import namedtuple
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

import probes.reading.store.shards
from benchmarks import faults
from interventions import edited
from interventions.writes.changes import NormKept
from interventions.writes.lowrank import Fixed, SiteEdit
from interventions.writes.own import code_of
from probes import Examples, Site, capture
from probes.checks.threads import one_thread
from probes.data.positions import Position
from probes.models.model import Model
from probes.models.writes import hashed
from probes.reading.store import open_store
from probes.reading.store.index import read_index
from probes.reading.store.plan import Plan

# Labels number the rows here, of which two are of one text; what is said of lost rows has tests below.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:\d+ texts have both labels:probes.HookprobeWarning"),
    pytest.mark.filterwarnings(r"ignore:\d+ of \d+ rows of .* left out:probes.HookprobeWarning"),
    pytest.mark.filterwarnings(r"ignore:.* was captured:probes.HookprobeWarning"),
]

ROOT = Path(__file__).parents[1]
SITES = ["resid_pre.1", "resid_post.0"]


@pytest.fixture(scope="module", autouse=True)
def few_threads():
    """Models this small are slower on several."""
    with one_thread():
        yield


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No launcher around the tests, and shards of a few rows."""
    for name in ("RANK", "WORLD_SIZE", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("probes.reading.store.plan.SHARD_BYTES", 600)


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture
def read(model, texts, tmp_path, monkeypatch):
    """Captures the texts into one store; `read.passes` holds the texts of every forward pass."""
    examples = Examples(texts, y=np.arange(9) % 2, columns={"span": [[0, i] for i in range(9)]})
    passes, run = [], Model.run
    monkeypatch.setattr(
        Model,
        "run",
        lambda self, batch, *rest, **options: (
            passes.append(list(batch.rows)) or run(self, batch, *rest, **options)
        ),
    )

    def capture_all(store=tmp_path / "store", y=None, **options):
        return capture(
            model,
            examples if y is None else examples.with_y(y),
            SITES,
            check=False,
            progress=False,
            store=store,
            **options,
        )

    capture_all.passes = passes
    return capture_all


FINISHED = {}


@pytest.fixture
def store(read, tmp_path):
    """A finished capture, what is in it, and no passes counted yet."""
    if not FINISHED:  # captured once, copied for every test
        key = read().folder.name
        FINISHED[key] = faults.contents(tmp_path / "store")
        read.passes.clear()
        shutil.rmtree(tmp_path / "store")
    ((key, files),) = FINISHED.items()
    for name, body in files.items():
        (tmp_path / "store" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "store" / name).write_bytes(body)
    folder = tmp_path / "store" / key
    return folder, faults.contents(folder)


def shards(folder):
    found = sorted(folder.rglob("*.safetensors"))
    assert len(found) >= 6
    return found


def flip(path, at, bit=3):
    body = bytearray(path.read_bytes())
    body[at] ^= 1 << bit
    path.write_bytes(body)


def header_end(path):
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


# --- damaged shards
# -------------------------------------------------------------------------------------------------


def another_plan(path):
    """A whole file, made under another number of shards."""
    metadata = header(path)
    save_file(
        load_file(path), path, metadata={"hookprobe": json.dumps(metadata | {"of": metadata["of"] + 1})}
    )


def header(path):
    return json.loads(json.loads(path.read_bytes()[8 : header_end(path)])["__metadata__"]["hookprobe"])


DAMAGE = {
    "a bit of the data": lambda path: flip(path, -1),
    "the first bit of the data": lambda path: flip(path, header_end(path), 0),
    "the checksum": lambda path: flip(path, path.read_bytes().index(b"xxh3") + 12, 0),
    "the name of the checksum": lambda path: flip(path, path.read_bytes().index(b"xxh3") + 3, 0),
    "the site": lambda path: flip(path, path.read_bytes().index(b"resid_p") + 1, 0),
    "the length of the header": lambda path: flip(path, 1),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "the last byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "all of it": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "another shard": lambda path: shutil.copy(
        next(p for p in shards(path.parents[1]) if p.stem != path.stem), path
    ),
    "another site": lambda path: shutil.copy(
        next(p for p in shards(path.parents[1]) if p.stem == path.stem and p != path), path
    ),
    "another plan": another_plan,
    "no file": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_shard_is_named_on_loading_and_the_next_capture_mends_it_alone(damage, store, read):
    folder, before = store
    broken = shards(folder)[1]
    acts = open_store(folder)
    DAMAGE[damage](broken)
    with pytest.raises(
        ValueError,
        match=(
            rf"{re.escape(str(broken))}.*run the same capture into this store again, which reads that shard"
            r" anew and keeps the others"
        ),
    ):
        acts.load()
    rest = open_store(folder)
    assert rest.rows(rest.shard != int(broken.stem)).load().x.isfinite().all(), "the other rows can be read"
    read()
    assert sorted(t for texts in read.passes for t in texts) == list(acts.plan.texts[int(broken.stem)])
    assert faults.contents(folder) == before


def test_a_shard_of_another_store_is_not_taken_for_its_own(store, read, tmp_path, model, texts):
    folder, before = store
    other = capture(model, texts, SITES, at="first", check=False, store=tmp_path / "other").folder
    stolen = shards(other)[0]
    shutil.copy(stolen, folder / stolen.relative_to(other))
    with pytest.raises(ValueError, match=r"is not the shard planned here: key.* differs"):
        open_store(folder).load()
    read()
    assert faults.contents(folder) == before


def test_a_sound_tensor_of_another_shape_or_dtype_is_refused(store):
    folder, _ = store
    path = shards(folder)[0]
    x, metadata = load_file(path)["x"], {"hookprobe": json.dumps(header(path))}
    for wrong in (x[:, :-1], x.double(), x[:0]):
        save_file({"x": wrong.contiguous()}, path, metadata=metadata)
        with pytest.raises(ValueError, match="is not the shard planned here: shape or dtype differs"):
            open_store(folder).load()


# --- damaged manifest and index
# -------------------------------------------------------------------------------------

SPOILED = {
    "a flipped bit": lambda body: (
        body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :]
    ),
    "a flipped bit at the end": lambda body: body[:-20] + bytes([body[-20] ^ 1]) + body[-19:],
    "half of it": lambda body: body[: len(body) // 2],
    "nothing": lambda body: b"",
    "garbage": lambda body: np.random.default_rng(0).bytes(len(body)),
    "deep nesting": lambda body: b"[" * 200_000,
    "a list": lambda body: b"[1, 2]",
    "null": lambda body: b"null",
}


@pytest.mark.parametrize("spoil", SPOILED)
@pytest.mark.parametrize("name", ["manifest.json", "rows.parquet"])
def test_a_damaged_manifest_or_index_is_refused_and_mended_without_a_pass(name, spoil, store, read):
    folder, before = store
    (folder / name).write_bytes(SPOILED[spoil](before[name]))
    with pytest.raises(
        ValueError, match=rf"{re.escape(name)} is damaged.* capture again into this store to have it mended"
    ):
        open_store(folder)
    assert len(read()) == 9
    assert read.passes == []
    assert faults.contents(folder) == before


def test_every_single_byte_of_the_index_counts(store):
    """Parquet itself has no checksum: a flipped label would be read as it stands."""
    folder, before = store
    path, plan = folder / "rows.parquet", Plan.read(folder)
    for at in range(0, len(before["rows.parquet"]), 29):
        flip(path, at, at % 8)
        with pytest.raises(ValueError, match="is damaged"):
            read_index(folder, plan)
        path.write_bytes(before["rows.parquet"])
    assert read_index(folder, plan)[1] == 32


@pytest.mark.parametrize(
    "names", [["rows.parquet"], ["manifest.json"], ["manifest.json", "rows.parquet"]], ids="+".join
)
@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 1}, {"shard": "0/50"}], ids=["as before", "batch size", "parts"]
)
def test_a_lost_manifest_or_index_is_made_again_around_the_shards(names, options, store, read, monkeypatch):
    folder, before = store
    for name in names:
        (folder / name).unlink()
    with pytest.raises(
        ValueError, match=r"holds no captures|rows.parquet cannot be read .*No such file.*; capture again"
    ):
        open_store(folder)
    monkeypatch.setattr("probes.reading.store.plan.SHARD_BYTES", 2**20)
    read(**options)
    assert read.passes == []
    if not options:
        assert faults.contents(folder) == before


def test_a_damaged_shard_does_not_mislead_the_mending_of_the_manifest(store, read):
    folder, before = store
    another_plan(shards(folder)[0])
    (folder / "manifest.json").write_text("{")
    read()
    assert len(read.passes) == 1
    assert faults.contents(folder) == before


def test_manifest_and_index_of_another_capture_are_not_taken_for_its_own(store, read, tmp_path, model, texts):
    folder, before = store
    other = capture(model, texts, SITES, at="first", check=False, store=tmp_path / "other").folder
    read.passes.clear()
    shutil.copy(other / "rows.parquet", folder)
    with pytest.raises(ValueError, match="belongs to another capture than the manifest beside it"):
        open_store(folder)
    shutil.copy(other / "manifest.json", folder)
    read()
    assert read.passes == []
    assert faults.contents(folder) == before


def test_a_manifest_of_a_newer_version_is_not_overwritten(store, read, monkeypatch):
    folder, _ = store
    monkeypatch.setattr("probes.reading.store.plan.FORMAT", 7)
    (folder / "manifest.json").write_bytes(Plan.read(folder).as_bytes())
    newer = (folder / "manifest.json").read_bytes()
    monkeypatch.setattr("probes.reading.store.plan.FORMAT", 1)
    for attempt in (read, lambda: open_store(folder)):
        with pytest.raises(ValueError, match="was written by a newer hookprobe; upgrade to read it"):
            attempt()
    assert (folder / "manifest.json").read_bytes() == newer


# --- folders that cannot be written to
# ------------------------------------------------------------------------------


@pytest.fixture
def read_only(monkeypatch):
    """Every way of writing below a folder fails as on a read-only disk; permissions would not stop root."""

    def freeze(folder):
        def guarded(call, writes):
            def checked(path, *args, **kwargs):
                if str(path).startswith(str(folder)) and writes(*args, **kwargs):
                    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
                return call(path, *args, **kwargs)

            return checked

        for name in ("mkdir", "replace", "rename", "unlink", "rmdir", "remove", "chmod"):
            monkeypatch.setattr(os, name, guarded(getattr(os, name), lambda *args, **kwargs: True))
        monkeypatch.setattr(
            os,
            "open",
            guarded(
                os.open, lambda flags, *rest, **kwargs: bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            ),
        )
        monkeypatch.setattr(
            io, "open", guarded(io.open, lambda mode="r", *rest, **kwargs: any(c in mode for c in "wax+"))
        )

    return freeze


def test_a_finished_store_in_a_read_only_folder_is_read_and_reused(store, read, read_only):
    folder, before = store
    read_only(folder)
    assert torch.equal(read().load().x, open_store(folder)[SITES].load().x)
    assert read.passes == [] and faults.contents(folder) == before


def test_new_labels_for_a_read_only_store_come_back_but_the_index_keeps_the_old(store, read, read_only):
    folder, before = store
    read_only(folder)
    with pytest.warns(
        UserWarning,
        match=(
            r"rows\.parquet stays as it was .*Read-only file system.*what this capture returns has the labels"
        ),
    ):
        got = read(y=np.arange(9) / 3)
    assert got.y.tolist() == (np.arange(9) / 3).tolist() and open_store(folder).y.tolist() == [0, 1] * 4 + [0]
    assert faults.contents(folder) == before


def test_an_unfinished_store_in_a_read_only_folder_says_that_it_cannot_be_written_to(store, read, read_only):
    folder, _ = store
    shards(folder)[0].unlink()
    before = faults.contents(folder)
    read_only(folder)
    with pytest.raises(
        OSError,
        match=(
            rf"cannot write to the store {re.escape(str(folder))} \(Read-only file system\); give a folder"
            r" that can be written to"
        ),
    ):
        read()
    assert read.passes == [] and faults.contents(folder) == before
    assert open_store(folder).missing > 0


def test_a_new_store_in_a_read_only_folder_says_so_before_anything_is_run(read, read_only, tmp_path):
    read_only(tmp_path)
    with pytest.raises(
        OSError,
        match=r"cannot write to the store .*\(Read-only file system\); give a folder that can be written to",
    ):
        read()
    assert read.passes == []


# --- strays, lost shards, stopped writers
# -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stray",
    ["@eaDir/", "notes/", "resid_post.0/@eaDir/", "resid_post.0/{shard} (1).safetensors", "resid_post.0 (1)/",
     "resid_post.0/{shard}.safetensors.tmp", "resid_post.0/{shard}x.safetensors", ".DS_Store", "Thumbs.db"],
)  # fmt: skip
def test_what_sync_tools_leave_behind_is_passed_over(stray, read):
    made = read()
    shard = next((made.folder / "resid_post.0").glob("*.safetensors"))
    before, right = faults.contents(made.folder), open_store(made.folder).load()
    place = made.folder / stray.format(shard=shard.stem)
    if stray.endswith("/"):
        place.mkdir()
        (place / shard.name).write_bytes(shard.read_bytes())
    else:
        place.write_bytes(shard.read_bytes())
    found = open_store(made.folder)
    assert found.missing == 0 and set(found.sites) == set(made.sites)
    assert torch.equal(found.load().x, right.x)
    # Nor do they hinder mending, where shards are counted.
    (made.folder / "manifest.json").write_bytes(b"{}")
    assert torch.equal(read().load().x, made.load().x)
    assert before.items() <= faults.contents(made.folder).items()


@pytest.mark.parametrize("copied", [False, True])
def test_rows_of_a_lost_shard_are_said_to_be_left_out(copied, read):
    made = read()
    shard = sorted((made.folder / "resid_post.0").glob("*.safetensors"))[1]
    # A copy under another name does not stand in for it: nobody knows of what time it is.
    shard.rename(shard.with_name(f"{shard.stem} (1).safetensors")) if copied else shard.unlink()
    rows = made.plan.rows[int(shard.stem)]
    with pytest.warns(UserWarning, match=rf"{rows} of 9 rows .*{re.escape(str(shard))}.*same capture"):
        found = open_store(made.folder)
    assert found.missing == rows and len(found.load()) == 9 - rows
    assert len(read().load()) == 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_store(made.folder).missing == 0


@pytest.mark.parametrize("name", ["plan", "00001"])
def test_a_long_wait_for_another_process_is_said(name, read, monkeypatch, tmp_path):
    folder = read().folder
    before = faults.contents(folder)
    (folder / "manifest.json").write_bytes(b"{}")
    shutil.rmtree(folder / "resid_post.0")
    monkeypatch.setattr("probes.reading.store.filling.PATIENCE", 0.05)
    held = FileLock(folder / ".locks" / f"{name}.lock", thread_local=False)
    held.acquire()
    said = []

    def heard(message, *args, **options):
        said.append(str(message))
        held.release()  # the other process has gone on

    monkeypatch.setattr("probes.reading.store.filling.warn", heard)
    read()
    assert len(said) == 1 and held.lock_file in said[0] and "kill -CONT" in said[0]
    assert faults.contents(folder) == before


# --- full disks
# -----------------------------------------------------------------------------------------------------


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_run(read, monkeypatch):
    usage = namedtuple("usage", "total used free")
    needed = 9 * 2 * 32 * 4
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, needed - 1))
    with pytest.raises(
        OSError,
        match=r"writes 2\.2 KiB more into .* the disk has 2\.2 KiB left, 1 bytes too few; nothing was run",
    ):
        read()
    assert read.passes == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, needed))
    folder = read().folder
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 0))
    assert len(read()) == 9, "what is there needs no room"
    shards(folder)[0].unlink()
    with pytest.raises(OSError, match="nothing was run"):
        read()


@pytest.mark.parametrize("after", [0, 1, 3, 4])
def test_a_disk_that_runs_full_leaves_finished_shards_and_no_half_written_file(
    after, store, read, tmp_path, monkeypatch
):
    whole = store[1]
    calls = itertools.count(1)

    write = probes.reading.store.shards._write_safetensors

    def full(file, x, about):
        if next(calls) > after:
            file.write(b"a part of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file.name))
        return write(file, x, about)

    monkeypatch.setattr(probes.reading.store.shards, "_write_safetensors", full)
    with pytest.raises(
        OSError,
        match=(
            r"could not write .*No space left on device.*; shards that were complete are kept, and the same"
            r" call goes on from there"
        ),
    ):
        read(store=tmp_path / "full")
    assert not faults.leftovers(tmp_path / "full")
    (folder,) = (p for p in (tmp_path / "full").iterdir())
    kept = faults.contents(folder)
    assert sum(k.endswith(".safetensors") for k in kept) == after
    assert all(whole[k] == v for k, v in kept.items())
    monkeypatch.setattr(probes.reading.store.shards, "_write_safetensors", write)
    read.passes.clear()
    read(store=tmp_path / "full")
    assert faults.contents(folder) == whole
    plan = Plan.read(folder)
    done = [
        s
        for s, texts in enumerate(plan.texts)
        if texts and all(f"{site}/{s:05d}.safetensors" in kept for site in SITES)
    ]
    assert not {t for s in done for t in plan.texts[s]} & {t for texts in read.passes for t in texts}, (
        "finished shards are not read again"
    )


@pytest.mark.parametrize("name", ["rows.parquet", "manifest.json"])
def test_a_disk_that_is_full_at_the_start_leaves_nothing_half_written(name, read, tmp_path, monkeypatch):
    write = Path.write_bytes

    def full(path, body):
        if path.name == name:
            write(path, body[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, body)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        OSError, match=rf"cannot write .*{re.escape(name)} \(No space left on device\); make room"
    ):
        read()
    assert not faults.leftovers(tmp_path)
    assert not list(tmp_path.rglob(name))
    monkeypatch.setattr(Path, "write_bytes", write)
    assert len(read()) == 9


# --- kills and two processes
# ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """What happened to captures in processes that were forked, killed, and run two at a time."""
    out = tmp_path_factory.mktemp("faults") / "figures.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.faults",
        "--kills",
        "6",
        "--pairs",
        "2",
        "--fuzz",
        "0",
        "--out",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text())


def test_a_capture_killed_at_any_moment_ends_byte_for_byte_as_an_uninterrupted_one(figures):
    assert figures["kills"]["identical"] == figures["kills"]["killed"] == 6


def test_two_processes_fill_one_store_with_the_same_bytes_and_share_the_work(figures):
    assert figures["pairs"]["identical"] == figures["pairs"]["pairs"] == 2
    assert (
        figures["pairs"]["texts needed"]
        <= figures["pairs"]["texts read"]
        <= 1.25 * figures["pairs"]["texts needed"]
    )


def test_what_a_killed_process_left_is_swept_away(store, read):
    folder, before = store
    first = shards(folder)[0]
    (folder / ".saving-x").mkdir()
    (folder / ".saving-x" / "rows.parquet").write_bytes(b"half")
    (first.parent / f".saving-{first.stem}-y").write_bytes(b"half")
    first.unlink()
    assert len(open_store(folder)) < 9
    read()
    assert faults.contents(folder) == before and not faults.leftovers(folder)


def test_a_capture_that_has_only_begun_can_be_opened(store):
    folder, _ = store
    for path in shards(folder):
        path.unlink()
    acts = open_store(folder)
    assert (len(acts), acts.missing, acts.sites) == (0, 9, ())
    assert "9 rows not captured yet" in repr(acts)
    assert list(acts.blocks()) == list(acts.chunks()) == []


# --- fuzz
# -----------------------------------------------------------------------------------------------------------


def test_no_mutated_file_gives_wrong_rows_or_another_kind_of_error(tmp_path):
    assert set(faults.fuzz(faults.small_model(), 300, 11, tmp_path, mend_every=50)) <= {
        "files",
        "error",
        "right",
        "mended",
        "to be mended",
    }


def test_stores_that_were_fuzzed_are_mended(tmp_path):
    found = faults.fuzz(faults.small_model(), 20, 5, tmp_path, mend_every=1)
    assert found["mended"] == found["to be mended"] == 20


class Payload:
    def __reduce__(self):
        return os.mkdir, (str(Payload.mark),)


@pytest.mark.parametrize("name", ["manifest.json", "rows.parquet", "shard"])
def test_a_pickle_in_the_place_of_a_file_is_not_run(name, store, tmp_path):
    folder, _ = store
    Payload.mark = tmp_path / "run"
    target = shards(folder)[0] if name == "shard" else folder / name
    target.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError, match="is damaged"):
        open_store(folder).load()
    torch.save(Payload(), target)
    with pytest.raises(ValueError, match="is damaged"):
        open_store(folder).load()
    assert not Payload.mark.exists()


def test_a_site_whose_folder_is_gone_is_said_until_it_is_read_again(make_model, tmp_path, recwarn):
    model, texts = make_model(), Examples(["the red house", "a small tree", "the river is old"])
    made = capture(model, texts, "resid_post", store=tmp_path, progress=False)
    capture(model, texts, "mlp_out.1", store=tmp_path, progress=False)
    shutil.rmtree(made.folder / "resid_post.1")
    told = r"captured at resid_post.1 too, .*the same capture .* remove its note in .*sites"
    for sites in (None, "resid_post"):
        with pytest.warns(UserWarning, match=told):
            left = open_store(tmp_path, model, sites)
    assert [s for s in map(str, left.sites) if s.startswith("resid")] == ["resid_post.0", "resid_post.2"]
    for shard in (made.folder / "resid_post.0").iterdir():
        shard.unlink()
    with pytest.warns(UserWarning, match=r"captured at resid_post.0, resid_post.1 too"):
        open_store(tmp_path)
    recwarn.clear()
    assert open_store(tmp_path, sites=["mlp_out.1", "resid_post.2"]).sites  # the others were not asked for
    capture(model, texts, "resid_post", store=tmp_path, progress=False)
    assert len(open_store(tmp_path).sites) == 4
    shutil.rmtree(made.folder / "resid_post.1")
    (made.folder / "sites" / "resid_post.1").unlink()  # removed on purpose
    assert len(open_store(tmp_path).sites) == 3 and not recwarn.list


class Scaled:
    """A change of the user's own."""

    width, keeps_norm, kind = 32, False, "scaled"

    def __init__(self, by, told):
        self.by, self.told = by, told

    def delta(self, h):
        return h * (self.by - 1)

    def numbers(self):
        return (torch.tensor([float(self.by)]),) if self.told else ()


class Turned:
    """A change without fields, which needs no numbers."""

    width, keeps_norm, kind = 32, True, "turned"

    def delta(self, h):
        return -2 * h

    def numbers(self):
        return ()


def test_a_change_of_ones_own_that_has_fields_and_no_numbers_is_refused_by_stores(make_model, tmp_path):
    model, site = make_model(), Site("resid_post", 1)

    def under(change):
        write = SiteEdit(site, Position.parse("all"), change, "mine")
        return edited(model, Fixed((write,), "mine"))

    def states(change, **kept):
        return capture(under(change), ["the red house"], site, progress=False, **kept)

    for change in (Scaled(0.5, told=False), NormKept(Scaled(0.5, told=False))):
        with pytest.raises(
            ValueError, match=r"capture it into memory, or let numbers\(\) of a change of your own"
        ):
            states(change, store=tmp_path)
        assert len(states(change)) == 1
    for change in (Scaled(0.5, told=True), Scaled(2, told=True), Turned()):
        kept = states(change, store=tmp_path).load()
        assert torch.allclose(kept.x, states(change).x, atol=1e-5)


class Slotted:
    """One that keeps its field in a slot."""

    __slots__ = ("by",)
    width, keeps_norm, kind = 32, False, "slotted"

    def __init__(self, by):
        self.by = by

    def delta(self, h):
        return h * (self.by - 1)

    def numbers(self):
        return ()


class Halved(Turned):
    """Of the same kind and without fields, by other code."""

    def delta(self, h):
        return -h / 2


class Squared(Turned):
    def delta(self, h):
        return (lambda x: x * x)(h)


class Cubed(Turned):
    def delta(self, h):
        return (lambda x: x * x * x)(h)


def test_changes_of_ones_own_are_told_apart_by_slots_and_by_code(make_model, tmp_path):
    model, site = make_model(), Site("resid_post", 1)

    def states(change, **kept):
        write = SiteEdit(site, Position.parse("all"), change, "mine")
        own = edited(model, Fixed((write,), "mine"))
        return capture(own, ["the red house"], site, progress=False, **kept)

    with pytest.raises(ValueError, match=r"let numbers\(\) of a change of your own"):
        states(Slotted(0.5), store=tmp_path)
    for change in (Turned(), Halved(), Squared(), Cubed(), NormKept(Squared()), NormKept(Cubed()), Turned()):
        kept = states(change, store=tmp_path).load()
        assert torch.allclose(kept.x, states(change).x, atol=1e-5), change


BY = 1.0


def closed_over(by):
    class Mine(Turned):
        def delta(self, h):
            return h * by

    return Mine()


def with_default(k):
    class Mine(Turned):
        def delta(self, h, by=k):
            return h * by

    return Mine()


def with_keyword(k):
    class Mine(Turned):
        def delta(self, h, *, by=k):
            return h * by

    return Mine()


def of_the_class(k):
    class Mine(Turned):
        by = k

        def delta(self, h):
            return h * self.by

    return Mine()


def inherited(k):
    class Mine(type(of_the_class(k))):
        pass

    return Mine()


def helped(k):
    def helper(h):
        return (lambda: h * k)()

    class Mine(Turned):
        by = staticmethod(helper)

        def delta(self, h):
            return self.by(h)

    return Mine()


def computed_once(k):
    class Mine(Turned):
        @cached_property
        def by(self):
            return k

        def delta(self, h):
            return h * self.by

    return Mine()


def by_a_global(k):
    global BY
    BY = k

    class Mine(Turned):
        def delta(self, h):
            return h * BY

    return Mine()


WITHOUT_NUMBERS = [
    closed_over,
    with_default,
    with_keyword,
    of_the_class,
    inherited,
    helped,
    computed_once,
    by_a_global,
]


@pytest.mark.parametrize("make", WITHOUT_NUMBERS)
def test_changes_of_ones_own_are_told_apart_by_what_their_class_reaches(make, make_model, tmp_path):
    model, site = make_model(), Site("resid_post", 1)

    def states(change, **kept):
        write = SiteEdit(site, Position.parse("all"), change, "mine")
        own = edited(model, Fixed((write,), "mine"))
        return capture(own, ["the red house"], site, progress=False, **kept)

    for by in (1.0, 2.0, torch.full((32,), 0.5)):
        for change in (make(by), NormKept(make(by))):
            kept = states(change, store=tmp_path).load()
            assert torch.allclose(kept.x, states(change).x, atol=1e-5), by
    assert len(list((tmp_path).iterdir())) >= 6 and code_of(make(1.0)) == code_of(make(1.0))


class Number(float):
    width, keeps_norm, kind = 32, False, "number"

    def delta(self, h):
        return h * float(self)

    def numbers(self):
        return ()


class Exactly(Scaled):
    def __init__(self, by):
        self.by, self.told = by, True

    def numbers(self):
        return (self.by,)

    def delta(self, h):
        return h


class Asking(Turned):
    """Asks a model, which has no lasting hash."""

    net = torch.nn.Linear(2, 2)
    net.config = "what makes it a model"


class Layered(Turned):
    """Asks a layer, which is told by its weights."""

    net = torch.nn.Linear(2, 2)


def test_changes_that_nothing_tells_apart_are_kept_out_of_stores_and_numbers_count_exactly(
    make_model, tmp_path
):
    model, site = make_model(), Site("resid_post", 1)

    def write(change):
        return SiteEdit(site, Position.parse("all"), change, "mine")

    before = code_of(Layered())
    assert before and code_of(Layered()) == before
    with torch.no_grad():
        Layered.net.weight[0, 0] += 1e-6
    assert code_of(Layered()) != before and code_of(Asking()) is None
    for change in (Number(2), Asking()):
        with pytest.raises(ValueError, match=r"let numbers\(\) of a change of your own"):
            capture(
                edited(model, Fixed((write(change),), "mine")),
                ["alpha"],
                site,
                store=tmp_path,
                progress=False,
            )
    told = [
        hashed(write(Exactly(by)))
        for by in (
            torch.tensor(1 + 1e-9, dtype=torch.float64),
            torch.tensor(1 + 3e-9, dtype=torch.float64),
            torch.tensor(2**25),
            torch.tensor(2**25 + 1),
            torch.ones(4),
            torch.ones(2, 2),
        )
    ]
    assert len(set(told)) == len(told)
    assert hashed(write(Exactly(torch.ones(4)))) == told[4]


def test_a_class_that_is_written_again_with_the_same_code_is_the_same(make_model):
    def made():
        class Mine(Turned):
            def delta(self, h):
                return 3 * h

        return Mine()

    names = [hashed(SiteEdit(Site("resid_post", 1), Position.parse("all"), made(), "mine")) for _ in "ab"]
    assert (
        names[0]
        == names[1]
        != hashed(SiteEdit(Site("resid_post", 1), Position.parse("all"), Turned(), "mine"))
    )
