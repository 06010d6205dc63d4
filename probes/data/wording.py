"""Texts as sets of words, of names and of phrases, weighted by how few texts hold each, and which texts share
most of that weight.

What many texts share says nothing of two of them, so a template weighs next to nothing and what fills its
slots weighs much.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix, diags_array

CHUNK = 500  # rows compared with all others at a time
PHRASE = 3  # words of the longest phrase
TEMPLATE = 0.05  # share of the texts from which on a feature may be part of a template,
AT_LEAST, AT_MOST = 4, 10  # but in so many texts it is none, and in so many it may be one
BEYOND_CHANCE = 4.0  # standard deviations above what words drawn one by one would share

# Scripts without spaces: every character is a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_SENTENCE = re.compile(r"[.!?:;\n\"“”]+\s*")


@dataclass(frozen=True, eq=False)
class Sharing:
    """Pairs of rows, the first before the second, and the share of their weight that they have in common."""

    first: Int[np.ndarray, " pair"]
    second: Int[np.ndarray, " pair"]
    share: Float[np.ndarray, " pair"]


def words(text: str) -> str:
    """The text's lower-cased words with one space between; the text itself where it has none.

    Texts that differ in punctuation, case or spacing come out the same.
    """
    return " ".join(WORD.findall(text.lower())) or text.strip()


def phrases(text: str, most: int = PHRASE) -> set[str]:
    """The words of a text and its runs of up to `most` words."""
    said = words(text).split()
    return {" ".join(said[i : i + k]) for k in range(1, most + 1) for i in range(len(said) - k + 1)}


def words_and_names(texts: Sequence[str]) -> list[set[str]]:
    """The words of each text, and its names of several words as one more: runs of capitalised words, without
    the first word of a sentence where that occurs in small letters too.
    """
    small = {word for text in texts for word in WORD.findall(text) if not word[0].isupper()}
    found = []
    for text in texts:
        names: set[str] = set()
        for sentence in _SENTENCE.split(text):
            names |= set(_names(WORD.findall(sentence), small))
        found.append(set(words(text).split()) | names)
    return found


def _names(sentence: Sequence[str], small: set[str]) -> Iterator[str]:
    run: list[str] = []
    for place, word in enumerate([*sentence, ""]):
        opening = place == 0 and word.lower() in small
        if word[:1].isupper() and not opening:
            run.append(word.lower())
            continue
        if len(run) > 1:
            yield " ".join(run)
        run = []


def presence(features: Sequence[set[str]]) -> Any:
    """Which row holds (sparse) which feature, as ones; features in the order of their first row."""
    known: dict[str, int] = {}
    index, ends = [], [0]
    for held in features:
        index += [known.setdefault(f, len(known)) for f in sorted(held)]
        ends.append(len(index))
    return csr_matrix(
        (np.ones(len(index), dtype=np.float32), index, ends), shape=(len(features), max(1, len(known)))
    )


def overlaps(x: Any) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What every two rows have in common, first < second: rows, rows and the inner product, a chunk at a
    time.
    """
    for start in range(0, x.shape[0], CHUNK):
        both = (x[start : start + CHUNK] @ x.T).tocoo()
        before = both.row + start < both.col
        yield both.row[before] + start, both.col[before], both.data[before]


def sharing(held: Any, least: float) -> Sharing:
    """Pairs of rows that have at least this share of their weight in common, and more than chance explains.

    The share is the cosine of the rows weighted by the logarithm of rows per row that holds a feature. Chance
    is that of features drawn one by one, each as often as it occurs: with few words to choose from, texts
    share many of them and are not related.
    """
    held = _one_of_equals(held)
    n = held.shape[0]
    often = np.asarray(held.sum(0)).ravel()
    weight = np.log(n / np.maximum(often, 1))
    square, rate = weight**2, often / n
    total = held @ square
    expected, spread = held @ (square * rate), np.sqrt(held @ (square**2 * rate * (1 - rate)))
    x = csr_matrix(held @ diags_array(weight))
    x.eliminate_zeros()
    parts = []
    for first, second, common in overlaps(x):
        norm = np.sqrt(total[first] * total[second])
        by_chance = np.maximum(*(expected[k] + BEYOND_CHANCE * spread[k] for k in (first, second)))
        told = (common >= least * norm) & (common >= by_chance) & (norm > 0)
        parts.append((first[told], second[told], common[told] / norm[told]))
    first, second, share = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Sharing(first.astype(np.int64), second.astype(np.int64), np.minimum(share, 1.0))


def _one_of_equals(held: Any) -> Any:
    """One feature for all that the same rows hold, where those are many: the words of a template are one
    thing, however many they are.
    """
    columns = held.tocsc()
    columns.sort_indices()
    often = np.diff(columns.indptr)
    many = np.clip(TEMPLATE * held.shape[0], AT_LEAST, AT_MOST)
    keys = {}
    for k in np.flatnonzero(often >= many):
        rows = columns.indices[columns.indptr[k] : columns.indptr[k + 1]]
        keys.setdefault(rows.tobytes(), int(k))
    kept = np.union1d(np.flatnonzero(often < many), np.fromiter(keys.values(), dtype=np.int64))
    return columns[:, kept].tocsr()
