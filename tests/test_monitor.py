"""A probe watching a model write: scores equal those of a later capture, alarms act on their own row
only, thresholds keep their rate.
"""

import threading
import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from interventions import Add, Monitor, applied, edited
from probes import Activations, Direction, Examples, MassMean, Site, capture, capture_generated, load_model

PROMPTS = ["the red house is", "river", "a tall tree lives near the blue river", "no tree"]
SITE = "resid_post.1"
WORDS_ONLY = {"suppress_tokens": [0, 1, 2, 3], "no_repeat_ngram_size": 1}  # no end, and no word twice


@pytest.fixture(scope="module")
def llama(make_model):
    return make_model("llama")


@pytest.fixture(scope="module")
def probe(llama):
    rng = np.random.default_rng(0)
    texts = [
        " ".join(rng.choice(["red", "blue", "old", "tall", "house", "tree", "yes", "no"], rng.integers(2, 9)))
        for _ in range(40)
    ]
    return MassMean(prepare="zscore").fit(
        capture(llama, Examples(texts, y=np.arange(40) % 2, ids=np.arange(40)), SITE)
    )


@pytest.mark.parametrize("batch_size", [None, 1])
def test_scores_are_those_of_the_probe_on_the_generated_tokens(llama, probe, batch_size):
    seen = Monitor(probe, probe.sites[0], 1e9).watch(
        llama, PROMPTS, max_new_tokens=6, batch_size=batch_size, **WORDS_ONLY
    )
    last = probe.score(capture(llama, PROMPTS, SITE, "last"))[0]
    later = capture_generated(llama, PROMPTS, SITE, max_new_tokens=6, **WORDS_ONLY)
    scores = probe.score(later)[0]
    assert [w.text for w in seen] == llama.generate(PROMPTS, 6, **WORDS_ONLY)
    for i, w in enumerate(seen):
        assert len(w.scores) == 6 and len(w.tokens) == 6 and w.alarm is None
        assert w.scores[0] == pytest.approx(float(last[i]), abs=1e-5)
        assert np.allclose(w.scores[1:], scores[later.example == i][:5].numpy(), atol=1e-5)


def test_an_alarm_stops_its_own_row_and_no_other(llama, probe):
    free = Monitor(probe, probe.sites[0], 1e9).watch(llama, PROMPTS, max_new_tokens=8, **WORDS_ONLY)
    highest = sorted(w.scores.max() for w in free)
    threshold = (highest[1] + highest[2]) / 2
    stopped = Monitor(probe, probe.sites[0], threshold).watch(
        llama, PROMPTS, max_new_tokens=8, then="stop", **WORDS_ONLY
    )
    assert sum(w.alarm is not None for w in stopped) == 2
    for w, f in zip(stopped, free, strict=True):
        above = np.flatnonzero(f.scores > threshold)
        assert w.alarm == (int(above[0]) if len(above) else None)
        expected = f.tokens if w.alarm is None else f.tokens[: w.alarm]
        assert w.tokens == expected, "nothing after the token that raised the alarm, and all of it elsewhere"
    everyone = Monitor(probe, probe.sites[0], -1e9).watch(llama, PROMPTS, max_new_tokens=8, then="stop")
    assert all(w.alarm == 0 and w.text == "" for w in everyone)


def test_an_alarm_can_start_an_edit_for_its_row(llama, probe):
    d = Direction.from_vector(
        torch.randn(llama.width, generator=torch.Generator().manual_seed(1)), "resid_post.2", llama
    )
    edit = Add(d, norm=30)
    free = Monitor(probe, probe.sites[0], 1e9).watch(llama, PROMPTS, max_new_tokens=10, **WORDS_ONLY)
    first = sorted(w.scores[1:].max() for w in free)
    threshold = (first[1] + first[2]) / 2
    seen = Monitor(probe, probe.sites[0], threshold).watch(
        llama, PROMPTS, max_new_tokens=10, then=edit, **WORDS_ONLY
    )
    none = Monitor(probe, probe.sites[0], 1e9).watch(
        llama, PROMPTS, max_new_tokens=10, then=edit, **WORDS_ONLY
    )
    assert [w.tokens for w in none] == [w.tokens for w in free], "without an alarm nothing is edited"
    changed = 0
    for w, f in zip(seen, free, strict=True):
        if w.alarm is None:
            assert w.tokens == f.tokens
            continue
        # The edit lies behind the probe, so it acts on the alarming token itself, unless that is in the
        # prompt.
        assert w.tokens[: w.alarm] == f.tokens[: w.alarm]
        changed += w.tokens != f.tokens
    assert changed >= 1 and any(w.alarm is None for w in seen)
    # From the first token on, an alarm everywhere is the edited model, but for the prompt, which the edit
    # leaves alone.
    always = Monitor(probe, probe.sites[0], -1e9).watch(
        llama, PROMPTS, max_new_tokens=10, then=edit, **WORDS_ONLY
    )
    assert all(w.alarm == 0 for w in always)
    assert [w.tokens[0] for w in always] == [f.tokens[0] for f in free]


