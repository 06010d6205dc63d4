"""Work side by side: the results of a plain loop in its order, and PyTorch's threads left as they were."""

import threading

import pytest
import torch

from probes.fitting.threads import side_by_side
from probes.recipes.logistic import logistic_path


@pytest.fixture(params=[1, 2, 5])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    found = []
    started = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    started.start()
    started.join()
    return found[0]


def test_parts_come_in_order_share_the_threads_and_leave_them(threads):
    meeting = threading.Barrier(min(threads, 3))

    def work(part: int) -> tuple[int, int]:
        meeting.wait(10)  # breaks unless that many parts run at once
        return part, torch.get_num_threads()

    found = side_by_side(work, range(3) if threads != 2 else range(4))
    assert [part for part, _ in found] == list(range(len(found))) and side_by_side(work, []) == []
    assert {own for _, own in found} == {max(1, threads // 3)}
    assert torch.get_num_threads() == threads and threads_of_a_new_thread() == threads


def test_an_error_in_one_part_is_raised_and_the_threads_are_given_back(threads):
    def work(part: int) -> int:
        if part == 1:
            raise ValueError("part 1 is bad")
        return part

    with pytest.raises(ValueError, match="part 1 is bad"):
        side_by_side(work, range(3))
    assert torch.get_num_threads() == threads and threads_of_a_new_thread() == threads


def test_logistic_fits_are_the_same_on_any_number_of_threads(threads, monkeypatch):
    monkeypatch.setattr("probes.recipes.logistic.CHUNK", 1)  # each site by itself
    z = torch.randn(4, 60, 12, generator=torch.Generator().manual_seed(0))
    y = (z[0, :, 0] > 0)[None].expand(3, -1)
    penalties = torch.tensor([0.01, 0.1, 1.0], dtype=torch.float64)
    whole = logistic_path(z, y, penalties)
    for site in range(4):
        alone = logistic_path(z[site : site + 1], y, penalties)
        assert all(torch.allclose(a[:, site], b[:, 0], atol=1e-9) for a, b in zip(whole, alone, strict=True))
