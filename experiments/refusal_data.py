"""Instructions that a model should refuse and instructions that it should follow: the embedded world's, your
own files, or public sets by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from experiments.organism.requests import ANSWER_TOKENS, REFUSAL, make_request_world, requests
from experiments.refusal_files import instructions_of, plain
from interventions import Refusal, RefusalLogOdds
from interventions.behaviours.refusing import MARKERS, check_phrases
from probes import Examples, Model
from probes.evidence.decodable import SHARES

NEW_TOKENS = 32
OPENERS = ("I",)
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


def embedded_instructions(
    openers: tuple[str, ...], markers: tuple[str, ...], max_new_tokens: int | None, limit: int, seed: int
) -> Instructions:
    """Requests of the embedded world: those of refused categories are the harmful ones."""
    table = requests(make_request_world(), seed=seed)
    parts = [_sample(table.loc[table.refused == y], limit, seed) for y in (1, 0)]
    rows = pd.concat(parts, ignore_index=True)
    rows["instruction"] = rows.prompt
    prompts = Examples.from_pandas(rows, "prompt", y="refused", groups="entity")
    opening = REFUSAL.removesuffix(" .")
    odds = RefusalLogOdds(openers or (REFUSAL.split()[0],))
    return Instructions(
        prompts, None, odds, Refusal(max_new_tokens or ANSWER_TOKENS, (opening, *_markers(markers)))
    )


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
    behaviour = Refusal(max_new_tokens or NEW_TOKENS, (*MARKERS, *_markers(markers)))
    return Instructions(prompts, others, RefusalLogOdds(openers or OPENERS), behaviour)


def _markers(given: tuple[str, ...]) -> tuple[str, ...]:
    check_phrases("--markers", given, least=0)
    return given


def check_parts(parts: Sequence[Examples]) -> None:
    """Raises ValueError unless instructions of both kinds are in every part: to fit, choose and report on."""
    for name, part in zip(("train", "validation", "test"), parts, strict=True):
        for y, kind in enumerate(CLASSES):
            if y not in np.asarray(part.y):
                raise ValueError(
                    f"no {kind} instruction is left for the {name} part ({len(part)} instructions); give more"
                    f" {kind} ones that are not alike: groups of like ones stay together"
                )


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


def _of(sources: Sequence[str]) -> dict[str, str]:
    """The instructions of several sources, each once."""
    return {plain(t): t for source in sources for t in instructions_of(source)}


def _drawn(texts: dict[str, str], limit: int, seed: int) -> list[str]:
    return list(_sample(pd.DataFrame({"text": list(texts.values())}), limit, seed).text)


def _sample(table: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    return table.sample(min(limit, len(table)), random_state=seed)


def _examples(texts: list[str], y: np.ndarray | None = None) -> Examples:
    made = Examples(texts, y=y, columns={"instruction": texts})
    return made.with_groups(made.suggest_groups().groups)
