"""What a file must hold, read off the class that it becomes; errors name the file and the field.

The annotations of a class are its schema: plain fields are checked by pydantic, tensors by the axes of their
jaxtyping annotation, whose names must mean the same length wherever they stand.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from jaxtyping import AbstractArray
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from torch import Tensor

from probes.markup.terminal import terminal


@dataclass(frozen=True)
class Form:
    """What annotations do not say of the tensors of a class: which may hold NaN, for what is not known, which
    may be in half precision, and which must be above 0.
    """

    unknown: tuple[str, ...] = ()
    half: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stored:
    """What was read from a file: tensors, and the fields of its header."""

    path: Any
    tensors: Mapping[str, Tensor]
    header: Mapping[str, Any]

    def fault(self, field: str, why: str) -> ValueError:
        """The error for a field that is not as it must be."""
        return ValueError(
            f"{self.path} is damaged or not of this version: {terminal(field)} {terminal(why)}; save it again"
            " from where it was made"
        )

    def plain(self, field: str, form: Any) -> Any:
        """A field of the header, of this type; dots lead into objects. Raises ValueError for any other."""
        value: Any = self.header
        for name in field.split("."):
            if not isinstance(value, dict) or name not in value:
                raise self.fault(field, "is missing")
            value = value[name]
        try:
            return checked(form, value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, (field, *first["loc"])))
            raise self.fault(where, f"is {_shown(value)}: {first['msg'].lower()}") from None

    def within(self, prefix: str) -> "Stored":
        """The tensors under a prefix, without it, and the same header."""
        own = {k.removeprefix(prefix): t for k, t in self.tensors.items() if k.startswith(prefix)}
        return Stored(self.path, own, self.header)

    def built(
        self, cls: type, form: Form, sizes: dict[str, int], at: str = "", **given: Any
    ) -> dict[str, Any]:
        """The fields of a class: tensors and what stands in the header under `at`, but for what is `given`.

        `sizes` holds the lengths of axes that are known already. Raises ValueError for tensors that no field
        has, missing ones, and any field that is not of its type, shape and kind of numbers.
        """
        hints, prefix = get_type_hints(cls), at and f"{at}."
        named = {f.name: hints[f.name] for f in fields(cls) if f.name not in given}
        axes = {name: axes_of(hint) for name, hint in named.items()}
        if strange := sorted(set(self.tensors) - {name for name, a in axes.items() if a is not None}):
            raise self.fault(f"the tensor {strange[0]!r}", "belongs to nothing here")
        optional = {f.name for f in fields(cls) if f.default is not MISSING}
        found = dict(given)
        for name, hint in named.items():
            own = axes[name]
            if own is None:
                found[name] = self.plain(f"{prefix}{name}", hint)
            elif name in self.tensors:
                found[name] = self._tensor(name, own, form, sizes)
            elif name not in optional:
                raise self.fault(f"the tensor {name!r}", "is missing")
        return found

    def _tensor(self, name: str, axes: tuple[str, ...], form: Form, sizes: dict[str, int]) -> Tensor:
        value, what = self.tensors[name], f"the tensor {name!r}"
        wanted = (torch.float32, torch.float16) if name in form.half else (torch.float32,)
        if value.dtype not in wanted:
            raise self.fault(what, f"holds {value.dtype}, expected {' or '.join(map(str, wanted))}")
        if value.ndim != len(axes):
            raise self.fault(what, f"has shape {tuple(value.shape)}, expected [{' '.join(axes)}]")
        for axis, length in zip(axes, value.shape, strict=True):
            if sizes.setdefault(axis, length) != length:
                shape = f"has shape {tuple(value.shape)} for [{' '.join(axes)}]"
                raise self.fault(what, f"{shape}, and elsewhere {axis} is {sizes[axis]}")
        known = value[~value.isnan()] if name in form.unknown else value
        if not torch.isfinite(known).all():
            raise self.fault(what, "holds numbers that are not finite")
        if name in form.positive and not (value > 0).all():
            raise self.fault(what, "holds numbers that are not above 0")
        return value


def checked(form: Any, value: Any) -> Any:
    """The value of a JSON tree as this type: nothing is converted but lists to tuples, no number is NaN.

    Raises pydantic's ValidationError for any other value.
    """
    origin = get_origin(form)
    if (origin is tuple or form is tuple) and isinstance(value, list):
        value = tuple(value)
    return _adapter(form).validate_python(value)


@cache
def _adapter(form: Any) -> TypeAdapter:
    rules = ConfigDict(strict=True, allow_inf_nan=False)
    try:
        return TypeAdapter(form, config=rules)
    except PydanticUserError:  # classes bring their own rules
        return TypeAdapter(form)


def axes_of(hint: Any) -> tuple[str, ...] | None:
    """The names of the axes of a tensor's annotation; None for the annotation of anything else."""
    if get_origin(hint) in (Union, UnionType):
        return next((a for a in map(axes_of, get_args(hint)) if a is not None), None)
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return tuple(hint.dim_str.split())
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
