"""Numbers that code holds or draws, told: tensors, arrays, and where random numbers stand."""

import hashlib
import random
from types import FunctionType, ModuleType

import numpy as np
import torch
from torch import Tensor

from probes.data.digest import values_of
from probes.models.called_code import codes

_SMALL = 2**16  # numbers of which a digest is made; more are summed up, at the speed of memory
LARGE = 2**22  # numbers of a tensor that is not copied, and beyond which some are picked
_DRAWING = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "multinomial"}
_OF_NUMPY = ("numpy", "scipy", "pandas", "sklearn")  # which draw from one state
_DRAWING |= {"bernoulli", "normal", "bernoulli_", "normal_", "uniform_", "exponential_", "dropout"}


def of_a_tensor(x: Tensor, every: bool, placed: bool) -> str:
    """The values of a tensor; of a large one how often it was written to, and its place or some."""
    head = f"{x.dtype} {tuple(x.shape)}"
    large = x.numel() > LARGE and not every
    if large:
        head = f"{head} {0 if x.is_inference() else x._version}"
    if (large and placed) or x.device.type == "meta" or x.layout != torch.strided:
        return f"{head} {x.data_ptr()} {0 if x.is_inference() else x._version}"
    some = x.detach().reshape(-1)
    if not every and _SMALL < x.numel() <= LARGE:
        return f"{head} {values_of(some).hex()}"
    some = some[:: x.numel() // _SMALL] if large else some
    raw = some.cpu().contiguous().view(torch.uint8).numpy()
    return f"{head} {hashlib.sha256(raw.data).hexdigest()}"


def of_an_array(x: np.ndarray, every: bool) -> str:
    """The values of an array, of a large one some."""
    flat = x.reshape(-1)
    some = flat if every or x.size <= LARGE else flat[:: x.size // _SMALL]
    raw = np.ascontiguousarray(some).view(np.uint8) if x.size and x.dtype.itemsize else np.zeros(0, np.uint8)
    told = hashlib.sha256(raw.data).hexdigest() if every or raw.size <= 8 * _SMALL else _summed(raw)
    return f"{type(x).__name__} {x.dtype} {x.shape} {told}"


def _summed(raw: np.ndarray) -> str:
    return values_of(torch.from_numpy(raw if raw.flags.writeable else raw.copy())).hex()


def noise(f: FunctionType) -> bytes:
    """Where torch's random numbers stand, for a function that draws some."""
    names = {n for code in codes(f.__code__) for n in code.co_names}
    return torch.get_rng_state().numpy().tobytes() if names & _DRAWING else b""


def drawn(module: ModuleType) -> bytes:
    """Where the random numbers stand that a module gives."""
    state = {"random": random.getstate} | dict.fromkeys(_OF_NUMPY, np.random.get_state)
    state = state.get(module.__name__.partition(".")[0])
    return b"" if state is None else repr(state()).encode()
