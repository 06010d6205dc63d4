"""Where new tensors lie while our own code runs."""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def new_on_cpu() -> Generator[None]:
    """Within, new tensors that name no device lie on the CPU, whatever `torch.set_default_device` says
    outside: numbers of texts and rows are made there and moved to where the model lies.
    """
    with nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu"):
        yield
