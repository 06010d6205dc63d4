"""Which attributes of modules decide what they compute: those that their code sets and its passes do not, and
others that it reads. A note that somebody put onto a model decides nothing, nor does what passes keep (a
counter, the length of the last text). Told from the code of classes, without running it.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import nn

from probes.data.code_names import (
    beneath_models,
    called,
    codes_of,
    functions_of,
    loaded,
    loaded_beside,
    stored,
)
from probes.models.foreign import nobodys
from probes.models.moved import Moved, in_passes
from probes.models.moved_by_hooks import by_hooks, functions_put

OF_EVERY_MODULE = frozenset(vars(nn.Module()))
Counts = Callable[[str, Any], bool]
OF_ADAPTERS = ("_active_adapter", "_disable_adapters", "merged_adapters")


@dataclass(frozen=True)
class Names:
    """Names in the code of a class: of attributes that it `sets` outside of passes, that passes `write`, or
    fill in `once` and for all, that are `read` off anything, or called; `freely` says that passes set
    attributes by names that are not in the code.
    """

    sets: frozenset[str]
    writes: frozenset[str]
    once: frozenset[str]
    reads: frozenset[str]
    calls: frozenset[str]
    freely: bool


@dataclass(frozen=True)
class Put:
    """The same of other people's code on a model, hooks and functions put onto its modules: what they write,
    by the module, and read.
    """

    writes: Mapping[int, frozenset[str]]
    reads: frozenset[str]

    @classmethod
    def on(cls, modules: Sequence[nn.Module]) -> "Put":
        found = [fn for module in modules for fn in functions_put(module)]
        codes = [code for fn in found for code in codes_of(_plain_function(fn))]
        return cls(by_hooks(modules) if found else {}, frozenset(n for code in codes for n in loaded(code)))

    def counting(self, module: nn.Module, whole: bool = False) -> Counts:
        """Whether an attribute of a module, by name and value, decides what it computes; with `whole` also
        those that passes fill in once, which are others before and after the first pass.
        """
        kind = type(module)
        counts = _counting(kind, in_passes(kind) if nobodys(kind) else None, self.reads, whole)
        if not (moved := self.writes.get(id(module))):
            return counts
        return lambda name, value: name not in moved and counts(name, value)


@functools.lru_cache(1024)
def _counting(kind: type, moved: Moved | None, read: frozenset[str], whole: bool) -> Counts:
    names = names_in(kind, moved)
    of_adapters = kind.__module__.startswith("peft.")

    def counts(name: str, value: Any) -> bool:
        if of_adapters and name in OF_ADAPTERS:
            return True
        if (
            name in OF_EVERY_MODULE
            or name in names.writes
            or (moved is not None and moved.moves(name, value))
        ):
            return False
        if name in names.once:
            return whole
        if names.freely and isinstance(value, int | float):
            return False
        # What a class says in private beside its code are plans for loading.
        if name in names.sets or (hasattr(kind, name) and (callable(value) or not name.startswith("_"))):
            return True
        if callable(value) and name in names.calls:
            return True
        return name in names.reads or name in read or name in loaded_beside("module")

    return counts


def names_in(kind: type, moved: Moved | None) -> Names:
    """The names in the code of a class and of those that it is made from; of nobody's, with what its passes
    move.
    """
    own = {name: fn for base in reversed(kind.__mro__) for name, fn in functions_of(base)}
    running, freely = _in_passes(own, kind.__module__)
    writes = {name for code in running for name in stored(code)[0]}
    held = [pair for base in kind.__mro__ for pair in vars(base).items()]
    once = {name for name, value in held if isinstance(value, functools.cached_property)}
    if moved is not None:
        running, writes, once = moved.codes, moved.writes, once | moved.once
        freely = any(stored(code)[1] for code in running)
    sets: set[str] = set()
    reads: set[str] = set()
    calls: set[str] = set()
    for base in kind.__mro__:
        if base is nn.Module or base is object:
            continue
        beneath = beneath_models(base)
        for code in (code for _, fn in functions_of(base) for code in codes_of(fn)):
            if code not in running:
                sets |= {name for name in stored(code)[0] if not (beneath and name.startswith("_"))}
            if not beneath:
                reads |= loaded(code)
                calls |= called(code)
    told = (frozenset(each) for each in (sets - writes, writes, once, reads, calls))
    return Names(*told, freely=freely)


def _in_passes(own: Mapping[str, FunctionType], home: str) -> tuple[set[CodeType], bool]:
    """The code that a pass runs, as far as `forward` and the methods it names are of the module that the
    class is of; and whether it sets attributes by names that it makes.
    """
    codes: set[CodeType] = set()
    todo, done, freely = ["forward"], set(), False
    while todo:
        name = todo.pop()
        if name in done or (fn := own.get(name)) is None or fn.__module__ != home:
            continue
        done.add(name)
        for code in codes_of(fn):
            codes.add(code)
            freely |= stored(code)[1]
            todo += [n for n in code.co_names if n in own and n != "__init__"]
    return codes, freely


def _plain_function(fn: Any) -> Any:
    """The function behind a method, a partial or an object that is called."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if not isinstance(fn, FunctionType | MethodType):
        fn = vars(type(fn)).get("__call__")
    return getattr(fn, "__func__", fn)
