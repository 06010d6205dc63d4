"""Passes under edits that share the tokens before them give what whole passes give, and read less."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from interventions import Add, Answers, Patch, applied, edited, effect
from interventions.behaviours.logprob import continued, logprobs
from interventions.writes.changes import NormKept
from probes import Direction, Examples, capture, load_model, recording
from probes.data.positions import Position
from probes.models import prefixes
from probes.models.backends.hooks import Hooks
from probes.models.prefixes import shared_prefixes
from probes.models.writes import SiteFunction
from tests.conftest import ENCODERS, FAMILIES, build_hf, build_tokenizer
from tests.edit_cells import EDITS, at_position, kit

WRITES_ON = [f for f in FAMILIES if f not in ENCODERS]
"""Models that write on and so can be asked."""
PROMPTS = ["the red house is near the river now old", "a tall tree lives near blue river is old"]
CLOSE = 3e-5


@pytest.fixture
def columns(monkeypatch):
    """How many tokens of a text each pass reads."""
    seen, run = [], Hooks.run

    def counted(self, inputs, *rest):
        seen.append(inputs["input_ids"].shape[1])
        return run(self, inputs, *rest)

    monkeypatch.setattr(Hooks, "run", counted)
    return seen


def fresh(family="llama"):
    return load_model(build_hf(family), tokenizer=build_tokenizer("left"))


def pushed_edit(model, at="last", norm=4.0, site="resid_post.1"):
    unit = torch.randn(model.width, generator=torch.Generator().manual_seed(1))
    return Add(Direction.from_vector(unit, site, model), norm=norm, at=at)


def pushed(model, *how):
    return edited(model, pushed_edit(model, *how))


def by_function(model, act=lambda h: h + h.mean(1, keepdim=True)):
    """The model with its last token changed by a function, such as one of what stands before it."""
    site = pushed(model).writes[0].site
    return replace(model, writes=(SiteFunction(site, Position.parse("last"), act, model.width),))


def length_of(model):
    return len(model.encode(PROMPTS)[0])


def whole_logits(changed):
    """By passes that share nothing."""
    asked = changed.tokenise(PROMPTS)
    (batch,) = changed.batches(asked.encoded, side="left")
    return changed.whole_logits(batch, asked)[batch.rows.argsort(), -1]


def shared(model, columns, changed, prompts):
    """Logits by the first pass that shares and by the next, and the columns that this read."""
    with shared_prefixes(model):
        first = changed.logits(prompts)
        columns.clear()
        return first, changed.logits(prompts), list(columns)


@pytest.mark.parametrize("family", WRITES_ON)
def test_every_architecture_gives_the_same_by_less(family, columns):
    model = fresh(family)
    for at, read in (("last", [1]), ("from_last", [1]), ("-3", [3]), ("text:river", [3])):
        changed = pushed(model, at)
        whole = changed.logits(PROMPTS)
        assert (whole - model.logits(PROMPTS)).abs().max() > 1e-2
        first, again, now = shared(model, columns, changed, PROMPTS)
        assert torch.equal(first, whole)  # compared with the whole pass, which is what it gives
        assert torch.allclose(again, whole, atol=CLOSE) and now == read


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_gives_the_same_by_less(name, columns):
    k = kit("llama")
    changed = edited(k.plain, at_position(EDITS[name][1](k), "last"))
    whole = changed.logits(PROMPTS)
    first, again, now = shared(k.plain, columns, changed, PROMPTS)
    assert torch.equal(first, whole) and torch.allclose(again, whole, atol=CLOSE) and now == [1]


def test_what_is_kept_is_cut_for_earlier_edits_and_made_anew_for_later_ones(columns):
    model = fresh()
    with shared_prefixes(model):
        pushed(model, "-3").logits(PROMPTS)
        n = length_of(model)
        for at, read in (("-3", [3]), ("last", [n - 1, 1]), ("-5", [5]), ("last", [1]), ("-2", [2])):
            changed = pushed(model, at)
            columns.clear()
            found, now = changed.logits(PROMPTS), list(columns)
            assert torch.allclose(found, whole_logits(changed), atol=CLOSE) and now == read


def test_several_edits_begin_at_the_first_of_them(columns):
    model = fresh()
    early, late = pushed(model, "-4", 3.0, "resid_post.0"), pushed(model, "last")
    changed = replace(late, writes=(*late.writes, *early.writes))
    whole = changed.logits(PROMPTS)
    _, again, now = shared(model, columns, changed, PROMPTS)
    assert torch.allclose(again, whole, atol=CLOSE) and now == [4]


def test_prompts_of_other_lengths_and_rows_of_their_own(columns):
    model = fresh()
    prompts = [*PROMPTS, "no river is alpha beta yes", "river not true ? yes no alpha"]
    source = capture(model, Examples(prompts[::-1]), "resid_post.1", "last", progress=False)
    changed = edited(model, Patch(source, at="last"))
    whole = changed.logits(prompts)
    _, again, now = shared(model, columns, changed, prompts)
    assert torch.allclose(again, whole, atol=CLOSE) and now == [1]
    short = [*PROMPTS, "red"]  # of which nothing stands before the edited token but its beginning
    changed = pushed(model, "-2")
    assert torch.allclose(shared(model, columns, changed, short)[1], changed.logits(short), atol=CLOSE)


def test_continuations_are_read_from_the_first_edited_token_on(columns):
    model = fresh()
    parts = continued(model, PROMPTS, ["yes no", "alpha"])
    for at, read in (("last", [3]), ("from_last", [3]), ("-2", [4])):
        changed = pushed(model, at)
        whole = logprobs(changed, parts)
        with shared_prefixes(model):
            logprobs(changed, parts)
            columns.clear()
            assert np.allclose(logprobs(changed, parts), whole, atol=CLOSE) and columns == read


def test_what_would_not_be_the_same_is_read_whole(columns):
    model = fresh()
    for changed in (pushed(model, "all"), pushed(model, "first"), model, by_function(model)):
        whole = changed.logits(PROMPTS)
        _, again, now = shared(model, columns, changed, PROMPTS)
        assert torch.equal(again, whole) and now == [length_of(model)]
    with shared_prefixes(model):  # that one function may be shared says nothing of the next
        by_function(model, lambda h: h + 1).logits(PROMPTS)
        assert torch.equal(by_function(model).logits(PROMPTS), whole_logits(by_function(model)))
    with applied(model.hf, pushed_edit(model, "all")):
        whole = pushed(model, "last").logits(PROMPTS)
        _, again, now = shared(model, columns, pushed(model, "last"), PROMPTS)
        assert torch.equal(again, whole) and now == [length_of(model)]
    with shared_prefixes(model):
        changed = pushed(model, "last")
        changed.logits(PROMPTS)
        with applied(model.hf, pushed_edit(model, "all")):
            within = changed.logits(PROMPTS)
    assert torch.equal(within, whole)
    half = load_model(build_hf().bfloat16(), tokenizer=build_tokenizer("left"))
    assert shared(half, columns, pushed(half, "last"), PROMPTS)[2] == [length_of(model)]
    other = fresh("gpt2")
    with shared_prefixes(model):
        for _ in range(2):
            columns.clear()
            pushed(other, "last").logits(PROMPTS)
    assert columns == [length_of(model)]


class Around:
    """A change of one's own that looks from token to token."""

    kind, keeps_norm = "around", False

    def __init__(self, width, by):
        self.width, self.by = width, by

    def delta(self, h):
        return self.by * h.cumsum(1)

    def numbers(self):
        return (torch.tensor(self.by),)


