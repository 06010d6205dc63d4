"""Instructions out of the files that people keep them in, and out of public sets by name."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from probes.data.tables import read_csv
from probes.data.text_files import json_lines, json_or_lines

COLUMNS = ("instruction", "prompt", "goal", "question", "text")
"""What a column of instructions may be called, the likeliest first."""
SOME = re.compile(r"(.+)\[(\w+)=(.*)\]")
"""Some rows of a table: SOURCE[column=value]."""
LINES = {".jsonl", ".ndjson"}
"""Ends of the names of files with a JSON value a line."""
KINDS = {"", ".txt", ".json", ".csv"} | LINES


def instructions_of(source: str) -> list[str]:
    """The instructions of a JSON list (texts, or objects), JSON lines, a CSV file, a text file with one a
    line, or a public set on the hub (OWNER/NAME), each once; `SOURCE[label=safe]` takes the rows of a table
    that say so. What stands in a column `input` belongs to its instruction and follows it. Raises ValueError
    for anything else.
    """
    some = SOME.fullmatch(source)
    name, column, value = some.groups() if some else (source, None, None)
    path = Path(name)
    if path.is_file():
        rows = _of_file(path)
    elif name.count("/") == 1 and not path.suffix and not name.startswith((".", "/")):
        rows = _of_hub(name)
    else:
        raise ValueError(f"no file {name}; give a file of instructions, or OWNER/NAME of a set on the hub")
    if column is not None:
        if column not in rows.columns:
            raise ValueError(f"{name} has no column {column}; it has {', '.join(map(str, rows.columns))}")
        rows = rows.loc[rows[column].astype(str) == value]
    told = _column(rows, name)
    more = list(rows["input"]) if "input" in rows.columns else [None] * len(rows)
    texts = [_with_input(*both) for both in zip(told, more, strict=True) if _is_said(both[0])]
    if not texts:
        raise ValueError(f"{source} has no instructions in it")
    return list({plain(t): t for t in texts}.values())


def _is_said(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip())


def _with_input(text: str, more: Any) -> str:
    return f"{text.strip()}\n\n{more.strip()}" if _is_said(more) else text.strip()


def _of_file(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return read_csv(path)
    if path.suffix not in KINDS:
        known = ", ".join(sorted(name for name in KINDS if name))
        raise ValueError(
            f"{path} is none of the kinds of file that are read, {known}; save it as one of them"
        )
    rows = json_lines(path) if path.suffix in LINES else json_or_lines(path)
    if isinstance(rows, list) and all(isinstance(r, str) for r in rows):
        return pd.DataFrame({COLUMNS[0]: rows})
    if isinstance(rows, list) and all(isinstance(r, dict) for r in rows):
        return pd.DataFrame(rows)
    raise ValueError(f"{path} must hold a list of texts or of objects, one an instruction")


def _of_hub(name: str) -> pd.DataFrame:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ValueError(f'to read the set {name} from the hub: pip install "hookprobe[sets]"') from error
    try:
        return pd.DataFrame(load_dataset(name, split="train").to_dict())
    except (OSError, ValueError) as error:  # no network, no such set, a set of several configurations
        raise ValueError(
            f"could not read the set {name} from the hub ({error!s:.200}); download it and give the file"
        ) from error


def _column(table: pd.DataFrame, source: Any) -> list[Any]:
    """The column of instructions."""
    names = {str(c).lower(): c for c in table.columns}
    found = next((names[c] for c in COLUMNS if c in names), None)
    if found is None:
        raise ValueError(
            f"{source} has no column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}; it has"
            f" {', '.join(map(str, table.columns))}"
        )
    return list(table[found])


def plain(text: str) -> str:
    """A text as it is compared: in lower case, with single spaces."""
    return " ".join(text.split()).lower()
