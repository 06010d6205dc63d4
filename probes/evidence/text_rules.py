"""The best simple rule about the words of a text, found by trying them all on the train texts: one word or
phrase, a few characters, two words, which of two words comes first, in which half a word stands, the first
and last words and characters.

A label that somebody made from the words is one of these, and a classifier that weighs thousands of words
at once may miss it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

PHRASE = 3  # words of the longest phrase tried
RUN = 3  # characters in a row that are tried as written
PAIRED = 400  # words of which all pairs are tried
ORDERED = 60  # words of which it is tried which comes first
FEWEST = 3  # train texts that a word has to be in, and to be missing from
NOWHERE = np.iinfo(np.int64).max
SMOOTH = 1.0  # texts of either class that every cell of a rule is taken to have seen

WORD = re.compile(r"\w+|[^\w\s]")

Line = Float[np.ndarray, " test"]


@dataclass(frozen=True, eq=False)
class Presence:
    """Which texts hold which features; the names are those of the train texts."""

    names: list[str]
    held: Int[np.ndarray, "n feature"]


def best_word(train: Sequence[str], y: Int[np.ndarray, " n"], test: Sequence[str]) -> Line:
    """Scores of the test texts by the one word, mark or phrase whose presence says most about y."""
    phrases = [_phrases(_words(t)) for t in train]
    names = _common(phrases)
    fitted = _presence(phrases, names)
    if not names:
        return np.zeros(len(test))
    cells = _cells(fitted.held, y)
    best = int(np.argmax(_gain(cells)))
    chosen = _presence([_phrases(_words(t)) for t in test], [names[best]]).held[:, 0]
    return _logit(cells)[chosen, best]


def best_pair(train: Sequence[str], y: Int[np.ndarray, " n"], test: Sequence[str]) -> Line:
    """Scores by the two words whose joint presence says most about y: both, one of them, either or none."""
    words = [set(_words(t)) for t in train]
    names = _common(words)
    if len(names) < 2:
        return np.zeros(len(test))
    held = _presence(words, names).held
    frequent = np.argsort(-np.minimum(held.mean(0), 1 - held.mean(0)), kind="stable")[: PAIRED // 2]
    telling = np.argsort(-_gain(_cells(held, y)), kind="stable")[: PAIRED // 2]
    kept = np.union1d(frequent, telling)
    cells = _pair_cells(held[:, kept].astype(float), y)
    gain = _gain(cells)
    gain[np.tril_indices(len(kept))] = -1
    first, second = np.unravel_index(int(np.argmax(gain)), gain.shape)
    new = _presence([set(_words(t)) for t in test], [names[kept[first]], names[kept[second]]]).held
    return _logit(cells)[2 * new[:, 0] + new[:, 1], first, second]


def best_order(train: Sequence[str], y: Int[np.ndarray, " n"], test: Sequence[str]) -> Line:
    """Scores by the two words of which it says most about y which comes first (or that one is missing)."""
    words = [_words(t) for t in train]
    # Words that every text has say something here, by their place.
    counts = _presence([set(w) for w in words], _common([set(w) for w in words], missing_from=0))
    kept = np.argsort(-counts.held.sum(0), kind="stable")[:ORDERED]
    names = [counts.names[k] for k in kept]
    if len(names) < 2:
        return np.zeros(len(test))
    pairs = [(a, b) for a in range(len(names)) for b in range(a)]
    states = _order(words, names, pairs)
    cells = np.stack([_cells(states == state, y)[1] for state in range(3)])
    best = int(np.argmax(_gain(cells)))
    new = _order([_words(t) for t in test], names, [pairs[best]])[:, 0]
    return _logit(cells)[new, best]


def best_characters(train: Sequence[str], y: Int[np.ndarray, " n"], test: Sequence[str]) -> Line:
    """Scores by the few characters in a row whose presence says most about y: as they are written, white
    space and the ends of the text among them, or by kind (capital, small, digit).
    """
    runs = [_runs(t) for t in train]
    names = _common(runs)
    if not names:
        return np.zeros(len(test))
    cells = _cells(_presence(runs, names).held, y)
    best = int(np.argmax(_gain(cells)))
    chosen = _presence([_runs(t) for t in test], [names[best]]).held[:, 0]
    return _logit(cells)[chosen, best]


def best_place(train: Sequence[str], y: Int[np.ndarray, " n"], test: Sequence[str]) -> Line:
    """Scores by the word of which it says most about y in which half of the text it first stands, or that it
    is missing.
    """
    words = [_words(t) for t in train]
    names = _common([set(w) for w in words], missing_from=0)
    if not names:
        return np.zeros(len(test))
    states = _halves(words, names)
    cells = np.stack([_cells(states == state, y)[1] for state in range(3)])
    best = int(np.argmax(_gain(cells)))
    return _logit(cells)[_halves([_words(t) for t in test], [names[best]])[:, 0], best]


def ends(texts: Sequence[str]) -> list[dict[str, str]]:
    """First and last words and characters, for a classifier of named values."""
    found = []
    for text in texts:
        words, marks = text.split() or [""], text.strip() or " "
        found.append(
            {
                "first word": words[0],
                "last word": words[-1],
                "first character": marks[0],
                "last character": marks[-1],
                "last two characters": marks[-2:],
            }
        )
    return found


def _words(text: str) -> list[str]:
    return WORD.findall(text)


def _phrases(words: Sequence[str]) -> set[str]:
    return {" ".join(words[i : i + k]) for k in range(1, PHRASE + 1) for i in range(len(words) - k + 1)}


def _runs(text: str) -> set[str]:
    """Up to three characters in a row as they are written, up to four by kind."""
    kinds = text.translate(_Kinds())
    as_written, by_kind = f"\x02{text}\x03", f"\x02{kinds}\x03"
    found = {as_written[i : i + k] for k in range(1, RUN + 1) for i in range(len(as_written) - k + 1)}
    return found | {
        f"kind {by_kind[i : i + k]}" for k in range(1, RUN + 2) for i in range(len(by_kind) - k + 1)
    }


class _Kinds(dict[int, str]):
    """Letters and digits as their kind, for `str.translate`; all else as it is."""

    def __missing__(self, code: int) -> str:
        c = chr(code)
        kind = (
            "A" if c.isupper() else "a" if c.islower() else "0" if c.isdigit() else "c" if c.isalpha() else c
        )
        self[code] = kind
        return kind


def _common(texts: Sequence[set[str]], missing_from: int = FEWEST) -> list[str]:
    """Features that some texts have and some lack, in the order of their names."""
    counts: dict[str, int] = {}
    for held in texts:
        for name in held:
            counts[name] = counts.get(name, 0) + 1
    return sorted(name for name, n in counts.items() if FEWEST <= n <= len(texts) - missing_from)


def _presence(texts: Sequence[set[str]], names: Sequence[str]) -> Presence:
    index = {name: k for k, name in enumerate(names)}
    held = np.zeros((len(texts), len(names)), dtype=np.int8)
    for i, text in enumerate(texts):
        held[i, [index[name] for name in text if name in index]] = 1
    return Presence(list(names), held)


def _order(
    texts: Sequence[Sequence[str]], names: Sequence[str], pairs: Sequence[tuple[int, int]]
) -> Int[np.ndarray, "n pair"]:
    """For each pair: 0 where one is missing, 1 where the first comes first, 2 where the second does."""
    first = _first(texts, names)
    a, b = np.array(pairs).T
    both = (first[:, a] < NOWHERE) & (first[:, b] < NOWHERE)
    return np.where(both, np.where(first[:, a] < first[:, b], 1, 2), 0)


def _halves(texts: Sequence[Sequence[str]], names: Sequence[str]) -> Int[np.ndarray, "n name"]:
    """For each word: 0 where it is missing, 1 where it first stands in the first half of the text, 2 in the
    second.
    """
    first, middle = _first(texts, names), np.array([len(words) / 2 for words in texts])[:, None]
    return np.where(first == NOWHERE, 0, np.where(first < middle, 1, 2))


def _first(texts: Sequence[Sequence[str]], names: Sequence[str]) -> Int[np.ndarray, "n name"]:
    """The place at which each word first stands."""
    index = {name: k for k, name in enumerate(names)}
    first = np.full((len(texts), len(names)), NOWHERE)
    for i, words in enumerate(texts):
        for place in range(len(words) - 1, -1, -1):
            if words[place] in index:
                first[i, index[words[place]]] = place
    return first


def _cells(
    held: Int[np.ndarray, "n feature"] | Bool[np.ndarray, "n feature"], y: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "2 feature 2"]:
    """How many texts of each class lack a feature, and have it."""
    with_it = np.stack([held[y == c].sum(0) for c in (0, 1)], -1).astype(float)
    return np.stack([np.bincount(y, minlength=2) - with_it, with_it])


def _pair_cells(held: Float[np.ndarray, "n f"], y: Int[np.ndarray, " n"]) -> Float[np.ndarray, "4 f f 2"]:
    """How many texts of each class have none, the second, the first and both of two features."""
    parts = []
    for c in (0, 1):
        own = held[y == c]
        both, alone = own.T @ own, own.sum(0)
        first, second = alone[:, None] - both, alone[None] - both
        parts.append(np.stack([len(own) - both - first - second, second, first, both]))
    return np.stack(parts, -1)


def _gain(cells: Float[np.ndarray, "cell ... 2"]) -> Float[np.ndarray, "..."]:
    """What a rule says about the class: by how much it lowers the mean squared error of its share."""
    size = cells.sum(-1)
    return ((cells[..., 1] ** 2) / np.maximum(size, 1e-9)).sum(0)


def _logit(cells: Float[np.ndarray, "cell ... 2"]) -> Float[np.ndarray, "cell ..."]:
    """How the odds of class 1 stand in each cell of a rule."""
    return np.log(cells[..., 1] + SMOOTH) - np.log(cells[..., 0] + SMOOTH)
