"""All that an object reaches (attributes, slots, containers, closures, defaults, generators, attributes of
its class, global names): told in a hash, and copied.
"""

import copy
import hashlib
import io
from types import CellType, FunctionType
from typing import Any

from probes.models.called_code import function_behind, library, told_code, used
from probes.models.telling import Lasting, Reached, Telling, is_full

__all__ = ["Reached", "anew", "function_behind", "library", "reached", "told_code", "used"]

_OF_FUNCTIONS = ("__defaults__", "__kwdefaults__", "__dict__")


def reached(o: Any, lasting: bool = False, placed: bool = True) -> Reached:
    """All that an object reaches. `lasting` hashes are the same in every process: of every number, and of the
    code of functions and methods, but of no random state. Those that are not `placed` are the same for
    copies, also of large tensors.
    """
    to = io.BytesIO()
    found = Reached()
    try:
        (Lasting(to, found) if lasting else Telling(to, found, placed)).whole(o)
    except Exception as error:  # objects refuse to be written down with errors of any kind; `told` is empty
        found.why = f"{type(error).__name__}: {error}"
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
    memo: dict[int, Any] = {id(each): each for each in (*met.shared, *met.kept)}
    cells: dict[int, CellType] = {}
    for f in met.functions:
        own = tuple(cells.setdefault(id(c), CellType()) for c in f.__closure__ or ())
        memo[id(f)] = FunctionType(f.__code__, f.__globals__, f.__name__, None, own)
        memo[id(f)].__qualname__, memo[id(f)].__module__ = f.__qualname__, f.__module__
    filled = set()
    for f in met.functions:
        for cell in f.__closure__ or ():
            if id(cell) not in filled and is_full(cell):
                filled.add(id(cell))
                cells[id(cell)].cell_contents = copy.deepcopy(cell.cell_contents, memo)
        for name in _OF_FUNCTIONS:
            setattr(memo[id(f)], name, copy.deepcopy(getattr(f, name), memo))
    return copy.deepcopy(o, memo)