def test_a_prompt_of_one_token_is_not_edited_either(make_hf, make_tokenizer, llama, probe):
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer("left")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    bare = load_model(llama.hf, tokenizer=tokenizer)
    acts = capture(
        bare,
        Examples(
            [" ".join(said) for said in product(["red", "old", "house"], repeat=3)][:20],
            y=np.arange(20) % 2,
            ids=np.arange(20),
        ),
        SITE,
    )
    own = MassMean().fit(acts)
    edit = Add(
        Direction.from_vector(
            torch.randn(llama.width, generator=torch.Generator().manual_seed(1)), "resid_post.2", bare
        ),
        norm=30,
    )
    (free,) = Monitor(own, own.sites[0], 1e9).watch(bare, ["river"], max_new_tokens=4, **WORDS_ONLY)
    (always,) = Monitor(own, own.sites[0], -1e9).watch(
        bare, ["river"], max_new_tokens=4, then=edit, **WORDS_ONLY
    )
    assert (
        len(bare.encode(["river"])[0]) == 1
        and always.tokens[0] == free.tokens[0]
        and always.tokens != free.tokens
    )


def test_a_step_at_a_time_gives_the_same_as_all_at_once(llama, probe):
    monitor = Monitor(probe, probe.sites[0], 0.0, platt=(2.0, -1.0))
    (whole,) = monitor.watch(llama, PROMPTS[:1], max_new_tokens=6, **WORDS_ONLY)
    steps = list(monitor.stream(llama, PROMPTS[0], max_new_tokens=6, **WORDS_ONLY))
    assert [s.written for s in steps] == list(whole.tokens) and len(set(whole.tokens)) == 6
    assert [s.token for s in steps] == ["", *whole.tokens[:-1]]
    assert np.allclose([s.score for s in steps], whole.scores) and [s.number for s in steps] == list(range(6))
    assert np.allclose([s.probability for s in steps], 1 / (1 + np.exp(-(2 * whole.scores - 1))))
    assert np.allclose(whole.probability, [s.probability for s in steps])
    on = np.maximum.accumulate(whole.scores > 0)
    assert [s.alarm for s in steps] == on.tolist()


def test_a_stream_and_a_watch_meet_the_edits_they_stand_in(llama, probe):
    monitor, d = Monitor(probe, probe.sites[0], 0.0), probe.direction(SITE)
    with applied(llama.hf, Add(d, gaps=5)):
        llama.logits(PROMPTS)
        streamed = [s.score for s in monitor.stream(llama, PROMPTS[0], max_new_tokens=4, **WORDS_ONLY)]
        (watched,) = monitor.watch(llama, PROMPTS[:1], max_new_tokens=4, **WORDS_ONLY)
    (free,) = monitor.watch(llama, PROMPTS[:1], max_new_tokens=4, **WORDS_ONLY)
    assert np.allclose(streamed, watched.scores) and streamed[0] > free.scores[0] + 1


def test_leaving_a_stream_stops_the_model_and_leaves_no_hooks(llama, probe):
    from transformers import LogitsProcessorList

    before, steps = threading.active_count(), []

    def counted(ids, scores):
        steps.append(len(ids))
        return scores

    stream = Monitor(probe, probe.sites[0], 1e9).stream(
        llama,
        PROMPTS[0],
        max_new_tokens=3000,
        logits_processor=LogitsProcessorList([counted]),
        suppress_tokens=[2],
    )
    for step in stream:
        if step.number == 2:
            break
    stream.close()
    assert len(steps) < 2000, "the model went on writing"
    assert threading.active_count() == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in llama.hf.modules())


