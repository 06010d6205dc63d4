"""Work on the sites side by side, where each site alone is too small for the threads of a matrix product."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """What `work` makes of every part, in order; parts run at once on PyTorch's threads, which they share out
    among them.

    Each part's result is the same however many run at once. Where PyTorch has one thread, or there is one
    part, it is a plain loop.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(parts))
    if workers < 2:
        return [work(part) for part in parts]
    try:
        with ThreadPoolExecutor(
            workers, initializer=torch.set_num_threads, initargs=(threads // workers,)
        ) as pool:
            return list(pool.map(work, parts))
    finally:
        torch.set_num_threads(threads)  # threads started later begin with the number that was set last
