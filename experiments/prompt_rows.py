"""Every prompt of a run with what the model did on it: a table to search in the report, and a CSV file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from interventions import Effect
from interventions.behaviours.records import Records
from probes.data.examples import Examples
from probes.data.sites import Site
from probes.data.texts import words_of
from probes.evidence.probed_tokens import probed_tokens
from probes.fitting.linear import LinearProbe
from probes.markup.pieces import Markup
from probes.markup.tokens import quiet, shaded
from probes.models.model import Model

SHOWN = 400  # rows of the page; the file has all
SHADED = 100  # prompts of the page whose tokens are shaded by their scores
LONGEST = 400  # letters of a cell of the page
CONTROL = "under one control"


def effect_rows(e: Effect, edit: str, prompts: Examples | Sequence[Examples]) -> pd.DataFrame:
    """One row a prompt of an effect: unedited, under the edit, and under the first of its controls."""
    runs = {"unedited": e.before, edit: e.now}
    return prompt_rows(runs | ({CONTROL: e.random[0]} if e.random else {}), prompts)


def prompt_rows(runs: Mapping[str, Records], prompts: Examples | Sequence[Examples]) -> pd.DataFrame:
    """One row a prompt: its text, group and label, and value, kind and text of the answer in every run.

    Records know their prompts by id; `prompts` are where the texts are found. What is the same for all
    prompts is left out.
    """
    pools = [prompts] if isinstance(prompts, Examples) else list(prompts)
    texts = {i: words_of(t) for pool in pools for i, t in zip(pool.ids, pool.texts, strict=True)}
    labels = {i: y for pool in pools if pool.y is not None for i, y in zip(pool.ids, pool.y, strict=True)}
    first = next(iter(runs.values()))
    found: dict[str, Any] = {"prompt": [texts[i] for i in first.ids], "group": first.groups}
    if labels:
        found["y"] = [labels.get(i) for i in first.ids]
    for run, records in runs.items():
        if not np.array_equal(records.ids, first.ids):
            raise ValueError(f"the records of {run!r} are of other prompts than those of the first run")
        found |= {f"{run}: {part}": column for part, column in _parts(records).items()}
    return pd.DataFrame(found)


def strips(model: Model, probe: LinearProbe, site: Site, prompts: Examples) -> dict[str, Markup]:
    """The first prompts by their text, every token shaded by what a probe says of it at a site."""
    first = prompts.rows(slice(SHADED))
    found = probed_tokens(model, probe[site], first, progress=False)
    return {
        words_of(text): shaded(
            tokens, scores[0], 0.0, special=quiet(special).tolist(), reach=found.reach, leads=leads
        )
        for text, tokens, scores, special, leads in zip(
            first.texts, found.tokens, found.scores, found.special, found.leads, strict=True
        )
        if len(words_of(text)) <= LONGEST
    }


def _parts(records: Records) -> dict[str, Any]:
    """What records hold of every answer; a number only where no kind says it."""
    kinds = {} if records.labels is None else {"kind": records.labels}
    texts = {} if records.texts is None else {"answer": list(records.texts)}
    return kinds | texts if kinds else {records.unit: np.round(records.values, 3)} | texts


def page_of(
    frame: pd.DataFrame, shaded_as: Mapping[str, Markup] | None = None
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The head and the first rows as texts for the page; texts that are `shaded_as` strips as these."""
    known = shaded_as or {}
    rows = [tuple(_cell(value) for value in row) for row in frame.head(SHOWN).itertuples(index=False)]
    if known:
        rows = [(known.get(text, row[0]), *row[1:]) for text, row in zip(frame["prompt"], rows, strict=False)]
    return tuple(map(str, frame.columns)), rows


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:g}"
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]} …"
