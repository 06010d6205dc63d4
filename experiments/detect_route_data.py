"""Requests that a model may refuse, and how its answers are sorted: the embedded world's, or your own from a
CSV file.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.organism.requests import ANSWER_TOKENS, classify, make_request_world, requests
from experiments.statements import read_table
from interventions import Behaviour, Judge
from interventions.behaviours.garbled import Ordinary
from interventions.behaviours.kinds import REFUSE, STEER, AnswerKinds, ByKey
from interventions.behaviours.open_kinds import ANSWERED, RUBRIC, OpenKinds
from probes import Examples
from probes.data.rows import whole_groups
from probes.evidence.categories import Categories

NEEDED = ("prompt", "category", "refused")
KEY = "answer"
NULLS = ("tag", "phrasing")
"""Columns of the embedded requests that no policy depends on."""


def embedded_kinds() -> AnswerKinds:
    """How answers of the embedded models are sorted: by the words of their language."""
    return AnswerKinds(classify, ("answer", "entity"), ANSWER_TOKENS)


def own_kinds(
    ordinary: Ordinary, evasions: tuple[str, ...], max_new_tokens: int, is_open: bool, judge: Judge | None
) -> tuple[Behaviour, Behaviour]:
    """How answers of another model are sorted where they are reported on, and where a place is chosen: by
    their answer key, or where requests are open by kind alone, the reported ones by the judge too.
    """
    if not is_open:
        keyed = AnswerKinds(ByKey(evasions), (KEY,), max_new_tokens, ordinary)
        return keyed, keyed
    plain = OpenKinds(ordinary, None, evasions, max_new_tokens=max_new_tokens)
    return replace(plain, judge=judge), plain


def has_key(requests: Examples) -> bool:
    return KEY in requests.columns


def open_judge(name: str, ledger: Path, **settings: Any) -> Judge:
    """Who says whether an answer to an open request does what is asked."""
    return Judge(RUBRIC, name, classes=(ANSWERED, REFUSE, STEER), ledger=ledger, **settings)


def embedded_requests(limit: int, seed: int) -> tuple[Examples, Examples]:
    """Requests to fit and choose on, and requests for facts that training never asked for."""
    table = requests(make_request_world())
    asked, held = (table.loc[table.held_out == h] for h in (0, 1))
    asked = asked.sample(min(limit, len(asked)), random_state=seed)
    fitting, test = (
        Examples.from_pandas(part, "prompt", y="refused", groups="entity") for part in (asked, held)
    )
    return fitting, test


def own_requests(data: Path, limit: int, seed: int) -> tuple[Examples, Examples]:
    """Requests of a CSV file, with an answer key or open: of two thirds of the groups at most `limit` to fit
    and choose on, and all of the others.
    """
    advice = f"expected are {', '.join(NEEDED)}, and {KEY} where the right answers are known"
    table = read_table(data, NEEDED, advice)
    group = "entity" if "entity" in table.columns else "prompt"
    every = Examples.from_pandas(table, "prompt", y="refused", groups=group)
    if KEY in table.columns and (empty := [not str(answer).strip() for answer in table[KEY]]).count(True):
        raise ValueError(
            f"{data} has {sum(empty)} empty cells in {KEY}, such as that of"
            f" {table.prompt[empty.index(True)]!r:.60}; fill them, or leave the column out where the requests"
            " are open"
        )
    Categories.of(every, label="refused")
    fitting, test = every.split((2 / 3, 1 / 3), seed=seed)
    return fitting.rows(whole_groups(fitting.groups, limit, seed=seed)), test


def null_columns(fitting: Examples, embedded: bool) -> tuple[str, ...]:
    """Two-valued columns that no policy depends on."""
    known = NULLS if embedded else [name for name in fitting.columns if name != "refused"]
    return tuple(name for name in known if len(np.unique(fitting.column(name))) == 2)
