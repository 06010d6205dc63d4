"""Warnings point at the line of whoever called us, however deep in our own code they are given."""

import sys
import warnings

OURS = ("probes", "interventions", "experiments", "hookprobe")
_BETWEEN = ("contextlib", "functools", "jaxtyping", "torch.utils._contextlib")  # decorators of ours


def warn(text: str) -> None:
    """A UserWarning at the first line that is not ours; at the outermost line where all are."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _ours(str(frame.f_globals.get("__name__", ""))):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)


def _ours(module: str) -> bool:
    return module.partition(".")[0] in OURS or module in _BETWEEN or module.startswith("jaxtyping.")
