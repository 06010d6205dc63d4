"""Settings of recipes are checked when they are made, so that a slip of the pen does not quietly
choose another method.
"""

from dataclasses import fields
from numbers import Real
from typing import Any, Literal, get_args, get_origin, get_type_hints


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
