"""Rows of a data set that would stand on both sides of a split: repeats, shared originals,
near-duplicates; and what is safe to use.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from probes.checks.settings import check_number
from probes.data.examples import Examples, check_examples
from probes.data.tables import filled
from probes.data.wording import overlaps, presence, words
from probes.markup.terminal import terminal
from probes.markup.values import Displayed

SHINGLE = 3  # words


@dataclass(frozen=True, eq=False)
class Leaks(Displayed):
    """What was found, and the rows and groups that are safe.

    `table` has a row a cell; `shared` counts the rows of a cell (row) that were made from an original that
    another cell (column) uses too. `kept` is False for rows that repeat an earlier one of their cell;
    `groups` joins everything that is not independent, for `Examples.split`, folds and bootstraps.
    """

    table: pd.DataFrame
    shared: pd.DataFrame
    kept: Bool[np.ndarray, " n"]
    groups: np.ndarray
    both_contexts: int
    near: float | int
    data: str

    def safe(self, examples: Examples) -> Examples:
        """The rows that are left, with groups that keep apart what belongs together; raises
        ValueError for other examples than were looked at.
        """
        if examples.hash != self.data:
            raise ValueError(
                f"these are not the {len(self.kept)} examples the leaks were found in; call find_leaks on"
                " them"
            )
        return examples.with_groups(self.groups).rows(self.kept)

    @property
    def found(self) -> bool:
        """Whether a split by rows would leak."""
        return len(np.unique(self.groups)) < len(self.groups)

    @property
    def summary(self) -> str:
        sizes = np.unique(self.groups, return_counts=True)[1]
        elsewhere, near = (
            int(self.table[name].to_numpy().sum()) for name in ("original in another cell", "near-duplicates")
        )
        return (
            f"{len(self.kept)} rows: {int((~self.kept).sum())} repeat a row of their cell, {elsewhere} come"
            f" from an original that another cell uses too, {near} have a near-duplicate (Jaccard of word"
            f" triples at least {self.near:g}). {len(sizes)} groups are independent (largest {sizes.max()}"
            f" rows); {self.both_contexts} of them hold both contexts."
        )

    def __repr__(self) -> str:
        shared = f"rows made from an original that another cell uses\n{self.shared.to_string()}"
        return terminal(f"{self.summary}\n{self.table.to_string()}\n{shared}")


def find_leaks(
    examples: Examples,
    *,
    near: float | int = 0.8,
    cell: str = "cell",
    original: str = "original",
    context: str = "context",
) -> Leaks:
    """Looks for rows that a random split would put on both sides, within and between cells.

    Repeats are texts with the same words in one cell; all but the first go. Shared originals and
    near-duplicates (Jaccard of word triples at least `near`, over texts and over originals) stay, joined into
    one group. Missing columns count as: one cell, each text its own original; missing cells within a column
    are refused. Memory grows with rows times distinct triples that they share; some ten thousand short texts
    take seconds. Raises ValueError for chat messages.
    """
    check_examples(examples, "find_leaks")
    if not 0 < check_number("near", near) <= 1:
        raise ValueError(f"near is a share above 0 and at most 1 (Jaccard), got {near!r:.60}")
    plain = _plain(examples)
    n = len(plain)
    for name in {cell, original, context} & set(examples.columns):
        filled(examples.columns[name], name, "looking for leaks")
    cells = examples.columns.get(cell, np.full(n, "all")).astype(str)
    sources = [str(t) for t in examples.columns[original]] if original in examples.columns else plain
    said, asked = [words(t) for t in plain], [words(t) for t in sources]
    # Numbers from one table for both, since they are compared many times.
    codes = pd.factorize(np.array(said + asked, dtype=object))[0]
    same, origin = codes[:n], codes[n:]
    again = _repeats(same, cells)
    close = np.concatenate([_near(said, same, near), _near(asked, origin, near)], axis=1)
    edges = np.concatenate([_first(same), _first(origin), close], axis=1)
    member = connected_components(coo_matrix((np.ones(edges.shape[1]), edges), shape=(n, n)), directed=False)[
        1
    ]
    first = np.unique(member, return_index=True)[1]
    facts = {
        "repeats": _repeats(np.array(plain, dtype=object), cells),
        "repeats up to punctuation": again,
        "near-duplicates": np.isin(np.arange(n), close),
        "mostly not ASCII": np.array([_foreign(t) for t in plain]),
        "characters": np.array([len(t) for t in plain]),
        "last character": np.array([t.rstrip()[-1:] for t in plain], dtype=object),
    }
    table = pd.DataFrame([_cell_row(name, facts, origin, cells == name) for name in np.unique(cells)])
    both = 0
    if context in examples.columns:
        both = int((pd.Series(examples.columns[context]).groupby(member).nunique().to_numpy() > 1).sum())
    groups = examples.ids[first][member]
    return Leaks(table.set_index("cell"), _shared(origin, cells), ~again, groups, both, near, examples.hash)


def _plain(examples: Examples) -> list[str]:
    if not all(isinstance(t, str) for t in examples.texts):
        raise ValueError(
            "leaks are found in plain texts, and these are chat messages; render them first, or pass the user"
            " turns"
        )
    return [str(t) for t in examples.texts]


def _repeats(keys: np.ndarray, cells: np.ndarray) -> Bool[np.ndarray, " n"]:
    """Whether an earlier row of the same cell has the same key."""
    return pd.Series(keys).groupby(cells).transform(lambda s: s.duplicated()).to_numpy(bool)


def _shared(origin: Int[np.ndarray, " n"], cells: np.ndarray) -> pd.DataFrame:
    """How many rows of a cell (row) were made from an original that another cell (column) uses too."""
    names = np.unique(cells)
    uses = {a: origin[cells == a] for a in names}
    return pd.DataFrame(
        {b: {a: int(np.isin(uses[a], uses[b]).sum()) if a != b else 0 for a in names} for b in names}
    )


def _cell_row(
    name: str, facts: dict[str, np.ndarray], origin: Int[np.ndarray, " n"], inside: Bool[np.ndarray, " n"]
) -> dict[str, object]:
    """A cell's row in the table, from what is known of all rows and where the cell's lie among them."""
    own = {fact: values[inside] for fact, values in facts.items()}
    ends = pd.Series(own["last character"]).value_counts()
    return {
        "cell": name,
        "rows": int(inside.sum()),
        "repeats": int(own["repeats"].sum()),
        "repeats up to punctuation": int(own["repeats up to punctuation"].sum()),
        "originals used twice": int(pd.Series(origin[inside]).duplicated().sum()),
        "original in another cell": int(np.isin(origin[inside], origin[~inside]).sum()),
        "near-duplicates": int(own["near-duplicates"].sum()),
        "mostly not ASCII": int(own["mostly not ASCII"].sum()),
        "commonest last character": f"{ends.index[0]!r} in {ends.iloc[0]}",
        "median characters": float(np.median(own["characters"])),
    }


def _first(keys: Int[np.ndarray, " n"]) -> Int[np.ndarray, "2 n"]:
    """Each row joined to the first with the same key."""
    _, first, member = np.unique(keys, return_index=True, return_inverse=True)
    return np.stack([np.arange(len(keys)), first[member]])


def _near(texts: Sequence[str], keys: Int[np.ndarray, " n"], least: float | int) -> Int[np.ndarray, "2 e"]:
    """Pairs of different texts whose sets of word triples overlap by at least this Jaccard; texts of
    fewer words are one shingle.
    """
    x = presence([_triples(t) for t in texts])
    sizes = np.diff(x.indptr)
    pairs = []
    for first, second, both in overlaps(x):
        close = (both >= least * (sizes[first] + sizes[second] - both)) & (keys[first] != keys[second])
        pairs.append(np.stack([first[close], second[close]]))
    return np.concatenate(pairs, axis=1).astype(np.int64)


def _triples(text: str) -> set[str]:
    """Three words in a row each; all of them where there are fewer."""
    said = text.split()
    return {" ".join(said[i : i + SHINGLE]) for i in range(max(1, len(said) - SHINGLE + 1))}


def _foreign(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return sum(not c.isascii() for c in letters) > len(letters) / 2
