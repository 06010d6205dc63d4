"""Passes of model values within `applied`: on every backend, in threads started inside, beside edits of their
own; what is read, what the receipt says and what a store keeps are one thing.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

from interventions import Ablate, Add, Monitor, When, applied, edited
from probes import Direction, Examples, MassMean, Site, capture, load_model, recording
from tests.conftest import FAMILIES

PROMPTS = ["the red house is old", "a small tree"]
SITE = Site("resid_post", 1)
VECTOR = Direction.from_vector(torch.randn(32, generator=torch.Generator().manual_seed(0)), SITE)
FIRST, SECOND = Ablate(VECTOR), Add(VECTOR, norm=5.0)


@pytest.fixture
def model(make_model):
    return make_model("llama")


def rows(model, site: Any = SITE, **options):
    return capture(model, PROMPTS, site, progress=False, **options)


def labels(found):
    return [str(e)[:6] for e in found.receipt["edits"]]


@pytest.mark.parametrize("family", FAMILIES)
def test_passes_of_other_code_are_seen_in_every_family(family, make_model):
    """OPT's passes go around the body to the decoder inside it; nothing is said of an edit that acted."""
    model = make_model(family)
    ids = torch.tensor([model.encode(PROMPTS)[0].ids])
    way = torch.randn(model.width, generator=torch.Generator().manual_seed(0))
    push = Add(Direction.from_vector(way, SITE), norm=5.0)
    with torch.no_grad():
        plain = model.hf(input_ids=ids)[0]
        with applied(model.hf, push), recording(model, SITE) as record:
            pushed = model.hf(input_ids=ids)[0]
    assert not torch.allclose(plain, pushed, atol=1e-3) and len(record.passes[SITE]) == 1


@pytest.mark.parametrize("site", ["resid_post.1", "resid_post.2"])
def test_own_edits_act_behind_those_around_and_both_before_the_reading(model, site, tmp_path):
    both, other = (rows(edited(model, *e), site) for e in ((FIRST, SECOND), (SECOND, FIRST)))
    assert not torch.allclose(both.x, other.x, atol=1e-2), (
        "the order does nothing, so the test could not fail"
    )
    with applied(model.hf, FIRST):
        stored = rows(edited(model, SECOND), site, store=tmp_path / "rows").load()
    assert torch.allclose(stored.x, both.x, atol=1e-5)
    assert labels(stored) == labels(both) == ["Ablate", "Add(no"]
    again = rows(edited(model, FIRST, SECOND), site, store=tmp_path / "rows").load()
    assert torch.allclose(again.x, both.x, atol=1e-5)


@pytest.mark.filterwarnings("ignore:MassMean at .* one coordinate drowns:probes.HookprobeWarning")
def test_a_monitor_within_reads_behind_all_edits(model):
    probe = MassMean().fit(rows_with_labels(model))
    monitor = Monitor(probe, SITE, 0.0)

    def scores(of):
        return monitor.watch(of, PROMPTS, max_new_tokens=4)[0].scores

    alone = scores(edited(model, FIRST, SECOND))
    with applied(model.hf, FIRST):
        within = scores(edited(model, SECOND))
    assert within == pytest.approx(alone, abs=1e-4)


def rows_with_labels(model):
    return capture(model, Examples([*PROMPTS, "the old red", "a tree"], y=[0, 1, 0, 1]), SITE, progress=False)


def test_readings_around_see_what_goes_on_from_a_place_that_is_edited_and_read(model):
    want = rows(edited(model, FIRST, SECOND), at="all")
    seen = []
    other = model.hf.model.layers[1].register_forward_hook(lambda m, a, out: seen.append(out))
    try:
        with recording(model.hf, SITE) as record, applied(model.hf, FIRST):
            rows(edited(model, SECOND), batch_size=1)
    finally:
        other.remove()
    assert torch.allclose(record.passes[SITE][0][0], want.rows(want.example == 0).x[0], atol=1e-5)
    assert torch.allclose(seen[-2], record.passes[SITE][0]), "a hook of other code too"


