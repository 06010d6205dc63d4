"""Tasks of one thread: what one of them has entered, the others do not feel."""

import asyncio
import contextlib
import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from interventions import Add, applied, edited
from probes import Direction, capture, recording

PROMPTS = ["the red house is old", "a small tree"]


@pytest.fixture(scope="module")
def llama(make_model):
    return make_model("llama")


@pytest.fixture(scope="module")
def edit(llama):
    draw = torch.Generator().manual_seed(0)
    return Add(Direction.from_vector(torch.randn(llama.width, generator=draw), "resid_post.1"), norm=8)


def states(model):
    return capture(model, PROMPTS, "resid_post.2", check=False, progress=False).x


def test_a_task_that_captures_while_another_awaits_inside_applied_reads_unedited_states(llama, edit):
    plain, under = states(llama), states(edited(llama, edit))
    assert (under - plain).abs().max() > 1, "the edit does too little for the test to fail"

    async def inside(entered, leave, found):
        with applied(llama.hf, edit):
            entered.set()
            await leave.wait()
            found["inside"] = states(llama)
            found["child"] = await asyncio.create_task(child())

    async def child():
        return states(llama)

    async def main():
        entered, leave, found = asyncio.Event(), asyncio.Event(), {}
        task = asyncio.create_task(inside(entered, leave, found))
        await entered.wait()
        found["beside"] = states(llama)
        found["a plain pass beside"] = llama.hf(torch.tensor([llama.encode(PROMPTS)[0].ids])).logits
        leave.set()
        await task
        found["after"] = states(llama)
        return found

    with torch.no_grad():
        found = asyncio.run(main())
        own = llama.hf(torch.tensor([llama.encode(PROMPTS)[0].ids])).logits
    assert torch.equal(found["beside"], plain) and torch.equal(found["after"], plain)
    assert torch.equal(found["a plain pass beside"], own)
    assert torch.equal(found["inside"], under), "the task itself is under its edit"
    assert torch.equal(found["child"], under), "and so is a task that it starts"


def test_two_tasks_with_edits_of_their_own_take_turns_on_one_model(llama, edit):
    other = Add(edit.direction, norm=-8)
    want = [states(edited(llama, e)) for e in (edit, other)]

    async def under(e, barrier):
        with applied(llama.hf, e):
            await barrier.wait()
            first = states(llama)
            await barrier.wait()
            return first, states(llama)

    async def main():
        barrier = asyncio.Barrier(2)
        return await asyncio.gather(under(edit, barrier), under(other, barrier))

    for found, expected in zip(asyncio.run(main()), want, strict=True):
        assert all(torch.equal(x, expected) for x in found)


def test_a_recording_holds_the_passes_of_its_own_task_only(llama):
    ids = [torch.tensor([e.ids]) for e in llama.encode(PROMPTS)]

    async def record(mine, barrier):
        with recording(llama.hf, "resid_post.1") as seen, torch.no_grad():
            await barrier.wait()
            llama.hf(mine)
            await barrier.wait()
        return seen["resid_post.1"]

    async def main():
        barrier = asyncio.Barrier(2)
        return await asyncio.gather(*(record(i, barrier) for i in ids))

    first, second = asyncio.run(main())
    assert first.shape[1] == ids[0].shape[1] and second.shape[1] == ids[1].shape[1]


@pytest.mark.filterwarnings("ignore:no forward pass of this:probes.HookprobeWarning")
def test_a_with_may_be_left_in_another_context_than_it_was_entered_in(llama, edit):
    plain = states(llama)

    async def main():
        stack = contextlib.ExitStack()

        async def enter():
            stack.enter_context(applied(llama.hf, edit))

        await asyncio.create_task(enter())
        beside = states(llama)
        stack.close()
        return beside

    assert torch.equal(asyncio.run(main()), plain)
    assert torch.equal(states(llama), plain)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in llama.hf.modules())


@pytest.mark.filterwarnings("ignore:no forward pass of this:probes.HookprobeWarning")
def test_a_copy_made_inside_applied_is_free_of_the_edit_afterwards(llama, edit):
    ids = torch.tensor([llama.encode(PROMPTS)[0].ids])
    with torch.no_grad():
        plain = llama.hf(ids).logits
        with applied(llama.hf, edit):
            copied = copy.deepcopy(llama.hf)
        assert torch.equal(copied(ids).logits, plain)
        # A thread started later would count as started inside, were the `with` not left for good.
        with ThreadPoolExecutor(1) as pool:
            later = pool.submit(lambda: copied(ids).logits.detach()).result()
    assert torch.equal(later, plain)
