"""Requests that a model may refuse, and how its answers are sorted: the embedded world's, or your own from a
CSV file.
"""

from pathlib import Path

import numpy as np

from experiments.organism.requests import ANSWER_TOKENS, classify, make_request_world, requests
from experiments.statements import read_table
from interventions.behaviours.kinds import AnswerKinds, ByKey
from probes import Examples
from probes.evidence.categories import Categories

NEEDED = ("prompt", "category", "refused", "answer")
NULLS = ("tag", "phrasing")
"""Columns of the embedded requests that no policy depends on."""


def embedded_kinds() -> AnswerKinds:
    """How answers of the embedded models are sorted: by the words of their language."""
    return AnswerKinds(classify, ("answer", "entity"), ANSWER_TOKENS)


def own_kinds(evasions: tuple[str, ...], max_new_tokens: int | None) -> AnswerKinds:
    """How answers of other models are sorted: by their answer key, and by how they open."""
    return AnswerKinds(ByKey(evasions), ("answer",), max_new_tokens or 48)


def embedded_requests(limit: int, seed: int) -> tuple[Examples, Examples]:
    """Requests to fit and choose on, and requests for facts that training never asked for."""
    table = requests(make_request_world())
    asked, held = (table.loc[table.held_out == h] for h in (0, 1))
    asked = asked.sample(min(limit, len(asked)), random_state=seed)
    fitting, test = (
        Examples.from_pandas(part, "prompt", y="refused", groups="entity") for part in (asked, held)
    )
    return fitting, test


def own_requests(data: Path, seed: int) -> tuple[Examples, Examples]:
    """Requests of a CSV file: two thirds of the groups to fit and choose on, and the others."""
    table = read_table(data, NEEDED, f"expected are {', '.join(NEEDED)}")
    group = "entity" if "entity" in table.columns else "prompt"
    every = Examples.from_pandas(table, "prompt", y="refused", groups=group)
    Categories.of(every, label="refused")
    fitting, test = every.split((2 / 3, 1 / 3), seed=seed)
    return fitting, test


def null_columns(fitting: Examples, embedded: bool) -> tuple[str, ...]:
    """Two-valued columns that no policy depends on."""
    known = NULLS if embedded else [name for name in fitting.columns if name != "refused"]
    return tuple(name for name in known if len(np.unique(fitting.column(name))) == 2)
