"""Writes an object with all that it reaches down, in order to compare it and never to read it again: for a
moment of this process, or the same in every process.
"""

import copyreg
import hashlib
import io
import logging
import pickle
import threading
import weakref
from dataclasses import dataclass, field
from types import CodeType, FunctionType, GeneratorType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.models.called_code import (
    KEPT,
    attributes_of,
    function_behind,
    library,
    ones_own,
    taken_of,
    told_code,
    used,
)
from probes.models.told_numbers import LARGE, drawn, noise, of_a_tensor, of_an_array

_MANY = 64
_OF_FUNCTIONS = ("__defaults__", "__kwdefaults__", "__dict__")
_ATOMS = frozenset({int, float, bool, complex, str, bytes, type(None)})
_NO_PLACE = _ATOMS | {tuple, frozenset, type, FunctionType, ModuleType, CodeType}
# These remember nothing, and copies hold them as they are.
_AS_THEY_ARE = (type(threading.Lock()), type(threading.RLock()), weakref.ref)
_AS_THEY_ARE += (logging.Filterer, logging.LoggerAdapter)


@dataclass(eq=False)
class Reached:
    """What was met from one object on. `told` is a hash of all of it, empty where it cannot be told (`why`);
    `bound` are objects that have no copy (files, generators), `shared` those that copies hold too, `kept`
    those of them that remember nothing (locks, loggers).
    """

    told: str = ""
    why: str = ""
    functions: list[FunctionType] = field(default_factory=list)
    shared: list[Any] = field(default_factory=list)
    bound: list[Any] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)


class Telling(pickle.Pickler):
    """What is met is kept in `found`; `names` and `modules` are what code takes of objects, and modules of
    one's own that are held in attributes and tables, where no name of the code says which is meant.
    """

    lasting = False

    def __init__(self, to: io.BytesIO, found: Reached, placed: bool = True) -> None:
        super().__init__(to, 4)
        self.found, self.placed = found, placed
        self.met: set[int] = set()
        self.numbers: dict[int, tuple[str, Any]] = {}
        self.names: dict[str, None] = {}
        self.modules: dict[int, ModuleType] = {}
        self.taken: set[tuple[int, str]] = set()

    def whole(self, o: Any) -> None:
        """The object, and then what its code takes of the modules that it holds."""
        self.dump(o)
        while (more := self._of_modules()) is not None:
            self.dump(more)

    def _of_modules(self) -> list[Any] | None:
        names, found = tuple(sorted(self.names)), []
        for module in list(self.modules.values()):
            for name, value in taken_of(module, names).items():
                if (place := (id(module), name)) not in self.taken:
                    self.taken.add(place)
                    found.append((module.__name__, name, value))
        return found or None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            if obj.numel() > LARGE and not self.lasting:
                self.found.shared.append(obj)
            return str, (self._numbers(obj),)
        if isinstance(obj, np.ndarray) and obj.dtype != object:
            return str, (self._numbers(obj),)
        if isinstance(obj, torch.Generator):
            return bytes, (obj.get_state().numpy().tobytes(),)
        if isinstance(obj, ModuleType):
            if ones_own(obj):
                self.modules[id(obj)] = obj
            return tuple, ((obj.__name__, b"" if self.lasting else drawn(obj)),)
        if isinstance(obj, CodeType):
            return tuple, (told_code(obj),)
        if isinstance(obj, _AS_THEY_ARE):
            self.found.kept.append(obj)
            return str, (f"{type(obj)} {getattr(obj, 'name', '')}",)
        if _kept(type(obj)) or (
            isinstance(obj, nn.Module) and hasattr(obj, "config")
        ):  # a model that is asked
            self.found.shared.append(obj)
            return str, (f"{type(obj)} {id(obj)}",)
        if isinstance(obj, type | FunctionType | GeneratorType):
            return self._code(obj)
        if type(obj) in copyreg.dispatch_table:
            return NotImplemented
        try:
            by_name = isinstance(obj.__reduce_ex__(4), str)
        except Exception:  # a file, a socket, or whatever else refuses; `bound` keeps it for who asks
            self.found.bound.append(obj)
            return str, (f"{type(obj)} {id(obj)}",)
        if by_name and isinstance(behind := function_behind(obj), FunctionType):
            return tuple, ((str(type(obj)), behind),)  # kept once called
        return NotImplemented

    def _code(self, obj: Any) -> Any:
        """What classes, functions and generators hold besides their code; those of libraries by name."""
        name = getattr(obj, "__qualname__", "")
        if isinstance(obj, GeneratorType):
            self.found.bound.append(obj)
        elif not _of_ones_own(obj):
            return NotImplemented if obj.__module__ == "builtins" else (str, (f"{obj.__module__}.{name}",))
        if id(obj) in self.met:
            return str, (name,)
        self.met.add(id(obj))
        if isinstance(obj, FunctionType):
            self.found.functions.append(obj)
            cells = _closed_over(obj)
            code = told_code(obj.__code__) if self.lasting else (noise(obj),)
            return tuple, ((name, cells, *(getattr(obj, n) for n in _OF_FUNCTIONS), self._used(obj), code),)
        if isinstance(obj, GeneratorType):
            frame = obj.gi_frame
            return tuple, ((name, None if frame is None else (frame.f_lasti, dict(frame.f_locals))),)
        held = {k: v for k, v in vars(obj).items() if not (k.startswith("__") and k.endswith("__"))}
        plain = {k: v for k, v in held.items() if not _described(v)}
        functions = {k: f for k, v in vars(obj).items() if isinstance(f := function_behind(v), FunctionType)}
        names = {n: v for f in functions.values() for n, v in self._used(f).items()}
        cells = [] if self.lasting else [_closed_over(f) for f in functions.values()]
        drew = () if self.lasting else tuple(map(noise, functions.values()))
        own = {k: f for k, f in functions.items() if self.lasting and f.__module__ == obj.__module__}
        kind = type(obj) if _of_ones_own(type(obj)) else None
        return tuple, ((name, kind, obj.__bases__, plain, names, own, cells, drew),)

    def _used(self, f: FunctionType) -> dict[str, Any]:
        """Global names; of modules of one's own under them the code says what is meant, which stands there
        too.
        """
        self.names |= dict.fromkeys(attributes_of(f))
        return {n: v.__name__ if isinstance(v, ModuleType) and ones_own(v) else v for n, v in used(f).items()}

    def _numbers(self, x: Tensor | np.ndarray) -> str:
        """Of each array and tensor once, however often it is met."""
        if id(x) not in self.numbers:
            if isinstance(x, Tensor):
                told = of_a_tensor(x, self.lasting, self.placed)
            else:
                told = of_an_array(x, self.lasting)
            self.numbers[id(x)] = told, x  # whose id is then no other's
        return self.numbers[id(x)][0]


