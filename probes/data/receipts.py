"""Receipts: how rows were captured, and what is true of all rows where several tables are put together."""

from collections.abc import Mapping, Sequence
from typing import Any

ALIKE = ("at", "edits")


def common_receipt(receipts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The receipt of rows under one another: what is alike, and in a list what is not.

    Raises ValueError for rows of several models, read at several places or under several edits: whoever reads
    them as one table would take them for the same thing.
    """
    if len({str(r.get("model")) for r in receipts}) > 1:
        raise ValueError("the parts were captured from different models")
    for name in ALIKE:
        told = list(dict.fromkeys(str(r.get(name, "unknown")) for r in receipts))
        if len(told) > 1:
            what = {"at": "at different places", "edits": "under different edits"}[name]
            raise ValueError(
                f"the parts were read {what} ({' and '.join(told)}); capture them alike, or put the numbers"
                " together with Activations.from_arrays, which says nothing of how they were read"
            )
    found: dict[str, Any] = {}
    for name in dict.fromkeys(key for receipt in receipts for key in receipt):
        values = [receipt.get(name) for receipt in receipts]
        alike = all(value == values[0] for value in values) and name != "data"
        found[name] = values[0] if alike else values
    return found
