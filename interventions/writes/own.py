"""What tells changes of one's own apart: their fields, and all that their class holds and reaches."""

import hashlib
from types import FunctionType
from typing import Any

from probes.models.called_code import function_behind, told_code
from probes.models.reached import reached

OURS = ("probes", "interventions")
_HOLDING = (tuple, list, dict, set, frozenset, str, bytes, float, int, complex)


def has_fields(change: Any) -> bool:
    """Whether it holds anything, in its dictionary, in slots, or as a tuple, a number and so on does."""
    slots = (name for kind in type(change).__mro__ for name in _slots(kind))
    held = bool(getattr(change, "__dict__", None)) or any(hasattr(change, name) for name in slots)
    return held or isinstance(change, _HOLDING)


def code_of(change: Any) -> str | None:
    """A hash of its class, as far as it is not ours: of what its functions say, close over, have as defaults
    and use of global names, and of attributes of the class. Empty where all of it is ours; None where it
    reaches what has no lasting hash, such as a model.
    """
    kinds = _ones_own(change)
    if not kinds:
        return ""
    found = reached(kinds[0], lasting=True)
    if not found.told or found.shared or found.bound:
        return None
    functions = ((n, function_behind(value)) for kind in kinds for n, value in vars(kind).items())
    said = [f"{n}: {told_code(f.__code__)}" for n, f in functions if isinstance(f, FunctionType)]
    return hashlib.sha256("\n".join([found.told, *said]).encode()).hexdigest()[:8]


def untold(change: Any) -> str:
    """What it is that has no lasting hash: the kind of an object, or how the telling failed."""
    for kind in _ones_own(change)[:1]:
        found = reached(kind, lasting=True)
        for each in (*found.bound, *found.shared):
            return f"it reaches a {type(each).__name__}, which is no data"
        if not found.told:
            return f"{found.why:.80}"
    return ""


def _ones_own(change: Any) -> list[type]:
    return [k for k in type(change).__mro__ if k.__module__.partition(".")[0] not in (*OURS, "builtins")]


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
