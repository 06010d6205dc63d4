"""Fits and scores are made in the precision of their numbers, whatever holds for passes around them."""

import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from probes.checks.casting import uncast
from probes.checks.devices import new_on_cpu
from probes.checks.threads import few, one_thread
from probes.data.rows import Rows

Call = TypeVar("Call", bound=Callable[..., Any])


@contextmanager
def exactly() -> Generator[None]:
    """Within, nothing is cast (`torch.autocast`), gradients can be taken (`torch.inference_mode`), tensors
    that do not say where lie on the CPU (`torch.set_default_device`), and new numbers are float32
    (`torch.set_default_dtype`, which counts for all threads meanwhile).
    """
    before = torch.get_default_dtype()
    with ExitStack() as held:
        held.enter_context(new_on_cpu())
        held.enter_context(uncast(_devices()))
        if torch.is_inference_mode_enabled():
            held.enter_context(torch.inference_mode(False))
        if before != torch.float32:
            torch.set_default_dtype(torch.float32)
            held.callback(torch.set_default_dtype, before)
        yield


def _numbers(given: list[Any]) -> Iterator[int]:
    """How many numbers the rows of a site have, under all the labellings that are given with them."""
    labellings = max((len(a) for a in given if isinstance(a, Tensor) and a.ndim == 2), default=1)
    for a in given:
        sides = [getattr(a, name, None) for name in ("x", "yes")] if isinstance(a, Rows) else [a]
        for x in sides:
            if isinstance(x, Tensor) and x.ndim == 3:
                yield x[0].numel() * labellings


def _devices() -> set[str]:
    other = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return {"cpu"} if other is None else {"cpu", other.type}


def made_exactly(call: Call) -> Call:
    """The same call, made `exactly`, and on one thread where its rows are few."""

    @functools.wraps(call)
    def made(*args: Any, **kwargs: Any) -> Any:
        with exactly(), one_thread(few(_numbers([*args, *kwargs.values()]))):
            return call(*args, **kwargs)

    return cast(Call, made)
