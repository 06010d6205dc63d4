"""What a store will hold, decided before anything is run: which text goes to which shard, and in
which batches.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probes.data.tokens import batches
from probes.models.writes import Write, hashed
from probes.reading.plan import Reading

FORMAT = 1
SHARD_BYTES = 2**24
"""Bytes that one shard of all sites asked for should have; two of them are held in memory while capturing."""


@dataclass(frozen=True, eq=False)
class Plan:
    """The fixed layout of one capture: the same texts, model and position always make the same plan.

    `key` is the content address. `texts[s]` are the examples of shard s, which depend on their ids and the
    number of shards only; `batches[s]` are the forward passes that make it, so that an interrupted capture
    goes on with the very same ones.
    """

    key: str
    about: dict[str, Any]
    texts: tuple[tuple[int, ...], ...]
    batches: tuple[tuple[tuple[int, ...], ...], ...]
    counts: tuple[int, ...]

    @property
    def n_shards(self) -> int:
        return len(self.texts)

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """Rows of each shard."""
        counts = np.asarray(self.counts)
        return tuple(int(counts[list(t)].sum()) for t in self.texts)

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.about["dtype"])

    @property
    def layout(self) -> dict[str, Any]:
        """What decides which rows a shard has, in which order; every shard file carries it."""
        return {"key": self.key, "of": self.n_shards}

    def _body(self) -> str:
        plan = {
            "key": self.key,
            "about": self.about,
            "texts": self.texts,
            "batches": self.batches,
            "counts": self.counts,
        }
        return json.dumps({"format": FORMAT, **plan}, sort_keys=True)

    def as_bytes(self) -> bytes:
        """manifest.json: the plan and its own checksum."""
        body = self._body()
        return json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest(), "plan": body}).encode()

    @classmethod
    def read(cls, folder: Path, key: str | None = None) -> "Plan":
        """The plan in a folder; raises ValueError for a damaged or newer manifest, and for one of
        another capture than `key`.
        """
        path = folder / "manifest.json"
        damaged = (
            f"{path} is damaged; capture again into this store to have it mended (shards that are whole are"
            " kept)"
        )
        text = path.read_bytes()
        try:
            outer = json.loads(text)
            body, digest = outer["plan"], outer["sha256"]
            whole = isinstance(body, str) and hashlib.sha256(body.encode()).hexdigest() == digest
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedManifest(damaged) from error
        if not whole:
            raise DamagedManifest(damaged)
        plan = json.loads(body)
        if key is not None and plan["key"] != key:
            raise DamagedManifest(
                f"{path} belongs to another capture ({plan['key']}); capture again into this store to have it"
                " mended"
            )
        if plan.pop("format") > FORMAT:
            raise ValueError(f"{path} was written by a newer hookprobe; upgrade to read it")
        tuples = {
            "texts": tuple(map(tuple, plan["texts"])),
            "batches": tuple(tuple(map(tuple, b)) for b in plan["batches"]),
            "counts": tuple(plan["counts"]),
        }
        return cls(**plan | tuples)


class DamagedManifest(ValueError):
    """The manifest does not have the content it was written with."""


def make_plan(
    reading: Reading, n_shards: int | None = None, at_least: int = 1, batch_size: int | None = None
) -> Plan:
    """The plan of a capture. The number of shards follows from the size of the output, unless it is given."""
    row_bytes = len(reading.sites) * reading.width * reading.dtype.itemsize
    if n_shards is None:
        n_shards = max(1, at_least, -(-int(reading.first_row[-1]) * row_bytes // SHARD_BYTES))
    of = np.array([shard_of(i, n_shards) for i in reading.examples.ids])
    texts = tuple(tuple(np.flatnonzero(of == s).tolist()) for s in range(n_shards))
    planned = []
    for chosen in texts:
        side = reading.model.tokenizer.padding_side
        found = batches(
            [reading.encoded[t] for t in chosen],
            reading.model.pad_id,
            side,
            batch_size,
            reading.model.token_budget,
        )
        planned.append(tuple(tuple(chosen[i] for i in b.rows) for b in found))
    return Plan(content_key(reading), _about(reading), texts, tuple(planned), tuple(reading.counts.tolist()))


def shard_of(example_id: Any, n_shards: int) -> int:
    """The shard of an example: a function of its id and the number of shards, and of nothing else."""
    return int.from_bytes(hashlib.sha256(str(example_id).encode()).digest()[:8], "big") % n_shards


def content_key(reading: Reading) -> str:
    """The content address: hash of tokens, picked positions, model, edits and precision. Labels are
    no part of it.
    """
    digest = hashlib.sha256(json.dumps(_about(reading), sort_keys=True).encode())
    # A column may decide where an edit acts, and other words in it then make other states.
    edited = [reading.asked.places(w.at) for w in reading.model.writes if w.at.kind != "all"]
    for i, (name, encoded, tokens) in enumerate(
        zip(reading.examples.ids, reading.encoded, reading.tokens, strict=True)
    ):
        places = [found[i].tolist() for found in edited]
        digest.update(f"{name}\0{encoded.ids}\0{tokens.tolist()}\0{places}\n".encode())
    return digest.hexdigest()[:24]


def _about(reading: Reading) -> dict[str, Any]:
    model = reading.fingerprint.key
    # Another version of a library keeps its stores where modules are called and set as before.
    model["state"]["settings"] = model["state"]["settings"].partition("@")[0]
    return {
        "model": model,
        "backend": reading.model.backend.name,
        "at": str(reading.position),
        "width": reading.width,  # heads and stream are captured apart
        "dtype": str(reading.dtype).removeprefix("torch."),
        "edits": [edit_hash(w) for w in reading.writes],
    }


def edit_hash(write: Write) -> str:
    """Hash of where an edit acts and what it does; raises ValueError for an edit that is not given by
    its numbers.
    """
    found = hashed(write)
    if found is None:
        why = f" ({said})" if (said := getattr(write, "untold", str)()) else ""
        raise ValueError(
            f"{write!r} does not say what it does as data{why}, so its captures cannot be told apart in a"
            " store; capture it into memory, or let numbers() of a change of your own return all that decides"
            " it"
        )
    return found