def test_an_error_while_writing_reaches_the_reader(llama, probe):
    def wrong(ids, scores):
        raise RuntimeError("from inside")

    from transformers import LogitsProcessorList

    with pytest.raises(RuntimeError, match="from inside"):
        list(
            Monitor(probe, probe.sites[0], 0.0).stream(
                llama, PROMPTS[0], logits_processor=LogitsProcessorList([wrong])
            )
        )


def test_a_map_to_probabilities_that_falls_is_said(llama, probe):
    with pytest.warns(UserWarning, match="probability falls as the score rises .*look exchanged"):
        Monitor(probe, probe.sites[0], 0.0, platt=(-1.0, 0.0))
    with pytest.raises(ValueError, match="the slope of platt must be a finite number, got nan"):
        Monitor(probe, probe.sites[0], 0.0, platt=(float("nan"), 0.0))


def test_the_threshold_keeps_its_false_alarm_rate_on_new_prompts(llama, probe):
    rng = np.random.default_rng(1)
    words = ["red", "blue", "old", "tall", "house", "tree", "yes", "no", "river", "stone", "alpha", "beta"]
    prompts = [" ".join(rng.choice(words, rng.integers(2, 9))) for _ in range(240)]
    monitor = Monitor.calibrated(llama, probe, SITE, prompts[:120], false_alarms=0.1, max_new_tokens=4)
    alarms = np.mean([w.alarm is not None for w in monitor.watch(llama, prompts[120:], max_new_tokens=4)])
    assert 0.02 <= alarms <= 0.22
    for longer in (
        lambda: monitor.watch(llama, prompts[:2], max_new_tokens=5),
        lambda: list(monitor.stream(llama, prompts[0], max_new_tokens=5)),
    ):
        with pytest.warns(
            UserWarning, match=r"calibrated on answers of up to 4 new tokens .*max_new_tokens=5"
        ):
            longer()
    own = np.mean([w.alarm is not None for w in monitor.watch(llama, prompts[:120], max_new_tokens=4)])
    assert own == pytest.approx(11 / 120), (
        "of 121 exchangeable prompts 12 may lie above, of which one is the new one"
    )
    assert "120 harmless prompts" in repr(monitor) and monitor.probability(np.zeros(1)) is None
    with pytest.raises(ValueError, match=r"cannot fix a false-alarm rate of 0\.01"):
        Monitor.calibrated(llama, probe, SITE, prompts[:20], false_alarms=0.01, max_new_tokens=2)
    # Before anything is written.
    asked: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Monitor, "watch", lambda *given, **options: asked.append(given))
        for rate, n in ((0, 60), (0.0, 60), (-0.1, 60), (1, 60), (float("nan"), 60), (0.01, 20)):
            with pytest.raises(ValueError, match="false-alarm rate"):
                Monitor.calibrated(llama, probe, SITE, prompts[:n], false_alarms=rate)
    assert not asked
    alarming = [f"{p} no no" for p in prompts[:30]]
    both = Monitor.calibrated(
        llama, probe, SITE, prompts[:60], alarming=alarming, false_alarms=0.1, max_new_tokens=2
    )
    p = both.probability(np.array([-50.0, 0.0, 50.0]))
    assert p is not None and ((p >= 0) & (p <= 1)).all() and "30 alarming" in repr(both)


def test_a_monitor_is_refused_where_it_cannot_work(llama, probe, make_model, make_hf, make_tokenizer):
    monitor = Monitor(probe, probe.sites[0], 0.0)
    with pytest.raises(ValueError, match="weights differ"):
        monitor.watch(make_model("llama", seed=1), PROMPTS)
    other = load_model(llama.hf, backend="nnsight", tokenizer=make_tokenizer())
    with pytest.raises(ValueError, match='needs backend="hooks"'):
        monitor.watch(other, PROMPTS)
    with pytest.raises(ValueError, match='choose "go on", "stop" or an edit'):
        monitor.watch(llama, PROMPTS, then="halt")
    d = Direction.from_vector(torch.ones(llama.width), SITE, llama)
    with pytest.raises(ValueError, match="use at='all'"):
        monitor.watch(llama, PROMPTS, then=Add(d, norm=1, at="last"))


