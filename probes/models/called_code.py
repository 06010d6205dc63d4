"""What the code of functions names: global names, modules of one's own and what it takes of them."""

import dis
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

KEPT = ("tokenizers", "tqdm", "logging", "probes", "interventions")
"""Packages whose objects remember no batch."""


def codes(code: CodeType) -> Iterator[CodeType]:
    """A code and those of the functions within."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from codes(inner)


def told_code(code: CodeType) -> tuple[str, ...]:
    """What a function says, and those within."""
    found = []
    for each in codes(code):
        plain = [
            sorted(map(repr, c))
            if isinstance(c, frozenset)
            else c  # which has another order in every process
            for c in each.co_consts
            if not isinstance(c, CodeType)
        ]
        found.append(f"{each.co_code.hex()} {plain!r} {each.co_names}")
    return tuple(found)


def function_behind(value: Any) -> Any:
    """The function behind a property, a static method or one that is kept once called."""
    for name in ("fget", "__func__", "func", "__wrapped__"):
        value = getattr(value, name, value)
    return value


@lru_cache(maxsize=1024)
def library(module: str) -> bool:
    """Whether a module is of Python or of an installed package."""
    first = module.partition(".")[0]
    path = str(getattr(sys.modules.get(first), "__file__", "") or "")
    return (first in sys.stdlib_module_names and first != "__main__") or "site-packages" in path


def ones_own(module: ModuleType) -> bool:
    """Whether a module is nobody's library, so that what it holds may be another tomorrow."""
    return not library(module.__name__) and module.__name__.partition(".")[0] not in KEPT


def used(f: FunctionType) -> dict[str, Any]:
    """The global names that a function's code reads or writes, and what they stand for; of modules that are
    no library's, those within that it names. An attribute of that name (torch.log) is no global name.
    """
    names, imports, taken = _named(f.__code__)
    found = {n: f.__globals__[n] for n in names if n in f.__globals__}
    package = f.__globals__.get("__package__") or ""
    for name in imports:  # import a.b names both; behind a point it is of the same package
        for n in (name, name.partition(".")[0], f"{package}.{name}".strip(".")):
            if n not in found and n in sys.modules:
                found[n] = sys.modules[n]
    todo = [(n, v) for n, v in found.items() if isinstance(v, ModuleType)]
    seen: set[int] = set()
    while todo:
        path, module = todo.pop()
        if id(module) in seen or not ones_own(module):
            continue
        seen.add(id(module))
        within = {f"{path}.{n}": v for n, v in taken_of(module, taken).items()}
        found |= within
        todo += [(n, v) for n, v in within.items() if isinstance(v, ModuleType)]
    return found


def taken_of(module: ModuleType, names: tuple[str, ...]) -> dict[str, Any]:
    """What code with these names takes of a module, if it takes anything."""
    return {n: vars(module)[n] for n in names if n in vars(module)}


def attributes_of(f: FunctionType) -> tuple[str, ...]:
    """The names that a function's code takes of objects, also through getattr and vars."""
    return _named(f.__code__)[2]


@lru_cache(maxsize=4096)
def _named(code: CodeType) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Global names, imported modules and attributes, in the order in which the code has them."""
    own, imports, taken = {}, {}, {}
    for each in codes(code):
        for step in dis.get_instructions(each):
            if step.opname == "IMPORT_NAME":
                imports[step.argval] = None
            elif step.opname.endswith(("_GLOBAL", "_GLOBALS")) or step.opname == "LOAD_NAME":
                own[step.argval] = None
        taken |= dict.fromkeys(n for n in each.co_names if not n.startswith("__"))
        words = [c for c in each.co_consts if isinstance(c, str)]
        taken |= dict.fromkeys(c for c in words if c.isidentifier())
        if {"import_module", "__import__"} & set(each.co_names):
            imports |= dict.fromkeys(words)
    return tuple(own), tuple(imports), tuple(taken)
