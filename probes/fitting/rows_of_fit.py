"""The rows a probe was fitted on, kept in its receipt so that they are recognised: short hashes of names, of
numbers and of groups.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt
from torch import Tensor

from probes.data.activations import Activations, PairActivations
from probes.data.row_names import NUMBERED, numbered, own_groups, same_text, text_ids, text_names
from probes.data.rows import Rows
from probes.data.texts import Text, words_of

KEPT = 4096  # hashes of a fit, 8 bytes each in a file
KEPT_NUMBERS = 1024
BYTES = 6
ROUNDED = (torch.float16, torch.bfloat16)
SUMS = "sums"  # how numbers are hashed; receipts that do not say so hold digests of their bytes

Hashes = UInt[np.ndarray, " n"]


def rows_of_fit(acts: Any, summed: bool = True) -> dict[str, Any]:
    """What goes into the receipt of a probe fitted on these rows (Activations, pairs, a store)."""
    named = has_names(acts)
    names = _names(acts.ids) if named else _numbers(acts, str(acts.sites[0]), summed=summed)
    known = np.unique(names)
    told: dict[str, Any] = {"n": len(acts), "hashes": _sketch(known)}
    if not named:
        told |= {"site": str(acts.sites[0]), "numbers_are": SUMS}
    told |= _rounded_numbers(acts, names, known)
    if _grouped(acts):
        told["groups"] = _sketch(np.unique(_hashes([str(g).encode() for g in np.unique(acts.groups)])))
    return {"fitted_on": told}


def was_fitted_on(receipt: Mapping[str, Any], rows: Any) -> Bool[np.ndarray, " n"]:
    """Which rows are rows of the fit, or share a group with them, as far as the receipt tells.

    Rows of one text are recognised wherever in it they were read, by the ids made of texts; under other ids,
    or without any, by their numbers at the last site of the fit, also rounded to half precision, unless
    different texts of the fit have the same numbers there. Texts in other spacing, or in capitals where those
    of the fit are in lower case, are recognised where `rows` are Examples. Not recognised: a text in other
    case captured anew, rows that were scaled. Of a fit on more than 4,096 rows that many names are kept,
    drawn by their hash, and of numbers 1,024.
    """
    told = receipt.get("fitted_on")
    found = np.zeros(len(rows), dtype=bool)
    if told is None:
        return found
    summed = _summed(told)
    if has_names(rows) and "site" not in told and not _only_numbered(receipt, told, rows):
        found |= _among(_names(rows.ids), told["hashes"])
        if hasattr(rows, "texts"):
            found |= _respelled(rows.texts, told["hashes"])
    elif not has_names(rows) and told.get("site") in map(str, rows.sites):
        found |= _among(_numbers(rows, told["site"], summed=summed), told["hashes"])
    if told.get("numbers_at") in map(str, getattr(rows, "sites", ())):
        for rounded in ROUNDED:
            own = _numbers(rows, told["numbers_at"], rounded, summed)
            found |= _among(own, told[f"numbers_{_called(rounded)}"])
    if "groups" in told and _grouped(rows):
        member = np.unique(rows.groups.astype(str), return_inverse=True)
        found |= _among(_hashes([g.encode() for g in member[0]]), told["groups"])[member[1]]
    return found


def refuse_rows_of_fit(probe: Any, rows: Any, purpose: str) -> None:
    """Raises ValueError where rows are rows of the probe's fit, on which it separates the classes better than
    anywhere else.
    """
    known = was_fitted_on(getattr(probe, "receipt", {}), rows)
    if known.any():
        which = f"{known.sum()} of {len(rows)} rows (such as {str(rows.ids[int(known.argmax())])!r})"
        raise ValueError(
            f"{which} are rows that the probe was fitted on, or share a group with them; {purpose} takes rows"
            " of its own: split into three parts, acts.split((0.5, 0.25, 0.25)), and give groups to arrays"
            f" that are wrapped one by one{NUMBERED if _grouped(rows) and numbered(rows.groups) else ''}"
        )


def require_fit_of(probe: Any, recipe: Any, rows: Any) -> None:
    """Raises ValueError where a probe's receipt says that another recipe made it, or other rows."""
    made = getattr(probe, "recipe", str(recipe))
    told = getattr(probe, "receipt", {}).get("fitted_on")
    own = rows_of_fit(rows, told is None or _summed(told))["fitted_on"]
    other = told is not None and (
        any(told.get(name) != own.get(name) for name in ("n", "site"))
        or _usual(told["hashes"]) != _usual(own["hashes"])
    )
    if made != str(recipe) or other:
        fitted = f"{made} on {told['n'] if told else 'unknown'} rows"
        raise ValueError(
            f"the probe is what {fitted} gave, and not {recipe} fitted on these {len(rows)} train rows; give"
            " probe=recipe.fit(train), or leave it out"
        )


def has_names(rows: Rows) -> bool:
    """Whether ids say which row it is: arrays number theirs from 0 each, which says nothing."""
    return rows.ids.dtype.kind not in "iu" or "data" in getattr(rows, "receipt", {"data": None})


