"""What hooks of other code, and functions put onto modules, write to modules."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import FunctionType, MethodType
from typing import Any

from torch import nn

from probes.data.code_names import codes_within, stored
from probes.data.code_writes import ITEM, writes_of
from probes.models.foreign import foreign
from probes.models.moved import changing, first_of, with_helpers


def by_hooks(modules: Sequence[nn.Module]) -> dict[int, frozenset[str]]:
    """Attributes that hooks of other code, and functions put onto modules, write: by the module that each is
    of. What they keep on objects of their own is no module's.
    """
    found: dict[int, set[str]] = {}
    for module in modules:
        for fn in functions_put(module):
            for at, name in _written(fn, module):
                found.setdefault(id(at), set()).add(name)
    return {key: frozenset(names) for key, names in found.items()}


def functions_put(module: nn.Module) -> Iterator[Any]:
    """Hooks of other code on a module, and functions put onto it."""
    tables = (module._forward_pre_hooks, module._forward_hooks)
    for fn in (*vars(module).values(), *(fn for table in tables for fn in table.values())):
        if callable(fn) and not isinstance(fn, nn.Module | type) and foreign(fn) is not None:
            yield fn


def _written(fn: Any, module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The modules and attributes that a function writes that is called with a module."""
    near = [module]  # what a variable may stand for of which more is not known
    while isinstance(fn, functools.partial):
        near += _modules((*fn.args, *fn.keywords.values()))
        fn = fn.func
    if isinstance(fn, FunctionType):
        owner, plain = None, fn
    elif isinstance(fn, MethodType):
        owner, plain = fn.__self__, fn.__func__
    else:
        owner, plain = fn, vars(type(fn)).get("__call__")
    todo, done = [plain], set()
    while todo:
        plain = todo.pop()
        if not isinstance(plain, FunctionType) or plain in done:
            continue
        done.add(plain)
        near += _modules(_closed_over(plain).values())
        for function in with_helpers(plain):
            first = first_of(plain.__code__) if function is plain and owner is not None else ""
            closed = _closed_over(function)
            for code in codes_within(function.__code__):
                said = writes_of(code)
                paths = {*said.sets, *said.moves, *(p for p, method in said.calls if changing(method))}
                for path in paths:
                    if first and path.root == first:
                        there = [owner]
                    elif path.kind == "global":
                        there = [function.__globals__.get(path.root)]
                    else:
                        there = [closed[path.root]] if path.root in closed else near
                    for each in there:
                        yield from _reached(each, path.way)
                words = stored(code)[0] - {p.way[-1] for p in said.sets}  # through setattr
                yield from ((each, word) for each in near for word in words)
                for path, method in said.calls:
                    if first and path.root == first and not path.way:
                        todo.append(getattr(type(owner), method, None))


def _closed_over(function: FunctionType) -> dict[str, Any]:
    """The variables around a function that have a value."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):
            found[name] = cell.cell_contents
    return found


def _modules(values: Iterable[Any]) -> list[nn.Module]:
    """The modules among values, and those of lists of modules."""
    found = [v for v in values if isinstance(v, nn.Module)]
    return [*found, *(child for v in found if isinstance(v, nn.ModuleList) for child in v)]


def _reached(value: Any, way: tuple[str, ...]) -> Iterator[tuple[nn.Module, str]]:
    """The attribute of a module that a way leads to; of an item, of every module in the list."""
    if not way:
        return
    if way[0] == ITEM:
        held = value.values() if isinstance(value, Mapping) else value
        children = held.children() if isinstance(held, nn.Module) else held
        for child in children if isinstance(children, Iterable) else ():
            if isinstance(child, nn.Module):
                yield from _reached(child, way[1:])
    elif isinstance(value, nn.Module) and way[0] not in value._modules:
        yield value, way[0]
    else:
        inside = value._modules if isinstance(value, nn.Module) else getattr(value, "__dict__", {})
        yield from _reached(inside.get(way[0]), way[1:])
