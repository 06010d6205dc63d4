"""Statements with a meaningless marker in place of their negation: does a probe read meaning, or any
word that is put in?
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from probes.data.activations import PairActivations
from probes.data.sites import SiteLike
from probes.fitting.linear import LinearProbe

# Whole words and the contracted ending: "nothing" and "another" are left alone.
NEGATION = r"\b(?:not|never|no|cannot)\b|n['’]t\b"
CONTRACTED = {"can": "can", "won": "will", "shan": "shall"}  # before 't: words that the ending has changed


@dataclass(frozen=True, eq=False)
class MarkedTwins:
    """Statements and their opposites with a meaningless marker in place of the negation, for the marker
    control.

    Row i: `plain[i]` and `negated[i]` are row numbers of the two statements, `marked[i]` the negated one with
    the marker for its negation, `noop[i]` the plain one with the marker put in at the same word. Where
    `exact`, `marked` and `noop` are the same text: then the marker alone tells `marked` from the plain
    statement.
    """

    plain: Int[np.ndarray, " k"]
    negated: Int[np.ndarray, " k"]
    marked: tuple[str, ...]
    noop: tuple[str, ...]
    exact: Bool[np.ndarray, " k"]

    def __len__(self) -> int:
        return len(self.plain)


@dataclass(frozen=True, eq=False)
class MarkerMoves:
    """How far a probe's credence moves, in each pair: under the negation, under the marker, between
    two that hold it.
    """

    negation: Float[np.ndarray, " k"]
    marker: Float[np.ndarray, " k"]
    marker_in_both: Float[np.ndarray, " k"]


def marker_moves(
    probe: LinearProbe,
    site: SiteLike,
    rows: PairActivations,
    twins: MarkedTwins,
    marked: PairActivations,
    noop: PairActivations,
) -> MarkerMoves:
    """The change of the credence at one site from the plain statement to the negated one, to the one with the
    marker in the negation's place, and between the two texts that both hold the marker.

    `rows` are those of which `twins` were made, `marked` and `noop` the same readings of the twins' texts.
    """
    credence, with_marker, with_both = (
        probe.probability(acts)[acts.index_of(site)[0]].double().cpu().numpy()
        for acts in (rows, marked, noop)
    )
    plain = credence[twins.plain]
    return MarkerMoves(
        np.abs(plain - credence[twins.negated]), np.abs(plain - with_marker), np.abs(with_both - with_marker)
    )


def marked_twins(
    statements: Sequence[str], pair_id: Any, marker: str = "ttt", negation: str = NEGATION
) -> MarkedTwins:
    """Replaces negation words by a marker, as whole words only ("can't" becomes "can ttt"), in pairs of which
    exactly one statement is negated.

    A probe that reads meaning should hardly move from the plain to the marked statement when the two are
    exact twins, one that reads any inserted word moves there too, and none should move between `marked` and
    `noop`. Choose a marker of as many tokens as the negation has. Raises ValueError when no pair qualifies,
    when a statement holds the marker already, or unless every statement has its pair_id.
    """
    texts = dict(enumerate(statements))
    if len(texts) != len(pair_id):
        raise ValueError(
            f"{len(texts)} statements have {len(pair_id)} pair_ids; give one a statement, in the same order"
        )
    if holds := [s for s in statements if re.search(rf"(?<!\w){re.escape(marker)}(?!\w)", s)]:
        raise ValueError(
            f"{len(holds)} statements hold the marker {marker!r} already (such as {holds[0]!r}); choose"
            " another"
        )
    pattern = re.compile(negation, re.IGNORECASE)
    plain, negated, marked, noop = [], [], [], []
    names, member = np.unique(np.asarray(pair_id), return_inverse=True)
    for k in range(len(names)):
        rows = np.flatnonzero(member == k)
        flagged = [bool(pattern.search(texts[i])) for i in rows.tolist()]
        if len(rows) != 2 or sum(flagged) != 1:
            continue
        bare, other = rows.tolist() if flagged[1] else rows[::-1].tolist()
        plain.append(bare)
        negated.append(other)
        marked.append(_marked(texts[other], pattern, marker))
        noop.append(_with_marker(texts[bare], marked[-1], marker))
    if not plain:
        raise ValueError(
            "no pair has exactly one statement with a negation word, so there is nothing to replace; see"
            " `negation`"
        )
    return MarkedTwins(
        np.array(plain), np.array(negated), tuple(marked), tuple(noop), np.array(marked) == np.array(noop)
    )


def _marked(text: str, pattern: re.Pattern[str], marker: str) -> str:
    """The text with the marker, as a word of its own, for every negation: "isn't" becomes "is ttt"."""
    text = re.sub(r"\b(can)(not)\b", r"\1 \2", text, flags=re.IGNORECASE)
    for stem, word in CONTRACTED.items():
        text = re.sub(
            rf"\b{stem}(['’]t)\b",
            lambda m, w=word: (w.capitalize() if m[0][0].isupper() else w) + "n" + m[1],
            text,
            flags=re.IGNORECASE,
        )
    ending = ("n't", "n’t")
    return re.sub(
        r" {2,}",
        " ",
        pattern.sub(
            lambda m: marker if m[0][0].isalpha() and m[0].lower() not in ending else f" {marker}", text
        ),
    )


def _with_marker(text: str, like: str, marker: str) -> str:
    """The marker put into a text before as many words as follow it in `like`, and before the stop
    that ends the text.
    """
    words, behind = text.split(" "), re.split(rf"(?<!\w){re.escape(marker)}(?!\w)", like, maxsplit=1)[1]
    follow = len(re.sub(r"^\S+", "", behind).split())  # a stop that hangs on the marker is no word
    at = max(0, len(words) - follow)
    if at < len(words):
        return " ".join([*words[:at], marker, *words[at:]])
    stem, stop = re.fullmatch(r"(.*?)([.!?,;:]*)", text, re.DOTALL).groups()  # pyright: ignore
    return f"{stem} {marker}{stop}"
