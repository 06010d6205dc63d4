"""A copy of a model's modules kept alike with them in what passes and hooks of other code write: tables and
objects are one for both, and what is set anew on either is carried over to the other.
"""

import operator
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
from torch import Tensor, nn

from probes.models.attributes import OF_EVERY_MODULE
from probes.models.foreign import nobodys

_OWN = OF_EVERY_MODULE | {"forward"}  # a copy's own, to which whoever reads it adds
_GONE = object()
_PLAIN = (bool, int, float, complex, str, bytes, type(None), Tensor, np.ndarray, np.generic, FunctionType)
_PLAIN += (BuiltinFunctionType, type)
_DEEP = 16


class Alike:
    """The modules of a copy beside those of the model. From `begin` on, what is another since then on one
    side can be carried to the other: attributes, buffers and parameters.
    """

    def __init__(self, copied: nn.Module, hf: nn.Module) -> None:
        self._pairs = list(zip(copied.modules(), hf.modules(), strict=True))
        self._twin = {id(own): module for module, own in self._pairs}
        self._own = {id(module): own for module, own in self._pairs}
        self._theirs: list[_Table] = []
        self._ours: list[_Table] = []

    def begin(self) -> None:
        for module, own in self._pairs:
            for here, there in zip(_tables(module), _tables(own), strict=True):
                self._theirs.append(_Table(here))
                self._ours.append(_Table(there))

    def to_the_model(self) -> None:
        """What a pass of the copy keeps on its modules, the model has too; its weights stay its own."""
        self._carry(self._theirs, self._ours, self._own, weights=False)

    def to_the_copy(self) -> None:
        """What was set on the model, the copy has too."""
        self._carry(self._ours, self._theirs, self._twin)

    def _carry(
        self,
        source: list["_Table"],
        target: list["_Table"],
        known: dict[int, nn.Module],
        weights: bool = True,
    ) -> None:
        for i, (one, other) in enumerate(zip(source, target, strict=True)):
            if (i % 3 == 2 and not weights) or one.same():
                continue
            for name, value in one.changes():
                if value is _GONE:
                    other.own.pop(name, None)
                else:
                    other.own[name] = known.get(id(value), value)
            one.keep()
            other.keep()


class _Table:
    """A table of a module and what it was."""

    def __init__(self, own: dict[str, Any]) -> None:
        self.own = own
        self.keep()

    def keep(self) -> None:
        self.was = dict(self.own)

    def same(self) -> bool:
        """Quick, since it is asked of every module around every hook."""
        return len(self.own) == len(self.was) and all(map(operator.is_, self.own.values(), self.was.values()))

    def changes(self) -> Iterator[tuple[str, Any]]:
        for name in {**self.was, **self.own}:
            value = self.own.get(name, _GONE)
            if name not in _OWN and value is not self.was.get(name, _GONE):
                yield name, value


def _tables(module: nn.Module) -> tuple[dict[str, Any], ...]:
    return module.__dict__, module._buffers, module._parameters


def one_for_both(hf: nn.Module) -> Iterator[Any]:
    """Tables, lists, arrays and objects that modules hold, and that reach no module: a copy does well to hold
    the very same.
    """
    for module in hf.modules():
        for name, value in vars(module).items():
            if name not in OF_EVERY_MODULE and not isinstance(value, str | int | float) and _free(value, 0):
                yield value


def _free(value: Any, depth: int) -> bool:
    """Whether a value is made of numbers, words, tensors and containers of these, or is nobody's object that
    is, or has no copy.
    """
    if isinstance(value, _PLAIN) and not isinstance(value, nn.Parameter):
        return True
    if depth > _DEEP or isinstance(value, nn.Module):
        return False
    if isinstance(value, dict):
        return all(_free(v, depth + 1) for pair in value.items() for v in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return all(_free(v, depth + 1) for v in value)
    kind = type(value)
    if kind.__module__ in ("_thread", "_io"):
        return True
    if kind.__module__ == "types" or nobodys(kind):
        return all(_free(v, depth + 1) for v in _held(value))
    return False


def _held(value: Any) -> Iterator[Any]:
    yield from getattr(value, "__dict__", {}).values()
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield getattr(value, name, None)
