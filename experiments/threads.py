"""PyTorch's threads, borrowed and given back."""

from threadpoolctl import threadpool_limits


def one_thread(when: bool = True) -> threadpool_limits:
    """On one thread while inside, for models too small for a second one to help; as before afterwards.

    Not `torch.set_num_threads`: called with more than one thread, as giving them back does, it leaves
    MKL's LU of several matrices wrong for the rest of the process (torch 2.13: slogdet off by whole
    numbers, inv raises).
    """
    return threadpool_limits(1 if when else None, user_api="openmp")