def test_a_monitor_sees_what_an_edited_model_writes(llama, probe):
    d = Direction.from_vector(
        torch.randn(llama.width, generator=torch.Generator().manual_seed(1)), "resid_post.0", llama
    )
    model = edited(llama, Add(d, norm=3))
    seen = Monitor(probe, probe.sites[0], 1e9).watch(model, PROMPTS, max_new_tokens=5, **WORDS_ONLY)
    assert (
        [w.text for w in seen]
        == model.generate(PROMPTS, 5, **WORDS_ONLY)
        != llama.generate(PROMPTS, 5, **WORDS_ONLY)
    )
    later = probe.score(capture_generated(model, PROMPTS, SITE, max_new_tokens=5, **WORDS_ONLY))[0].numpy()
    assert np.allclose(
        np.concatenate([w.scores[1:] for w in seen]), later.reshape(4, 5)[:, :4].ravel(), atol=1e-5
    )


def test_the_strip_shows_every_token_with_its_score(llama, probe):
    (seen,) = Monitor(probe, probe.sites[0], 0.0).watch(llama, PROMPTS[:1], max_new_tokens=4, **WORDS_ONLY)
    html = seen._repr_html_()
    assert html.count("<span") == 5 and html.count('title="score') == 4 and "not read" in html
    assert f"{seen.scores[0]:.3f}" in html and "Watched(" in repr(seen)


def new_prompts(n, seed=3):
    rng = np.random.default_rng(seed)
    words = ["red", "blue", "old", "tall", "house", "tree", "river", "stone", "alpha", "beta"]
    found = [" ".join(rng.choice(words, 5)) for _ in range(n)]
    assert len(set(found)) == n
    return found


def test_copies_of_a_prompt_fix_no_rate(llama, probe):
    with pytest.raises(ValueError, match=r"1 different harmless prompts cannot fix a false-alarm rate"):
        Monitor.calibrated(llama, probe, SITE, ["the river is old"] * 20 + ["The  river is old"] * 20)
    prompts = new_prompts(20)
    once = Monitor.calibrated(llama, probe, SITE, prompts, false_alarms=0.1, max_new_tokens=2)
    again = Monitor.calibrated(llama, probe, SITE, prompts * 3, false_alarms=0.1, max_new_tokens=2)
    assert again.threshold == once.threshold
    assert "from 20 different harmless prompts" in repr(again) and "from 20 harmless" in repr(once)


def test_watching_otherwise_than_the_threshold_was_calibrated_is_said(llama, probe):
    prompts, add = new_prompts(25), Add(probe.direction(SITE), gaps=1)
    given = {"false_alarms": 0.1, "max_new_tokens": 3}
    monitor = Monitor.calibrated(llama, probe, SITE, prompts[:20], **given)
    on_edited = Monitor.calibrated(edited(llama, add), probe, SITE, prompts[:20], **given)
    drawn = Monitor.calibrated(llama, probe, SITE, prompts[:20], **given, do_sample=True, top_k=5)
    new, short = prompts[20:], {"max_new_tokens": 3}
    for quiet in (
        lambda: monitor.watch(llama, new, **short),
        lambda: monitor.watch(llama, new, max_new_tokens=2, batch_size=1, then="stop"),
        lambda: monitor.watch(llama, new, max_new_tokens=2, cache_implementation="static", then=add),
        lambda: list(monitor.stream(llama, new[0], **short)),
        lambda: on_edited.watch(edited(llama, add), new, **short),
        lambda: drawn.watch(llama, new, **short, do_sample=True, top_k=5),
    ):
        quiet()
    under_edit = r"calibrated under no edit, and the model writes under Add\(1 gaps"
    for watch, match in (
        (lambda: monitor.watch(edited(llama, add), new, **short), under_edit),
        (lambda: list(monitor.stream(edited(llama, add), new[0], **short)), under_edit),
        (lambda: on_edited.watch(llama, new, **short), r"under Add.* writes under no edit"),
        (lambda: monitor.watch(llama, new, do_sample=True, **short), r"writes under do_sample=True"),
        (lambda: drawn.watch(llama, new, **short), r"under do_sample=True.* writes under do_sample=False"),
    ):
        with pytest.warns(UserWarning, match=match) as said:
            watch()
        assert len(said) == 1
    with applied(llama.hf, add), pytest.warns(UserWarning, match=under_edit):
        monitor.watch(llama, new, **short)
    one, other = (Add(Direction.from_vector(v, probe.sites[0]), norm=2.0) for v in np.eye(llama.width)[:2])
    assert repr(one) == repr(other)
    on_one = Monitor.calibrated(edited(llama, one), probe, SITE, prompts[:20], **given)
    with pytest.warns(UserWarning, match=r"calibrated under Add.*, and the model writes under Add"):
        on_one.watch(edited(llama, other), new, **short)