class Lasting(Telling):
    """The same in every process: of every number, and of the code of functions and methods, but of no random
    state, of no order of sets, and whichever equal texts are one object.
    """

    lasting = True

    def __init__(self, to: io.BytesIO, found: Reached, sets: frozenset[int] = frozenset()) -> None:
        super().__init__(to, found)
        self.fast = True
        self.places: dict[int, tuple[int, Any]] = {}  # with the objects, whose ids are then no others'
        self.sets = sets  # around what is told here

    def persistent_id(self, obj: Any) -> Any:
        """Lists of numbers and words at once, sets in an order of their own, and what was met before by its
        place: an object may hold itself.
        """
        kind = type(obj)
        if kind in _ATOMS:
            return None
        if kind in (list, tuple, dict) and len(obj) > _MANY and (said := _plain(obj)) is not None:
            return "plain", kind.__name__, hashlib.sha256(said).hexdigest()
        if isinstance(obj, set | frozenset):
            own = None if kind in (set, frozenset) else (kind, vars(obj))
            return "set", kind.__name__, self._of_a_set(obj), own
        if kind in _NO_PLACE or isinstance(obj, Tensor | np.ndarray):
            return None
        if (met := self.places.get(id(obj))) is not None:
            return "met", met[0]
        self.places[id(obj)] = len(self.places), obj
        return None

    def _of_a_set(self, obj: Any) -> list[str]:
        if id(obj) in self.sets:
            return []  # it holds an object that holds it
        if set(map(type, obj)) <= _ATOMS:
            return sorted(map(repr, obj))
        told, met = [], set(self.met)
        for each in obj:  # whichever comes first
            within = Lasting(to := io.BytesIO(), self.found, self.sets | {id(obj)})
            within.met, within.numbers = set(met), self.numbers
            within.whole(each)
            told.append(hashlib.sha256(to.getvalue()).hexdigest())
            self.met |= within.met
        return sorted(told)


def _plain(obj: list[Any] | tuple[Any, ...] | dict[Any, Any]) -> bytes | None:
    """Numbers and words, and tables of them, in one piece."""
    kinds = set(map(type, obj)) | (set(map(type, obj.values())) if isinstance(obj, dict) else set())
    if not kinds <= _ATOMS:
        return None
    # Of texts pickle also says which are one object.
    return repr(obj).encode() if kinds & {str, bytes} else pickle.dumps(obj, 4)


def is_full(cell: Any) -> bool:
    """Whether a name that a function closes over has a value yet."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _closed_over(f: FunctionType) -> list[Any]:
    return [c.cell_contents for c in f.__closure__ or () if is_full(c)]


def _described(value: Any) -> bool:
    """Whether a class holds it as code, or as the place of a slot."""
    kinds = (FunctionType, property, staticmethod, classmethod)
    theirs = hasattr(type(value), "__get__") and not _of_ones_own(type(value))
    return isinstance(value, kinds) or theirs or "_abc" in type(value).__name__


def _of_ones_own(kind: Any) -> bool:
    """Whether the code of a class or a function is nobody's library."""
    home = str(kind.__module__)
    return not library(home) and home.partition(".")[0] not in KEPT


def _kept(kind: type) -> bool:
    base = "PreTrainedTokenizerBase"
    return kind.__module__.partition(".")[0] in KEPT or any(k.__name__ == base for k in kind.__mro__)
