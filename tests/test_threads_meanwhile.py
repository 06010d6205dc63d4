"""Threads that start while somebody is inside `applied`: his own are under the edit, those of others not."""

import asyncio
import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from interventions import Add, applied
from probes import Direction, capture, recording

TEXTS = ["the red house is old", "a small tree"]


@pytest.fixture(scope="module")
def llama(make_model):
    return make_model("llama")


@pytest.fixture(scope="module")
def edit(llama):
    return Add(Direction.from_vector(torch.ones(llama.width), "resid_post.1"), norm=8)


def in_a_thread(work, start=threading.Thread):
    found = []
    thread = start(target=lambda: found.append(work()))
    thread.start()
    thread.join(30)
    return found[0]


def of_hf(model):
    with torch.no_grad():
        return model.hf(torch.tensor([model.encode(TEXTS)[0].ids])).logits


def test_a_thread_that_somebody_else_starts_meanwhile_is_not_edited(llama, edit):
    """Two requests of a server, each in its thread: the second begins while the first is inside."""
    plain, own = llama.logits(TEXTS), of_hf(llama)
    inside, leave = threading.Event(), threading.Event()

    def first():
        with applied(llama.hf, edit), recording(llama.hf, "resid_post.2") as seen:
            under = llama.logits(TEXTS)
            inside.set()
            assert leave.wait(30)
        return under, seen.passes

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(first)
        assert inside.wait(30)
        assert torch.equal(in_a_thread(lambda: llama.logits(TEXTS)), plain)
        assert torch.equal(in_a_thread(lambda: of_hf(llama)), own)
        receipt = in_a_thread(lambda: capture(llama, TEXTS, "resid_post.2", progress=False).receipt)
        assert receipt["edits"] == []
        leave.set()
        under, passes = running.result()
    assert not torch.allclose(under, plain, atol=1e-2)
    assert [len(p) for p in passes.values()] == [1], "nor are its passes recorded"


def test_a_task_of_its_own_takes_its_edits_along_to_a_thread_and_no_other_does(llama, edit):
    plain = llama.logits(TEXTS)

    async def inside(entered, leave):
        with applied(llama.hf, edit):
            found = await asyncio.to_thread(llama.logits, TEXTS)
            entered.set()
            await leave.wait()
            return found, await asyncio.to_thread(llama.logits, TEXTS)

    async def beside(entered, leave):
        await entered.wait()
        # Also in the thread that the other one began.
        found = await asyncio.to_thread(llama.logits, TEXTS)
        leave.set()
        return found

    async def main():
        entered, leave = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(inside(entered, leave), beside(entered, leave))

    (first, second), other = asyncio.run(main())
    assert torch.equal(other, plain)
    assert torch.equal(first, second) and not torch.allclose(first, plain, atol=1e-2)


def test_threads_started_inside_hand_on_what_they_are_inside_of(llama, edit):
    plain = llama.logits(TEXTS)

    class Own(threading.Thread):
        """One that has a `run` and a `start` of its own."""

        def start(self):
            super().start()

        def run(self):
            super().run()

    with applied(llama.hf, edit):
        under = llama.logits(TEXTS)
        assert torch.equal(in_a_thread(lambda: in_a_thread(lambda: llama.logits(TEXTS))), under)
        assert torch.equal(in_a_thread(lambda: llama.logits(TEXTS), Own), under)
        begun, leave = threading.Event(), threading.Event()

        def late():
            begun.set()
            assert leave.wait(30)
            return llama.logits(TEXTS)

        pool = ThreadPoolExecutor(1)
        later = pool.submit(late)
        assert begun.wait(30)
    leave.set()
    with pool:
        assert torch.equal(later.result(), plain), "what it was started in has been left"


def test_threads_and_how_they_start_are_as_before(llama, edit):
    started = threading.Thread.start
    with applied(llama.hf, edit):
        with applied(llama.hf, edit):
            thread = threading.Thread(target=lambda: llama.logits(TEXTS))
            thread.start()
            thread.join()
        assert "run" not in vars(thread)
        thread = threading.Thread()
        thread.run = lambda: None  # its own
        thread.start()
        thread.join()
        assert vars(thread)["run"].__name__ == "<lambda>"
    assert threading.Thread.start is started


def test_who_puts_another_start_over_it_meanwhile_keeps_it(llama, edit, monkeypatch):
    seen = []
    with applied(llama.hf, edit):
        llama.logits(TEXTS)
        before = threading.Thread.start

        @functools.wraps(before)
        def theirs(thread):
            seen.append(thread)
            before(thread)

        monkeypatch.setattr(threading.Thread, "start", theirs)
    assert threading.Thread.start is theirs
    plain = in_a_thread(lambda: llama.logits(TEXTS))
    assert len(seen) == 1 and torch.equal(plain, llama.logits(TEXTS))
    with applied(llama.hf, edit):
        assert not torch.allclose(in_a_thread(lambda: llama.logits(TEXTS)), plain, atol=1e-2)
    assert threading.Thread.start is theirs
