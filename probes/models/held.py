"""What functions of other code hold, told in a hash: numbers, words, tensors and arrays that they close over,
are bound to, have as defaults or read.
"""

import dis
import functools
import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any
from weakref import ref

import numpy as np
import torch
from torch import Tensor, nn

from probes.data.digest import values_of
from probes.data.fingerprint import walk
from probes.models.foreign import foreign
from probes.models.moved import moved_by, moved_variables
from probes.models.reached import used

_DEEP = 4  # functions within functions that are looked into
_LARGE = 2**16  # numbers; more are read again only where they seem to be others
_KEPT = 256
_known: dict[int, tuple[Any, Any, str]] = {}


def plain(value: Any) -> str | None:
    """Numbers, words and tables of these; None for anything else."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple) and all(plain(v) is not None for v in value):
        return repr(value)
    if isinstance(value, Mapping) and all(plain(v) is not None for v in value.values()):
        return json.dumps({str(k): plain(v) for k, v in value.items()}, sort_keys=True)
    return None


def held(fn: Any) -> str:
    """A hash of what a function does as far as its name and what it holds tell: numbers, words and tensors it
    closes over, is bound to, has as defaults or reads of its module.

    Names, tables and objects that it writes to itself (a hook that counts, or keeps what it saw) count as
    nothing, as do lists and other objects.
    """
    return hashlib.sha256("\n".join(_parts(fn, 0)).encode()).hexdigest()[:8]


def _parts(fn: Any, depth: int) -> Iterator[str]:
    if depth > _DEEP:
        return
    if isinstance(fn, functools.partial):
        yield from _said({"args": fn.args, **fn.keywords}, depth)
        yield from _parts(fn.func, depth + 1)
    elif isinstance(fn, MethodType):
        own = fn.__self__
        counts = _writes(fn.__func__, "STORE_ATTR") or moved_by(own, getattr(fn, "__name__", ""))
        yield from () if counts else _parts(own, depth + 1)
        yield from _parts(fn.__func__, depth + 1)
    elif isinstance(fn, FunctionType):
        yield from _function(fn, depth)
    else:
        yield f"{type(fn).__module__}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
        own = isinstance(fn, nn.Module | ModuleType | type)
        own |= _writes(vars(type(fn)).get("__call__"), "STORE_ATTR")  # it counts, or keeps what it saw
        own |= moved_by(fn, "__call__")
        attributes = {} if own else getattr(fn, "__dict__", {})
        yield from _said({k: v for k, v in attributes.items() if not callable(v)}, depth)


def _function(fn: FunctionType, depth: int) -> Iterator[str]:
    code = fn.__code__
    yield f"{fn.__module__}.{fn.__qualname__}"
    if foreign(fn) is None:
        return
    yield repr([c for c in code.co_consts if isinstance(c, int | float | str)])
    writes = {i.argval for i in dis.get_instructions(fn) if i.opname in ("STORE_DEREF", "STORE_GLOBAL")}
    writes |= moved_variables(fn)
    cells = dict(zip(code.co_freevars, fn.__closure__ or (), strict=True))
    found = {name: c.cell_contents for name, c in cells.items() if name not in writes and _filled(c)}
    put = {i.argval for i in dis.get_instructions(fn) if i.opname == "STORE_ATTR"}
    found |= {n: v for n, v in used(fn).items() if not writes & {n} and n.rpartition(".")[2] not in put}
    found |= {"defaults": fn.__defaults__ or (), **(fn.__kwdefaults__ or {})}
    if _writes(fn, "STORE_SUBSCR"):
        found = {name: value for name, value in found.items() if not isinstance(value, Mapping)}
    yield from _said(found, depth)


def _writes(fn: Any, how: str) -> bool:
    """Whether a function writes into tables (STORE_SUBSCR) or objects (STORE_ATTR), perhaps its own."""
    return isinstance(fn, FunctionType) and any(i.opname == how for i in dis.get_instructions(fn))


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises for a name that was never bound
    except ValueError:
        return False
    return True


def _said(values: Mapping[str, Any], depth: int) -> Iterator[str]:
    """What can be said of values, by name."""
    for name, value in values.items():
        if isinstance(value, Tensor):
            yield f"{name}: {tuple(value.shape)} {_values(value)}"
        elif isinstance(value, np.ndarray):
            yield f"{name}: {value.dtype} {_values(value)}"
        elif isinstance(value, FunctionType | MethodType | functools.partial):
            yield from _parts(value, depth + 1)
        elif isinstance(value, tuple):
            yield from _said({f"{name}.{i}": v for i, v in enumerate(value)}, depth)
        elif (said := plain(value)) is not None:
            yield f"{name}={said}"


def _values(value: Tensor | np.ndarray) -> str:
    """A hash of all numbers; those of a large one are read again only where it lies elsewhere, was written
    to, or a walk through its rows and columns finds others.
    """
    if isinstance(value, np.ndarray):
        if value.size <= _LARGE or value.dtype == object or not value.flags.c_contiguous:
            return whole(value)
        seen: Any = (value.ctypes.data, walk([_as_tensor(value)]))
    elif value.numel() <= _LARGE or value.layout != torch.strided or value.device.type == "meta":
        return whole(value)
    else:
        seen = (value.data_ptr(), 0 if value.is_inference() else value._version, walk([value.contiguous()]))
    known = _known.get(id(value))
    if known is None or known[0]() is not value or known[1] != seen:
        while len(_known) >= _KEPT:
            del _known[next(iter(_known))]
        known = _known[id(value)] = (ref(value), seen, whole(value))
    return known[2]


def whole(value: Tensor | np.ndarray) -> str:
    """A hash of every number."""
    if isinstance(value, Tensor):
        return values_of(value.detach()).hex()
    return hashlib.sha256(value.tobytes()).hexdigest()


def _as_tensor(value: np.ndarray) -> Tensor:
    """An array as a tensor on the same memory; of numbers that torch does not know the bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arrays that cannot be written to, which nobody does
        try:
            return torch.from_numpy(value)
        except TypeError:
            return torch.from_numpy(value.view(np.uint8))
