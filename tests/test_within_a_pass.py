"""Code that a pass of ours calls (processors, criteria, streamers, hooks of others) and that runs the model
itself: its passes are its own, neither edited nor read, on every backend and in whatever thread.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from interventions import Add, Monitor, applied, edited
from probes import Direction, Examples, MassMean, Site, capture, capture_generated, load_model, recording

TEXTS = ["alpha beta the river"]
WORDS = Examples(["alpha beta", "old tree", "blue river", "stone near"] * 2, y=[0, 1] * 4)
BACKENDS = ("hooks", "nnsight", "transformer_lens")


class Asks:
    """A processor, criterion or streamer that asks the model between tokens and changes nothing."""

    def __init__(self, ask):
        self.ask, self.got = ask, []

    def __call__(self, ids, scores):
        self.got.append(self.ask())
        return scores

    def put(self, value):
        self.got.append(self.ask())

    def end(self):
        self.put(None)


class Ends(Asks):
    def __call__(self, ids, scores, **kwargs):
        super().__call__(ids, scores)
        return torch.zeros(len(ids), dtype=torch.bool)


class Allows(Asks):
    def __call__(self, row, ids):
        super().__call__(row, None)
        return list(range(4, 30))


@pytest.fixture(params=BACKENDS)
def model(request, make_hf, make_tokenizer):
    return load_model(make_hf("llama"), tokenizer=make_tokenizer("left"), backend=request.param)


@pytest.fixture
def plain(make_model):
    return make_model("llama", side="left")


@pytest.fixture
def edit():
    return Add(Direction.from_vector(np.ones(32), "resid_post.1"), norm=6.0)


def of_hf(model):
    with torch.no_grad():
        return model.hf(input_ids=torch.tensor([model.encode(TEXTS)[0].ids])).logits[0, -1]


def states(model, check=False):
    return capture(model, TEXTS, "resid_post.2", progress=False, check=check).x


def asking(ask) -> tuple[dict[str, Any], ...]:
    """Options of a call without and with a processor that asks."""
    return {}, {"logits_processor": [Asks(ask)]}


def test_a_processor_meets_the_model_that_it_asks(model, edit):
    under = edited(model, edit)
    want = [of_hf(model), model.logits(TEXTS)[0], states(model), under.logits(TEXTS)[0], states(under)]
    written = model.generate(TEXTS, 3), under.generate(TEXTS, 3)
    asks = Asks(
        lambda: (
            of_hf(model),
            model.logits(TEXTS)[0],
            states(model, check=True),
            under.logits(TEXTS)[0],
            states(under),
            model.generate(TEXTS, 3),
        )
    )
    assert under.generate(TEXTS, 3, logits_processor=[asks]) == [written[1][0]]
    assert len(asks.got) == 3 and (want[0] - want[3]).abs().max() > 0.1
    for got in asks.got:
        assert all(torch.allclose(x, y, atol=1e-4) for x, y in zip(got, want, strict=False))
        assert got[-1] == written[0]


def test_whatever_is_called_between_tokens_meets_the_base(plain, edit):
    under, base = edited(plain, edit), of_hf(plain)
    for name, asks in (
        ("streamer", Asks(lambda: of_hf(plain))),
        ("stopping_criteria", Ends(lambda: of_hf(plain))),
        ("prefix_allowed_tokens_fn", Allows(lambda: of_hf(plain))),
    ):
        under.generate(TEXTS, 3, **{name: [asks] if name == "stopping_criteria" else asks})
        assert len(asks.got) >= 3 and all(torch.allclose(x, base, atol=1e-5) for x in asks.got), name


def test_rows_and_scores_of_what_is_written_are_its_own(plain):
    probe = MassMean().fit(capture(plain, WORDS, "resid_post.1", progress=False))
    monitor = Monitor(probe, Site("resid_post", 1), 1e9)
    alone, beside = (
        monitor.watch(plain, TEXTS, max_new_tokens=5, **more)[0] for more in asking(lambda: of_hf(plain))
    )
    assert beside.text == alone.text and np.array_equal(beside.scores, alone.scores)
    monitor.watch(plain, TEXTS, max_new_tokens=3, logits_processor=[Asks(lambda: plain.logits(WORDS))])
    rows, own = (
        capture_generated(plain, TEXTS, "resid_post.1", max_new_tokens=5, progress=False, **more).x
        for more in asking(lambda: states(plain))
    )
    assert torch.equal(rows, own)


def test_passes_asked_within_applied_are_under_it(plain, edit):
    """It is about everybody's passes; a recording holds them too."""
    asks = Asks(lambda: of_hf(plain))
    with applied(plain.hf, edit), recording(plain.hf, "resid_post.2") as seen:
        under = of_hf(plain)
        plain.generate(TEXTS, 2, logits_processor=[asks])
    assert all(torch.allclose(x, under, atol=1e-5) for x in asks.got)
    assert [len(passes) for passes in seen.passes.values()] == [5]


@pytest.mark.parametrize("begun", [False, True], ids=["a thread begun there", "a thread begun before"])
def test_a_processor_may_wait_for_a_thread_that_runs_the_model(model, edit, begun):
    want = model.logits(TEXTS)
    with ThreadPoolExecutor(1) as pool:
        if begun:
            pool.submit(int).result()
        asks = Asks(lambda: pool.submit(model.logits, TEXTS).result(timeout=30))
        edited(model, edit).generate(TEXTS, 2, logits_processor=[asks])
    assert all(torch.allclose(x, want, atol=1e-4) for x in asks.got)


def test_a_hook_of_other_code_that_runs_the_model_is_neither_edited_nor_read(plain, edit):
    """In the midst of a pass of ours, behind the edit and behind the reading."""
    base, want = of_hf(plain), edited(plain, edit).logits(TEXTS)
    rows = states(edited(plain, edit))
    got = []

    def asks(module, args, output):
        if not got or got[-1] is not None:
            got.append(None)  # its own passes meet it too
            got[-1] = of_hf(plain)

    for block in (0, 2):
        handle = plain.hf.model.layers[block].register_forward_hook(asks)
        got.clear()
        assert torch.allclose(edited(plain, edit).logits(TEXTS), want, atol=1e-5)
        assert torch.allclose(states(edited(plain, edit)), rows, atol=1e-5)
        with applied(plain.hf, edit):
            under = len(got)
            assert torch.allclose(of_hf(plain), want[0], atol=1e-5)
        assert all(torch.allclose(x, base, atol=1e-5) for x in got[:under])
        assert all(torch.allclose(x, want[0], atol=1e-5) for x in got[under:]), "everybody's passes"
        handle.remove()


def test_processors_are_told_what_hugging_face_tells_them(plain):
    """Parameters decide what it passes on; a processor of its own that a setting makes too is known."""
    told = []

    def two(ids, scores):
        told.append("two")
        return scores

    def with_default(ids, scores, k=3):
        told.append(k)
        return scores

    class Third:
        def __call__(self, ids, scores, *, ours=1):
            return scores

    plain.generate(TEXTS, 1, logits_processor=[two, with_default])
    assert told == ["two", 3]
    with pytest.raises(ValueError, match="Make sure that all the required parameters"):
        plain.generate(TEXTS, 1, logits_processor=[Third()])
