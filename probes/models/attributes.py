"""Which attributes of modules decide what they compute: those that their code sets and its passes do not, and
others that it reads. A note that somebody put onto a model decides nothing, nor does what passes keep (a
counter, the length of the last text). Told from the code of classes, without running it.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from probes.models.foreign import foreign

OF_EVERY_MODULE = frozenset(vars(nn.Module()))
OF_ADAPTERS = ("_active_adapter", "_disable_adapters", "merged_adapters")


@dataclass(frozen=True)
class Names:
    """Names in the code of a class: of attributes that it `sets` outside of passes, that passes `write`, that
    are `read` off anything, or called; `freely` says that passes set attributes by names that are not in the
    code.
    """

    sets: frozenset[str]
    writes: frozenset[str]
    reads: frozenset[str]
    calls: frozenset[str]
    freely: bool


@dataclass(frozen=True)
class Put:
    """The same of other people's code on a model: hooks, and functions put onto its modules."""

    writes: frozenset[str]
    reads: frozenset[str]

    @classmethod
    def on(cls, modules: Sequence[nn.Module]) -> "Put":
        found = [fn for module in modules for fn in _functions_put(module)]
        codes = [code for fn in found for code in codes_of(_plain_function(fn))]
        return cls(
            frozenset(name for code in codes for name in stored(code)[0]),
            frozenset(name for code in codes for name in loaded(code)),
        )


def counting(kind: type, put: Put) -> Callable[[str, Any], bool]:
    """Whether an attribute of modules of this kind, by name and value, decides what they compute."""
    names = names_in(kind)
    of_adapters = kind.__module__.startswith("peft.")

    def counts(name: str, value: Any) -> bool:
        if of_adapters and name in OF_ADAPTERS:
            return True
        if name in OF_EVERY_MODULE or name in names.writes or name in put.writes:
            return False
        if names.freely and isinstance(value, int | float):
            return False
        # What a class says in private beside its code are plans for loading.
        if name in names.sets or (hasattr(kind, name) and (callable(value) or not name.startswith("_"))):
            return True
        if callable(value) and name in names.calls:
            return True
        return name in names.reads or name in put.reads or name in loaded_beside("module")

    return counts


@functools.cache
def names_in(kind: type) -> Names:
    """The names in the code of a class and of those that it is made from."""
    own = {name: fn for base in reversed(kind.__mro__) for name, fn in functions_of(base)}
    running, freely = _in_passes(own, kind.__module__)
    writes = {name for code in running for name in stored(code)[0]}
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
    return Names(frozenset(sets - writes), frozenset(writes), frozenset(reads), frozenset(calls), freely)


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


def _functions_put(module: nn.Module) -> Iterator[Any]:
    tables = (module._forward_pre_hooks, module._forward_hooks)
    for fn in (*vars(module).values(), *(fn for table in tables for fn in table.values())):
        if callable(fn) and not isinstance(fn, nn.Module | type) and foreign(fn) is not None:
            yield fn


def _plain_function(fn: Any) -> Any:
    """The function behind a method, a partial or an object that is called."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if not isinstance(fn, FunctionType | MethodType):
        fn = vars(type(fn)).get("__call__")
    return getattr(fn, "__func__", fn)
