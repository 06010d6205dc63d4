"""What code writes, told without a run: which attributes, off which variables, and which of them it only
fills in once or puts back.
"""

import dis
import functools
import sys
from dataclasses import dataclass, field
from types import CodeType

ITEM = "[]"
_TAKEN = {"STORE_ATTR": 2, "STORE_SUBSCR": 3, "STORE_SLICE": 4, "DELETE_SUBSCR": 2, "DELETE_ATTR": 1}
_HOLDS = {"STORE_SUBSCR": 2, "STORE_SLICE": 3, "DELETE_SUBSCR": 2}  # how deep what is written into lies
_ENDS = ("JUMP_FORWARD", "JUMP_BACKWARD", "RETURN_", "RERAISE", "RAISE_VARARGS")
_NO_HANDLER = ("POP_EXCEPT", "CHECK_EXC_MATCH", "RAISE_VARARGS", "RETURN_VALUE")
_SILENT = ("CACHE", "EXTENDED_ARG", "RESUME", "NOP", "NOT_TAKEN")


@dataclass(frozen=True)
class Path:
    """A value by the variable it comes from, with the attributes and items on the way; of a value that was
    made, or whose origin is lost, `root` is empty.
    """

    root: str = ""
    kind: str = ""  # local, closed, global or constant
    way: tuple[str, ...] = ()

    def then(self, name: str) -> "Path":
        return Path(self.root, self.kind, (*self.way, name))


_LOST = Path()
_CONSTANT = Path("", "constant")


@dataclass(frozen=True)
class Writes:
    """What a code `sets`, and `moves` by storing items; which methods it `calls` on what; and those of `sets`
    that it only `fills` where they were None, or `restores` in the end, come what may.
    """

    sets: frozenset[Path]
    moves: frozenset[Path]
    calls: frozenset[tuple[Path, str]]
    fills: frozenset[Path]
    restores: frozenset[Path]


@functools.cache
def writes_of(code: CodeType) -> Writes:
    """What a code writes, without the functions within. Its steps are followed once, in their order."""
    found = _Following()
    for step in dis.get_instructions(code):
        if step.opname not in _SILENT:
            found.follow(step)
    known = {path for _, path in found.sets}
    fills = {p for p in known if all(found.filled(at, p) for at, q in found.sets if q == p)}
    moves = frozenset(p for p in found.moves if p.root)
    calls = frozenset((p, method) for p, method in found.calls if p.root)
    return Writes(frozenset(known), moves, calls, frozenset(fills), frozenset(found.restores))


