"""How often an edit along a direction that means nothing is said to move behaviour, and how often a planted
one is: `python -m benchmarks.null_edits --model FOLDER` (minutes on 2 cores for a tiny model).

A null concept is a mean difference under labels tossed anew on real rows. Everything else is as a user would
do it: the edit, a behaviour, and `effect(...).verdict()`. The truth is known without the rule: tossed labels
mean nothing, and the direction between girls and boys decides between "She" and "He".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest
from tqdm import tqdm

from interventions import Ablate, Add, Answers, Clamp, Edit, Erase, effect
from probes import Activations, Examples, MassMean, Model, capture, load_model

NAMES = {1: "Lily Mia Sue Anna Amy Lucy Emma Jane", 0: "Tom Tim Ben Max Jack Sam Bob Leo"}
PLACES = ["park", "store", "beach", "zoo"]


@dataclass(frozen=True)
class Config:
    """What is run."""

    model: str
    """folder of a causal language model that writes stories"""
    site: str = "resid_post.2"
    runs: int = 100
    """null concepts for every edit"""
    planted: int = 20
    """runs with the true labels, each on other names"""
    edits: tuple[str, ...] = ("add .5", "add 2", "ablate", "clamp", "erase")
    train: bool = True
    """give the rows of the fit, so that controls come from exchanged labels"""
    judged_by: str = "answers"
    """answers or mean"""
    seed: int = 0


def stories() -> Examples:
    """Beginnings of stories about a girl or a boy; a name is a group."""
    rows = [(y, n, p) for y, names in NAMES.items() for n in names.split() for p in PLACES]
    word = {1: "girl", 0: "boy"}
    texts = [
        f"Once upon a time, there was a little {word[y]} named {n}. One day, {n} went to the {p}."
        for y, n, p in rows
    ]
    return Examples(texts, y=[y for y, _, _ in rows], groups=[n for _, n, _ in rows])


def tossed(acts: Activations, seed: int) -> Activations:
    """Half of the groups called 1, whichever."""
    names = np.unique(acts.groups)
    label = dict(zip(names, np.random.default_rng(seed).permutation(np.arange(len(names)) % 2), strict=True))
    return acts.with_y(np.array([label[g] for g in acts.groups]))


MAKE: dict[str, Callable[[Activations], Edit]] = {
    "add .5": lambda a: Add(_pointing(a), norm=0.5),
    "add 2": lambda a: Add(_pointing(a), norm=2),
    "ablate": lambda a: Ablate(_found(a)),
    "clamp": lambda a: Clamp(_found(a), to=2),
    "erase": Erase.fit,
}


def _found(acts: Activations) -> Any:
    return MassMean().fit(acts).direction()


def _pointing(acts: Activations) -> Any:
    """The direction without its gap, so that a norm may be given."""
    from dataclasses import replace

    return replace(_found(acts), gap=None)


def words(config: Config, model: Model, name: str, runs: int, null: bool) -> Iterator[str]:
    examples = stories()
    answers: Any = Answers(" She", " He", judged_by=config.judged_by)  # pyright: ignore
    acts = capture(model, examples, config.site, progress=False)
    before = answers(model, examples)
    for run in range(runs):
        seed = config.seed * 100_000 + run
        labelled = tossed(acts, seed) if null else _half(acts, seed)
        edit = MAKE[name](labelled)
        train = labelled if config.train else None
        found = effect(
            model,
            edit,
            answers,
            examples,
            before=before,
            train=train,
            seed=seed,
            compare=False,
            progress=False,
        )
        yield found.verdict().word


def _half(acts: Activations, seed: int) -> Activations:
    """The true labels on half of the names."""
    names = np.random.default_rng(seed).permutation(np.unique(acts.groups))
    return acts.rows(np.isin(acts.groups, names[: 3 * len(names) // 4]))


def main(config: Config) -> None:
    model = load_model(config.model)
    table = Table("edit", "tossed labels that 'move behaviour'", "95% interval", "true labels that do")
    for name in config.edits:
        counts = []
        for runs, null in ((config.runs, True), (config.planted, False)):
            found = tqdm(words(config, model, name, runs, null), total=runs, desc=name, leave=False)
            counts.append(sum(w.startswith("moves behaviour") for w in found))
        interval = binomtest(counts[0], config.runs).proportion_ci()
        table.add_row(
            name,
            f"{counts[0]} of {config.runs} ({counts[0] / config.runs:.1%})",
            f"{interval.low:.1%} to {interval.high:.1%}",
            f"{counts[1]} of {config.planted}",
        )
        Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Config))
