"""Warnings point at the line of whoever called us, however deep in our own code they are given."""

import sys
import warnings

OURS = ("probes", "interventions", "experiments", "hookprobe")
_BETWEEN = ("contextlib", "functools", "jaxtyping", "torch.utils._contextlib")  # decorators of ours


class HookprobeWarning(UserWarning):
    """What the toolkit has to say of what it was given: the result stands, and something about it should be
    known. `warnings.simplefilter("error", HookprobeWarning)` makes each of them an error.
    """


def warn(text: str) -> None:
    """A HookprobeWarning at the first line that is not ours; at the outermost line where all are."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _ours(str(frame.f_globals.get("__name__", ""))):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, HookprobeWarning, stacklevel=level)


def _ours(module: str) -> bool:
    return module.partition(".")[0] in OURS or module in _BETWEEN or module.startswith("jaxtyping.")
