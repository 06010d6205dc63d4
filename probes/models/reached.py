"""All that an object reaches (attributes, slots, containers, closures, defaults, generators, attributes of
its class, global names): told in a hash, and copied.
"""

import copy
import hashlib
import io
import pickle
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from types import CellType, CodeType, FunctionType, GeneratorType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_SMALL = 2**16  # numbers all of which are read; of larger arrays as many are picked
_LARGE = 2**22  # numbers of a tensor that is not copied
_KEPT = ("tokenizers", "tqdm", "logging", "probes", "interventions")  # what is theirs remembers no batch
_DRAWING = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "multinomial"}
_DRAWING |= {"bernoulli", "normal", "bernoulli_", "normal_", "uniform_", "exponential_", "dropout"}
_OF_FUNCTIONS = ("__defaults__", "__kwdefaults__", "__dict__")


@dataclass(eq=False)
class Reached:
    """What was met from one object on. `told` is a hash of all of it, empty where it cannot be told;
    `bound` are objects that have no copy (files, locks, generators), `shared` those that copies hold too.
    """

    told: str = ""
    functions: list[FunctionType] = field(default_factory=list)
    shared: list[Any] = field(default_factory=list)
    bound: list[Any] = field(default_factory=list)


def reached(o: Any, lasting: bool = False) -> Reached:
    """All that an object reaches. `lasting` hashes are the same in every process: of every number, and of the
    code of functions and methods, but of no random state.
    """
    to = io.BytesIO()
    found = Reached()
    try:
        _Telling(to, found, lasting).dump(o)
    except Exception:  # objects refuse to be written down with errors of any kind; `told` stays empty
        return found
    found.told = hashlib.sha256(to.getvalue()).hexdigest()
    return found


def anew(o: Any) -> Any:
    """A copy that shares no memory with it: of functions with what they close over and their defaults, not of
    global names, attributes of classes, modules and very large tensors. Raises TypeError for what reaches an
    object without a copy, naming its kind.
    """
    met = reached(o)
    if met.bound:
        raise TypeError(type(met.bound[0]).__name__)
    memo: dict[int, Any] = {id(each): each for each in met.shared}
    cells: dict[int, CellType] = {}
    for f in met.functions:
        own = tuple(cells.setdefault(id(c), CellType()) for c in f.__closure__ or ())
        memo[id(f)] = FunctionType(f.__code__, f.__globals__, f.__name__, None, own)
        memo[id(f)].__qualname__, memo[id(f)].__module__ = f.__qualname__, f.__module__
    filled = set()
    for f in met.functions:
        for cell in f.__closure__ or ():
            if id(cell) not in filled and _is_full(cell):
                filled.add(id(cell))
                cells[id(cell)].cell_contents = copy.deepcopy(cell.cell_contents, memo)
        for name in _OF_FUNCTIONS:
            setattr(memo[id(f)], name, copy.deepcopy(getattr(f, name), memo))
    return copy.deepcopy(o, memo)


