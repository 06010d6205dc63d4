"""Values that modules and configs hold, as they were: a picture of one, taken again, is equal as long as
nothing in it was exchanged or written to.
"""

import functools
from collections.abc import Mapping
from types import FunctionType, MethodType
from typing import Any

import numpy as np
from torch import Tensor, nn

from probes.models.foreign import PART_OF_THE_MODEL, foreign
from probes.models.settings import held

PLAIN = (bool, int, float, str, type(None))
_DEEP = 4  # containers and objects within others
_LARGE = 4096  # numbers all of which are looked at


class Same:
    """An object, equal to nothing but itself; it is kept, so that no other takes its place."""

    def __init__(self, own: Any) -> None:
        self.own = own

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.own is self.own

    __hash__ = None  # pyright: ignore[reportAssignmentType]


def look(value: Any, depth: int = 0) -> Any:
    """A picture of a value."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        return Same(value), value.data_ptr(), 0 if value.is_inference() else value._version
    if isinstance(value, np.ndarray):
        few = value if value.size <= _LARGE else value.reshape(-1)[:: value.size // _LARGE]
        return (Same(value), few.tobytes() if value.dtype != object else None)
    if isinstance(value, FunctionType | MethodType | functools.partial):
        return Same(value), held(value) if foreign(value) is not None else ""
    if depth > _DEEP:
        return Same(value)
    if isinstance(value, list | tuple):
        return (type(value), *(look(v, depth + 1) for v in value))
    if isinstance(value, Mapping):
        return (type(value), *((k, look(v, depth + 1)) for k, v in value.items()))
    if isinstance(value, set | frozenset):
        return (type(value), frozenset(v for v in value if isinstance(v, PLAIN)))
    root = type(value).__module__.partition(".")[0]
    if root in PART_OF_THE_MODEL or isinstance(value, nn.Module | type) or not hasattr(value, "__dict__"):
        return Same(value)
    return Same(value), *((k, look(v, depth + 1)) for k, v in vars(value).items())
