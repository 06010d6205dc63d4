"""How often a label that stands in the words is said to be decodable "beyond the text", and how often one
that does not is: `python -m benchmarks.text_labels` (about ten minutes on 2 cores).

Texts are random words; hidden states carry the label and nothing else, so a probe reads it without fault.
Labels are made from the words by rules that anybody could follow; the planted truth is a coin toss that no
word knows of.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from probes import Activations, MassMean
from probes.controls import claim

KNOWN = 2000
WORDS = np.array([f"w{i}" for i in range(KNOWN)])
SHARE = 1 / np.arange(1, KNOWN + 1) / (1 / np.arange(1, KNOWN + 1)).sum()
Draw = np.random.Generator
Made = tuple[list[str], np.ndarray]


@dataclass(frozen=True)
class Config:
    """Size of the simulation."""

    words: tuple[int, ...] = (20, 300)
    """words a text"""
    rows: int = 300
    runs: int = 20
    """data sets a label and length"""
    noise: float = 0.5
    seed: int = 0


def plain(r: Draw, n: int, words: int) -> list[list[str]]:
    return [list(r.choice(WORDS[20:], words, p=SHARE[20:] / SHARE[20:].sum())) for _ in range(n)]


def put(r: Draw, text: list[str], *words: str) -> None:
    """Puts words somewhere into a text, in this order."""
    places = np.sort(r.choice(len(text), len(words), replace=False))
    for place, word in zip(places, words, strict=True):
        text[place] = word


def one_word(r: Draw, n: int, words: int) -> Made:
    y, texts = r.integers(0, 2, n), plain(r, n, words)
    for text, label in zip(texts, y, strict=True):
        put(r, text, "w3" if label else "w5")
    return [" ".join(t) for t in texts], y


def one_rare_phrase(r: Draw, n: int, words: int) -> Made:
    y, texts = r.integers(0, 2, n), plain(r, n, words)
    for text, label in zip(texts, y, strict=True):
        put(r, text, "w3 w4" if label else "w4 w3", "w3", "w4")
    return [" ".join(t) for t in texts], y


def both_words(r: Draw, n: int, words: int) -> Made:
    a, b, texts = r.integers(0, 2, n), r.integers(0, 2, n), plain(r, n, words)
    for text, *held in zip(texts, a, b, strict=True):
        put(r, text, *[w for w, h in zip(("w3", "w5"), held, strict=True) if h])
    return [" ".join(t) for t in texts], a & b


def either_word(r: Draw, n: int, words: int) -> Made:
    texts, _ = both_words(r, n, words)
    return texts, np.array([("w3" in t.split()) != ("w5" in t.split()) for t in texts]).astype(int)


def order(r: Draw, n: int, words: int) -> Made:
    y, texts = r.integers(0, 2, n), plain(r, n, words)
    for text, label in zip(texts, y, strict=True):
        put(r, text, *(("w3", "w5") if label else ("w5", "w3")))
    return [" ".join(t) for t in texts], y


def middle_length(r: Draw, n: int, words: int) -> Made:
    lengths = r.integers(words // 2, 2 * words, n)
    low, high = np.quantile(lengths, (0.25, 0.75))
    texts = [plain(r, 1, int(k))[0] for k in lengths]
    return [" ".join(t) for t in texts], ((lengths > low) & (lengths < high)).astype(int)


def last_word(r: Draw, n: int, words: int) -> Made:
    y, texts = r.integers(0, 2, n), plain(r, n, words)
    for text, label in zip(texts, y, strict=True):
        text[-1] = str(r.choice(["w1", "w2"] if label else ["w3", "w4"]))
        put(r, text[:-1], "w1", "w2", "w3", "w4")
    return [" ".join(t) for t in texts], y


def a_capital(r: Draw, n: int, words: int) -> Made:
    y, texts = r.integers(0, 2, n), plain(r, n, words)
    for text, label in zip(texts, y, strict=True):
        text[0] = text[0].capitalize() if label else text[0]
    return [" ".join(t) for t in texts], y


def the_truth(r: Draw, n: int, words: int) -> Made:
    return [" ".join(t) for t in plain(r, n, words)], r.integers(0, 2, n)


LABELS: tuple[Callable[[Draw, int, int], Made], ...] = (
    one_word,
    one_rare_phrase,
    both_words,
    either_word,
    order,
    middle_length,
    last_word,
    a_capital,
    the_truth,
)


def beyond(make: Callable[[Draw, int, int], Made], words: int, config: Config, run: int) -> bool:
    r = np.random.default_rng([config.seed, run, words])
    texts, y = make(r, config.rows, words)
    x = (2.0 * y - 1)[:, None] * r.normal(size=32) / 32**0.5 + config.noise * r.normal(size=(config.rows, 32))
    acts = Activations.from_arrays(x.astype("float32"), y=y, columns={"text": np.array(texts, dtype=object)})
    train, test = acts.split((0.7, 0.3), seed=run)
    found = claim(MassMean(), train, test, texts="text", n=39, seed=run, progress=False)
    return found.level == "decodable beyond the text"


def main(config: Config) -> None:
    table = Table("label", *(f"{w} words" for w in config.words), title="said to be beyond the text")
    for make in LABELS:
        shown = []
        for words in config.words:
            runs = tqdm(range(config.runs), desc=f"{make.__name__}, {words}", leave=False)
            shown.append(f"{sum(beyond(make, words, config, run) for run in runs)} of {config.runs}")
        table.add_row(make.__name__.replace("_", " "), *shown)
    Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Config))
