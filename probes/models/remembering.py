"""Processors and criteria of one's own that count calls or keep what they saw: prompts are written batch by
batch, and what is remembered of one batch goes on into the next.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

from torch import Tensor


@dataclass(eq=False)
class Memory:
    """What the objects of one call remembered when its latest batch began."""

    seen: dict[str, Any] | None = None
    said: bool = False

    def batch_begins(self, objects: Sequence[Any]) -> None:
        """Warns, once a call, where any of them, other than Hugging Face's, remembers the batch before."""
        own = [o for o in objects if type(o).__module__.partition(".")[0] != "transformers"]
        now = {f"{_name(o)}'s {name}": value for o in own for name, value in _remembered(o).items()}
        before, self.seen = self.seen or {}, now
        name = next((n for n in now if before.get(n, now[n]) != now[n]), None)
        if name is None or self.said:
            return
        self.said = True
        warnings.warn(
            f"{name} changed while a batch of prompts was written (from {before[name]!r:.40} to"
            f" {now[name]!r:.40}), and the batches of a call follow one another, longest prompts first: what"
            " it keeps is in no order of the list, and what it does to a prompt may depend on those before."
            " Give one prompt a call with an object made anew, or prompts of one length with"
            " batch_size=len(prompts)",
            stacklevel=6,
        )


def _remembered(o: Any) -> dict[str, Any]:
    """What an object or a function holds that can be told apart: plain values, how much is in containers, how
    often tensors were written to. What is made at the first call and kept is none of it.
    """
    held: dict[str, Any] = {}
    if isinstance(o, MethodType):
        return _remembered(o.__self__)
    if isinstance(o, FunctionType):
        code = o.__code__
        held |= {n: o.__globals__[n] for n in code.co_names if n in o.__globals__}
        held |= {
            n: c.cell_contents for n, c in zip(code.co_freevars, o.__closure__ or (), strict=True) if _full(c)
        }
    held |= vars(o) if hasattr(o, "__dict__") else {}
    return {name: told for name, value in held.items() if (told := _told(value)) is not None}


def _full(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that has no value yet
        return False


def _told(value: Any) -> Any:
    if isinstance(value, Tensor):
        return None if value.is_inference() else f"written to {value._version} times"
    if isinstance(value, bool | int | float | str):
        return value
    return f"{len(value)} entries" if isinstance(value, Mapping | Sequence | Set) else None


def _name(o: Any) -> str:
    called: Callable[..., Any] = o
    return getattr(called, "__name__", type(o).__name__)
