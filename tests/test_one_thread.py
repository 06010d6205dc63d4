"""Fits and scores of few numbers are made on one thread, so that they do not wait for each other on cores
that others use; of many on as many as there are. Threads are as before afterwards.
"""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from probes import Activations, Logistic
from probes.checks.threads import one_thread
from probes.fitting import margins
from probes.fitting.exactly import made_exactly


@made_exactly
def threads(*_) -> int:
    return torch.get_num_threads()


def rows(n: int, d: int) -> torch.Tensor:
    return torch.zeros(1).expand(3, n, d)  # however many, they take no memory


@pytest.fixture
def two_threads():
    with threadpool_limits(2, user_api="openmp"):
        yield


def test_small_work_is_done_on_one_thread_and_large_on_all(two_threads):
    few, many = rows(1000, 768), rows(10_000, 4096)
    assert threads(few) == 1
    assert threads(many) == 2
    labellings = torch.zeros(100, 1000, dtype=torch.bool)
    assert threads(few, labellings) == 2
    assert torch.get_num_threads() == 2


def test_a_fit_and_a_score_are_made_on_one_thread_and_give_the_others_back(two_threads, monkeypatch):
    seen, stepped = [], margins._stepped
    monkeypatch.setattr(
        margins, "_stepped", lambda *args: seen.append(torch.get_num_threads()) or stepped(*args)
    )
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 60, 8)).astype("float32"), np.arange(60) % 2
    Logistic().fit(Activations.from_arrays(x, y))
    assert seen and set(seen) == {1}
    assert torch.get_num_threads() == 2


def test_threads_come_back_after_an_error(two_threads):
    @made_exactly
    def fails(x: torch.Tensor) -> None:
        raise RuntimeError("meant")

    with pytest.raises(RuntimeError, match="meant"):
        fails(rows(10, 10))
    assert torch.get_num_threads() == 2


def test_it_is_only_when_asked_for(two_threads):
    with one_thread(when=False):
        assert torch.get_num_threads() == 2
    with one_thread():
        assert torch.get_num_threads() == 1
