"""Statements as prompts: the embedded language or a CSV file, put into question templates, and
neutral text.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import organism
from experiments.organism.language import neutral, statements
from experiments.organism.world import make_world
from probes import Examples, Pairs
from probes.data.rows import Rows

EMBEDDED = "embedded:"
EMBEDDED_TEMPLATES = (("{statement} true ?", "yes,no"), ("{statement} false ?", "no,yes"))
NEUTRAL = (
    "The train leaves the station at nine and reaches the coast before noon.",
    "She put the blue cup on the shelf and closed the window.",
    "Rain fell on the roof all night, and in the morning the garden was green.",
    "He counted the chairs twice and wrote the number on a small card.",
    "A narrow path follows the river past the mill and the old bridge.",
    "The baker opens early, so the street smells of bread before sunrise.",
    "They carried the table up the stairs and rested on every floor.",
    "In autumn the leaves turn yellow and the wind takes them away.",
    "The cat slept on the warm stones until the shade reached her.",
    "My brother repairs clocks and keeps the spare parts in glass jars.",
    "After lunch the children drew maps of the harbour with coloured pencils.",
    "The library lends books for three weeks and maps for one.",
    "A light in the window told the sailors that the house was near.",
    "We walked along the beach and collected shells in a paper bag.",
    "The teacher wiped the board and asked for a volunteer.",
    "Two dogs ran across the field and stopped at the fence.",
    "The soup needs an hour on a low flame and a little salt.",
    "At the market they sell apples, cheese, rope and clay pots.",
    "He folded the letter, put it in his pocket and went home.",
    "Snow covered the road, so the bus came an hour late.",
)


def model_path(name: str) -> str:
    """`embedded:truth` names a model of this project; anything else is a folder or hub name."""
    return str(organism.folder(name.removeprefix(EMBEDDED))) if name.startswith(EMBEDDED) else name


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
    table = pd.read_csv(path)
    missing = [c for c in needed if c not in table.columns]
    if missing:
        there = ", ".join(map(str, table.columns))
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {there}; {advice}")
    return table


def load_statements(data: Path | None, group: str | None, limit: int | None, seed: int) -> pd.DataFrame:
    """A table with `statement`, `label` and `group`; other columns travel along. Without a file: the
    embedded language.
    """
    if data is None:
        table = statements(make_world(), held_out=None, seed=seed).drop(columns=["template", "held_out"])
        group = group or "entity"
    else:
        wanted = ["statement", "label", *([group] if group else [])]
        table = read_table(data, wanted, "expected are statement, label (0/1) and the --group column")
        empty = [c for c in wanted if table[c].isna().to_numpy().any()]
        if empty:
            raise ValueError(f"{data} has empty cells in {', '.join(empty)}; fill or drop those rows")
        if not table.label.isin([0, 1]).all():
            raise ValueError(f"column label of {data} must be 0 or 1, got {sorted(table.label.unique())[:5]}")
    table["group"] = table[group] if group else np.arange(len(table))
    if limit is not None:
        names = np.random.default_rng(seed).permutation(table.group.unique())
        sizes = table.group.value_counts()[names].cumsum()
        table = table.loc[table.group.isin(names[: max(1, int((sizes <= limit).sum()))])].reset_index(
            drop=True
        )
    return table


def parse_answers(answers: str) -> tuple[str, str]:
    parts = [p.strip() for p in answers.split(",")]
    if len(parts) != 2 or not all(parts) or parts[0] == parts[1]:
        raise ValueError(
            f"answers {answers!r} should be two different words with a comma, the one for a true statement"
            " first: yes,no"
        )
    return parts[0], parts[1]


def as_prompts(table: pd.DataFrame, templates: Sequence[tuple[str, str]]) -> Examples:
    """Every statement in every template, with the answers that call it true (`if_true`) and false
    (`if_false`).

    Column `answer` is 1 where the right answer is the word that the first template uses for true; with two
    templates that swap the words it is independent of truth.
    """
    parts = []
    for i, (template, words) in enumerate(templates):
        if "{statement}" not in template:
            raise ValueError(f"template {template!r} has no {{statement}} in it")
        yes, no = parse_answers(words)
        part = table.copy()
        part["prompt"] = [template.replace("{statement}", s) for s in table.statement]
        part["form"], part["if_true"], part["if_false"] = i, f" {yes}", f" {no}"
        parts.append(part)
    prompts = pd.concat(parts, ignore_index=True)
    first = prompts.if_true.iloc[0]
    right = np.where(prompts.label == 1, prompts.if_true, prompts.if_false)
    prompts["answer"] = (right == first).astype(int)
    return Examples.from_pandas(prompts, "prompt", y="label", groups="group")


def as_pairs(table: pd.DataFrame, template: tuple[str, str]) -> Pairs:
    """Every statement answered as true and answered as false, in one template."""
    yes, no = parse_answers(template[1])
    texts = [template[0].replace("{statement}", s) for s in table.statement]
    columns = {str(c): table[c].to_numpy() for c in table.columns if c not in ("statement", "label", "group")}
    return Pairs(
        [f"{t} {yes}" for t in texts],
        [f"{t} {no}" for t in texts],
        table.label,
        groups=table.group,
        columns=columns,
    )


def binary_columns(examples: Rows) -> dict[str, np.ndarray]:
    """Columns with exactly two values, as 0/1 labels; text columns are named after the value that
    counts as 1.
    """
    found = {}
    for name, column in examples.columns.items():
        if name in ("label", "if_true", "if_false", "form", "group"):
            continue
        values = np.unique(column)
        if len(values) == 2:
            plain = np.isin(values.astype(str), ("0", "1", "0.0", "1.0", "False", "True")).all()
            found[name if plain else f"{name}={values[1]}"] = (column == values[1]).astype(int)
    return found


def other_labels(rows: Rows) -> dict[str, np.ndarray]:
    """The two-valued columns that are not y under another name, nor its opposite."""
    y = np.asarray(rows.y)
    same = (y, 1 - y)
    found = binary_columns(rows)
    return {name: v for name, v in found.items() if not any(np.array_equal(v, label) for label in same)}


def neutral_texts(path: Path | None, embedded: bool, n: int = 100) -> list[str]:
    """Text that has nothing to do with the statements: a file (JSON list, or one text a line), or a
    small built-in set.
    """
    if path is not None:
        raw = path.read_text()
        texts = json.loads(raw) if path.suffix == ".json" else raw.splitlines()
        return [t for t in texts if t.strip()][:n]
    if embedded:
        rng = np.random.default_rng(0)
        return [neutral(rng) for _ in range(n)]
    return list(NEUTRAL)
