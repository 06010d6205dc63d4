"""What tells changes of one's own apart: their fields, and the code of their class."""

import hashlib
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

OURS = ("probes", "interventions")


def has_fields(change: Any) -> bool:
    """Whether it holds anything, in its dictionary or in slots."""
    slots = (name for kind in type(change).__mro__ for name in _slots(kind))
    return bool(getattr(change, "__dict__", None)) or any(hasattr(change, name) for name in slots)


def code_of(change: Any) -> str:
    """A hash of what the functions of its class say, as far as it is not ours; empty where all of it is."""
    own = [
        kind for kind in type(change).__mro__ if kind.__module__.partition(".")[0] not in (*OURS, "builtins")
    ]
    said = [f"{name}: {told}" for kind in own for name, f in _functions(kind) for told in _code(f.__code__)]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:8] if said else ""


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _functions(kind: type) -> Iterator[tuple[str, FunctionType]]:
    for name, value in vars(kind).items():
        found = value.fget if isinstance(value, property) else value
        if isinstance(found, FunctionType):
            yield name, found


def _code(code: CodeType) -> Iterator[str]:
    plain = [c for c in code.co_consts if not isinstance(c, CodeType)]
    yield f"{code.co_code.hex()} {plain!r} {code.co_names}"
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _code(inner)
