"""How often an edit along a direction that means nothing is said to move behaviour, and how often a planted
one is: `python -m benchmarks.null_edits stories --model FOLDER` for any causal language model, and
`python -m benchmarks.null_edits truth` for an embedded one.

A null concept is what a recipe finds under labels tossed anew on real rows. Everything else is as a user
would do it: the edit, a behaviour, and `effect(...).verdict()`. The truth is known without the rule. Tossed
labels mean nothing. In `stories` the planted direction is found behind the last block, where only the output
head reads, between prompts that the model goes on with "She" and with "He"; in `truth` it is that between
true and false statements, which the model was made to answer by. Tossed ones are added at a share of the
length of h, planted ones by .6 and .75 of the gap, over the middle between the classes and not far beyond,
where edits of that size along any direction garble what is said. A clamp holds h three quarters of the way
from class 0 to class 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest
from tqdm import tqdm

from experiments.statements import (
    EMBEDDED,
    EMBEDDED_TEMPLATES,
    as_prompts,
    load_statements,
    model_path,
)
from interventions import Ablate, Add, Answers, Clamp, Edit, Erase, effect
from interventions.behaviours.records import Behaviour
from probes import Activations, Direction, Examples, MassMean, Model, capture, load_model

GIRLS = "Lily Mia Sue Anna Amy Lucy Emma Jane Ella Sara Kate Molly Rose Daisy Lisa Jenny"
BOYS = "Tom Tim Ben Max Jack Sam Bob Leo John Mark Paul Peter Dan Nick Billy Joe"
PLACES = ("park", "store")


@dataclass(frozen=True)
class Config:
    """What is run."""

    task: tyro.conf.Positional[Literal["stories", "truth"]]
    """she or he in stories, or true and false statements"""
    model: str = f"{EMBEDDED}truth"
    """folder of a causal language model"""
    site: str = ""
    """where null concepts are found (default: the block in the middle; for truth the one that decides)"""
    runs: int = 300
    """null concepts for every edit"""
    planted: int = 20
    """planted concepts for every edit, each on other rows"""
    edits: tuple[str, ...] = ("add .1", "add .4", "ablate", "clamp", "erase")
    known: Literal["exchanged labels", "nothing"] = "exchanged labels"
    """what controls are made of: what directions remember of their rows, or states of the prompts"""
    judged_by: Literal["answers", "mean"] = "answers"
    names: int = 8
    """how many girls and how many boys, two prompts each"""
    prompts: int = 48
    """how many of the statements"""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Task:
    """A model, prompts whose y is the planted label, and where nulls and the planted direction are found."""

    model: Model
    prompts: Examples
    behaviour: Behaviour
    at: str
    site: str
    planted: str


def stories(config: Config) -> Task:
    """Beginnings of stories of a girl or a boy, a name a group; y is whether the model goes on with She."""
    names = {1: GIRLS.split()[: config.names], 0: BOYS.split()[: config.names]}
    rows = [(y, n, p) for y, of in names.items() for n in of for p in PLACES]
    word = {1: "girl", 0: "boy"}
    texts = [f"One day, a little {word[y]} named {n} went to the {p}." for y, n, p in rows]
    model = load_model(config.model)
    prompts = Examples(texts, groups=[n for _, n, _ in rows])
    says: Any = Answers(" She", " He", judged_by=config.judged_by)
    y = (says(model, prompts).values > 0).astype(int)
    middle, last = model.n_blocks // 2, model.n_blocks - 1
    prompts = replace(prompts, y=y)
    return Task(model, prompts, says, "last", config.site or f"resid_post.{middle}", f"resid_post.{last}")


def truth(config: Config) -> Task:
    """Statements of the embedded language with the questions the model was made to answer."""
    table = load_statements(None, None, None, config.seed)
    prompts = as_prompts(table, EMBEDDED_TEMPLATES)
    some = np.random.default_rng(config.seed).permutation(len(prompts))[: config.prompts]
    prompts = prompts.rows(np.sort(some))
    says: Any = Answers("column:if_true", "column:if_false", judged_by=config.judged_by)
    site = config.site or "resid_post.3"
    return Task(load_model(model_path(config.model)), prompts, says, "span_end:statement", site, site)


TASKS = {"stories": stories, "truth": truth}


def tossed(acts: Activations, seed: int) -> Activations:
    """Half of the groups called 1, whichever."""
    names = np.unique(acts.groups)
    label = dict(zip(names, np.random.default_rng(seed).permutation(np.arange(len(names)) % 2), strict=True))
    return acts.with_y(np.array([label[g] for g in acts.groups]))


def _found(acts: Activations) -> Direction:
    return MassMean().fit(acts).direction()


def make(name: str, acts: Activations, at: str, null: bool, remembers: bool) -> Edit:
    """The edit of that name along what is found on these rows."""
    kind, _, share = name.partition(" ")
    if kind == "erase":
        eraser = Erase.fit(acts, at=at)
        return eraser if remembers else replace(eraser, exchanged={})
    found = _found(acts)
    direction = found if remembers else replace(found, exchanged=None)
    rows = acts.x[0].float()
    if kind == "ablate":
        return Ablate(direction, at=at)
    if kind == "clamp":
        along, one = rows @ found.unit, acts.classes[0]
        return Clamp(direction, to=float(0.75 * along[one].mean() + 0.25 * along[~one].mean()), at=at)
    if null:
        length = float(rows.norm(dim=1).mean())
        return Add(replace(direction, gap=None), norm=float(share) * length, at=at)
    return Add(-direction, gaps=0.6 if float(share) < 0.3 else 0.75, at=at)


def words(config: Config, task: Task, name: str, runs: int, null: bool) -> Iterator[str]:
    """What is said about the edit, run after run."""
    site = task.site if null else task.planted
    acts = capture(task.model, task.prompts, site, task.at, progress=False)
    before = task.behaviour(task.model, task.prompts)
    where = "all" if task.at == "last" else task.at
    for run in range(runs):
        seed = config.seed * 100_000 + run
        labelled = tossed(acts, seed) if null else _most(acts, seed)
        edit = make(name, labelled, where, null, config.known != "nothing")
        how: Any = {"before": before, "seed": seed, "compare": False, "progress": False}
        yield effect(task.model, edit, task.behaviour, task.prompts, **how).verdict().word


def _most(acts: Activations, seed: int) -> Activations:
    """The planted labels on three quarters of the groups."""
    names = np.random.default_rng(seed).permutation(np.unique(acts.groups))
    return acts.rows(np.isin(acts.groups, names[: 3 * len(names) // 4]))


def main(config: Config) -> None:
    task = TASKS[config.task](config)
    console = Console(width=110)
    console.print(
        f"{task.model!r}, {len(task.prompts)} prompts, judged by {config.judged_by}; null concepts at"
    )
    console.print(f"{task.site}, planted ones at {task.planted}; controls from {config.known}")
    table = Table("edit", "tossed labels that 'move behaviour'", "95% interval", "planted ones that do")
    for name in config.edits:
        counts = []
        for runs, null in ((config.runs, True), (config.planted, False)):
            found = tqdm(words(config, task, name, runs, null), total=runs, desc=name, leave=False)
            counts.append(sum(w.startswith("moves behaviour") for w in found))
        interval = binomtest(counts[0], config.runs).proportion_ci()
        share = f"{counts[0]} of {config.runs} ({counts[0] / config.runs:.1%})"
        limits = f"{interval.low:.1%} to {interval.high:.1%}"
        table.add_row(name, share, limits, f"{counts[1]} of {config.planted}")
    console.print(table)


if __name__ == "__main__":
    main(tyro.cli(Config))