class _Telling(pickle.Pickler):
    """Writes an object down in order to compare it, never to be read."""

    def __init__(self, to: io.BytesIO, found: Reached, lasting: bool) -> None:
        super().__init__(to, 4)
        self.fast = lasting  # says nothing of which equal texts are one object
        self.found, self.met, self.lasting = found, set(), lasting

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            if obj.numel() > _LARGE and not self.lasting:
                self.found.shared.append(obj)
            return str, (_numbers(obj, self.lasting),)
        if isinstance(obj, np.ndarray) and not self.lasting and obj.size > _SMALL and obj.dtype != object:
            return bytes, (obj.reshape(-1)[:: obj.size // _SMALL].tobytes(),)
        if isinstance(obj, torch.Generator):
            return bytes, (obj.get_state().numpy().tobytes(),)
        if isinstance(obj, ModuleType):
            return tuple, ((obj.__name__, b"" if self.lasting else _drawn(obj)),)
        if _kept(type(obj)) or (
            isinstance(obj, nn.Module) and hasattr(obj, "config")
        ):  # a model that is asked
            self.found.shared.append(obj)
            return str, (f"{type(obj)} {id(obj)}",)
        if isinstance(obj, type | FunctionType | GeneratorType):
            return self._code(obj)
        try:
            obj.__reduce_ex__(4)
        except Exception:  # a file, a lock, or whatever else refuses; `bound` keeps it for who asks
            self.found.bound.append(obj)
            return str, (f"{type(obj)} {id(obj)}",)
        return NotImplemented

    def _code(self, obj: Any) -> Any:
        """What classes, functions and generators hold besides their code; those of libraries by name."""
        name = getattr(obj, "__qualname__", "")
        if isinstance(obj, GeneratorType):
            self.found.bound.append(obj)
        elif library(str(obj.__module__)) or obj.__module__.partition(".")[0] in _KEPT:
            return NotImplemented if obj.__module__ == "builtins" else (str, (f"{obj.__module__}.{name}",))
        if id(obj) in self.met:
            return str, (name,)
        self.met.add(id(obj))
        if isinstance(obj, FunctionType):
            self.found.functions.append(obj)
            cells = [c.cell_contents for c in obj.__closure__ or () if _is_full(c)]
            code = told_code(obj.__code__) if self.lasting else (_noise(obj),)
            return tuple, ((name, cells, *(getattr(obj, n) for n in _OF_FUNCTIONS), used(obj), code),)
        if isinstance(obj, GeneratorType):
            frame = obj.gi_frame
            return tuple, ((name, None if frame is None else (frame.f_lasti, dict(frame.f_locals))),)
        held = {k: v for k, v in vars(obj).items() if not (k.startswith("__") and k.endswith("__"))}
        plain = {k: v for k, v in held.items() if not _described(v)}
        functions = {k: f for k, v in vars(obj).items() if isinstance(f := function_behind(v), FunctionType)}
        names = {n: v for f in functions.values() for n, v in used(f).items()}
        drawn = () if self.lasting else tuple(map(_noise, functions.values()))
        own = {k: f for k, f in functions.items() if self.lasting and f.__module__ == obj.__module__}
        return tuple, ((name, obj.__bases__, plain, names, own, drawn),)


def used(f: FunctionType) -> dict[str, Any]:
    """The global names that a function's code reads or writes, and what they stand for; of modules that are
    no library's, those within that it names.
    """
    names = [n for code in codes(f.__code__) for n in code.co_names]
    found = {n: f.__globals__[n] for n in names if n in f.__globals__}
    imported = {n: sys.modules[n] for n in names if n not in found and n in sys.modules}
    todo = [(n, v) for n, v in {**found, **imported}.items() if isinstance(v, ModuleType)]
    seen: set[int] = set()
    while todo:
        path, module = todo.pop()
        if id(module) in seen or library(module.__name__) or module.__name__.partition(".")[0] in _KEPT:
            continue
        seen.add(id(module))
        within = {f"{path}.{n}": vars(module)[n] for n in names if n in vars(module)}
        found |= within
        todo += [(n, v) for n, v in within.items() if isinstance(v, ModuleType)]
    return found


def _noise(f: FunctionType) -> bytes:
    """Where torch's random numbers stand, for a function that draws some."""
    names = {n for code in codes(f.__code__) for n in code.co_names}
    return torch.get_rng_state().numpy().tobytes() if names & _DRAWING else b""


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


def codes(code: CodeType) -> Iterator[CodeType]:
    """A code and those of the functions within."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from codes(inner)


@lru_cache(maxsize=1024)
def library(module: str) -> bool:
    """Whether a module is of Python or of an installed package."""
    first = module.partition(".")[0]
    path = str(getattr(sys.modules.get(first), "__file__", "") or "")
    return (first in sys.stdlib_module_names and first != "__main__") or "site-packages" in path


def _described(value: Any) -> bool:
    """Whether a class holds it as code, or as the place of a slot."""
    kinds = (FunctionType, property, staticmethod, classmethod)
    return isinstance(value, kinds) or hasattr(type(value), "__get__") or "_abc" in type(value).__name__


def _kept(kind: type) -> bool:
    base = "PreTrainedTokenizerBase"
    return kind.__module__.partition(".")[0] in _KEPT or any(k.__name__ == base for k in kind.__mro__)


def _numbers(x: Tensor, every: bool) -> str:
    """The values of a tensor, of a large one where it lies and how often it was written to."""
    head = f"{x.dtype} {tuple(x.shape)}"
    if (x.numel() > _SMALL and not every) or x.device.type == "meta" or x.layout != torch.strided:
        return f"{head} {x.data_ptr()} {0 if x.is_inference() else x._version}"
    raw = x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{head} {hashlib.sha256(raw.tobytes()).hexdigest()}"


def _drawn(module: ModuleType) -> bytes:
    """Where the random numbers stand that a module gives."""
    state = {"random": random.getstate, "numpy": np.random.get_state}.get(module.__name__)
    return b"" if state is None else repr(state()).encode()


def _is_full(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # a name that has no value yet
        return False
    return True
