"""How texts begin, by the tokenizer or the chat template, is asked at every door by which rows, probes and
directions come back to a model.
"""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing

from interventions import Ablate, Add, Affine, Answers, Monitor, Patch, Skip, When, applied, edited, effect
from probes import Activations, Direction, Examples, MassMean, Pairs, Site, capture, capture_pairs, load_model
from tests.conftest import CHAT, WORDS, build_hf, build_tokenizer

SITE = "resid_post.1"
ROWS = Examples([f"{a} river {b}" for a in WORDS[:5] for b in WORDS[:6]], y=np.arange(30) % 2)
NEW = [f"house {word}" for word in WORDS]
ELSE = Examples(NEW, y=np.arange(len(NEW)) % 2)


@pytest.fixture(scope="module")
def models():
    """One model, with a tokenizer that puts `<s>` in front of texts and one that does not."""
    bare = build_tokenizer()
    bare.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    hf = build_hf()
    return load_model(hf, tokenizer=build_tokenizer()), load_model(hf, tokenizer=bare)


@pytest.fixture(scope="module")
def rows(models):
    """The same texts read with either."""
    return [capture(m, ROWS, [SITE, "mlp_out.1"], progress=False) for m in models]


@pytest.fixture(scope="module")
def probe(rows):
    return MassMean().fit(rows[0])


def own_vector(probe):
    return Direction.from_vector(probe.direction(SITE).unit, SITE)


DOORS = {
    "score": lambda m, probe, rows, now: probe.score(now),
    "monitor": lambda m, probe, rows, now: Monitor(probe, Site.parse(SITE), 0.0).watch(
        m, NEW[:2], max_new_tokens=2
    ),
    "stream": lambda m, probe, rows, now: list(
        Monitor(probe, Site.parse(SITE), 0.0).stream(m, NEW[0], max_new_tokens=2)
    ),
    "calibrated monitor": lambda m, probe, rows, now: Monitor.calibrated(
        m, probe, SITE, NEW, false_alarms=0.2, max_new_tokens=2
    ),
    "when": lambda m, probe, rows, now: edited(m, When(Add(own_vector(probe), norm=1.0), probe, above=0)),
    "patch": lambda m, probe, rows, now: edited(m, Patch(rows)),
    "affine": lambda m, probe, rows, now: edited(m, Affine(own_vector(probe), rows)),
    "skip": lambda m, probe, rows, now: edited(m, Skip("mlp_out.1", mean_of=rows)),
    "add": lambda m, probe, rows, now: edited(m, Add(probe.direction(SITE), gaps=1)),
    "calibrated direction": lambda m, probe, rows, now: probe.direction(SITE).calibrated(now),
    "effect": lambda m, probe, rows, now: effect(
        m, Add(own_vector(probe), norm=1.0), Answers(" true", " false"), ELSE, train=rows, progress=False
    ),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_tokenizer_that_begins_texts_otherwise_is_said_at_every_door(models, rows, probe, door, recwarn):
    door(models[0], probe, rows[0], rows[0])
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"texts that begin with (<s>|no special token)"):
        door(models[1], probe, rows[0], rows[1])


def test_rows_of_texts_that_begin_otherwise_are_no_one_table(rows, models):
    own, bare = (replace(part, ids=np.array([f"{i}{k}" for k in range(30)])) for i, part in enumerate(rows))
    with pytest.raises(
        ValueError, match=r"texts that begin with <s> and of texts that begin with no special"
    ):
        Activations.concat([own, bare])
    again = replace(rows[0], ids=np.array([f"b{k}" for k in range(30)]))
    assert len(Activations.concat([own, again])) == 60
    typed = capture(models[1], [f"<s> {t}" for t in NEW], [SITE, "mlp_out.1"], progress=False)
    assert len(Activations.concat([replace(own, y=None), typed])) == 30 + len(NEW)


def test_ways_to_begin_that_nobody_can_tell_apart_stay_quiet(models, rows, probe, recwarn):
    # Texts that bring their first token along, arrays, a vector, and what is transferred on purpose.
    direction = probe.direction(SITE)
    typed = capture(models[1], [f"<s> {t}" for t in ROWS.texts], SITE, progress=False)
    probe.score(typed)
    edited(models[0], Patch(typed))
    edited(models[1], Add(own_vector(probe), norm=1.0))
    edited(models[1], Patch(Activations.from_arrays(rows[0][SITE].x, sites=[SITE]), at="last"))
    edited(models[1], Add(direction.on(models[1], reason="without <s> on purpose"), gaps=1))
    with applied(models[1].hf, Add(direction, gaps=1)):  # no tokenizer is known there
        models[1].logits(NEW)
    assert not recwarn.list


