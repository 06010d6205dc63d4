"""Other people's code, told apart from ours and from that of the libraries that run a model."""

import functools
from typing import Any

from probes.models.reached import library

OURS = ("probes", "interventions")
# They hang hooks on modules as part of running them, some only once they were first needed.
PART_OF_THE_MODEL = ("torch", "transformers", "accelerate", "peft", "transformer_lens", "nnsight")
CHECKERS = ("jaxtyping", "beartype")  # what they put over a function looks at its arguments and calls it


def foreign(fn: Any) -> str | None:
    """The name of a function that is neither ours nor a library's that runs the model. One that was given the
    name of another (`functools.wraps`) is of the module in which it was written.
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    said = str(getattr(fn, "__module__", "") or type(fn).__module__)
    while _written_in(fn, said).partition(".")[0] in CHECKERS and hasattr(fn, "__wrapped__"):
        fn = fn.__wrapped__
    home = _written_in(fn, said)
    known = [each.partition(".")[0] in (*OURS, *PART_OF_THE_MODEL) for each in (said, home)]
    if all(known):
        return None
    return f"{said if known[1] else home}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"


def _written_in(fn: Any, said: str) -> str:
    """The module in which a function was written; what it says where it does not tell."""
    return str(getattr(fn, "__globals__", {}).get("__name__", said))


def nobodys(what: Any) -> bool:
    """Whether a class or function is neither a library's nor code that came with a model."""
    return of_nobody(str(what.__module__))


@functools.cache
def of_nobody(module: str) -> bool:
    root = module.partition(".")[0]
    return root not in (*PART_OF_THE_MODEL, "transformers_modules") and not library(module)