@dataclass
class _Following:
    stack: list[Path] = field(default_factory=list)
    names: dict[str, Path] = field(default_factory=dict)  # of variables that stand for something else
    sets: list[tuple[int, Path]] = field(default_factory=list)
    moves: set[Path] = field(default_factory=set)
    calls: set[tuple[Path, str]] = field(default_factory=set)
    restores: set[Path] = field(default_factory=set)
    none: list[tuple[int, int, Path]] = field(default_factory=list)  # from where to where it was None
    at: dict[int, list[Path]] = field(default_factory=dict)  # what lies on the stack where a jump leads
    ended: bool = False
    handler: set[Path] | None = None  # what was set since an exception was caught

    def filled(self, at: int, path: Path) -> bool:
        return any(first < at < last and path == other for first, last, other in self.none)

    def top(self, depth: int = 1) -> Path:
        return self.stack[-depth] if len(self.stack) >= depth else _LOST

    def take(self, count: int) -> None:
        del self.stack[max(0, len(self.stack) - count) :]

    def follow(self, step: dis.Instruction) -> None:
        name = step.opname
        if self.ended:
            self.stack, self.ended = [*self.at.get(step.offset, ())], False
        if name.startswith("LOAD_") and self._loaded(step):
            return
        if name == "STORE_ATTR":
            self._set(step.offset, self.top().then(str(step.argval)), self.top(2))
        if name in _HOLDS:
            self.moves.add(self.top(_HOLDS[name]))
        if name.startswith("STORE_FAST"):
            self._named(step)
        elif name in _TAKEN:
            self.take(_TAKEN[name])
        elif name == "COPY":
            self.stack.append(self.top(step.arg or 1))
        elif name == "SWAP" and len(self.stack) >= (step.arg or 1):
            s, i = self.stack, -(step.arg or 1)
            s[-1], s[i] = s[i], s[-1]
        elif name == "BINARY_SUBSCR" or (name == "BINARY_OP" and "[" in step.argrepr):
            of = self.top(2)
            self.take(2)
            self.stack.append(of.then(ITEM) if of.root else _LOST)
        else:
            self._otherwise(step)

    def _loaded(self, step: dis.Instruction) -> bool:
        """Follows a step that loads something; False for one that is nothing in particular."""
        name, said = step.opname, step.argval
        if name.startswith(("LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_GLOBAL", "LOAD_NAME")):
            if name == "LOAD_GLOBAL" and (step.arg or 0) & 1:
                self.stack.append(_LOST)
            kind = "local" if "FAST" in name else "closed" if "DEREF" in name else "global"
            for variable in said if isinstance(said, tuple) else (said,):
                known = self.names.get(variable) if kind == "local" else None
                self.stack.append(Path(str(variable), kind) if known is None else known)
        elif name.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
            self.stack.append(_CONSTANT)
        elif name == "LOAD_METHOD" or (name == "LOAD_ATTR" and _of_a_method(step)):
            self.calls.add((self.top(), str(said)))
            self.take(1)
            self.stack += [_LOST, _LOST]
        elif name == "LOAD_ATTR":
            of = self.top()
            self.take(1)
            self.stack.append(of.then(str(said)) if of.root else _LOST)
        else:
            return False
        return True

    def _named(self, step: dis.Instruction) -> None:
        """Follows what goes into variables; of two in one step the second is stored, or loaded, behind."""
        first, *second = step.argval if isinstance(step.argval, tuple) else (step.argval,)
        self.names[str(first)] = self.top()
        self.take(1)
        if second and step.opname.endswith("STORE_FAST"):
            self.names[str(second[0])] = self.top()
            self.take(1)
        elif second:
            self.stack.append(self.names.get(second[0]) or Path(str(second[0]), "local"))

    def _set(self, at: int, path: Path, value: Path) -> None:
        self.sets.append((at, path))
        if self.handler is not None and value in (path, _CONSTANT):
            self.handler.add(path)

    def _otherwise(self, step: dis.Instruction) -> None:
        name = step.opname
        if "JUMP" in name and "IF_NOT_NONE" in name and self.top().way:
            self.none.append((step.offset, int(step.argval), self.top()))
        if name == "PUSH_EXC_INFO":
            self.handler = set()
        elif name == "RERAISE" and self.handler is not None:
            self.restores |= self.handler
            self.handler = None
        elif name.startswith(_NO_HANDLER):
            self.handler = None
        effect = dis.stack_effect(step.opcode, step.arg, jump=False)
        if effect < 0:
            # What is left on top was made anew, but where the step only takes.
            only = name.startswith(("STORE_", "POP_", "DELETE_")) or "JUMP" in name
            self.take(-effect)
            if not only and self.stack:
                self.stack[-1] = _LOST
        else:
            if not effect and self.stack and not name.startswith(("GET_LEN", "JUMP", "MAKE_CELL", "TO_BOOL")):
                self.stack[-1] = _LOST
            self.stack += [_LOST] * effect
        if "JUMP" in name:
            self.at.setdefault(int(step.argval), [*self.stack])
        self.ended = name.startswith(_ENDS)


def _of_a_method(step: dis.Instruction) -> bool:
    return sys.version_info >= (3, 12) and bool((step.arg or 0) & 1)