def test_changes_of_ones_own_are_read_whole_also_within_others(columns):
    model = fresh()
    write = pushed(model, "last").writes[0]
    with shared_prefixes(model):
        for by in (1e-6, 1.0):  # that the weak one does nothing to see says nothing of the strong one
            for change in (Around(model.width, by), NormKept(Around(model.width, by))):
                changed = replace(model, writes=(replace(write, change=change),))
                columns.clear()
                assert torch.equal(changed.logits(PROMPTS), whole_logits(changed))
                assert columns == [length_of(model)] * 2
        ours = replace(model, writes=(replace(write, change=NormKept(write.change)),))
        ours.logits(PROMPTS)
        columns.clear()
        ours.logits(PROMPTS)
    assert columns == [1]


def test_whoever_looks_on_sees_whole_passes(columns):
    model = fresh()
    changed, seen = pushed(model, "last"), []
    with shared_prefixes(model):
        for _ in range(2):
            changed.logits(PROMPTS)
        handle = model.blocks[0].register_forward_hook(lambda m, args, out: seen.append(args[0].shape[1]))
        with pytest.warns(UserWarning, match=r"made with these hooks of other code on the model: none; now"):
            changed.logits(PROMPTS)
        handle.remove()
        with recording(model, ["resid_post.2"]) as heard:
            changed.logits(PROMPTS)
        columns.clear()
        changed.logits(PROMPTS)
    assert seen == [length_of(model)] and columns == [1]
    assert heard["resid_post.2"].shape[:2] == (len(PROMPTS), length_of(model))


