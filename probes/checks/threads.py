"""PyTorch's threads, borrowed and given back.

On cores that others use too, a thread that waits for another turns in place until that one has its turn on a
core: a fit of milliseconds on two threads took forty times as long as on one. Work whose every step is over
in a few milliseconds is therefore done on one thread.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cache

from threadpoolctl import ThreadpoolController

FEW = 2**25  # numbers, rows times labellings, that one thread goes over in a few milliseconds


def one_thread(when: bool = True) -> AbstractContextManager[object]:
    """On one thread while inside; as before afterwards.

    Not `torch.set_num_threads`: called with more than one thread, as giving them back does, it leaves
    MKL's LU of several matrices wrong for the rest of the process (torch 2.13: slogdet off by whole
    numbers, inv raises).
    """
    return _libraries().limit(limits=1, user_api="openmp") if when else nullcontext()


def few(numbers: Iterable[int]) -> bool:
    """Whether work on so many numbers at once, the largest counting, is too small for several threads."""
    return max(numbers, default=0) <= FEW


@cache
def _libraries() -> ThreadpoolController:
    """Found once: to find them takes milliseconds, to limit them microseconds."""
    return ThreadpoolController()
