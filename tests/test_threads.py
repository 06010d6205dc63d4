"""Several threads on one model: edits of one never reach the other, and a thread started inside
`applied` works under it.
"""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
from transformers import TextIteratorStreamer

from interventions import Ablate, Add, applied, edited
from probes import Direction, capture, recording

PROMPTS = ["the red house is old", "a small tree"]


@pytest.fixture(scope="module")
def llama(make_model):
    return make_model("llama")


@contextmanager
def begun_before():
    """A thread that runs what it is asked to, and was begun here."""
    asked, found = queue.Queue(), queue.Queue()

    def work():
        while (job := asked.get()) is not None:
            found.put(job())

    thread = threading.Thread(target=work)
    thread.start()

    def run(job):
        asked.put(job)
        return found.get(timeout=30)

    try:
        yield run
    finally:
        asked.put(None)
        thread.join()


def _directions(model):
    draw = torch.Generator().manual_seed(0)
    return [
        Direction.from_vector(torch.randn(model.width, generator=draw), f"resid_post.{b}")
        for b in range(model.n_blocks)
    ]


@pytest.mark.parametrize("backend", ["hooks", "transformer_lens", "nnsight"])
def test_edited_models_in_threads_do_not_see_each_other(make_hf, make_tokenizer, backend):
    import probes

    model = probes.load_model(make_hf("llama"), tokenizer=make_tokenizer("left"), backend=backend)
    found = _directions(model)
    models = [
        model,
        edited(model, Add(found[0], norm=6)),
        edited(model, Ablate(found[1], sites="resid_post")),
        edited(model, Add(found[2], norm=-4, at="last")),
    ]
    alone = [(m.generate(PROMPTS, 8), m.logits(PROMPTS)) for m in models]
    assert len({str(text) for text, _ in alone}) > 1, "the edits change nothing, so the test could not fail"
    with ThreadPoolExecutor(len(models)) as pool:
        for _ in range(3):
            together = list(pool.map(lambda m: (m.generate(PROMPTS, 8), m.logits(PROMPTS)), models))
            for (text, logits), (expected, before) in zip(together, alone, strict=True):
                assert text == expected
                assert torch.allclose(logits, before, atol=1e-5)


def test_a_foreign_pass_is_not_edited_while_an_edited_model_runs(llama):
    d, *_ = _directions(llama)
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Add):
        def compile(self, model):
            (change,) = super().compile(model)

            class Waiting(type(change)):
                def __call__(self, h):
                    inside.set()
                    assert go_on.wait(30)
                    return super().__call__(h)

            return (Waiting(change.site, change.at, change.change, "slow"),)

    plain = llama.logits(PROMPTS)
    ids = torch.tensor([llama.encode(PROMPTS[:1])[0].ids])
    with torch.no_grad():
        own = llama.hf(ids).logits
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(edited(llama, Slow(d, norm=6)).logits, PROMPTS)
        assert inside.wait(30)
        with torch.no_grad():
            assert torch.equal(llama.hf(ids).logits, own), "a plain Hugging Face pass of another thread"
        assert torch.equal(llama.logits(PROMPTS), plain)
        with recording(llama.hf, d.site) as seen, torch.no_grad():
            llama.hf(ids)
        assert torch.allclose(seen[d.site][0], capture(llama, PROMPTS[:1], d.site, "all").x[0], atol=1e-5)
        go_on.set()
        assert not torch.allclose(running.result(), plain, atol=1e-2)


def test_streaming_in_a_thread_started_inside_works_under_the_edit(llama, make_tokenizer):
    d, *_ = _directions(llama)
    tokenizer = make_tokenizer("left")
    edit = Add(d, norm=6)
    inputs = tokenizer(PROMPTS[:1], return_tensors="pt")

    def streamed():
        streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        options = {
            "max_new_tokens": 8,
            "do_sample": False,
            "streamer": streamer,
            "pad_token_id": llama.pad_id,
        }
        thread = threading.Thread(target=llama.hf.generate, kwargs={**inputs, **options})
        thread.start()
        text = "".join(streamer)
        thread.join()
        return text.split()

    plain = llama.logits(PROMPTS)
    with begun_before() as elsewhere, applied(llama.hf, edit):
        under = streamed()
        before = elsewhere(lambda: llama.logits(PROMPTS))
        with ThreadPoolExecutor(1) as pool:
            inside = pool.submit(llama.logits, PROMPTS).result()
        here = llama.logits(PROMPTS)
    assert torch.allclose(before, plain, atol=1e-5), "in a thread begun before a model value stays itself"
    assert torch.allclose(here, edited(llama, edit).logits(PROMPTS), atol=1e-5), "it is under the edit here"
    assert torch.equal(inside, here), "and in a thread started inside"
    assert under == edited(llama, edit).generate(PROMPTS[:1], 8)[0].split()
    assert streamed() == llama.generate(PROMPTS[:1], 8)[0].split() != under


def test_two_threads_with_edits_of_their_own_on_one_model(llama):
    first, second = (Add(d, norm=5) for d in _directions(llama)[:2])
    ids = torch.tensor([llama.encode(PROMPTS[:1])[0].ids])
    expected = [edited(llama, e).logits(PROMPTS[:1]) for e in (first, second)]
    both = threading.Barrier(2)

    def under(edit):
        with applied(llama.hf, edit), torch.no_grad():
            both.wait(30)
            out = llama.hf(ids).logits[:, -1]
            both.wait(30)
        return out

    with ThreadPoolExecutor(2) as pool:
        for out, want in zip(pool.map(under, (first, second)), expected, strict=True):
            assert torch.allclose(out, want, atol=1e-5)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in llama.hf.modules())


def test_training_mode_comes_back_only_after_the_last_thread(make_hf, make_tokenizer):
    import probes
    from probes.models.unwrap import evaluating

    hf = make_hf("llama").train()
    model = probes.load_model(hf, tokenizer=make_tokenizer("left"))
    started, leave = threading.Event(), threading.Event()

    def first():
        with evaluating(hf):
            started.set()
            assert leave.wait(30)

    thread = threading.Thread(target=first)
    thread.start()
    assert started.wait(30)
    with evaluating(hf):
        leave.set()
        thread.join()
        assert not any(m.training for m in hf.modules()), "the first thread left while the second still reads"
    assert all(m.training for m in hf.modules())
    assert model.logits(PROMPTS) is not None and all(m.training for m in hf.modules())


def test_a_pass_in_a_thread_begun_before_is_unedited_and_that_is_said(llama):
    ids = torch.tensor([llama.tokenizer("the red house").input_ids])
    edit = Add(Direction.from_vector(torch.ones(llama.width), "resid_post.1"), norm=5)

    def logits():
        with torch.no_grad():
            return llama.hf(ids).logits

    with begun_before() as elsewhere:
        plain = elsewhere(logits)
        with pytest.warns(UserWarning, match="or a thread begun before"), applied(llama.hf, edit):
            assert torch.equal(elsewhere(logits), plain)
    with ThreadPoolExecutor(1) as pool, applied(llama.hf, edit):
        assert not torch.equal(pool.submit(logits).result(), plain)
