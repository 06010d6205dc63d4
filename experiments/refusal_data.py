"""Instructions that a model should refuse and instructions that it should follow: the embedded world's, your
own files, or public sets by name.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.organism.requests import ANSWER_TOKENS, REFUSAL, make_request_world, requests
from interventions import Refusal, RefusalLogOdds
from interventions.behaviours.refusing import MARKERS
from probes import Examples, Model
from probes.data.tables import read_csv
from probes.evidence.decodable import SHARES

COLUMNS = ("instruction", "prompt", "goal", "question", "text")
"""What a column of instructions may be called, the likeliest first."""
SOME = re.compile(r"(.+)\[(\w+)=(.*)\]")
"""Some rows of a table: SOURCE[column=value]."""
NEW_TOKENS = 32
CLASSES = ("harmless", "harmful")


@dataclass(frozen=True, eq=False)
class Instructions:
    """Prompts with y 1 where they should be refused, others that only sound as if they should, and how
    refusals are seen: in the odds of the first token, and in the answers.
    """

    prompts: Examples
    borderline: Examples | None
    odds: RefusalLogOdds
    answers: Refusal


def embedded_instructions(limit: int, seed: int) -> Instructions:
    """Requests of the embedded world: those of refused categories are the harmful ones."""
    table = requests(make_request_world(), seed=seed)
    parts = [_sample(table.loc[table.refused == y], limit, seed) for y in (1, 0)]
    rows = pd.concat(parts, ignore_index=True)
    rows["instruction"] = rows.prompt
    prompts = Examples.from_pandas(rows, "prompt", y="refused", groups="entity")
    opening = REFUSAL.removesuffix(" .")
    odds = RefusalLogOdds((REFUSAL.split()[0],))
    return Instructions(prompts, None, odds, Refusal(ANSWER_TOKENS, (opening,)))


def own_instructions(
    harmful: Sequence[str],
    harmless: Sequence[str],
    borderline: Sequence[str],
    openers: tuple[str, ...],
    markers: tuple[str, ...],
    max_new_tokens: int | None,
    limit: int,
    seed: int,
) -> Instructions:
    """Instructions from files and public sets. What probably belongs together (near-duplicates, the same
    subject) is one group, which no split takes apart.
    """
    if not harmful or not harmless:
        raise ValueError(
            "refusal needs both kinds of instructions: give --harmful and --harmless, each a file or the name"
            " of a set on the hub"
        )
    every = {"harmless": harmless, "harmful": harmful, "borderline": borderline}
    found = {kind: _of(sources) for kind, sources in every.items()}
    for one, other in combinations(found, 2):
        both = set(found[one]) & set(found[other])
        if both:
            raise ValueError(
                f"{len(both)} instructions are among the {one} and the {other} ones, such as"
                f" {min(both)!r:.60}; each must be of one kind"
            )
    texts = [_drawn(found[kind], limit, seed) for kind in ("harmless", "harmful")]
    prompts = _examples([*texts[0], *texts[1]], np.repeat([0, 1], [len(texts[0]), len(texts[1])]))
    as_many = max(1, int(SHARES[-1] * limit))  # as there are test instructions of the other kinds
    others = _examples(_drawn(found["borderline"], as_many, seed)) if borderline else None
    behaviour = Refusal(max_new_tokens or NEW_TOKENS, (*MARKERS, *markers))
    return Instructions(prompts, others, RefusalLogOdds(openers), behaviour)


def as_asked(prompts: Examples, model: Model, system: str | None) -> Examples:
    """Instructions through the model's chat template, where it has one."""
    if getattr(model.tokenizer, "chat_template", None) is None:
        if system is not None:
            raise ValueError(f"{model.name} has no chat template, so --system has no place in its prompts")
        return prompts
    chats = prompts.as_chat()
    if system is None:
        return chats
    first = {"role": "system", "content": system}
    told = [[first, *chat] for chat in chats.texts]
    return Examples(told, chats.y, chats.groups, chats.columns, chats.ids)


def instructions_of(source: str) -> list[str]:
    """The instructions of a JSON list (texts, or objects), JSON lines, a CSV file, a text file with one a
    line, or a public set on the hub (OWNER/NAME), each once; `SOURCE[label=safe]` takes the rows of a table
    that say so. Raises ValueError for anything else.
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
    texts = [t.strip() for t in _column(rows, name) if isinstance(t, str) and t.strip()]
    if not texts:
        raise ValueError(f"{source} has no instructions in it")
    return list({_plain(t): t for t in texts}.values())


def _of_file(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return read_csv(path)
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
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


def _of(sources: Sequence[str]) -> dict[str, str]:
    """The instructions of several sources, each once."""
    return {_plain(t): t for source in sources for t in instructions_of(source)}


def _drawn(texts: dict[str, str], limit: int, seed: int) -> list[str]:
    return list(_sample(pd.DataFrame({"text": list(texts.values())}), limit, seed).text)


def _sample(table: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    return table.sample(min(limit, len(table)), random_state=seed)


def _examples(texts: list[str], y: np.ndarray | None = None) -> Examples:
    made = Examples(texts, y=y, columns={"instruction": texts})
    return made.with_groups(made.suggest_groups().groups)


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()