def test_a_probe_read_under_edits_says_so_where_they_do_not_act(models, probe, recwarn):
    model = models[0]
    first = Add(Direction.from_vector(torch.ones(model.width), "resid_post.0"), norm=3.0)
    under = edited(model, first)
    own = MassMean().fit(capture(under, ROWS, SITE, progress=False))
    gate = When(Add(own_vector(probe), norm=1.0), own, above=0)
    watch = Monitor(own, Site.parse(SITE), 0.0)
    edited(under, gate)
    watch.watch(under, NEW[:2], max_new_tokens=2)
    with applied(model.hf, first), applied(model.hf, gate):
        model.logits(NEW)
    edited(under, When(Add(own_vector(probe), norm=1.0), probe, above=0))  # more edits than the probe knows
    assert not recwarn.list
    for missed in (lambda: edited(model, gate), lambda: watch.watch(model, NEW[:2], max_new_tokens=2)):
        with pytest.warns(UserWarning, match=r"rows read under Add\(norm 3 .* scores tokens without"):
            missed()


# --- chats
# --------------------------------------------------------------------


def chats(texts):
    return [[{"role": "user", "content": t}] for t in texts]


def chatting(hf, template=CHAT + "{% if thinking %} alpha{% endif %}", **arguments):
    tokenizer = build_tokenizer(chat=True)
    tokenizer.chat_template = template
    return load_model(hf, tokenizer=tokenizer, chat_template_kwargs=arguments)


def test_chats_rendered_otherwise_are_said_where_a_probe_scores_and_a_monitor_watches(models, recwarn):
    hf = models[0].hf
    model = chatting(hf, thinking=False)
    asked = Examples(chats(ROWS.texts), y=ROWS.y)
    own = MassMean().fit(capture(model, asked, SITE, progress=False))
    watch = Monitor.calibrated(model, own, SITE, chats(NEW), false_alarms=0.2, max_new_tokens=2)
    # The same again, prompts that are no chats, and a direction, which may be tried on chats of other forms.
    own.score(capture(chatting(hf, thinking=False), asked, SITE, progress=False))
    watch.watch(chatting(hf, thinking=False), chats(NEW[:2]), max_new_tokens=2)
    watch.watch(chatting(hf, thinking=True), NEW[:2], max_new_tokens=2)
    edited(chatting(hf, thinking=True), Add(own.direction(SITE), gaps=1)).logits(chats(NEW[:2]))
    assert not recwarn.list
    for other, said in (
        (chatting(hf, thinking=True), r"\(thinking=False\).*\(thinking=True\)"),
        (chatting(hf, template=CHAT + " alpha"), r"by the template \w{8} \(thinking=False\).*template \w{8}"),
    ):
        with pytest.warns(UserWarning, match=r"scores rows of chats.*"):
            own.score(capture(other, asked, SITE, progress=False))
        with pytest.warns(UserWarning, match=rf"was calibrated under prompts that are chats .*{said}"):
            watch.watch(other, chats(NEW[:2]), max_new_tokens=2)


SAID = Answers(" true", " false")
ASKED = Examples(chats(ROWS.texts), y=ROWS.y)
NEWLY = Examples(chats(NEW), y=ELSE.y)
CHAT_DOORS = {
    "score": lambda m, probe, rows: probe.score(capture(m, NEWLY, SITE, progress=False)),
    "score_texts": lambda m, probe, rows: probe.score_texts(m, NEWLY),
    "monitor": lambda m, probe, rows: Monitor(probe, Site.parse(SITE), 0.0).watch(
        m, chats(NEW[:2]), max_new_tokens=2
    ),
    "stream": lambda m, probe, rows: list(
        Monitor(probe, Site.parse(SITE), 0.0).stream(m, chats(NEW)[0], max_new_tokens=2)
    ),
    "calibrated monitor": lambda m, probe, rows: Monitor.calibrated(
        m, probe, SITE, chats(NEW), false_alarms=0.2, max_new_tokens=2
    ),
    "when": lambda m, probe, rows: edited(m, When(Add(own_vector(probe), norm=1.0), probe, above=0)),
    "patch": lambda m, probe, rows: edited(m, Patch(rows)),
    "affine": lambda m, probe, rows: edited(m, Affine(own_vector(probe), rows)),
    "mean_of": lambda m, probe, rows: edited(m, Ablate(own_vector(probe), mean_of=rows, at="last")),
    "calibrated direction": lambda m, probe, rows: probe.direction(SITE).calibrated(
        capture(m, NEWLY, SITE, progress=False)
    ),
    "effect": lambda m, probe, rows: effect(
        m, Add(own_vector(probe), norm=1.0), SAID, NEWLY, train=rows, progress=False, compare=False
    ),
}


@pytest.mark.parametrize("door", CHAT_DOORS.values(), ids=CHAT_DOORS)
def test_chats_rendered_otherwise_are_said_at_every_door(models, door, recwarn):
    on, off = chatting(models[0].hf, thinking=True), chatting(models[0].hf, thinking=False)
    rows = capture(on, ASKED, SITE, progress=False)
    own = MassMean().fit(rows)
    door(chatting(models[0].hf, thinking=True), own, rows)
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"chats rendered by the template \w{8} \(thinking=(True|False)\)"):
        door(off, own, rows)


