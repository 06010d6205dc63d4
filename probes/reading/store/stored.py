"""Captured hidden states that stay on disk: rows and sites are chosen without reading, numbers come
when they are asked for.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.checks.saying import warn
from probes.data.activations import Activations, Sited
from probes.data.sites import Site, SiteLike, SitesLike
from probes.models.model import Model
from probes.reading.store.index import places, read_index
from probes.reading.store.plan import Plan, edit_hash
from probes.reading.store.shards import check_shard, noted_sites, open_shard, shard_files, shard_path


@dataclass(frozen=True, eq=False)
class StoredActivations(Sited):
    """Hidden states of some rows at some sites, on disk. `acts[site]`, `acts.rows(mask)` and `acts.split()`
    read nothing.

    `load()` gives ordinary Activations, `blocks()` and `chunks()` a part of the sites or rows at a time.
    Recipes and probes take them as they are. Rows whose shard is not finished are left out, and `missing`
    says how many there are.
    """

    folder: Path
    plan: Plan
    sites: tuple[Site, ...]
    width: int
    example: np.ndarray
    token: np.ndarray | None
    shard: np.ndarray
    place: np.ndarray
    receipt: dict[str, Any]
    missing: int = 0
    _checked: set[tuple[Site, int]] = field(default_factory=set)

    @property
    def x(self) -> Float[Tensor, "site n d"]:
        raise AttributeError(
            "stored activations are on disk and have no x; .load() brings them into memory, and .blocks() or"
            " .chunks() a part at a time"
        )

    @property
    def dtype(self) -> torch.dtype:
        return self.plan.dtype

    @property
    def nbytes(self) -> int:
        return len(self.sites) * len(self) * self.width * self.dtype.itemsize

    def __getitem__(self, site: SiteLike | list[SiteLike] | tuple[SiteLike, ...]) -> "StoredActivations":
        return replace(self, sites=tuple(self.sites[i] for i in self.index_of(site)))

    def _take(self, index: np.ndarray) -> "StoredActivations":
        rest = {k: getattr(self, k)[index] for k in ("example", "shard", "place")}
        return replace(super()._take(index), token=None if self.token is None else self.token[index], **rest)

    def mapped(self, site: Site, shard: int) -> Float[Tensor, "n d"]:
        """One shard's rows at one site, mapped from disk; compared with its checksum the first time.
        Raises ValueError if damaged.
        """
        read = open_shard if (site, shard) in self._checked else check_shard
        try:
            x = read(self.folder, site, shard, self.plan, self.width)
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(
                f"{error}; run the same capture into this store again, which reads that shard anew and keeps"
                " the others"
            ) from error
        self._checked.add((site, shard))
        return x

    def load(self) -> Activations:
        """All of it in memory; raises MemoryError beforehand when it is larger than the free memory."""
        free = _free_memory()
        if free is not None and self.nbytes > free:
            raise MemoryError(
                f"these activations have {self.nbytes / 2**30:.1f} GiB and {free / 2**30:.1f} GiB of memory"
                " are free; choose sites or rows first, or go through .blocks() or .chunks()"
            )
        x = torch.empty(len(self.sites), len(self), self.width, dtype=self.dtype)
        for shard in np.unique(self.shard):
            here = np.flatnonzero(self.shard == shard)
            place = torch.from_numpy(self.place[here])
            for i, site in enumerate(self.sites):
                x[i, torch.from_numpy(here)] = self.mapped(site, int(shard))[place]
        rows = (self.y, self.groups, self.ids, self.columns)
        places = (self.sites, self.example, self.token, self.receipt)
        return Activations(*rows, x, *places, text_keys=self.text_keys)

    def blocks(self, max_bytes: int = 2**30) -> Iterator[Activations]:
        """All rows of as many sites as fit into `max_bytes`, then of the next ones."""
        step = max(1, max_bytes // max(1, self.nbytes // max(1, len(self.sites))))
        for start in range(0, len(self.sites), step):
            yield self[self.sites[start : start + step]].load()

    def chunks(self, max_bytes: int = 2**27) -> Iterator[tuple[np.ndarray, Activations]]:
        """All sites of some rows, then of the next: the numbers of the rows among these, and the
        rows. Goes through the disk once, shard by shard.
        """
        order = np.lexsort((self.place, self.shard))
        step = max(1, max_bytes // max(1, self.nbytes // max(1, len(self))))
        for start in range(0, len(self), step):
            index = order[start : start + step]
            yield index, self.rows(index).load()

    def __repr__(self) -> str:
        span = (
            ""
            if not self.sites
            else f": {self.sites[0]}"
            if len(self.sites) == 1
            else f": {self.sites[0]} to {self.sites[-1]}"
        )
        missing = f", {self.missing} rows not captured yet" if self.missing else ""
        return (
            f"StoredActivations({len(self)} rows, width {self.width}, {len(self.sites)} sites{span},"
            f" {self.nbytes / 2**20:.0f} MiB in {self.folder}{missing})"
        )


def stored(
    folder: Path,
    plan: Plan,
    row_data: Mapping[str, Any],
    sites: tuple[Site, ...],
    width: int,
    finished: set[int],
) -> StoredActivations:
    """The rows of finished shards as a value."""
    shard, place = places(plan)
    given = {k: v for k, v in row_data.items() if k != "sites"}
    whole = StoredActivations(
        folder=folder, plan=plan, sites=sites, width=width, shard=shard, place=place, **given
    )
    there = np.isin(shard, list(finished))
    return whole if there.all() else replace(whole.rows(there), missing=int((~there).sum()))


def open_store(
    path: str | Path, model: Model | None = None, sites: SitesLike | None = None
) -> StoredActivations:
    """The activations that a folder holds, also while a capture into it goes on; labels and columns are those
    of its index.

    `path` is a store, or one capture in it. Rows are those finished at all its sites, or at the `sites` named
    (kinds or single ones); sites that are gone are warned of. With `model`, raises ValueError unless they
    were captured from it, naming the field that differs. Raises ValueError when there is none, or several to
    choose from.
    """
    path = Path(path)
    folders = (
        [path]
        if (path / "manifest.json").is_file()
        else sorted(p.parent for p in path.glob("*/manifest.json"))
    )
    if len(folders) != 1:
        held = "\n".join(f"  {f}: {_said(f)}" for f in folders)
        raise ValueError(
            f"{path} holds {len(folders)} captures; give the folder of one\n{held}"
            if folders
            else f"{path} holds no captures"
        )
    folder = folders[0]
    plan = Plan.read(folder)
    row_data, width = read_index(folder, plan)
    if model is not None:
        _check_model(row_data["receipt"], plan, model, folder)
    held = shard_files(folder)
    there = sorted(held, key=lambda s: (s.kind, s.block, s.head or 0))
    # A capture that has just begun makes a folder first.
    chosen = _named(tuple(s for s in there if held[s]), sites, folder)
    wanted = {s for s, texts in enumerate(plan.texts) if texts}
    finished = set.intersection(wanted, *(held[s] for s in chosen)) if chosen else set()
    row_data["receipt"] |= {"sites": [str(s) for s in chosen]}
    found = stored(folder, plan, row_data, chosen, width, finished)
    if found.missing:
        warn(_lost(found, {s: wanted - held[s] for s in chosen}))
    gone = {s for s in noted_sites(folder) if not held.get(s)}
    if gone := sorted(gone if sites is None else _of(gone, sites), key=lambda s: s.order):
        warn(
            f"{folder} was captured at {', '.join(map(str, gone))} too, and nothing of that is there any"
            " more; the same capture into this store reads it again, and where it was removed on purpose,"
            f" remove its note in {folder / 'sites'}"
        )
    return found


def _lost(found: StoredActivations, gone: Mapping[Site, set[int]]) -> str:
    """Which rows are left out, why, and what brings them."""
    first = next((shard_path(found.folder, site, min(s)) for site, s in gone.items() if s), found.folder)
    return (
        f"{found.missing} of {found.missing + len(found)} rows of {found.folder} are left out: their shards"
        f" are not there at all sites (such as {first}). Where a capture goes on they come with it; where"
        " none does, they were lost or never written, and the same capture into this store reads them"
    )


def _named(held: tuple[Site, ...], sites: SitesLike | None, folder: Path) -> tuple[Site, ...]:
    if sites is None:
        return held
    wanted = [sites] if isinstance(sites, Site | str) else list(sites)
    missing = [str(w) for w in wanted if not any(w in (s, str(s), s.kind) for s in held)]
    if missing:
        raise ValueError(
            f"{folder} has nothing at {', '.join(missing)}; it holds"
            f" {', '.join(map(str, held)) or 'no site yet'}"
        )
    return tuple(_of(held, sites))


def _of(held: Iterable[Site], sites: SitesLike) -> list[Site]:
    """Those that are named, by themselves or by their kind."""
    wanted = [sites] if isinstance(sites, Site | str) else list(sites)
    return [s for s in held if any(w in (s, str(s), s.kind) for w in wanted)]


def _check_model(receipt: dict[str, Any], plan: Plan, model: Model, folder: Path) -> None:
    model.fingerprinted(whole=True)
    model.refuse_foreign(receipt, f"the store {folder}")
    if plan.about["edits"] != [edit_hash(w) for w in model.writes]:
        raise ValueError(
            f"the store {folder} was captured with {receipt['edits'] or 'no edits'}, and the model has"
            f" {list(model.writes) or 'none'}: edits differ"
        )


def _said(folder: Path) -> str:
    try:
        about = Plan.read(folder).about
    except ValueError as error:
        return str(error)
    return f"at {about['at']}, {about['dtype']}, {len(about['edits'])} edits"


def _free_memory() -> int | None:
    """Bytes the system can still give; None where it does not say."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return None
    return next(
        int(line.split()[1]) * 1024
        for line in meminfo.read_text().splitlines()
        if line.startswith("MemAvailable")
    )


def in_memory(acts: Any) -> Any:
    """Stored activations loaded; anything else as it is. Raises MemoryError where they are too large."""
    return acts.load() if isinstance(acts, StoredActivations) else acts
