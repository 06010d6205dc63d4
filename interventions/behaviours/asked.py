"""Who was asked what: the receipt of Records, by which those of another model, edit, behaviour or answer key
are told apart.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from probes.data.begun import CHATS, TOLD
from probes.data.examples import Examples
from probes.models.decoding import Decoding
from probes.models.model import Model
from probes.models.writes import hashed

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of functions and objects, another one in every process
_REMEDY = "measure it anew: before=behaviour(model, prompts)"
SHOWN = 200  # characters of what differs


def asked_of(behaviour: Any, model: Model, prompts: Examples) -> dict[str, Any]:
    """The receipt of what a behaviour gives on a model: the model and its edits, the behaviour with all its
    settings, the texts, and the columns of the prompts, among which are the answer keys; of one that writes
    also every generation setting in force.
    """
    return {
        "model": model.fingerprint.as_dict(),
        "edits": {str(i): f"{w!r} {hashed(w) or ''}".strip() for i, w in enumerate(model.acting)},
        "behaviour": _settings(behaviour),
        "texts": _hash(prompts.texts),
        "columns": {name: _hash(column.tolist()) for name, column in prompts.columns.items()},
        **_decoding(behaviour, model),
        **_begun(model, prompts),
    }


def refuse_other_records(receipt: Mapping[str, Any], behaviour: Any, model: Model, prompts: Examples) -> None:
    """Raises ValueError for records of another model, another edit, another behaviour or another answer key
    than those that they shall stand beside, saying which.

    Records whose receipt does not say (of a behaviour of one's own, or of given completions) pass.
    """
    if not receipt:
        return
    model.refuse_foreign(receipt, "before", _REMEDY)
    now = asked_of(behaviour, model, prompts)
    for what, how in (
        ("edits", "under other edits"),
        ("behaviour", "by another behaviour"),
        ("decoding", "under other generation settings"),
    ):
        if receipt.get(what, now.get(what)) != now.get(what):
            was, here = _differing(receipt[what], now[what]), _differing(now[what], receipt[what])
            raise ValueError(f"before was measured {how} ({was}; now {here}); {_REMEDY}")
    if receipt.get("texts", now["texts"]) != now["texts"]:
        raise ValueError(f"before was measured behind other texts; {_REMEDY}")
    for name, own in receipt.get("columns", {}).items():
        if now["columns"].get(name, own) != own:
            raise ValueError(
                f"before was measured when the column {name!r} of the prompts held other values, such as"
                f" other answer keys; {_REMEDY}"
            )


def refuse_other_question(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raises ValueError where the receipts of two records tell of another behaviour, other texts or other
    answer keys; models and edits may differ.
    """
    for what, how in (("behaviour", "another behaviour"), ("texts", "other texts")):
        was, now = before.get(what), after.get(what)
        if was is not None and now is not None and was != now:
            said = f" ({_differing(was, now)}; then {_differing(now, was)})" if what == "behaviour" else ""
            raise ValueError(f"the two records are of {how}{said}; compare the same question, asked twice")
    then = after.get("columns", {})
    other = [name for name, own in before.get("columns", {}).items() if then.get(name, own) != own]
    if other:
        raise ValueError(
            f"the column {other[0]!r} of the prompts held other values in the two records, such as other"
            " answer keys; compare the same question, asked twice"
        )


def _settings(behaviour: Any) -> dict[str, str]:
    """The kind of a behaviour and its settings, but for those that change nothing (bars) or are secret."""
    found = {"": type(behaviour).__qualname__}
    if not is_dataclass(behaviour):
        return found | {"is": _ADDRESS.sub("", repr(behaviour))}
    told = [f.name for f in fields(behaviour) if f.compare and f.repr]
    return found | {name: _ADDRESS.sub("", repr(getattr(behaviour, name))) for name in told}


def _decoding(behaviour: Any, model: Model) -> dict[str, Any]:
    """How the model writes for a behaviour that has it write, itself or within another form: greedy, but the
    model's own settings say where texts end. Those that do not act are left out, since they change nothing.
    """
    inner = (
        (behaviour, *(getattr(behaviour, f.name) for f in fields(behaviour)))
        if is_dataclass(behaviour)
        else ()
    )
    lengths = [n for n in (getattr(b, "max_new_tokens", None) for b in inner) if isinstance(n, int)]
    if not lengths or not model.generates:
        return {}
    said = Decoding.of(model.hf, model.tokenizer, model.pad_id, lengths[0], {}).receipt()
    return {"decoding": {name: value for name, value in said.items() if name != "set_aside"}}


def _begun(model: Model, prompts: Examples) -> dict[str, str]:
    """How the tokenizer begins such prompts, and renders those that are chats."""
    plain = [isinstance(text, str) for text in prompts.texts]
    names = (*(TOLD if any(plain) else ()), *(CHATS if not all(plain) else ()))
    return {name: told for name, told in model.begins.items() if name in names}


def _differing(these: Mapping[str, Any], those: Mapping[str, Any]) -> str:
    """What of these is otherwise among those, cut short."""
    parts = [
        f"{name}={value}" if name and not name.isdigit() else value
        for name, value in these.items()
        if those.get(name) != value
    ]
    return ", ".join(parts)[:SHOWN] or "none"


def _hash(value: Any) -> str:
    return hashlib.sha256(_ADDRESS.sub("", repr(_plain(value))).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Arrays within cells as lists: the repr of a long one leaves its middle out."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