def test_batches_of_the_same_ids_in_another_shape_are_others():
    model = fresh()
    changed = pushed(model, "last")
    with shared_prefixes(model):
        for ids in ([[5, 6, 7, 5, 6, 7]], [[5, 6, 7], [5, 6, 7]]):
            found = changed.logits(model.tokenise(ids))
            alone = torch.cat([changed.logits(model.tokenise([i])) for i in ids])
            assert torch.allclose(found, alone, atol=CLOSE)


def test_weights_and_adapters_may_change_meanwhile(columns):
    import peft

    model = fresh()
    everywhere = Direction.from_vector(np.ones(model.width), "resid_post.1")  # of no model in particular
    changed = edited(model, Add(everywhere, norm=4.0, at="last"))
    with shared_prefixes(model):
        for _ in range(3):
            assert torch.allclose(changed.logits(PROMPTS), whole_logits(changed), atol=CLOSE)
            with torch.no_grad():
                model.blocks[0].self_attn.v_proj.weight.mul_(1.5)
    config = peft.LoraConfig(target_modules=["v_proj"], init_lora_weights=False)
    tuned = peft.get_peft_model(build_hf(), config)
    tuned.add_adapter("other", config)
    model = load_model(tuned, tokenizer=build_tokenizer("left"))
    found = []
    with shared_prefixes(model):
        for _ in range(2):
            for name in ("default", "other"):
                tuned.set_adapter(name)
                changed = edited(model, Add(everywhere, norm=4.0, at="last"))
                found.append(changed.logits(PROMPTS))
                assert torch.allclose(found[-1], whole_logits(changed), atol=CLOSE)
    assert (found[2] - found[3]).abs().max() > 1e-2


def test_where_there_is_no_room_passes_are_whole(monkeypatch, columns):
    monkeypatch.setattr(prefixes, "ROOM", 100)
    model = fresh()
    changed = pushed(model, "last")
    whole = changed.logits(PROMPTS)
    _, again, now = shared(model, columns, changed, PROMPTS)
    assert torch.equal(again, whole) and length_of(model) in now


def test_effects_are_the_same_and_read_less(monkeypatch, columns):
    model = fresh()
    prompts = Examples([f"{p} {w}" for p in PROMPTS for w in ("yes", "no", "red")], groups=list(range(6)))

    def found():
        columns.clear()
        made = effect(model, pushed_edit(model), Answers(" yes", " no"), prompts, progress=False)
        return made, sum(columns)

    less, read = found()
    monkeypatch.setattr("interventions.effects.running.shared_prefixes", lambda base: nullcontext())
    whole, all_read = found()
    assert read < all_read / 2
    for a, b in zip((less.now, *less.random), (whole.now, *whole.random), strict=True):
        assert np.allclose(a.values, b.values, atol=CLOSE)
    assert np.abs(less.now.values - less.base).max() > 1e-2
