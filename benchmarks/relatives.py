"""What `claim` says of labels that nobody could read but by memory, where rows belong together and no column
says so, and of a planted signal in rows that are independent: `python -m benchmarks.relatives --model FOLDER
--cities CSV CSV --inventors CSV CSV`.

Every run draws a set of statements, tosses a label for each thing they are about (a firm, a city, an
inventor) and splits rows. Hidden states are those of the model at the last token: memory alone reads the
label. In the runs with a signal labels are tossed for each row and the states are moved along one axis by a
third of their spread, which is what a concept looks like that the words do not hold.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from probes import Activations, Examples, MassMean, capture, load_model
from probes.controls import claim
from probes.models.model import Model

Draw = np.random.Generator
LANDS = ["Arvia", "Borland", "Cestria", "Dovania", "Estany", "Ferolia", "Gistan", "Helvia"]
FIRST = [
    "Arch",
    "Borealis",
    "Corvid",
    "Delphi",
    "Eastgate",
    "Fennel",
    "Granite",
    "Harrow",
    "Ibis",
    "Juniper",
    "Kestrel",
    "Larkspur",
]
SECOND = ["Holdings", "Group", "Capital", "Systems", "Foods", "Energy", "Partners", "Labs", "Motors", "Bank"]
GOODS = [
    "timber",
    "copper",
    "salt",
    "wool",
    "software",
    "loans",
    "insurance",
    "maps",
    "medicine",
    "bricks",
    "coffee",
    "steel",
]
ENDS = ("", "!", " ...", " , they say.", " , as is well known.")


@dataclass(frozen=True)
class Config:
    """Where the model and the public sets are, and how much is drawn."""

    model: str
    cities: tuple[Path, ...] = ()
    """tables with a column `statement`, and `city`: what each is about"""
    inventors: tuple[Path, ...] = ()
    """tables whose statements begin with a name, before "lived" or "did" """
    runs: int = 60
    things: int = 80
    """firms, cities, inventors, ... a run"""
    shuffles: int = 99
    seed: int = 0


@dataclass(frozen=True)
class Rows:
    """Statements, what each is about, and the groups that somebody gave (None: none)."""

    texts: list[str]
    about: list[str]
    groups: np.ndarray | None = None


def tables(paths: tuple[Path, ...]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for path in paths:
        with open(path, newline="", encoding="utf-8") as file:
            found += list(csv.DictReader(file))
    return found


def some(rows: Rows, r: Draw, things: int) -> Rows:
    """All rows of some things."""
    names = np.unique(rows.about)
    drawn = set(r.choice(names, min(things, len(names)), replace=False))
    kept = [k for k, name in enumerate(rows.about) if name in drawn]
    return Rows([rows.texts[k] for k in kept], [rows.about[k] for k in kept])


def firms(r: Draw, things: int) -> Rows:
    """Six statements a firm."""
    names = [f"{a} {b}" for a in FIRST for b in SECOND]
    drawn = r.choice(names, things, replace=False)
    kinds = ("has its headquarters in {}.", "operates in the industry of {}.", "sells {} to households.")
    texts = [
        f"{name} {kinds[k % 3].format(r.choice(LANDS if k % 3 == 0 else GOODS))}"
        for name in drawn
        for k in range(6)
    ]
    return Rows(texts, [str(name) for name in drawn for _ in range(6)])


def reworded(rows: Rows, r: Draw) -> Rows:
    """Each statement with three endings, and groups that part them."""
    chosen = [r.choice(len(ENDS), 3, replace=False) for _ in rows.texts]
    texts = [t.rstrip(".") + ENDS[k] for t, ends in zip(rows.texts, chosen, strict=True) for k in ends]
    groups = r.permutation(len(texts)) // 3
    return Rows(texts, [t for t in rows.texts for _ in range(3)], groups)


def one_each(rows: Rows) -> Rows:
    first = np.unique(rows.about, return_index=True)[1]
    return Rows([rows.texts[k] for k in first], [rows.about[k] for k in first])


def designs(config: Config) -> dict[str, tuple[Callable[[Draw], Rows], bool]]:
    """Name, rows of a run, and whether the rows are independent (so that a signal is to be found)."""
    n = config.things
    found: dict[str, tuple[Callable[[Draw], Rows], bool]] = {
        "firms, six statements each": (lambda r: firms(r, n), False),
        "one statement a firm": (lambda r: one_each(firms(r, 120)), True),
    }
    if config.cities:
        held = tables(config.cities)
        cities = Rows([row["statement"] for row in held], [row["city"] for row in held])
        found |= {
            "cities, all their statements": (lambda r: some(cities, r, n), False),
            "cities reworded, other groups given": (
                lambda r: reworded(some(one_each(cities), r, n), r),
                False,
            ),
            "one statement a city": (lambda r: some(one_each(cities), r, 4 * n), True),
        }
    if config.inventors:
        said = [row["statement"] for row in tables(config.inventors)]
        names = [s.split(" lived")[0].split(" did")[0] for s in said]
        inventors = Rows(said, names)
        found |= {
            "inventors, all their statements": (lambda r: some(inventors, r, 2 * n), False),
            "one statement an inventor": (lambda r: some(one_each(inventors), r, 3 * n), True),
        }
    return found


def ask(model: Model, rows: Rows, run: int, signal: float, config: Config) -> tuple[str, str]:
    """The word of a claim, or "refused"; and that of a claim to which no text was given."""
    r = np.random.default_rng([config.seed, run, 1])
    about = np.unique(rows.about, return_inverse=True)[1]
    y = r.integers(0, 2, about.max() + 1)[about] if signal == 0 else r.integers(0, 2, len(about))
    examples = Examples(rows.texts, groups=rows.groups, columns={"text": np.array(rows.texts, dtype=object)})
    acts = capture(model, examples, "resid_post", progress=False)
    x = acts.x.clone()
    axis = np.linalg.qr(r.normal(size=(x.shape[2], 1)))[0][:, 0]
    x += signal * float(x.std(1).norm(dim=1).mean()) * x.new_tensor((2 * y - 1)[:, None] * axis)
    bare = Activations.from_arrays(x, y, acts.groups, ids=acts.ids)
    held = replace(bare, columns=acts.columns)
    return said(held, run, config, texts="text"), said(bare, run, config)


def said(rows: Activations, run: int, config: Config, texts: str | None = None) -> str:
    train, test = rows.split((0.7, 0.3), seed=run)
    try:
        found = claim(MassMean(), train, test, texts=texts, n=config.shuffles, seed=run, progress=False)
    except ValueError as error:
        if "resemble" not in str(error):
            raise
        return "refused"
    return found.level


def main(config: Config) -> None:
    model = load_model(config.model)
    table = Table(
        "rows",
        "labels",
        "refused",
        "chance",
        "decodable",
        "beyond the text",
        "claimed, 95%",
        "claimed without texts",
    )
    for name, (draw, independent) in designs(config).items():
        for signal in (0.0, 0.33) if independent else (0.0,):
            drawn = [draw(np.random.default_rng([config.seed, run])) for run in range(config.runs)]
            told = [ask(model, rows, run, signal, config) for run, rows in enumerate(drawn)]
            words, blind = zip(*told, strict=True)
            counts = [words.count(w) for w in ("refused", "chance", "decodable", "decodable beyond the text")]
            bounds = binomtest(counts[2] + counts[3], len(words)).proportion_ci()
            unaware = f"{sum(word.startswith('decodable') for word in blind)} of {len(blind)}"
            label = "a signal" if signal else "tossed"
            table.add_row(name, label, *map(str, counts), f"{bounds.low:.0%} to {bounds.high:.0%}", unaware)
            print(name, label, counts, unaware, flush=True)
    Console(width=140).print(table)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
