"""Jobs of a pool belong to whoever submits them, whichever thread runs them and wherever it was started."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from interventions import Add, applied, edited
from probes import Direction, capture

TEXTS = ["the red house is old", "a small tree"]


@pytest.fixture(scope="module")
def llama(make_model):
    return make_model("llama")


@pytest.fixture(scope="module")
def edit(llama):
    return Add(Direction.from_vector(torch.ones(llama.width), "resid_post.1"), norm=8)


@pytest.fixture(scope="module")
def told(llama, edit):
    """What passes come out as."""
    plain, under = llama.logits(TEXTS), edited(llama, edit).logits(TEXTS)
    assert not torch.allclose(plain, under, atol=1e-2)

    def told():
        found = llama.logits(TEXTS)
        return [
            name for name, x in (("plain", plain), ("edited", under)) if torch.allclose(found, x, atol=1e-4)
        ]

    return told


def test_a_worker_that_was_started_inside_runs_the_jobs_of_others_unedited(llama, edit, told):
    inside, leave = threading.Event(), threading.Event()

    def of_others():
        receipt = capture(llama, TEXTS, "resid_post.1", progress=False).receipt
        return told(), receipt["edits"]

    with ThreadPoolExecutor(1) as pool:

        def request():
            with applied(llama.hf, edit):
                first = pool.submit(told).result()
                inside.set()
                assert leave.wait(30)
                return first, pool.submit(told).result()

        with ThreadPoolExecutor(1) as server:
            running = server.submit(request)
            assert inside.wait(30)
            assert pool.submit(of_others).result() == (["plain"], [])
            leave.set()
            assert running.result() == (["edited"], ["edited"])


def test_two_requests_on_the_loops_own_pool(llama, edit, told):
    async def one(inside, done):
        with applied(llama.hf, edit):
            found = await asyncio.get_running_loop().run_in_executor(None, told)
            inside.set()
            await done.wait()
            return found

    async def two(inside, done):
        await inside.wait()
        found = await asyncio.get_running_loop().run_in_executor(None, told)
        done.set()
        return found

    async def main():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        inside, done = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(one(inside, done), two(inside, done))

    assert asyncio.run(main()) == [["edited"], ["plain"]]


def test_jobs_submitted_inside_are_edited_also_by_workers_from_before(llama, edit, told):
    together = threading.Barrier(3)

    def job(_):
        together.wait(30)
        return told()

    with ThreadPoolExecutor(3) as pool:
        assert pool.submit(told).result() == ["plain"]
        with applied(llama.hf, edit):
            assert list(pool.map(job, range(3))) == [["edited"]] * 3
            # A job that submits another hands on what it was given.
            with ThreadPoolExecutor(1) as more:
                assert pool.submit(lambda: more.submit(told).result()).result() == ["edited"]
        assert list(pool.map(job, range(3))) == [["plain"]] * 3


def test_a_job_that_waits_from_before_is_none_of_those_inside(llama, edit, told):
    """It waits for a worker that is started inside."""
    leave = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(leave.wait, 30) for _ in range(2)]
        waits = pool.submit(told)
        with applied(llama.hf, edit):
            mine = pool.submit(told)
            leave.set()
            assert waits.result() == ["plain"] and mine.result() == ["edited"]
            assert all(b.result() for b in busy)


def test_a_thread_with_an_applied_of_its_own_starts_threads_that_meet_only_it(llama, edit):
    other = Add(edit.direction, norm=-8)
    want = edited(llama, other).logits(TEXTS)
    found = {}

    def child():
        found["child"] = llama.logits(TEXTS)

    def parent():
        with applied(llama.hf, other):
            found["parent"] = llama.logits(TEXTS)
            with ThreadPoolExecutor(1) as pool:
                found["job"] = pool.submit(llama.logits, TEXTS).result()
            thread = threading.Thread(target=child)
            thread.start()
            thread.join()

    with applied(llama.hf, edit):
        llama.logits(TEXTS)
        thread = threading.Thread(target=parent)
        thread.start()
        thread.join()
    assert {name: torch.allclose(x, want, atol=1e-4) for name, x in found.items()} == dict.fromkeys(
        ("parent", "job", "child"), True
    )


def test_how_jobs_are_submitted_is_as_before(llama, edit):
    plain = ThreadPoolExecutor.submit

    class Own(ThreadPoolExecutor):
        """One that asks what it is given."""

        def submit(self, fn, /, *args, **kwargs):
            assert fn is max or fn is int
            return super().submit(fn, *args, **kwargs)

    def fails():
        raise KeyError("as it stands")

    with Own(1) as own, ThreadPoolExecutor(1) as pool:
        with applied(llama.hf, edit):
            llama.logits(TEXTS)
            assert own.submit(max, 2, 3).result() == 3 and own.submit(int, "11", base=2).result() == 3
            with pytest.raises(KeyError, match="as it stands"):
                pool.submit(fails).result()
            with pytest.raises(TypeError):
                pool.submit()
        assert ThreadPoolExecutor.submit is plain
        assert pool.submit(int).result() == 0
    with applied(llama.hf, edit), pytest.raises(RuntimeError, match="after shutdown"):
        llama.logits(TEXTS)
        pool.submit(int)
    assert ThreadPoolExecutor.submit is plain
