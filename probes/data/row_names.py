"""What a row is called: ids made from texts, what two rows that are one text have in common, and groups that
never part them.
"""

import hashlib
import re
import unicodedata
from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from probes.checks.saying import warn

OWN = 0.9  # share of groups that are one text from which on groups say nothing
NUMBERED = (
    "; equal numbers count as one group: where both sets number theirs from 0 and mean other things, name"
    " them, such as rows.with_groups([f'cities {g}' for g in rows.groups])"
)
# As `text_ids` makes them, with the part's number that `Examples.concat` puts in front and the token that
# `capture` puts behind.
_MADE_OF_TEXT = re.compile(r"(?:\d+/)*([0-9a-f]{12})(?:-\d+)?(?:@\d+)?")
# Zero-width space, word joiner, byte order mark, soft hyphen. The joiners of emoji and of Indic and Persian
# script have no width either, but part words that differ.
_NO_WIDTH = {ord(sign): None for sign in "\u200b\u2060\ufeff\u00ad"}


def text_ids(texts: Sequence[str]) -> np.ndarray:
    """Stable ids: a hash of the text, with a counter behind texts that occur more than once."""
    seen: dict[str, int] = {}
    ids = []
    for text in texts:
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        seen[key] = seen.get(key, -1) + 1
        ids.append(key if not seen[key] else f"{key}-{seen[key]}")
    return np.asarray(ids)


def text_names(ids: Sequence[Hashable] | np.ndarray) -> np.ndarray:
    """Ids as strings, the same for rows of one text where the ids were made from texts."""
    made = made_of_texts(ids)
    return np.where(made == "", np.array([str(i) for i in ids]), made)


def made_of_texts(ids: Sequence[Hashable] | np.ndarray) -> np.ndarray:
    """The hash of its text in every id that was made from one, and nothing in ids of another making."""
    made = [_MADE_OF_TEXT.fullmatch(str(i)) for i in ids]
    return np.array(["" if m is None else m[1] for m in made])


def same_text(text: str) -> str:
    """What texts have in common that count as one: case, spacing, signs without a width, and how accents and
    wide letters are encoded do not part them.
    """
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text).translate(_NO_WIDTH)
    return " ".join(plain.split()).casefold()


def spelled_alike(names: np.ndarray) -> np.ndarray:
    """Names of groups, those made one that would be one as texts: they differ in capitals, blanks, signs
    without a width or how letters with accents are encoded. A warning says so.
    """
    if not any(isinstance(name, str) for name in names.tolist()):
        return names
    known, at = np.unique(names, return_inverse=True)
    spelled = [same_text(name) if isinstance(name, str) else name for name in known.tolist()]
    if len(set(spelled)) == len(spelled):
        return names
    whole = joined(names, np.array(spelled, dtype=object)[at])
    moved = np.flatnonzero(whole != names)
    one = names[moved[0]]
    warn(
        f"groups {str(one)!r} and {str(whole[moved[0]])!r} differ only in capitals, in blanks or in how their"
        f" letters are encoded, so they are taken as one ({len(known) - len(set(spelled))} such in all);"
        " clean the names before, or give groups that can be told apart"
    )
    return whole


def text_keys(texts: Sequence[str]) -> np.ndarray:
    """A short key of every text, the same for texts that count as one."""
    return np.array([hashlib.sha256(same_text(t).encode()).hexdigest()[:12] for t in texts])


def same_names(names: np.ndarray) -> np.ndarray:
    """Names of groups as they are compared: as texts are, and 1, 1.0 and "1" are one."""
    known, at = np.unique([_plain_name(name) for name in names.tolist()], return_inverse=True)
    return np.array([same_text(name) for name in known.tolist()])[at]


def _plain_name(name: Hashable) -> str:
    return str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)


def numbered(groups: np.ndarray) -> bool:
    """Whether groups are numbered from 0, as rows of two sets may both be."""
    return groups.dtype.kind in "iu" and np.array_equal(np.unique(groups), np.arange(len(np.unique(groups))))


def joined(groups: np.ndarray, names: Sequence[Hashable] | np.ndarray) -> np.ndarray:
    """The groups, those that share a name made one, which is called as the group of its first row."""
    name, known = pd.factorize(np.asarray(names))
    if len(known) == len(name):
        return groups
    group, held = pd.factorize(groups)
    links = coo_matrix((np.ones(len(group)), (group, name + len(held))), shape=(len(held) + len(known),) * 2)
    found, part = connected_components(links, directed=False)
    if found == len(held):  # every name lies within one group
        return groups
    _, first, member = np.unique(part[group], return_index=True, return_inverse=True)
    return groups[first][member]


def own_groups(ids: np.ndarray, groups: np.ndarray) -> bool:
    """Whether nearly every group is one text: nobody said which rows belong together."""
    names, group = pd.factorize(text_names(ids))[0], pd.factorize(groups)[0]
    held = np.unique(np.stack([group, names]), axis=1)[0]
    return bool((np.bincount(held) == 1).mean() >= OWN)


def whole_texts(
    groups: np.ndarray, texts: Sequence[str] | None, keys: np.ndarray | None, given: bool
) -> np.ndarray:
    """The groups, those that hold the same text made one; warns where they were given otherwise."""
    if texts is None or keys is None:
        return groups
    whole = joined(groups, keys)
    if given and whole is not groups:
        moved = whole != groups
        before, after = len(np.unique(groups)), len(np.unique(whole))
        warn(
            f"{before} groups became {after}: a text (such as {texts[int(moved.argmax())]!r:.60}) stands in"
            " several of them, and one text must not be in train and in test"
        )
    return whole


def say_mixed_labels(y: np.ndarray | None, names: Sequence[str] | np.ndarray) -> None:
    """Warns where rows of one text have both labels, which no reading of the text can tell apart."""
    if y is None or not np.isin(y, (0, 1)).all():
        return
    name, known = pd.factorize(np.asarray(names))
    positive = np.bincount(name, np.asarray(y))
    mixed = known[(positive > 0) & (positive < np.bincount(name))]
    if len(mixed):
        warn(
            f"{len(mixed)} texts have both labels (such as {str(mixed[0])!r:.60}), and no reading of the text"
            " alone can tell them apart; where labels are of answers that were sampled behind it, read these"
            " (capture_generated, or model.tokenise(prompts).followed_by(ids) at 'generated'), else drop"
            " them, or find out which label is right"
        )
