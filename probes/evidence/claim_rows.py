"""The rows of a claim: their texts, what train and test must not share, and test rows that say again what
train rows say.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Shaped

from probes.data.activations import PairActivations
from probes.data.examples import Examples
from probes.data.receipts import places
from probes.data.relatives import Relatives, related
from probes.data.row_names import (
    NUMBERED,
    joined,
    made_of_texts,
    numbered,
    own_groups,
    same_names,
    text_ids,
    text_keys,
)
from probes.data.rows import Rows
from probes.data.texts import words_of
from probes.evidence.apart import TWO, require_apart, told_by_numbers
from probes.evidence.claim_rule import REMEDY, Seen
from probes.evidence.finding import FEWEST
from probes.fitting.rows_of_fit import has_names

R = TypeVar("R", bound=Rows)
TEXT_COLUMNS = ("text", "statement", "prompt", "question")
Texts = tuple[Sequence[str] | Examples, Sequence[str] | Examples]
Said = tuple[Sequence[str], Sequence[str]]


@dataclass(frozen=True, eq=False)
class ClaimRows:
    """Groups of the train rows and of the test rows with what belongs together joined, which test rows are
    left, and what is known of the others.
    """

    train: Shaped[np.ndarray, " train"]
    test: Shaped[np.ndarray, " test"]
    kept: Bool[np.ndarray, " test"]
    seen: Seen | None

    def parts(self, train: R, test: R) -> tuple[R, R]:
        """The rows as the claim is made on them."""
        whole = replace(train, groups=self.train), replace(test, groups=self.test)
        return whole if self.seen is None else (whole[0], whole[1].rows(self.kept))


def claim_rows(train: Rows, test: Rows, texts: Said | None) -> ClaimRows:
    """What may stand in a claim: test rows that say what a train row of the same label says are left out,
    since a probe may remember it.

    Where every row is its own group, rows about the same thing count too, and what belongs together is made
    one group; groups that were given are taken at their word, and near-duplicates alone count. Raises
    ValueError when too few test rows are left.
    """
    every = np.ones(len(test), dtype=bool)
    read = _carried(train, test) if texts is None else texts
    theirs = _groups_beside(train, test)
    if read is None:
        return ClaimRows(train.groups, theirs, every, None)
    said = [str(t) for part in read for t in part]
    own = own_groups(train.ids, train.groups) and own_groups(test.ids, test.groups)
    found = related(said) if own else related(said).closest
    groups = np.concatenate([train.groups, theirs])
    groups = joined(groups, found.groups) if own else groups
    again = _again(found, np.asarray(train.y), np.asarray(test.y))
    whole = groups[: len(train)], groups[len(train) :]
    if not again.any():
        return ClaimRows(*whole, every, None)
    seen = Seen(int(again.sum()), len(test), _example(found, said, train, test, again))
    kept = ~again
    left, classes = len(np.unique(whole[1][kept])), len(np.unique(np.asarray(test.y)[kept]))
    if left < FEWEST or classes < 2:
        few = f"the {kept.sum()} others ({left} groups, {classes} classes) cannot carry a claim"
        raise ValueError(f"{seen.told}, so a probe may have their labels by memory; {few}. {REMEDY}")
    return ClaimRows(*whole, kept, seen)


def _carried(train: Rows, test: Rows) -> Said | None:
    """Texts that the rows bring along in a column of a usual name."""
    for name in TEXT_COLUMNS:
        held = [part.columns[name].tolist() for part in (train, test) if name in part.columns]
        if len(held) == 2 and all(isinstance(t, str) for part in held for t in part):
            return held[0], held[1]
    return None


def _again(found: Relatives, y: np.ndarray, z: np.ndarray) -> Bool[np.ndarray, " test"]:
    """Test rows with a relative among the train rows of their label."""
    again = np.zeros(len(z), dtype=bool)
    for label in np.unique(z):
        train = np.concatenate([y == label, np.zeros(len(z), dtype=bool)])
        again |= found.beside(train)[len(y) :] & (z == label)
    return again


def _example(
    found: Relatives, said: Sequence[str], train: Rows, test: Rows, again: Bool[np.ndarray, " test"]
) -> tuple[str, str]:
    """A test text and a train text of the same label that belong together."""
    at = len(train) + int(again.argmax())
    alone = np.arange(len(said)) == at
    same = np.asarray(train.y) == np.asarray(test.y)[at - len(train)]
    kin = found.beside(alone)[: len(train)] & same
    return said[at], said[int(kin.argmax())]


def texts_of(train: Rows, test: Rows, texts: str | Texts) -> tuple[list[str], list[str]]:
    """The texts of the train and of the test rows; raises ValueError where they are not the texts of
    these rows.
    """
    if isinstance(texts, str):
        if any(texts not in part.columns for part in (train, test)):
            raise ValueError(
                f"the rows have no column {texts!r}; there are {sorted(train.columns) or 'no columns'}. What"
                " Examples read as their texts, from_csv(text=...), is no column: give the Examples that were"
                " captured, texts=(train_examples, test_examples)"
            )
        return train.column(texts).tolist(), test.column(texts).tolist()
    if not isinstance(texts, tuple | list) or len(texts) != 2:
        raise TypeError(f"texts is a column's name, or the train and the test texts, got {texts!r:.60}")
    keys = [part.text_keys for part in (train, test) if part.text_keys is not None]
    known = np.concatenate(keys) if keys else np.array([], dtype=str)
    first, second = (
        _texts_of(part, rows, name, known)
        for part, rows, name in ((texts[0], train, "train"), (texts[1], test, "test"))
    )
    return first, second


def _texts_of(
    given: Sequence[str] | Examples, rows: Rows, name: str, known: Shaped[np.ndarray, " known"]
) -> list[str]:
    if len(given) != len(rows):
        raise ValueError(
            f"{len(given)} {name} texts were given for {len(rows)} {name} rows; give one text a row, in the"
            " same order"
        )
    if isinstance(given, Examples):
        wrong = given.ids.astype(str) != rows.ids.astype(str)
        said = [words_of(text) for text in given.texts]
    else:
        said = [str(text) for text in given]
        # Rows captured from Examples carry ids made from their texts. Those of pairs are of two texts each.
        made = made_of_texts(rows.ids)
        wrong = (made != "") & (made != made_of_texts(text_ids(said))) & ~isinstance(rows, PairActivations)
        # Under other ids the texts may be given in another form; where one is that of a row, all are.
        keys = text_keys(said)
        if rows.text_keys is not None and np.isin(keys, known).any():
            wrong |= keys != rows.text_keys
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(
            f"the {name} texts are not in the order of the {name} rows, or are other texts: {wrong.sum()} of"
            f" {len(rows)} are not the row's (row {at}, {str(rows.ids[at])!r}, was given {said[at]!r:.60});"
            " give (texts of the train rows, texts of the test rows), the Examples that were captured,"
            " texts=(train_examples, test_examples), or keep the texts in a column: texts='text'"
        )
    return said


def require_separate(
    train: Rows,
    test: Rows,
    texts: Said | None = None,
    *,
    purpose: str = "a claim",
    named: tuple[str, str] = TWO,
) -> None:
    """Raises ValueError where train and test share a group, a pair, a text, or a row by its numbers."""
    shared = {"groups": _common(train.groups, _groups_beside(train, test))}
    if "pair_id" in train.columns and "pair_id" in test.columns:
        shared["pair_id"] = _common(train.columns["pair_id"], test.columns["pair_id"])
    if texts is not None:
        shared["texts"] = np.intersect1d(texts[0], texts[1]).tolist()
    for name, both in shared.items():
        if len(both):
            raise ValueError(
                f"{' and '.join(named)} share {len(both)} {name} (such as {both[0]!r}); split by groups that"
                " keep them apart, acts.split(sizes, groups=...), and give groups to arrays that are wrapped"
                f" one by one{NUMBERED if name == 'groups' and numbered(train.groups) else ''}"
            )
    require_apart(train, test, purpose, named)


def _groups_beside(train: Rows, test: Rows) -> np.ndarray:
    """The groups of test rows beside those of train rows: two arrays that were wrapped one by one and not
    grouped number their rows from 0 each, which says nothing as long as their numbers tell rows apart.
    """
    nobodys = all(not has_names(r) and np.array_equal(r.groups, np.arange(len(r))) for r in (train, test))
    return test.groups + len(train) if nobodys and told_by_numbers(test, train) else test.groups


def _common(ours: np.ndarray, theirs: np.ndarray) -> list[Any]:
    """Names that are in both, however they are spelt, as the first spells them."""
    names, first = np.unique(same_names(ours), return_index=True)
    return ours[first[np.isin(names, same_names(theirs))]].tolist()


def read_apart(train: Mapping[str, Any], test: Mapping[str, Any]) -> str:
    """How train and test rows were read, where their receipts say that it was not alike; else nothing."""
    if places(train) & places(test) and train.get("edits") == test.get("edits"):
        return ""
    return f"fitted on rows read {_reading(train)}, tested on rows read {_reading(test)}"


def _reading(receipt: Mapping[str, Any]) -> str:
    at = str(receipt.get("at", "elsewhere"))
    place = f"token {at}" if re.fullmatch(r"-?[0-9]+", at) else at
    return f"at {place} under {' and '.join(receipt.get('edits', ())) or 'no edit'}"
