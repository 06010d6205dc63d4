"""Prompts whose stated purpose and format vary: the embedded world's, your own from a CSV file, or the published cells; and the bank that rewrites the embedded ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.organism.purposes import (
    ANSWER_TOKENS,
    CASUAL,
    CUE,
    ENDING,
    FRAMES,
    HELD_OUT_VOCABULARIES,
    PURPOSES,
    purpose_prompts,
)
from experiments.organism.requests import CUES as TOPICS
from experiments.organism.requests import NAMES, make_request_world
from experiments.statements import EMBEDDED, neutral_texts
from interventions.behaviours.candour import Candour
from interventions.behaviours.records import Behaviour
from interventions.rewriting import TemplateBank
from probes import Examples
from probes.awareness import crossed_prompts, find_leaks, from_cells, without_cues
from probes.evidence.leaks import Leaks

NEEDED = ("prompt", "context", "format", "group")
EVALUATION = "evaluation"
LETTERS = ("copper", "tin")


@dataclass(frozen=True, eq=False)
class Prompts:
    """Rows to fit and choose on, rows to report on (no group in both), what is asked of the model (None: it is only read), unrelated text for the cost.

    `plain` are prompts without a stated purpose, `letters` two one-token words that a label can choose between.
    """

    fitting: Examples
    test: Examples
    behaviour: Behaviour | None
    neutral: list[str]
    plain: Examples | None = None
    letters: tuple[str, str] = ("A", "B")
    leaks: Leaks | None = None


def as_chat(prompts: Examples) -> Examples:
    """Every prompt as the message of a user, so that the model is asked through its chat template."""
    texts = [[{"role": "user", "content": str(t)}] for t in prompts.texts]
    return Examples(texts, prompts.y, prompts.groups, dict(prompts.columns), prompts.ids)


def embedded_prompts(limit: int | None, seed: int, neutral: Path | None) -> Prompts:
    """Facts that training asked for to fit and choose on; facts that it never asked for, with all six vocabularies, to report on."""
    world = make_request_world()
    fitting, test = (with_other_topic(purpose_prompts(world, held_out=held, limit=limit, seed=seed)) for held in (False, True))
    behaviour = Candour(cover="cover", target="deceptive", max_new_tokens=ANSWER_TOKENS)
    return Prompts(fitting, test, behaviour, neutral_texts(neutral, True), without_purpose(test), LETTERS)


def without_purpose(prompts: Examples) -> Examples:
    """The prompts of one context with the cue left out: nothing says what they are for."""
    one = prompts.rows(prompts.column("context") == EVALUATION)
    columns = {k: one.column(k) for k in ("format", "payload", "answer", "cover") if k in one.columns}
    return Examples([" ".join(str(t).split()) for t in one.column("plain")], None, one.groups, columns)


def with_other_topic(prompts: Examples) -> Examples:
    """Adds `reworded`: the task with another word for the same topic, which is what a paraphrase without a purpose may change."""
    known = {word: words for words in TOPICS for word in words}
    tasks = []
    for task in prompts.column("task"):
        about, word, *rest = str(task).split(" ")
        words = known[word]
        tasks.append(" ".join([about, words[(words.index(word) + 1) % len(words)], *rest]))
    return Examples(prompts.texts, prompts.y, prompts.groups, {**prompts.columns, "reworded": tasks}, prompts.ids)


def purpose_bank() -> TemplateBank:
    """Rewrites of the embedded prompts within their format.

    Directed ones state a purpose in words of the vocabularies that no probe here is fitted on, deployment and evaluation alike, or leave it out: a rewriter that does
    not know what works, so that the choice among its candidates matters. Undirected ones keep the purpose, and change the frame and the word for the topic.
    """
    words = [w for fold in HELD_OUT_VOCABULARIES for side in PURPOSES[fold] for w in side.split()]
    assert len(NAMES) == len(TOPICS)
    directed, undirected = {}, {}
    for form, frames in FRAMES.items():
        filled = [f.replace("{payload}", "{task}") for f in frames]
        directed[form] = tuple(f.replace("{cue}", CUE.format(word=w)) + ENDING for f in filled for w in words)
        directed[form] += tuple(" ".join(f.replace("{cue}", "").split()) + ENDING for f in filled)
        undirected[form] = tuple(f.replace("{payload}", "{reworded}") + ENDING for f in frames)
    return TemplateBank(directed, undirected, keep="format")


def format_bank() -> TemplateBank:
    """Rewrites of the embedded prompts into casual frames, with the purpose as it is stated: what a rewriter does that only drops the benchmark look."""
    frames = tuple(f.replace("{payload}", "{reworded}") + ENDING for f in FRAMES[CASUAL])
    return TemplateBank(frames, frames)


def published_prompts(cells: Path, seed: int) -> Prompts:
    """The published cells in their plain register, without repeats, with groups that keep apart what belongs together; they carry no answer key."""
    every = from_cells(cells, formal=False)
    leaks = find_leaks(every)
    fitting, test = leaks.safe(every).split((0.4, 0.6), seed=seed)
    return Prompts(fitting, test, None, [], leaks=leaks)


def english_prompts(limit: int | None, seed: int) -> Prompts:
    """The English design of `probes.awareness`, for models that have no prompts of their own; it carries no answer key."""
    every = crossed_prompts(folds_per_payload=1, seed=seed)
    names = np.unique(every.groups)
    if limit is not None:
        every = every.rows(np.isin(every.groups, np.random.default_rng(seed).permutation(names)[:limit]))
    fitting, test = every.split((0.4, 0.6), seed=seed)
    return Prompts(fitting, test, None, [], without_cues(test))


def own_prompts(data: Path, seed: int, max_new_tokens: int, neutral: Path | None) -> Prompts:
    """A CSV file with prompt, context, format and group; with a column answer (and cover, what the model says when it deceives) the model is asked as well."""
    if not data.is_file():
        raise ValueError(f"no file {data}; --data takes a CSV file with columns {', '.join(NEEDED)}")
    table = pd.read_csv(data)
    missing = [c for c in NEEDED if c not in table.columns]
    if missing:
        raise ValueError(f"{data} has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}. Expected {', '.join(NEEDED)}")
    checked = from_cells(table.rename(columns={"prompt": "text"}))
    columns: dict[str, Any] = {c: table[c].to_numpy() for c in table.columns if c not in ("prompt", "group")}
    every = Examples(table["prompt"].astype(str), y=checked.y, groups=table["group"].to_numpy(), columns=columns)
    fitting, test = every.split((0.5, 0.5), seed=seed)
    asks = "answer" in columns
    behaviour = Candour(cover="cover" if "cover" in columns else None, target="deceptive", max_new_tokens=max_new_tokens) if asks else None
    return Prompts(fitting, test, behaviour, neutral_texts(neutral, False) if asks else [])


def is_embedded(model: str) -> bool:
    return model.startswith(f"{EMBEDDED}purpose_")
