"""Runs that lie in a folder: all of them on one page, and two beside each other."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from experiments.pages import embedded, page
from probes.data.artefacts import complete

NUMBERS = ("value", "low", "high", "n", "n_groups", "level", "p", "p_value", "verdict", "chosen")
"""What a row says beside where it was measured."""
SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class Run:
    """What a run left: its settings, its sentences, its tidy rows and its figures (PNG)."""

    folder: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    claims: list[str]
    rows: Sequence[dict[str, Any]]
    headlines: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def experiment(self) -> str:
        return str(self.manifest["experiment"])

    @property
    def model(self) -> str:
        return str(self.config.get("model", ""))

    @property
    def marks(self) -> tuple[str, ...]:
        """What a reader must know before any number: that it is a preview, that an error ended it."""
        known = {"preview": "preview" in self.manifest, "unfinished": "unfinished" in self.manifest}
        return tuple(mark for mark, there in known.items() if there)

    @property
    def first_claim(self) -> str:
        """The first sentence of what it found; what ended it where it found nothing."""
        found = [claim for claim in self.claims if claim != self.manifest.get("preview")]
        return found[0] if found else str(self.manifest.get("unfinished", ""))

    @property
    def finished(self) -> str:
        """When it ended, in universal time."""
        when = pd.to_datetime(self.manifest["finished"], format="%Y%m%d-%H%M%S", errors="coerce")
        return "" if pd.isna(when) else f"{when:%Y-%m-%d %H:%M}"

    def figures(self) -> dict[str, bytes]:
        return {p.stem: p.read_bytes() for p in sorted((self.folder / "figures").glob("*.png"))}


def read_run(folder: str | Path) -> Run:
    """A run's folder; raises ValueError for a folder that is none, or whose files are not as runs write
    them.
    """
    where = Path(folder)
    found = {name: _object(where / f"{name}.json") for name in ("config", "manifest", "results")}
    results, manifest = found["results"], found["manifest"]
    if results.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{where / 'results.json'} has schema_version {results.get('schema_version')!r}; this reads"
            f" {SCHEMA_VERSION}"
        )
    rows, claims = results.get("rows"), results.get("claims")
    if not (isinstance(rows, list) and all(map(_is_row, rows))):
        raise ValueError(
            f"rows of {where / 'results.json'} must be a list of objects with a measure and a value"
        )
    if not (isinstance(claims, list) and all(isinstance(c, str) for c in claims)):
        raise ValueError(f"claims of {where / 'results.json'} must be a list of texts")
    headlines = results.get("headlines", {})  # runs of earlier versions have none
    if not (isinstance(headlines, dict) and all(_is_number(h) for h in headlines.values())):
        raise ValueError(f"headlines of {where / 'results.json'} must be an object of numbers by name")
    for name in ("experiment", "finished"):
        if not isinstance(manifest.get(name), str):
            got = repr(manifest[name]) if name in manifest else "nothing"
            raise ValueError(f"{name} of {where / 'manifest.json'} must be a text, got {got:.60}")
    return Run(where, found["config"], manifest, claims, rows, headlines)


def _is_row(row: Any) -> bool:
    """Whether it has a measure, and numbers (or nothing) where numbers belong."""
    if not (isinstance(row, dict) and {"measure", "value"} <= set(row)):
        return False
    return _is_number(row)


def _is_number(row: Any) -> bool:
    """Whether it has a value and bounds, or nothing in their place."""
    return isinstance(row, dict) and all(
        isinstance(row.get(n), int | float | None) for n in ("value", "low", "high")
    )


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"no file {path}; give the folder of a run, such as the last line of one names")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON that can be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold an object, got a {type(found).__name__}")
    return found


def index_page(out: str | Path) -> Path:
    """Writes `out/index.html`: every run below a folder, the newest first, with its first sentence. A folder
    that cannot be read is named with the reason.
    """
    where, found, unread = Path(out), [], []
    if not where.is_dir():
        raise ValueError(f"no folder {where}; give the folder that runs were written to, such as runs")
    for manifest in sorted(where.glob("*/*/manifest.json")):
        if manifest.parent.name.startswith("."):
            continue  # still being written
        try:
            found.append(read_run(manifest.parent))
        except FileNotFoundError:  # removed while this page is made
            continue
        except ValueError as error:
            unread.append((manifest.parent.relative_to(where).as_posix(), str(error)))
    found.sort(key=lambda run: str(run.manifest["finished"]), reverse=True)
    lines = [
        {
            "link": quote((run.folder / "report.html").relative_to(where).as_posix()),
            "drawn": (run.folder / "report.html").is_file(),
            "cells": (run.experiment, run.model, run.finished, run.folder.name),
            "marks": run.marks,
            "said": run.first_claim,
        }
        for run in found
    ]
    return _written(where / "index.html", page("index.html.j2", runs=lines, unread=unread))


def compared(one: Run, other: Run) -> pd.DataFrame:
    """The numbers that both runs have, one line each: value and interval in either, the difference, and
    whether the intervals lie apart (None without intervals). No test: runs may share prompts, seeds and
    models. Raises ValueError for runs that share no number.
    """
    first, second = (_by_place(run.rows) for run in (one, other))
    shared = [place for place in first if place in second]
    if not shared:
        named = " and ".join(f"{run.folder} ({run.experiment})" for run in (one, other))
        raise ValueError(f"{named} share no number; give two runs of one experiment")
    return pd.DataFrame([_line(place, first[place], second[place]) for place in shared])


def _line(place: str, one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    ends = [number.get(end) for number in (one, other) for end in ("low", "high")]
    difference = _number(other["value"]) - _number(one["value"])
    known = all(end is not None and not pd.isna(end) for end in ends)
    spread = sum(n["high"] - n["low"] for n in (one, other)) / 2 if known else float("nan")
    spread = max(spread, _step(one, other)) if known else spread  # what no one sees must not lead
    return {
        "measured": place,
        "one": _shown(one),
        "other": _shown(other),
        "difference": difference,
        "apart": one["high"] < other["low"] or other["high"] < one["low"] if known else None,
        "widths": abs(difference) / spread if known and spread else float("nan"),
    }


def _step(*numbers: dict[str, Any]) -> float:
    """The smallest difference that is seen between numbers as they are shown, to three digits."""
    size = max(abs(_number(n[end])) for n in numbers for end in ("value", "low", "high"))
    return 10.0 ** (math.floor(math.log10(size)) - 2) if math.isfinite(size) and size > 0 else 0.0


def _by_place(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows by what they say of where they were measured; equal ones are numbered."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        where = [f"{k} {v}" for k, v in row.items() if k not in ("measure", *NUMBERS)]
        place = ", ".join([str(row["measure"]), *where])
        times = sum(k == place or k.startswith(f"{place} (") for k in found) if place in found else 0
        found[f"{place} ({times + 1})" if times else place] = row
    return found


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _shown(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "none"
    bounds = "" if row.get("low") is None else f" [{row['low']:.3g}, {_number(row.get('high')):.3g}]"
    verdict = f", {row['verdict']}" if row.get("verdict") else ""
    return f"{row['value']:.3g}{bounds}{verdict}"


def compare_page(one: str | Path, other: str | Path, out: str | Path) -> Path:
    """Writes a page with two runs beside each other: their sentences, the settings in which they differ,
    their figures, and the numbers both have, those first that differ most beside their intervals. Raises
    ValueError for a folder that is no run, and for runs that share no number.
    """
    runs = [read_run(folder) for folder in (one, other)]
    table = compared(*runs).sort_values("widths", ascending=False, kind="stable", na_position="last")
    cells = [
        (
            row["measured"],
            row["one"],
            row["other"],
            "" if pd.isna(row["difference"]) else f"{row['difference']:+.3g}",
            "apart" if row["apart"] else "",
        )
        for row in table.to_dict("records")
    ]
    bounded = [line for line, apart in zip(cells, table["apart"], strict=True) if apart is not None]
    points = [line[:4] for line, apart in zip(cells, table["apart"], strict=True) if apart is None]
    first, second = ({**run.config, **provenance(run.manifest)} for run in runs)
    differing = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    settings = [(name, *(str(c.get(name, "none")) for c in (first, second))) for name in differing]
    images = [embedded(run.figures()) for run in runs]
    figures = [(name, image, images[1][name]) for name, image in images[0].items() if name in images[1]]
    text = page("compare.html.j2", runs=runs, rows=bounded, others=points, settings=settings, figures=figures)
    return _written(Path(out), text)


def provenance(manifest: dict[str, Any], name: str = "") -> dict[str, Any]:
    """What a run rested on beside its settings: data, weights, versions, commit; not when it ran and for how
    long.
    """
    found: dict[str, Any] = {}
    for key, value in manifest.items():
        if not name and key in ("command", "finished", "seconds", "experiment"):
            continue
        path = f"{name} {key}".strip()
        if key == "weights" and isinstance(value, list):  # `tensors`, their hash, says as much
            continue
        found |= provenance(value, path) if isinstance(value, dict) else {path: value}
    return found


def _written(path: Path, text: str) -> Path:
    with complete(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path
