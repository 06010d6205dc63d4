"""Classes of modules that are nobody's library's: what their passes run, and plain attributes of the class,
which decide what modules compute as those of the modules do.
"""

import hashlib
import operator
from collections.abc import Iterable
from types import FunctionType
from typing import Any

from torch import nn

from probes.data.code_names import stored
from probes.models.foreign import nobodys
from probes.models.held import plain
from probes.models.moved import in_passes, with_helpers
from probes.models.reached import told_code


def told(kind: type) -> str:
    """A hash of the code that passes of a class run, as far as nobody's, and of its plain attributes but for
    those that its code sets. Code is told otherwise by every version of Python.
    """
    moved = in_passes(kind)
    own = [fn for _, fn in moved.functions if nobodys(fn)]
    lines = [f"{fn.__qualname__} {_said(each)}" for fn in own for each in with_helpers(fn)]
    sets = {name for code in moved.codes for name in stored(code)[0]}
    for base in kind.__mro__:
        if nobodys(base) and base is not object:
            lines += [
                f"{name}={said}"
                for name, value in vars(base).items()
                if not name.startswith("__") and name not in sets and (said := plain(value)) is not None
            ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _said(fn: FunctionType) -> tuple[str, ...]:
    """Its code, without what it says of itself."""
    code = fn.__code__
    if fn.__doc__ is not None and code.co_consts[:1] == (fn.__doc__,):
        code = code.replace(co_consts=(None, *code.co_consts[1:]))
    return told_code(code)


class Classes:
    """The classes of modules that are nobody's, as they are now."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._kinds = {kind: told(kind) for kind in {type(m) for m in modules} if nobodys(kind)}
        self._keep()

    def _keep(self) -> None:
        bases = {base for kind in self._kinds for base in kind.__mro__ if nobodys(base)}
        self._tables: list[tuple[type, list[Any]]] = [(base, [*vars(base).values()]) for base in bases]

    def changed(self) -> str:
        """The name of a class whose code or attributes are others than they were; empty for none."""
        if all(_same(vars(base).values(), was) for base, was in self._tables):
            return ""
        for kind, was in self._kinds.items():
            if told(kind) != was:
                return kind.__qualname__
        self._keep()
        return ""


def _same(values: Iterable[Any], was: list[Any]) -> bool:
    now = [*values]
    return len(now) == len(was) and all(map(operator.is_, now, was))
