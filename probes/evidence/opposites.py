"""Statements of a table that come as a pair of opposites, one of them true."""

import numpy as np
import pandas as pd

from probes.data.tables import filled
from probes.evidence.markers import NEGATION

HALVES = "halves"
"""In place of a column's name: row i of the first half belongs to row i of the second."""


def pairs_of_opposites(
    table: pd.DataFrame, label: str = "label", pair: str = "pair", group: str | None = None
) -> pd.DataFrame:
    """The rows of a table that stand in whole pairs: one statement of label 0 and its opposite of label 1.

    Columns of the result: statement, label, negated (1 where it holds a negation word), pair_id, and group,
    which must not cross a split (default: the pair). `pair` names the column that joins a statement with its
    opposite, or is "halves". Pairs of another size, pairs of one label and statements that occur twice are
    left out. Raises ValueError where a group tears a pair apart, where no pair is left, for missing cells,
    and for halves of an odd number of rows.
    """
    for column in {"statement", label, *([group] if group else []), *([] if pair == HALVES else [pair])}:
        filled(table[column].to_numpy(), column, "a pair of opposites")
    if pair == HALVES and len(table) % 2:
        raise ValueError(
            f"{len(table)} rows have no halves, so row i of the first half cannot belong to row i of the"
            " second; drop the row without an opposite, or name the column that joins them: pair='...'"
        )
    ids = np.arange(len(table)) % (len(table) // 2) if pair == HALVES else table[pair]
    negated = table["statement"].str.contains(NEGATION, case=False, regex=True).astype(int)
    found = pd.DataFrame(
        {
            "statement": table["statement"],
            "label": table[label],
            "negated": negated,
            "pair_id": ids,
            "group": table[group] if group else ids,
        }
    )
    if (found.groupby("pair_id").group.nunique() > 1).any():
        differs = f"column {group!r} differs between a statement and its opposite"
        raise ValueError(
            f"{differs}; a group must hold whole pairs, so group by what both are about, or by the pair"
        )
    sound = found.groupby("pair_id").label.transform(lambda y: len(y) == 2 and y.sum() == 1)
    if not sound.any():
        raise ValueError(
            f"no pair of the {len(found)} rows has one statement of label 0 and one of label 1; "
            f"they were joined by {pair!r}, so name the column that joins a statement with its opposite"
        )
    found = found.loc[sound & ~found.duplicated("statement", keep=False)]
    whole = found.groupby("pair_id").label.transform("size") == 2
    return found.loc[whole].reset_index(drop=True)
