"""Receipts: how rows were captured, and what is true of all rows where several tables are put together."""

from collections.abc import Mapping, Sequence
from typing import Any

from probes.checks.saying import warn
from probes.data.begun import NOTHING, begun_otherwise, only_today
from probes.data.fingerprint import other_model
from probes.data.positions import INTEGER, ONE_PER_TEXT

ALIKE = ("at", "edits")
BARE = (
    ", or, where this is meant, give the bare numbers, Activations.from_arrays(rows.x, rows.y,"
    " sites=rows.sites), which do not say how they were read"
)
_WORDS = {"-1": "last", "0": "first"}  # places with two names


def common_receipt(receipts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The receipt of rows under one another: what is alike, and in a list what is not.

    Raises ValueError for rows of several models, read at several places, under several edits or of texts that
    began otherwise: whoever reads them as one table would take them for the same thing.
    """
    receipts = [dict(r) | ({"at": place(r["at"])} if "at" in r else {}) for r in receipts]
    for other in receipts[1:]:
        if what := other_model(receipts[0], other):
            raise ValueError(f"the parts were captured from different models: {what}")
    for name in ALIKE:
        told = list(dict.fromkeys(str(r.get(name, "unknown")) for r in receipts))
        if len(told) > 1:
            what = {"at": "at different places", "edits": "under different edits"}[name]
            raise ValueError(
                f"the parts were read {what} ({' and '.join(told)}); capture them alike, or put the numbers"
                " together with Activations.from_arrays, which says nothing of how they were read"
            )
    _begun_alike(receipts)
    found: dict[str, Any] = {}
    for name in dict.fromkeys(key for receipt in receipts for key in receipt):
        values = [receipt.get(name) for receipt in receipts]
        # Of one model even where it had another name, or its config other keys that change nothing.
        alike = name == "model" or (all(value == values[0] for value in values) and name != "data")
        found[name] = values[0] if alike else values
    return found


def _begun_alike(receipts: Sequence[Mapping[str, Any]]) -> None:
    """Raises ValueError for parts whose texts began, ended or were rendered otherwise; where one template
    only writes something else at another time, it warns.
    """
    told: dict[str, Any] = {}
    for receipt in receipts:
        if ways := begun_otherwise(told, receipt):
            said = f"the parts were read of {' and of '.join(ways)}, which changes hidden states"
            if not only_today(told, receipt):
                raise ValueError(
                    f"{said}; capture them with the tokenizer, its chat template and the template's arguments"
                    " set alike, or put the numbers together with Activations.from_arrays"
                )
            warn(said)
        told = {k: receipt[k] for k in NOTHING if isinstance(receipt.get(k), str)} | told


def place(at: Any) -> Any:
    """The name of a position, the same for both ways to give it."""
    return _WORDS.get(str(at), at)


def places(receipt: Mapping[str, Any]) -> set[str]:
    """What the place that rows were read at is called; `also_at` holds another name that fits all of them."""
    also = receipt.get("also_at")
    return {str(place(receipt.get("at"))), *([also] if isinstance(also, str) else [])}


def other_place(fitted: Mapping[str, Any], rows: Mapping[str, Any]) -> bool:
    """Whether rows were read at one place a text, and at another one than this, also one a text."""
    asked, there = str(place(fitted.get("at"))), str(place(rows.get("at", fitted.get("at"))))
    one = all(p.partition(":")[0] in ONE_PER_TEXT or INTEGER.fullmatch(p) for p in (asked, there))
    return one and asked != there and not places(fitted) & places(rows)


def edits_left_out(fitted: Mapping[str, Any], rows: Mapping[str, Any]) -> str:
    """The edits under which one was read and the other, which says its own, was not; empty for none. More of
    them is what edits are measured by.
    """
    own, there = list(fitted.get("edits", ())), rows.get("edits")
    if not own or there is None or list(there)[: len(own)] == own:
        return ""
    return "; ".join(map(str, own))


def warn_of_other_reading(
    what: str, rows: Mapping[str, Any], there: Mapping[str, Any], used: Sequence[Any] = ()
) -> None:
    """Warns where rows whose means decide what an edit does were read under other edits than those that act
    `there`, where it is used (what a receipt says of it), of texts that begin otherwise, or at none of the
    places that it is about (only those that are one a text count).

    Rows that do not say how they were read pass.
    """
    edits = there.get("edits", [])
    read = rows.get("edits", edits)
    if list(read) != list(edits):
        under, now = ("; ".join(map(str, each)) or "no edits" for each in (read, edits))
        warn(
            f"{what} was read under {under} and is used under {now}, so its means are not those of the states"
            " it is used on; capture it from the very model that is edited (edits that follow one another are"
            f" made one by one, edited(edited(model, first), second)){BARE}"
        )
    if begun := begun_otherwise(rows, there):
        warn(
            f"{what} was read of {begun[0]} and is used for {begun[1]}, which changes hidden states;"
            f" read both with the tokenizer set alike{BARE}"
        )
    if used and all(other_place({"at": at}, rows) for at in used):
        warn(
            f"{what} was read at {rows['at']} and is used for {' and '.join(map(str, used))}, where states"
            f" have other means; capture it there{BARE}"
        )