@pytest.mark.parametrize("backend", ["hooks", "transformer_lens", "nnsight"])
def test_every_backend_is_under_the_edits_around(make_hf, make_tokenizer, backend, tmp_path):
    model = load_model(make_hf(), tokenizer=make_tokenizer("left"), backend=backend)
    under = edited(model, SECOND)
    expected = under.logits(PROMPTS), under.generate(PROMPTS, 6), rows(under).x
    assert not torch.allclose(expected[0], model.logits(PROMPTS), atol=1e-2)
    fresh = load_model(make_hf(), tokenizer=make_tokenizer("left"), backend=backend)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with applied(fresh.hf, SECOND):
            stored = rows(fresh, store=tmp_path / "rows").load()  # its first, which checks the model
            assert torch.allclose(fresh.logits(PROMPTS), expected[0], atol=1e-4)
            assert fresh.generate(PROMPTS, 6) == expected[1]
    assert torch.allclose(stored.x, expected[2], atol=1e-4)
    assert not torch.allclose(fresh.logits(PROMPTS), expected[0], atol=1e-2)


@pytest.mark.parametrize("backend", ["transformer_lens", "nnsight"])
def test_a_backend_made_within_keeps_nothing_of_the_edits(make_hf, make_tokenizer, backend):
    hf = make_hf()
    plain = load_model(hf, tokenizer=make_tokenizer("left")).logits(PROMPTS)
    with applied(hf, SECOND):
        model = load_model(hf, tokenizer=make_tokenizer("left"), backend=backend)
        within = model.logits(PROMPTS)
    assert torch.allclose(within, edited(model, SECOND).logits(PROMPTS), atol=1e-4)
    assert torch.allclose(model.logits(PROMPTS), plain, atol=1e-4)


def test_the_layout_is_proven_on_passes_that_nobody_edits(model):
    with applied(model.hf, Add(VECTOR, norm=50.0)):
        found = rows(model, "attn_out", check=False)
    want = rows(edited(model, Add(VECTOR, norm=50.0)), "attn_out")
    assert torch.allclose(found.x, want.x, atol=1e-5)


def test_own_calls_in_a_thread_started_inside_are_under_the_edits(model):
    under = edited(model, FIRST, SECOND)
    with applied(model.hf, FIRST), ThreadPoolExecutor(1) as pool:
        # The first capture checks the model too.
        found = pool.submit(rows, edited(model, SECOND)).result()
        text = pool.submit(edited(model, SECOND).generate, PROMPTS, 6).result()
        assert torch.allclose(
            pool.submit(model.logits, PROMPTS).result(), edited(model, FIRST).logits(PROMPTS)
        )
    assert labels(found) == ["Ablate", "Add(no"]
    assert torch.allclose(found.x, rows(under).x, atol=1e-5) and text == under.generate(PROMPTS, 6)


def test_a_capture_that_ends_before_or_at_an_edited_site_is_a_pass(model):
    last = Add(replace(VECTOR, site=Site("resid_post", 2)), norm=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for edit in (FIRST, last):
            with applied(model.hf, edit):
                rows(edited(model, SECOND))
        with recording(model.hf, "resid_post.0"):
            rows(model)
    with (
        pytest.warns(UserWarning, match=r"ended before it came to the first of resid_post\.2"),
        recording(model.hf, "resid_post.2"),
    ):
        rows(model)


def test_a_recording_around_a_first_capture_holds_its_passes_alone(make_model):
    for site in ("resid_post", "attn_out"):
        model = make_model("llama")
        with recording(model.hf, "resid_post") as record:
            rows(model, site, batch_size=2)
        assert {len(of) for of in record.passes.values()} <= {0, 1}
        assert len(record.passes[Site("resid_post", 1)]) == 1


@pytest.mark.filterwarnings("ignore:MassMean at .* one coordinate drowns:probes.HookprobeWarning")
def test_an_answer_begun_inside_is_under_the_edits_to_its_end(model):
    monitor = Monitor(MassMean().fit(rows_with_labels(model)), SITE, 0.0)

    def scores(stream):
        return [step.score for step in stream]

    with applied(model.hf, SECOND):
        whole = scores(monitor.stream(model, PROMPTS[0], max_new_tokens=12))
    with applied(model.hf, SECOND):
        stream = monitor.stream(model, PROMPTS[0], max_new_tokens=12)
        begun = [next(stream).score]
    assert begun + scores(stream) == pytest.approx(whole, abs=1e-5)
    assert scores(monitor.stream(model, PROMPTS[0], max_new_tokens=12)) != pytest.approx(whole, abs=1e-2)


@pytest.mark.filterwarnings("ignore:MassMean at .* one coordinate drowns:probes.HookprobeWarning")
def test_a_gate_within_is_asked_behind_the_edits_around(model):
    gated = When(SECOND, MassMean().fit(rows_with_labels(model)), above=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the probe was fitted without the edit
        want = edited(model, FIRST, gated).logits(PROMPTS)
        with applied(model.hf, FIRST):
            assert torch.allclose(edited(model, gated).logits(PROMPTS), want, atol=1e-5)