def test_a_rate_of_false_alarms_belongs_to_the_model_it_was_found_on(make_hf, make_tokenizer, probe):
    hf, words = make_hf("llama"), make_tokenizer("left")
    model, prompts = load_model(hf, tokenizer=words), new_prompts(25)
    rows = Activations.from_arrays(np.random.default_rng(0).normal(size=(20, model.width)), [0, 1] * 10)
    bare = replace(MassMean().fit(rows), sites=(Site.parse(SITE),))  # says of no model
    assert "model" not in bare.receipt
    given, short = {"false_alarms": 0.1, "max_new_tokens": 3}, {"max_new_tokens": 3}
    monitor = Monitor.calibrated(model, bare, SITE, prompts[:20], **given)
    cut = Monitor.calibrated(model, bare, SITE, prompts[:20], **given, eos_token_id=[2, 9])
    longer = r"under answers that also end at token 9, and the model writes under none that do"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.watch(load_model(hf, tokenizer=make_tokenizer("right")), prompts[20:], **short)
        monitor.watch(model, prompts[20:], **short, eos_token_id=[2, 9])  # shorter: no more alarms
        cut.watch(model, prompts[20:], **short, eos_token_id=[2, 9])
        rounded = load_model(make_hf("llama").to(torch.bfloat16), tokenizer=words)
        monitor.watch(rounded, prompts[20:], **short)
    with pytest.warns(UserWarning, match=longer):
        cut.watch(model, prompts[20:], **short)
    other = load_model(make_hf("llama", seed=1), tokenizer=words)
    with pytest.warns(
        UserWarning, match=r"under the model .* writes under the model 'LlamaForCausalLM', whose weights"
    ):
        monitor.watch(other, prompts[20:], **short)
    with torch.no_grad():
        hf.lm_head.weight.mul_(2)
    with pytest.warns(UserWarning, match=r"whose weights differ: the rate of false alarms is not known"):
        list(monitor.stream(model, prompts[20], **short))


def test_a_probe_of_averages_is_said_to_score_single_tokens(llama):
    texts = new_prompts(20, 5)
    acts = capture(llama, Examples(texts, y=[0, 1] * 10), SITE, "mean", progress=False)
    averages = Monitor(MassMean().fit(acts), acts.sites[0], 0.0)
    with pytest.warns(UserWarning, match=r"rows read at mean, the average of a text, and a monitor scores"):
        averages.watch(llama, PROMPTS, max_new_tokens=2)


def test_harmless_and_alarming_prompts_exchanged_are_said(llama, probe):
    prompts = new_prompts(60)
    seen = Monitor(probe, probe.sites[0], 1e9).watch(llama, prompts, max_new_tokens=2)
    order = np.argsort([w.highest for w in seen])
    low, high = ([prompts[i] for i in part] for part in (order[:25], order[-25:]))
    with pytest.warns(UserWarning, match=r"probability falls as the score rises .*look exchanged"):
        Monitor.calibrated(llama, probe, SITE, high, alarming=low, max_new_tokens=2)
    right = Monitor.calibrated(llama, probe, SITE, low, alarming=high, max_new_tokens=2)
    assert right.platt is not None and right.platt[0] > 0
