"""What passes move on modules whose class is nobody's library's: attributes they set, tables and lists they
write into, objects that they have count. What moves with every text is no setting.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any

import numpy as np
from torch import Tensor

from probes.data.code_names import beneath_models, codes_within, functions_of, global_names, stored
from probes.data.code_writes import ITEM, writes_of
from probes.models.foreign import nobodys

# Methods of tables, lists, sets and queues that change them.
_MOVING = ("append", "appendleft", "add", "update", "setdefault", "pop", "popleft", "popitem", "extend")
_MOVING += ("extendleft", "clear", "insert", "remove", "discard", "subtract", "rotate", "sort", "reverse")
_MOVING += ("move_to_end", "put", "put_nowait", "get_nowait")
_OF_ARRAYS = ("fill", "sort", "put", "itemset", "partition", "resize")
# These end like methods that change numbers, and change none.
_NO_NUMBERS = ("requires_grad_", "share_memory_", "detach_", "rename_")
_DEEP = 4  # methods within methods


@dataclass(frozen=True, eq=False)
class Moved:
    """Attributes of a class: those that its passes `write`, those they only fill in where they were None
    (`once`), and the methods they call on others (`calls`); the code that its passes run, and its functions.
    """

    writes: frozenset[str]
    once: frozenset[str]
    calls: Mapping[str, frozenset[str]]
    codes: frozenset[CodeType]
    functions: tuple[tuple[str, FunctionType], ...]

    def moves(self, name: str, value: Any) -> bool:
        """Whether passes move an attribute with this value."""
        return name in self.writes or any(moved_by(value, method) for method in self.calls.get(name, ()))


def in_passes(kind: type) -> Moved:
    """What the passes of a module of this class move, as far as the code tells that `forward`, `__call__` and
    the methods they name run, of the class and of those it is made from, as these are now.
    """
    return _in_passes(
        tuple(
            (name, fn)
            for base in kind.__mro__
            if not beneath_models(base) and base is not object
            for name, fn in functions_of(base)
            if fn.__module__.partition(".")[0] != "torch"
        )
    )


@functools.lru_cache(256)
def _in_passes(own: tuple[tuple[str, FunctionType], ...]) -> Moved:
    known = {name for name, _ in own}
    found = _Found()
    running: list[tuple[str, FunctionType]] = []
    codes: set[CodeType] = set()
    todo, done = ["forward", "__call__"], set()
    while todo:
        name = todo.pop()
        if name in done:
            continue
        done.add(name)
        for fn in (fn for n, fn in own if n == name):
            running.append((name, fn))
            for function in with_helpers(fn):
                variable = first_of(fn.__code__) if function is fn else ""
                for code in codes_within(function.__code__):
                    codes.add(code)
                    found.take(code, variable)
                    todo += [n for n in code.co_names if n in known and n != "__init__"]
    kept = found.restores - found.writes
    once = found.fills - found.writes - kept
    return Moved(frozenset(found.writes), frozenset(once), found.calls, frozenset(codes), tuple(running))


@dataclass
class _Found:
    writes: set[str] = field(default_factory=set)
    fills: set[str] = field(default_factory=set)
    restores: set[str] = field(default_factory=set)
    calls: dict[str, frozenset[str]] = field(default_factory=dict)

    def take(self, code: CodeType, variable: str) -> None:
        """Adds what a code writes off a variable, or off what has lost its origin; in helpers, without a
        `variable`, off anything.
        """
        said = writes_of(code)
        for path in (*said.sets, *said.moves):
            if not path.way or path.way[0] == ITEM or (variable and path.root not in ("", variable)):
                continue
            lasting = self.restores if path in said.restores else self.fills if path in said.fills else None
            (self.writes if lasting is None else lasting).add(path.way[0])
            if path.way[0] == "__dict__":  # self.__dict__["n"] = ...
                self.writes |= {c for c in code.co_consts if isinstance(c, str) and c.isidentifier()}
        words = stored(code)[0] - {p.way[-1] for p in said.sets}
        self.writes |= words  # through setattr
        for path, method in said.calls:
            if not variable or path.root == variable:
                name, *within = (*path.way, method)
                if len(within) == 1:
                    self.calls[name] = self.calls.get(name, frozenset()) | {method}
                elif not within:  # self.meter(x)
                    self.calls[name] = self.calls.get(name, frozenset()) | {"__call__"}
                elif changing(method):
                    self.writes.add(name)


def with_helpers(fn: FunctionType) -> Iterator[FunctionType]:
    """A function, and those of its own module that it calls by name."""
    todo, done = [fn], set()
    while todo:
        each = todo.pop()
        if each in done:
            continue
        done.add(each)
        yield each
        names = (name for code in codes_within(each.__code__) for name in global_names(code))
        found = (each.__globals__.get(name) for name in names)
        todo += [f for f in found if isinstance(f, FunctionType) and f.__module__ == each.__module__]


def moved_variables(fn: FunctionType) -> set[str]:
    """Variables from outside of a function whose values its code writes into: running sums, arrays."""
    said = [writes_of(code) for code in codes_within(fn.__code__)]
    into = {p.root for each in said for p in each.moves if p.kind != "local" and not p.way}
    return into | {
        p.root for each in said for p, m in each.calls if p.kind != "local" and not p.way and _into(m)
    }


def _into(method: str) -> bool:
    return _in_place(method) or method in _OF_ARRAYS


def moved_by(value: Any, method: str, depth: int = 0) -> bool:
    """Whether a method that is called on a value changes it."""
    if isinstance(value, Tensor):
        return _in_place(method)
    if isinstance(value, np.ndarray):
        return method in _OF_ARRAYS
    fn = getattr(type(value), method, None)
    if not nobodys(type(value)) or not isinstance(fn, FunctionType):
        return method in _MOVING
    variable = first_of(fn.__code__)
    said = [writes_of(code) for code in codes_within(fn.__code__)]
    if any(p.root in ("", variable) for each in said for p in (*each.sets, *each.moves)):
        return True
    calls = {call for each in said for call in each.calls if call[0].root == variable}
    within = (m for p, m in calls if not p.way)
    inside = any(p.way and changing(m) for p, m in calls)
    return inside or (depth < _DEEP and any(moved_by(value, m, depth + 1) for m in within))


def changing(method: str) -> bool:
    """Whether a method of this name changes what it is called on, as far as names tell."""
    return method in _MOVING or _in_place(method)


def _in_place(method: str) -> bool:
    return method.endswith("_") and not method.endswith("__") and method not in _NO_NUMBERS


def first_of(code: CodeType) -> str:
    """The first argument."""
    return code.co_varnames[0] if code.co_argcount else ""
