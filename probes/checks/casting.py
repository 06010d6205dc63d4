"""Autocast around a call, also where numbers are made exactly within it."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

import torch

_around: ContextVar[Mapping[str, str] | None] = ContextVar("autocast around", default=None)


def autocast_on(device: str) -> str:
    """The precision that passes are cast to on a kind of device, as the caller has it; empty for none."""
    around = _around.get()
    return _now(device) if around is None else around.get(device, "")


@contextmanager
def uncast(devices: set[str]) -> Generator[None]:
    """Within, nothing is cast on these kinds of devices; what was is still told by `autocast_on`."""
    before = _around.get()
    _around.set({d: autocast_on(d) for d in devices})
    try:
        with ExitStack() as held:
            for device in devices:
                if torch.is_autocast_enabled(device):
                    held.enter_context(torch.autocast(device, enabled=False))
            yield
    finally:
        _around.set(before)


def _now(device: str) -> str:
    if device == "meta" or not torch.is_autocast_enabled(device):
        return ""
    return str(torch.get_autocast_dtype(device)).removeprefix("torch.")
