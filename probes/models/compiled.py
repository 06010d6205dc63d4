"""Compiled models, run as they were before they were compiled.

A graph traced before hooks came knows nothing of them: edits would vanish without a word, and readings with
them. `original` finds the model that was compiled, `eagerly` has it run.
"""

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import nn

_lock = threading.Lock()
_state: dict[str, Any] = {"inside": 0, "before": None}


def original(hf: nn.Module) -> nn.Module:
    """The model out of `torch.compile(model)`."""
    while "_orig_mod" in hf._modules:
        hf = hf._modules["_orig_mod"]  # pyright: ignore[reportAssignmentType]
    return hf


def uncompile_forwards(hf: nn.Module) -> None:
    """Takes compiled `forward`s off a copy of a model; each belongs to the module that was copied."""
    for module in hf.modules():
        if _compiled_forward(module) and "_orig_mod" not in module._modules:
            del module.__dict__["forward"]


@contextmanager
def eagerly(hf: nn.Module | None = None) -> Generator[None]:
    """Within, whatever was compiled runs as it stands in Python, hooks and all, in every thread; the stance
    that was taken before counts again once the last one inside has left.

    With a model, only where some of it is compiled.
    """
    # A model of transformers has imported it; where it is not there, nothing is compiled.
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    if dynamo is None or (hf is not None and not any(map(_compiled, hf.modules()))):
        yield
        return
    with _lock:
        if not _state["inside"]:
            _state["before"] = dynamo._set_stance(dynamo.DynamoStance("force_eager"))
        _state["inside"] += 1
    try:
        yield
    finally:
        with _lock:
            _state["inside"] -= 1
            if not _state["inside"]:
                dynamo._set_stance(_state["before"])


def _compiled(module: nn.Module) -> bool:
    return (
        module._compiled_call_impl is not None or "_orig_mod" in module._modules or _compiled_forward(module)
    )


def _compiled_forward(module: nn.Module) -> bool:
    return hasattr(module.__dict__.get("forward"), "_torchdynamo_orig_callable")
