"""Settings are checked when they are given, so that a slip of the pen does not quietly choose another method
or an edit of no known strength.
"""

import math
import operator
from dataclasses import fields
from numbers import Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch


def check_choices(settings: Any) -> None:
    """Raises ValueError where a field that takes one of a few words holds another one."""
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        if get_origin(hints[field.name]) is Literal and getattr(settings, field.name) not in get_args(
            hints[field.name]
        ):
            raise ValueError(
                f"{field.name} must be {' or '.join(map(repr, get_args(hints[field.name])))}, got"
                f" {getattr(settings, field.name)!r}"
            )


def check_size(name: str, value: Any) -> None:
    """Raises ValueError unless the value is a finite number of at least 0, as penalties and shares are."""
    if not isinstance(value, Real) or not 0 <= float(value) < float("inf"):
        raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}")


def check_share(name: str, value: Any) -> None:
    """Raises ValueError unless the value is a number from 0 to below 1, as levels of intervals are."""
    if not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise ValueError(f"{name} must be a number from 0 to below 1, got {value!r}")


def check_number(name: str, value: Any, *, finite: bool = True) -> float:
    """One number, such as the strength of an edit; raises ValueError for any other value, NaN among them."""
    if isinstance(value, np.ndarray | torch.Tensor) and value.ndim == 0:
        value = value.item()
    number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if math.isnan(number) or (finite and math.isinf(number)):
        raise ValueError(f"{name} must be a {'finite ' if finite else ''}number, got {value!r:.60}")
    return number


def check_count(name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least `least` as Python's own; raises ValueError for any other value."""
    try:
        whole = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        whole = None
    if whole is None or whole < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r:.60}; give a whole number")
    return whole


def check_level(name: str, value: Any) -> None:
    """Raises ValueError unless the value is a number between 0 and 1, both left out: the level of a test or
    of an interval, a share of the groups.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < 1:
        raise ValueError(f"{name} must be a number between 0 and 1, both left out, got {value!r:.60}")