def _only_numbered(receipt: Mapping[str, Any], told: Mapping[str, Any], rows: Any) -> bool:
    """Whether the rows of the fit and these, of other texts, are numbered from 0 each, which says nothing,
    and numbers at a site can tell.
    """
    other = getattr(rows, "receipt", {}).get("data") not in (None, receipt.get("data"))
    if not other or str(told.get("numbers_at")) not in map(str, getattr(rows, "sites", ())):
        return False
    counted = [text_names(range(n)) for n in (len(rows), told["n"])]
    own = np.array_equal(np.sort(text_names(rows.ids)), np.sort(counted[0]))
    counting = _sketch(np.unique(_hashes([name.encode() for name in counted[1]])))
    return own and _usual(told["hashes"]) == _usual(counting)


def _summed(told: Mapping[str, Any]) -> bool:
    return told.get("numbers_are") == SUMS


def _grouped(rows: Any) -> bool:
    """Whether groups say more than which text a row is of."""
    texts = getattr(rows, "example", None)
    numbered = texts is not None and np.array_equal(rows.groups, texts)
    return not numbered and not own_groups(rows.ids, rows.groups)


def _names(ids: np.ndarray) -> Hashes:
    return _hashes([name.encode() for name in text_names(ids)])


def _respelled(texts: Sequence[Text], sketch: str) -> Bool[np.ndarray, " n"]:
    """Which texts are of the fit in single spaces, or in single spaces and lower case."""
    words = [words_of(t) for t in texts]
    found = np.zeros(len(words), dtype=bool)
    for spelled in (lambda t: " ".join(t.split()), same_text):
        found |= _among(_names(text_ids([spelled(t) for t in words])), sketch)
    return found


def _rounded_numbers(acts: Any, names: Hashes, known: UInt[np.ndarray, " k"]) -> dict[str, Any]:
    """Hashes of rows in either half precision, so that a copy in one is known; nothing where different texts
    have the same numbers, such as states of a first token, or may have, where texts give several rows.
    """
    texts = getattr(acts, "example", None)
    if texts is not None and len(np.unique(texts)) < len(texts):
        return {}
    site = str(acts.sites[-1])
    some = acts
    if len(known) > KEPT_NUMBERS:  # of so many alone, so that large fits stay cheap
        some = acts[site].rows(np.isin(names, known[:KEPT_NUMBERS]))
    hashes = {f"numbers_{_called(r)}": np.unique(_numbers(some, site, r)) for r in ROUNDED}
    if any(len(h) < min(len(known), KEPT_NUMBERS) for h in hashes.values()):
        return {}
    return {"numbers_at": site, "numbers_are": SUMS, **{name: _sketch(h) for name, h in hashes.items()}}


def _called(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _numbers(acts: Any, site: str, rounded: torch.dtype = torch.float32, summed: bool = True) -> Hashes:
    """A hash of every row's numbers at a site, on pairs those of the yes side, in the order of the rows."""
    found = np.zeros(len(acts), dtype="<u8")
    for index, x in _states(acts, site):
        x = x.detach().to("cpu", torch.float32).to(rounded)
        found[index] = _sums(x) if summed else _hashes([row.tobytes() for row in x.float().numpy()])
    return found


def _states(acts: Any, site: str) -> Iterator[tuple[Any, Float[Tensor, "n d"]]]:
    """The rows at a site, of stored ones a part at a time, without a copy where they are in memory."""
    if isinstance(acts, Activations | PairActivations):
        x = acts.yes if isinstance(acts, PairActivations) else acts.x
        yield slice(None), x[acts.index_of(site)[0]]
        return
    for index, part in acts[site].chunks():
        yield index, (part.yes if isinstance(part, PairActivations) else part.x)[0]


def _sums(x: Float[Tensor, "n d"]) -> Hashes:
    """Hashes of rows by their bits: eight bytes a word, each times an odd number drawn for its place, added
    up modulo 2^64. Quicker than a digest, and as good where nobody makes rows that clash.
    """
    short = -x.shape[1] % (8 // x.element_size())
    whole = torch.nn.functional.pad(x, (0, short)) if short else x.contiguous()
    bits = whole.view(torch.int64).numpy().view("<u8")
    # What numbers have in common in their last bits leaves the last bits of the sum empty.
    return np.einsum("nw,w->n", bits, _odd(bits.shape[1])) >> np.uint64(8 * (8 - BYTES))


@cache
def _odd(words: int) -> UInt[np.ndarray, " w"]:
    return np.random.default_rng(0).integers(0, 2**64, words, dtype=np.uint64) | np.uint64(1)


def _hashes(values: Sequence[bytes]) -> Hashes:
    digests = b"".join(hashlib.blake2b(v, digest_size=BYTES).digest() + b"\0" * (8 - BYTES) for v in values)
    return np.frombuffer(digests, dtype="<u8")


def _sketch(hashes: Hashes) -> str:
    """The smallest of sorted hashes, as text."""
    kept = hashes[:KEPT].astype("<u8")
    # Without slashes, which read as a path where a file is made free of those.
    return base64.urlsafe_b64encode(kept.view(np.uint8).reshape(-1, 8)[:, :BYTES].tobytes()).decode()


def _usual(sketch: str) -> str:
    """In the alphabet of base64 that files written earlier have."""
    return sketch.replace("-", "+").replace("_", "/")


def _among(hashes: Hashes, sketch: str) -> Bool[np.ndarray, " n"]:
    raw = np.frombuffer(base64.b64decode(_usual(sketch)), dtype=np.uint8).reshape(-1, BYTES)
    known = np.pad(raw, ((0, 0), (0, 8 - BYTES))).copy().view("<u8")[:, 0]
    return np.isin(hashes, known)
