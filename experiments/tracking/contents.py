"""What of a run goes into a tracker, in no tracker's words."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.runs import Run, provenance, read_run

LONGEST = 250
"""Facts whose text is longer, such as a digest of all weights, stay in manifest.json, which is sent too."""


@dataclass(frozen=True, eq=False)
class Contents:
    """A run as trackers take it.

    `settings` are its flags, `facts` what it rested on (versions, commit, data, model), `numbers` its
    headlines and their bounds (`auroc`, `auroc.low`, `auroc.high`), `tables` its tidy rows and headlines,
    `images` its figures by name. `folder` has all of these as files, with the report to read.
    """

    folder: Path
    name: str
    experiment: str
    claims: tuple[str, ...]
    marks: tuple[str, ...]
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    numbers: Mapping[str, float]
    tables: Mapping[str, pd.DataFrame]
    images: Mapping[str, Path]

    @property
    def report(self) -> Path | None:
        """The page to read; None for a run that ended in an error before it was made."""
        found = self.folder / "report.html"
        return found if found.is_file() else None


def contents_of(folder: str | Path) -> Contents:
    """What lies in a run's folder; raises ValueError for a folder that is none."""
    run = read_run(folder)
    where = run.folder.resolve()
    headlines = [{"headline": name, **number} for name, number in run.headlines.items()]
    return Contents(
        folder=where,
        name=f"{run.experiment}-{where.name}",
        experiment=run.experiment,
        claims=tuple(run.claims),
        marks=run.marks,
        settings={k: v for k, v in run.config.items() if k not in ("out", "log")},
        facts=_facts(run),
        numbers=_numbers(run),
        tables={n: _table(rows) for n, rows in (("rows", run.rows), ("headlines", headlines)) if rows},
        images={p.stem: p for p in sorted((where / "figures").glob("*.png"))},
    )


def _facts(run: Run) -> dict[str, Any]:
    found = provenance(run.manifest)
    return {name: v for name, v in found.items() if v is not None and len(str(v)) <= LONGEST}


def _numbers(run: Run) -> dict[str, float]:
    ends = {"": "value", ".low": "low", ".high": "high"}
    return {
        f"{name}{end}": float(number[key])
        for name, number in run.headlines.items()
        for end, key in ends.items()
        if number.get(key) is not None
    }


def _table(rows: Any) -> pd.DataFrame:
    """One kind of value a column: numbers, or texts, which trackers refuse to mix."""
    table = pd.DataFrame(rows)
    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    for name in texts:
        table[name] = [_text(value) for value in table[name]]
        table[name] = table[name].astype(object)
    return table


def _text(value: Any) -> str:
    return "" if value is None or (isinstance(value, float) and pd.isna(value)) else str(value)
