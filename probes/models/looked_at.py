"""Values that modules and configs hold, as they were: a picture of one, taken again, is equal as long as
nothing in it was exchanged or written to.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.models.foreign import foreign, nobodys
from probes.models.held import held

PLAIN = (bool, int, float, str, type(None))
_DEEP = 32  # containers and objects within others
_SMALL = 4096  # numbers, or things in a container, all of which are looked at; of more some are picked


class Same:
    """An object, equal to nothing but itself; it is kept, so that no other takes its place."""

    def __init__(self, own: Any) -> None:
        self.own = own

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.own is self.own

    __hash__ = None  # pyright: ignore[reportAssignmentType]


def look(value: Any, depth: int = 0, met: set[int] | None = None) -> Any:
    """A picture of a value. Of tensors and containers of more than 4,096 numbers or things, some are looked
    at; what was met before, lies deeper than 32 containers, or behind thousands of them, is known by which
    object it is.
    """
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        written = 0 if value.is_inference() else value._version
        return Same(value), value.data_ptr(), written, _numbers(value)
    if isinstance(value, np.ndarray):
        few = value if value.size <= _SMALL else value.reshape(-1)[:: value.size // _SMALL]
        return (Same(value), few.tobytes() if value.dtype != object else None)
    if isinstance(value, FunctionType | MethodType | functools.partial):
        return Same(value), held(value) if foreign(value) is not None else ""
    met = set() if met is None else met
    if depth > _DEEP or id(value) in met or len(met) > _SMALL:
        return Same(value)
    met.add(id(value))

    def within(v: Any) -> Any:
        return look(v, depth + 1, met)

    if isinstance(value, list | tuple):
        return (type(value), len(value), *map(within, _few(value, len(value))))
    if isinstance(value, Mapping):
        items = _few(value.items(), len(value))
        return (type(value), len(value), *((k, within(v)) for k, v in items))
    if isinstance(value, set | frozenset):
        inside = {id(v): within(v) for v in _few(value, len(value)) if not isinstance(v, PLAIN)}
        return (type(value), frozenset(value) if len(value) <= _SMALL else len(value), inside)
    own = type(value).__module__ == "types" or nobodys(type(value))
    if not own or isinstance(value, nn.Module | type):
        return Same(value)  # what a logger or a lock holds is its own business
    return Same(value), *((k, within(v)) for k, v in _attributes(value))


def _few(values: Iterable[Any], count: int) -> Iterable[Any]:
    """Every so many of a large container, and its last."""
    if count <= _SMALL:
        return values
    if isinstance(values, list | tuple):
        return [*values[:: count // 64], values[-1]]
    return islice(values, 64)


def _numbers(x: Tensor) -> Any:
    """The numbers of a small tensor, which can be written to past its version (through `.data`)."""
    if x.numel() > _SMALL or x.device.type == "meta" or x.layout != torch.strided or x.is_quantized:
        return None
    raw = x.detach().reshape(-1).contiguous()
    return raw.view(torch.uint8).cpu().numpy().tobytes() if raw.numel() else b""


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, in a table of its own and in slots."""
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                yield name, getattr(value, name, None)
