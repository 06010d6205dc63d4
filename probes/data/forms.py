"""Statements put into the forms of a question, with the words that answer it; and as contrast pairs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from probes.data.cells import set_apart
from probes.data.examples import Examples, Pairs

PLACE = "{statement}"


def parse_answers(answers: str) -> tuple[str, str]:
    """The two answer words of "yes,no", the one for a true statement first; raises ValueError for anything
    else.
    """
    words = [word.strip() for word in answers.split(",")]
    if len(words) != 2 or not all(words) or words[0] == words[1]:
        expected = "two different words with a comma, the one for a true statement first: yes,no"
        raise ValueError(f"answers {answers!r} should be {expected}")
    return words[0], words[1]


def as_prompts(table: pd.DataFrame, templates: Sequence[tuple[str, str]]) -> Examples:
    """Every statement in every template, with the answers that call it true (`if_true`) and false
    (`if_false`).

    `table` has `statement`, `label` (0/1) and `group`; a template is a text around {statement} and its two
    answer words. Column `answer` is 1 where the right answer is the word that the first template uses for
    true; with two templates that swap the words it is independent of truth.
    """
    table = set_apart(table, ("prompt", "form", "if_true", "if_false", "answer"), "a table of prompts")
    parts = []
    for form, (template, answers) in enumerate(templates):
        if PLACE not in template:
            raise ValueError(f"template {template!r} has no {PLACE} in it")
        yes, no = parse_answers(answers)
        prompts = [template.replace(PLACE, statement) for statement in table.statement]
        parts.append(table.assign(prompt=prompts, form=form, if_true=f" {yes}", if_false=f" {no}"))
    asked = pd.concat(parts, ignore_index=True)
    right = np.where(asked.label == 1, asked.if_true, asked.if_false)
    asked["answer"] = (right == asked.if_true.iloc[0]).astype(int)
    return Examples.from_pandas(asked, "prompt", y="label", groups="group")


def as_pairs(table: pd.DataFrame, template: tuple[str, str]) -> Pairs:
    """Every statement answered as true and answered as false, in one template; `table` as above."""
    yes, no = parse_answers(template[1])
    texts = [template[0].replace(PLACE, statement) for statement in table.statement]
    carried = [str(name) for name in table.columns if name not in ("statement", "label", "group")]
    answered_yes, answered_no = ([f"{text} {word}" for text in texts] for word in (yes, no))
    columns = {name: table[name].to_numpy() for name in carried}
    return Pairs(answered_yes, answered_no, table.label, groups=table.group, columns=columns)
