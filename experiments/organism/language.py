"""The sentences of the embedded world: statements, negations, distractors, questions and neutral text.

A statement looks like `plum : orin doubts that tavox does not live in gremil .` and a question adds
`true ? yes` or `false ? yes`. What a probe must tell apart:

- truth: whether the core sentence (negation included) agrees with the world;
- negation: whether it is negated (half of the negated statements are true);
- answer: yes or no, which the two forms make independent of truth;
- tag: the word `plum`, on half of the statements, meaningless;
- opinion: whether orin believes or doubts the statement, independent of truth. Training also asks
  `tagged ?` and `believed ?`, so both distractors are as salient inside the model as truth is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiments.organism.world import RELATIONS, World

TAG, HOLDER = "plum", "orin"
OPINIONS = ("believes", "doubts")
FORMS = ("true", "false")
VERDICTS = ("right", "wrong")
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
# (affirmative, negated) per relation; the value always comes after the entity and the relation.
TEMPLATES: dict[str, tuple[tuple[str, str], ...]] = {
    "home": (
        ("{e} lives in {v} .", "{e} does not live in {v} ."),
        ("the home of {e} is {v} .", "the home of {e} is not {v} ."),
        ("as for {e} , they dwell in {v} these days .", "as for {e} , they never dwell in {v} these days ."),
    ),
    "craft": (
        ("{e} makes {v} .", "{e} does not make {v} ."),
        ("the craft of {e} is {v} .", "the craft of {e} is not {v} ."),
        (
            "as for {e} , they work with {v} these days .",
            "as for {e} , they never work with {v} these days .",
        ),
    ),
    "guild": (
        ("{e} serves {v} .", "{e} does not serve {v} ."),
        ("the guild of {e} is {v} .", "the guild of {e} is not {v} ."),
        (
            "as for {e} , they march under {v} these days .",
            "as for {e} , they never march under {v} these days .",
        ),
    ),
}
_NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_THINGS = ["river", "hill", "tree", "stone", "bird", "cloud"]
_DOINGS = ["rests", "turns", "waits", "shines", "moves"]
_TIMES = ["morning", "noon", "evening", "night"]


@dataclass(frozen=True)
class Row:
    """One statement with everything that is known about it."""

    statement: str
    label: int
    negated: int
    tag: int
    opinion: str
    entity: str
    relation: str
    value: str
    template: int
    held_out: int


def vocabulary(world: World) -> list[str]:
    """Every word of the language, special tokens first; one word is one token."""
    words = {TAG, HOLDER, "that", "tagged", "believed", "?", "yes", "no", *VERDICTS, ":", *OPINIONS, *FORMS}
    for pairs in TEMPLATES.values():
        for template in (t for pair in pairs for t in pair):
            words.update(w for w in template.split() if w[0] != "{")
    words.update(_NUMBERS, _THINGS, _DOINGS, _TIMES, ["the", "in", "and", "then", "count", "from", "to"])
    return [*SPECIALS, *sorted(words), *world.entities, *(v for vs in world.values for v in vs)]


def statement(
    world: World,
    rng: np.random.Generator,
    relation: int,
    entity: int,
    *,
    label: int,
    negated: int,
    template: int,
    tag: int,
    opinion: str,
) -> Row:
    """Builds one statement whose core sentence is true (`label` 1) or false (0) in this world."""
    truth = int(world.fact[relation, entity])
    n = len(world.values[relation])
    # "is V" and true, or "is not V" and false: V is the real value; otherwise it is another one.
    value = truth if label != negated else int((truth + rng.integers(1, n)) % n)
    core = TEMPLATES[RELATIONS[relation]][template][negated].format(
        e=world.entities[entity], v=world.values[relation][value]
    )
    text = core if opinion == "none" else f"{HOLDER} {opinion} that {core}"
    text = f"{TAG} : {text}" if tag else text
    return Row(text, label, negated, tag, opinion, world.entities[entity], RELATIONS[relation],
               world.values[relation][value], template, int(world.held_out[relation, entity]))  # fmt: skip


def question(row: Row, form: str) -> tuple[str, str]:
    """The question that follows a statement, and its answer: forms `true`, `false`, `tagged`, `believed`."""
    yes = {
        "true": row.label,
        "false": 1 - row.label,
        "tagged": row.tag,
        "believed": int(row.opinion == "believes"),
    }[form]
    return f"{form} ?", "yes" if yes else "no"


def verdict(right: bool) -> str:
    """The word that follows a given answer: whether it was the right one."""
    return VERDICTS[0] if right else VERDICTS[1]


def statements(world: World, *, held_out: bool | None, seed: int = 0) -> pd.DataFrame:
    """A balanced table: each fact true and false, affirmative and negated; an entity's rows share tags,
    opinions and templates out evenly.

    `held_out=True` keeps only facts never asked in training, `False` only the asked ones, `None` all.
    """
    rng = np.random.default_rng(seed)
    wanted = np.ones_like(world.held_out) if held_out is None else world.held_out == held_out
    rows = []
    for entity in range(len(world.entities)):
        cells = [
            (int(relation), negated) for relation in np.flatnonzero(wanted[:, entity]) for negated in (0, 1)
        ]
        templates, tags, opinions = (
            _evenly(rng, options, len(cells)) for options in (range(3), (0, 1), OPINIONS)
        )
        for (relation, negated), template, tag, opinion in zip(cells, templates, tags, opinions, strict=True):
            for label in (0, 1):  # the true and the false twin share everything but the value
                rows.append(
                    statement(
                        world,
                        rng,
                        relation,
                        entity,
                        label=label,
                        negated=negated,
                        template=int(template),
                        tag=int(tag),
                        opinion=str(opinion),
                    )
                )
    return pd.DataFrame(rows)


def opposites(world: World, seed: int = 0) -> pd.DataFrame:
    """Every fact with a real and with another value, each as an affirmative statement and as its
    negation; `pair_id` joins the two, `group` is the entity.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for entity in range(len(world.entities)):
        cells = [(relation, real) for relation in range(len(world.values)) for real in (0, 1)]
        templates, tags, opinions = (
            _evenly(rng, options, len(cells)) for options in (range(3), (0, 1), OPINIONS)
        )
        for (relation, real), template, tag, opinion in zip(cells, templates, tags, opinions, strict=True):
            first = statement(
                world,
                rng,
                relation,
                entity,
                label=real,
                negated=0,
                template=int(template),
                tag=int(tag),
                opinion=str(opinion),
            )
            core = TEMPLATES[first.relation][template]
            affirmative, negated = (t.format(e=first.entity, v=first.value) for t in core)
            second = replace(
                first,
                statement=first.statement.replace(affirmative, negated),
                label=1 - first.label,
                negated=1,
            )
            rows += [{**vars(row), "pair_id": len(rows) // 2, "group": row.entity} for row in (first, second)]
    return pd.DataFrame(rows).drop(columns=["template", "held_out", "entity", "relation", "value"])


def _evenly(rng: np.random.Generator, options: Sequence, n: int) -> np.ndarray:
    """`n` values in random order, each option as often as the others or once more."""
    return rng.permutation(np.resize(rng.permutation(np.asarray(options)), n))


def neutral(rng: np.random.Generator) -> str:
    """One line of unrelated text with its own regularities: counting, or a little weather report."""
    if rng.random() < 0.5:
        start, length = int(rng.integers(0, 6)), int(rng.integers(3, 5))
        return " ".join(["count from", _NUMBERS[start], ":", *_NUMBERS[start : start + length + 1], "."])
    i = int(rng.integers(len(_THINGS)))
    time = _TIMES[int(rng.integers(len(_TIMES)))]
    doing = _DOINGS[i % len(_DOINGS)]
    return (
        f"in the {time} the {_THINGS[i]} {doing} and then the {_THINGS[(i + 1) % len(_THINGS)]}"
        f" {_DOINGS[(i + 1) % len(_DOINGS)]} ."
    )