def test_rows_of_chats_rendered_otherwise_are_no_one_table(models, recwarn):
    rows = [
        capture(chatting(models[0].hf, **given), texts, SITE, progress=False)
        for given, texts in (({"thinking": True}, ASKED), ({"thinking": False}, NEWLY), ({}, NEWLY))
    ]
    with pytest.raises(ValueError, match=r"by the template \w{8} \(thinking=True\) and of chats rendered"):
        Activations.concat(rows[:2])
    # Left out is what is said here by default.
    other = replace(rows[1], ids=np.array([f"b{k}" for k in range(len(NEW))]))
    both = Activations.concat([rows[2], other])
    MassMean().fit(both).score(rows[2])
    assert not recwarn.list


def test_templates_are_told_apart_by_what_they_write(models, recwarn):
    hf = models[0].hf
    own = MassMean().fit(capture(chatting(hf), ASKED, SITE, progress=False))
    quiet = {"thinking": False}  # its default
    for same in (chatting(hf, **quiet), chatting(hf, CHAT + "{# a note #}{% if thinking %} beta{% endif %}")):
        own.score(capture(same, NEWLY, SITE, progress=False))
        edited(same, When(Add(own_vector(own), norm=1.0), own, above=0))
    # What is transferred on purpose keeps nothing of how the chats of its own model were rendered.
    other = chatting(hf, thinking=True)
    moved = own.direction(SITE).on(other, reason="thinking")
    moved.calibrated(capture(other, NEWLY, SITE, progress=False))
    assert not recwarn.list


def test_a_template_that_writes_the_date_is_another_one_on_another_day(models, monkeypatch):
    from probes.data import chat

    today, render = ["alpha"], chat._render
    monkeypatch.setattr(chat, "_render", lambda c, m: render(c, m).replace("DATE", today[0]))
    model = chatting(models[0].hf, template="DATE " + CHAT)
    rows = capture(model, ASKED, SITE, progress=False)
    own, before = MassMean().fit(rows), SAID(model, NEWLY)
    push = Add(own_vector(own), norm=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        effect(model, push, SAID, NEWLY, before=before, progress=False, compare=False)
    today[0] = "beta"
    later = capture(model, NEWLY, SITE, progress=False)
    with pytest.warns(UserWarning, match=r"which writes something else now, such as the date"):
        own.score(later)
    with pytest.warns(UserWarning, match=r"before was made of chats .* such as the date"):
        effect(model, push, SAID, NEWLY, before=before, progress=False, compare=False)
    with pytest.warns(UserWarning, match=r"the parts were read of chats .* such as the date"):
        assert len(Activations.concat([rows, later])) == 30 + len(NEW)  # a long run passes midnight


# --- ends
# --------------------------------------------------------------------


def ending(hf):
    """As a tokenizer with `add_eos_token` has it."""
    tokenizer = build_tokenizer()
    put = [("<s>", 0), ("</s>", 2)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=put)
    return load_model(hf, tokenizer=tokenizer)


@pytest.mark.filterwarnings("ignore:.*read at (last|mean)")
@pytest.mark.parametrize("at", ["last", "last_content", "mean", -1])
def test_a_token_that_the_tokenizer_puts_behind_texts_is_said(models, at):
    model, other = models[0], ending(models[0].hf)
    rows, there = (capture(m, ROWS, SITE, at=at, progress=False) for m in (model, other))
    own = MassMean().fit(rows)
    if at == "last_content":  # the same word either way
        there = capture(other, ROWS, SITE, progress=False)
    for door in (
        lambda: own.score(there),
        lambda: own.direction(SITE).calibrated(there),
        lambda: Monitor(own, Site.parse(SITE), 0.0).watch(other, NEW[:2], max_new_tokens=2),
    ):
        with pytest.warns(UserWarning, match=r"texts that end with (</s>|no special token)"):
            door()


def test_tokens_in_front_of_the_end_are_the_same_with_one_behind(models, recwarn):
    model, other = models[0], ending(models[0].hf)
    for at in ("last_content", "first", 1):
        rows, there = (capture(m, ROWS, SITE, at=at, progress=False) for m in (model, other))
        assert torch.allclose(rows.x, there.x, atol=1e-5)
        MassMean().fit(there).score(rows)
    typed = capture(model, [f"{t} </s>" for t in NEW], SITE, progress=False)
    MassMean().fit(capture(other, ROWS, SITE, progress=False)).score(typed)
    assert not recwarn.list


# --- texts that do not all begin alike
# --------------------------------------------------------------------


def test_texts_of_which_only_some_bring_their_first_token_are_said(models, recwarn):
    bare = models[1]
    typed = [f"<s> {t}" for t in NEW]
    capture(bare, NEW, SITE, progress=False)
    capture(bare, typed, SITE, progress=False)
    mixed = chatting(models[0].hf)  # chats are another form on purpose
    capture(mixed, [*NEW[:2], *chats(NEW[2:4])], SITE, progress=False)
    capture_pairs(bare, Pairs(typed, [f"{t} no" for t in typed]), SITE, progress=False)
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"of the texts, 2 begin with <s> and 3 begin with no special token"):
        capture(bare, [*typed[:2], *NEW[2:5]], SITE, progress=False)
    with pytest.warns(UserWarning, match=r"of the two sides of a pair, 1 begin with <s> and 1 begin with no"):
        capture_pairs(bare, Pairs(typed, NEW), SITE, progress=False)
