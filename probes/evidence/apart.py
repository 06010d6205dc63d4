"""Rows that stand on both sides of a fit and its test, told by their texts, or by their numbers."""

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float

from probes.data.activations import Activations, PairActivations
from probes.data.row_names import joined, made_of_texts
from probes.data.rows import Rows
from probes.data.sites import Site

R = TypeVar("R", bound=Rows)
FINE = 50  # values of one coordinate from which on it is no count or rating
TELLING = 0.5  # of rows with numbers (or a text) of their own, from which on equal ones mean one row
EMBEDDING = Site("resid_pre", 0)  # there all texts that end in one word are equal


TWO = ("train", "test")


def require_apart(train: Any, test: Any, purpose: str, named: tuple[str, str] = TWO) -> None:
    """Raises ValueError where test rows are rows of train too, which a probe may know by heart; `named` says
    what the two are called.

    Groups, pairs and texts given beside the rows are looked at by who asks for them.
    """
    shared = among(test, train)
    if shared.any():
        raise ValueError(
            f"{int(shared.sum())} of {len(test)} {named[1]} rows"
            f" (such as {str(test.ids[int(shared.argmax())])!r}) are {named[0]} rows too: they share a text,"
            f" or have the same numbers at every site, and {purpose} needs {named[1]} rows of their own;"
            " split by groups that keep one text together, acts.split(sizes, groups=...)"
        )


def among(rows: Any, others: Any) -> Bool[np.ndarray, " n"]:
    """Which rows are among the others: of one text where both have ids made from their texts (wherever in it
    they were read), else of the same numbers at every site.

    Numbers tell nothing where most rows share theirs (a token that begins every text), and in the embedding
    layer. A text of several rows is among the others where all of its rows are.
    """
    ours, theirs = made_of_texts(rows.ids), made_of_texts(others.ids)
    found = (ours != "") & np.isin(ours, theirs)
    named = bool((ours != "").all() and (theirs != "").all())
    return found if named else found | _same_numbers(rows, others)


def copies_joined(rows: R) -> R:
    """The rows, those with the same numbers and label at every site made one group: under ids of one's own
    nothing else tells that they are copies. Features of few values, which many rows share, tell nothing.
    """
    own = _numbers(rows)
    if own is None or (made_of_texts(rows.ids) != "").all():
        return rows
    x = own.float().cpu().numpy()
    names = pd.Index(
        [b"%d %b" % (label, r.tobytes()) for label, r in zip(_codes(rows), x.swapaxes(0, 1), strict=True)]
    )
    most = max(len(np.unique(column)) for column in x[0].T)
    if not names.has_duplicates or most < min(FINE, TELLING * names.nunique()):
        return rows
    return replace(rows, groups=joined(rows.groups, names.factorize()[0]))


def _codes(rows: Any) -> np.ndarray:
    return np.zeros(len(rows), dtype=int) if rows.y is None else np.unique(rows.y, return_inverse=True)[1]


def told_by_numbers(rows: Any, others: Any) -> bool:
    """Whether a row of both would be known by its numbers."""
    return _beside(rows, others) is not None


def _beside(rows: Any, others: Any) -> tuple[torch.Tensor, torch.Tensor, list[pd.Index]] | None:
    """The numbers of both at the sites they share, and those of the first one as keys; None where numbers
    tell nothing.
    """
    own, known = _numbers(rows), _numbers(others)
    sites = [s for s in rows.sites if s in others.sites and s != EMBEDDING]
    if own is None or known is None or not sites:
        return None
    x, z = own[rows.index_of(sites)], known[others.index_of(sites)]
    if x.shape[2] != z.shape[2]:
        return None
    first = [pd.Index([row.tobytes() for row in part[0].float().cpu().numpy()]) for part in (x, z)]
    return None if first[1].nunique() < TELLING * len(others) else (x, z, first)


def _same_numbers(rows: Any, others: Any) -> Bool[np.ndarray, " n"]:
    known = _beside(rows, others)
    if known is None:
        return np.zeros(len(rows), dtype=bool)
    x, z, first = known
    at = pd.Index(first[1]).drop_duplicates().get_indexer(first[0])
    place = np.flatnonzero(~first[1].duplicated())[at]
    equal = at >= 0
    found = np.flatnonzero(equal)
    pair = torch.from_numpy(place[found]).to(z.device)
    for ours, theirs in zip(x, z, strict=True):
        same = (ours[torch.from_numpy(found).to(x.device)].cpu() == theirs[pair].cpu()).all(1)
        equal[found] &= same.numpy()
    return _whole_texts(rows, equal)


def _numbers(rows: Any) -> Float[torch.Tensor, "site n d"] | None:
    """The numbers of rows in memory, of pairs both sides; rows on disk have names."""
    if isinstance(rows, PairActivations):
        return torch.cat([rows.yes, rows.no], dim=2)
    return rows.x if isinstance(rows, Activations) else None


def _whole_texts(rows: Any, equal: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Rows of texts of which every row was found: texts that begin alike share their first tokens."""
    if not isinstance(rows, Activations):
        return equal
    text = np.unique(rows.example, return_inverse=True)[1]
    whole = np.bincount(text, equal) == np.bincount(text)
    return whole[text]
