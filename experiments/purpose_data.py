"""Prompts whose stated purpose and format vary: the embedded world's, your own from a CSV file, or the
published cells.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.organism.purposes import ANSWER_TOKENS, purpose_prompts
from experiments.organism.purposes_rewriting import with_other_topic, without_purpose
from experiments.organism.requests import make_request_world
from experiments.statements import EMBEDDED, neutral_texts, read_table
from interventions.behaviours.candour import Candour
from interventions.behaviours.records import Behaviour
from probes import Examples
from probes.awareness import crossed_prompts, find_leaks, from_cells, without_cues
from probes.evidence.leaks import Leaks

NEEDED = ("prompt", "context", "format", "group")
LETTERS = ("copper", "tin")


@dataclass(frozen=True, eq=False)
class Prompts:
    """Rows to fit and choose on, rows to report on (no group in both), and what is asked of the model (None:
    it is only read).

    `neutral` is unrelated text for the cost, `plain` are prompts without a stated purpose, `letters` two
    one-token words that a label can choose between.
    """

    fitting: Examples
    test: Examples
    behaviour: Behaviour | None
    neutral: list[str]
    plain: Examples | None = None
    letters: tuple[str, str] = ("A", "B")
    leaks: Leaks | None = None


def embedded_prompts(limit: int | None, seed: int, neutral: Path | None) -> Prompts:
    """Facts that training asked for to fit and choose on; facts that it never asked for, in all
    vocabularies, to report on.
    """
    world = make_request_world()
    fitting, test = (
        with_other_topic(purpose_prompts(world, held_out=held, limit=limit, seed=seed))
        for held in (False, True)
    )
    behaviour = Candour(cover="cover", target="deceptive", max_new_tokens=ANSWER_TOKENS)
    return Prompts(fitting, test, behaviour, neutral_texts(neutral, True), without_purpose(test), LETTERS)


def published_prompts(cells: Path, seed: int) -> Prompts:
    """The published cells in their plain register, without repeats, in groups that keep apart what belongs
    together.

    They carry no answer key.
    """
    every = from_cells(cells, formal=False)
    leaks = find_leaks(every)
    fitting, test = leaks.safe(every).split((0.4, 0.6), seed=seed)
    return Prompts(fitting, test, None, [], leaks=leaks)


def english_prompts(limit: int | None, seed: int) -> Prompts:
    """The English design of `probes.awareness`, for models without prompts of their own; it carries no
    answer key.
    """
    every = crossed_prompts(folds_per_payload=1, seed=seed)
    names = np.unique(every.groups)
    if limit is not None:
        every = every.rows(np.isin(every.groups, np.random.default_rng(seed).permutation(names)[:limit]))
    fitting, test = every.split((0.4, 0.6), seed=seed)
    return Prompts(fitting, test, None, [], without_cues(test))


def own_prompts(data: Path, seed: int, max_new_tokens: int, neutral: Path | None) -> Prompts:
    """A CSV file with prompt, context, format and group.

    With a column answer (and cover, what the model says when it deceives) the model is asked as well.
    """
    table = read_table(data, NEEDED, f"expected are {', '.join(NEEDED)}")
    y = from_cells(table.rename(columns={"prompt": "text"})).y
    columns: dict[str, Any] = {c: table[c].to_numpy() for c in table.columns if c not in ("prompt", "group")}
    every = Examples(table["prompt"].astype(str), y=y, groups=table["group"].to_numpy(), columns=columns)
    fitting, test = every.split((0.5, 0.5), seed=seed)
    if "answer" not in columns:
        return Prompts(fitting, test, None, [])
    cover = "cover" if "cover" in columns else None
    behaviour = Candour(cover=cover, target="deceptive", max_new_tokens=max_new_tokens)
    return Prompts(fitting, test, behaviour, neutral_texts(neutral, False))


def is_embedded(model: str) -> bool:
    return model.startswith(f"{EMBEDDED}purpose_")
