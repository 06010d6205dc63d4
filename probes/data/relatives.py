"""Texts that probably belong together, found in their words: the same words, near-duplicates, and texts about
the same thing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped
from scipy.sparse import coo_matrix, eye_array
from scipy.sparse.csgraph import connected_components

from probes.data.row_names import joined
from probes.data.texts import words_of
from probes.data.wording import phrases, presence, sharing, words, words_and_names
from probes.markup.terminal import terminal
from probes.markup.values import Displayed

ABOUT = 0.5  # share of what two texts have of their own, from which on they are about the same thing
NEARLY = 0.7  # share of their phrases from which on they say nearly the same
SHOWN = 3  # pairs shown of a kind
LARGEST = 0.5  # share of the rows in one group from which on groups are no use to split by


@dataclass(frozen=True, eq=False)
class Relatives:
    """Which texts belong together: `wording` numbers what each row says (texts that differ in case, spacing
    and punctuation say the same), `first` and `second` are pairs of such wordings, and `nearly` whether the
    two say nearly the same (otherwise they are merely about the same thing).
    """

    wording: Int[np.ndarray, " n"]
    first: Int[np.ndarray, " pair"]
    second: Int[np.ndarray, " pair"]
    nearly: Bool[np.ndarray, " pair"]

    @property
    def closest(self) -> "Relatives":
        """Those that say nearly the same alone."""
        return Relatives(
            self.wording, *(pair[self.nearly] for pair in (self.first, self.second, self.nearly))
        )

    @property
    def groups(self) -> Int[np.ndarray, " n"]:
        """A number for each row, the same for all that hang together."""
        return connected_components(self._linked, directed=False)[1][self.wording]

    def beside(self, rows: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """The rows that say what one of these says, or have a relative among them."""
        there = np.bincount(self.wording[rows], minlength=self._linked.shape[0]) > 0
        return (self._linked @ there.astype(float) > 0)[self.wording]

    @property
    def _linked(self) -> Any:
        n = int(self.wording.max()) + 1
        pairs = coo_matrix((np.ones(len(self.first)), (self.first, self.second)), shape=(n, n)).tocsr()
        return pairs + pairs.T + eye_array(n, format="csr")


def related(texts: Sequence[str]) -> Relatives:
    """Texts that are probably no independent rows.

    Words (with names of several words as one more) and phrases are weighted by how few of the texts hold
    them, so that what a template says over and over weighs nothing. Two texts that share half of that weight
    are about the same thing; two that share .7 of their phrases say nearly the same. Texts that share no more
    than words drawn one by one would are never related. Time and memory grow with the pairs that have a word
    in common: some thousand short texts take a second.
    """
    _, first, wording = np.unique([words(t) for t in texts], return_index=True, return_inverse=True)
    kept = [str(texts[i]) for i in first]  # each wording once: repeats would make its own words common
    about = sharing(presence(words_and_names(kept)), ABOUT)
    close = sharing(presence([phrases(t) for t in kept]), ABOUT)
    n = len(kept)
    both = np.concatenate([about.first * n + about.second, close.first * n + close.second])
    pair, at = np.unique(both, return_inverse=True)
    nearly = np.zeros(len(pair), dtype=bool)
    nearly[at[len(about.first) :]] = close.share >= NEARLY
    return Relatives(wording, pair // n, pair % n, nearly)


@dataclass(frozen=True, eq=False)
class SuggestedGroups(Displayed):
    """Groups that keep together what probably belongs together, and what speaks for it.

    `groups` is for `examples.with_groups`. The pairs of texts are some of those that say nearly the same and
    of those that are about the same thing, with how many rows have such a relative.
    """

    groups: Shaped[np.ndarray, " n"]
    nearly: tuple[tuple[str, str], ...]
    about: tuple[tuple[str, str], ...]
    rows_nearly: int
    rows_about: int
    before: int

    @property
    def found(self) -> bool:
        """Whether anything belongs together that the groups at hand keep apart."""
        return len(np.unique(self.groups)) < self.before

    @property
    def summary(self) -> str:
        sizes = np.unique(self.groups, return_counts=True)[1]
        said = f"{len(sizes)} groups of {len(self.groups)} rows (largest {sizes.max()}), from {self.before}"
        if not self.found:
            return f"{said}: nothing to be joined"
        if sizes.max() > LARGEST * len(self.groups):
            return f"{said}; most rows hang together: split by a column of your own instead"
        return f"{said}; to use them: examples.with_groups(found.groups), before the split"

    def __repr__(self) -> str:
        lines = [self.summary]
        kinds = (
            ("say nearly the same as another row", self.rows_nearly, self.nearly),
            ("are about the same thing as another row", self.rows_about, self.about),
        )
        for what, rows, pairs in kinds:
            lines += [f"{rows} rows {what}{', such as' if pairs else ''}"]
            lines += [f"  {a!r:.70} | {b!r:.70}" for a, b in pairs]
        return terminal("\n".join(lines))


def suggested(
    texts: Sequence[str | Sequence[dict[str, str]]], groups: Shaped[np.ndarray, " n"]
) -> SuggestedGroups:
    """The groups at hand, joined where texts of several belong together."""
    said = [words_of(t) for t in texts]
    found = related(said)
    whole = joined(groups, found.groups)
    nearly, about = _pairs(found, said, near=True), _pairs(found, said, near=False)
    return SuggestedGroups(whole, nearly[0], about[0], nearly[1], about[1], len(np.unique(groups)))


def _pairs(found: Relatives, texts: Sequence[str], near: bool) -> tuple[tuple[tuple[str, str], ...], int]:
    """Some pairs of texts of one kind, and how many rows have such a relative."""
    at = np.flatnonzero(found.nearly == near)
    row = np.unique(found.wording, return_index=True)[1]
    ends = [(int(row[found.first[k]]), int(row[found.second[k]])) for k in at[:SHOWN]]
    shown = [(texts[i], texts[j]) for i, j in ends]
    kin = np.zeros(len(row), dtype=bool)
    kin[np.concatenate([found.first[at], found.second[at]])] = True
    if near:
        kin |= np.bincount(found.wording) > 1
        again = [np.flatnonzero(found.wording == w) for w in np.flatnonzero(np.bincount(found.wording) > 1)]
        shown += [(texts[int(rows[0])], texts[int(rows[1])]) for rows in again[:SHOWN]]
    return tuple(shown[:SHOWN]), int(kin[found.wording].sum())
