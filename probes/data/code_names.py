"""The names in the code of classes and functions: which attributes it sets and reads, told without a run."""

import dis
import functools
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

# Beside the models: what reads masks, caches, positions and attention off their modules and configs.
_BESIDE = ("transformers.integrations.", "transformers.modeling_", "transformers.masking_utils")
_MODELLING = ("transformers.models.", "transformers.modeling_layers")
_BESIDE += ("transformers.cache_utils",)


def beneath_models(kind: type) -> bool:
    """Whether a class is what models have in common: how they are loaded, spread over devices and asked."""
    home = kind.__module__
    theirs = home.startswith("transformers.") and not home.startswith(_MODELLING)
    return theirs or home in ("builtins", "torch.nn.modules.module")


def functions_of(kind: type) -> Iterator[tuple[str, FunctionType]]:
    """The functions of a class itself, by name, with those that they wrap."""
    for name, value in vars(kind).items():
        fn = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
        while isinstance(fn, FunctionType):
            yield name, fn
            fn = getattr(fn, "__wrapped__", None)


def codes_of(fn: Any, seen: set[int] | None = None) -> Iterator[CodeType]:
    """The code of a function, of those within, and of those of its own module that it calls by name."""
    seen = set() if seen is None else seen
    if not isinstance(fn, FunctionType) or id(fn) in seen:
        return
    seen.add(id(fn))
    for code in codes_within(fn.__code__):
        yield code
        for name in global_names(code):
            called = fn.__globals__.get(name)
            if isinstance(called, FunctionType) and called.__module__ == fn.__module__:
                yield from codes_of(called, seen)


@functools.cache
def global_names(code: CodeType) -> tuple[str, ...]:
    """Names that code takes from its module; an attribute of the same name is another thing."""
    steps = (s for s in dis.get_instructions(code) if s.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    return tuple(dict.fromkeys(str(s.argval) for s in steps))


def codes_within(code: CodeType) -> Iterator[CodeType]:
    """A code and those of the functions within."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from codes_within(inner)


@functools.cache
def stored(code: CodeType) -> tuple[frozenset[str], bool]:
    """Names of attributes that code sets, and whether it sets some whose names it makes."""
    found, words, free = set(), set(), False
    for step in dis.get_instructions(code):
        if step.opname == "STORE_ATTR":
            found.add(str(step.argval))
        elif step.opname.startswith("LOAD_CONST") and isinstance(step.argval, str):
            words.add(step.argval)
        elif step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            free |= step.argval == "setattr"
    if free and len(words) == 1:  # setattr(self, "calls", ...)
        return frozenset(found | words), False
    return frozenset(found), free


@functools.cache
def loaded(code: CodeType, off: str = "") -> frozenset[str]:
    """Names of attributes that code reads, other than to call them, and words where it has a `getattr` or
    reads `__dict__`; with `off` those that it reads off a variable of this name.
    """
    found: set[str] = set()
    before: object = ""
    for step in dis.get_instructions(code):
        calls = sys.version_info >= (3, 12) and bool((step.arg or 0) & 1)
        if step.opname == "LOAD_ATTR" and not calls and off in ("", before):
            found.add(str(step.argval))
        local = step.argval if step.opname.startswith("LOAD_FAST") else None
        before = local[-1] if isinstance(local, tuple) else local
    if {"getattr", "__dict__"} & {*code.co_names} and (not off or off in code.co_varnames):
        found |= {c for c in code.co_consts if isinstance(c, str) and c.isidentifier()}
    return frozenset(found)


@functools.cache
def called(code: CodeType) -> frozenset[str]:
    """Names of attributes that code calls."""
    method = "LOAD_ATTR" if sys.version_info >= (3, 12) else "LOAD_METHOD"
    steps = (step for step in dis.get_instructions(code) if step.opname == method)
    return frozenset(str(s.argval) for s in steps if method == "LOAD_METHOD" or (s.arg or 0) & 1)


@functools.cache
def words_in(kind: type) -> frozenset[str]:
    """Every name and word in the code of a class itself."""
    return frozenset(w for _, fn in functions_of(kind) for code in codes_of(fn) for w in _words(code))


def loaded_beside(off: str) -> frozenset[str]:
    """What code beside the models reads off a `module` or `config`, as far as it was imported."""
    return _beside(off, len(sys.modules))


@functools.lru_cache(2)
def _beside(off: str, imported: int) -> frozenset[str]:
    modules = [n for n in [*sys.modules] if n.startswith(_BESIDE) and n != "transformers.modeling_utils"]
    if off == "module":
        modules = [n for n in modules if "attention" in n or n == "transformers.modeling_layers"]
    held = [v for n in modules for v in vars(sys.modules[n]).values() if getattr(v, "__module__", "") == n]
    functions = [f for f in held if isinstance(f, FunctionType)]
    functions += [f for kind in held if isinstance(kind, type) for _, f in functions_of(kind)]
    codes = (code for fn in functions for code in codes_within(fn.__code__))
    return frozenset(name for code in codes for name in loaded(code, off))


def _words(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    yield from (c for c in code.co_consts if isinstance(c, str))
