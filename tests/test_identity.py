"""Who a model is: every weight, what is switched on, and what other people's code hangs on it; artefacts and
stores notice each.
"""

import copy
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch import nn

from interventions import (
    Ablate,
    Add,
    Affine,
    Answers,
    ExactMatch,
    Records,
    Skip,
    applied,
    bake,
    edited,
    effect,
    search,
)
from interventions.behaviours.in_chat import InChat
from interventions.effects.running import controls_of
from probes import Activations, Direction, Examples, MassMean, Model, Site, capture, cosine_map, load_model
from probes.data.digest import WIDTH, digest, values_of
from probes.data.fingerprint import Fingerprint, _step
from probes.store import open_store
from tests.conftest import WORDS, build_hf, build_tokenizer

TEXTS = ["the red house", "a small tree", "the river is old", "a house"]
SITE = "resid_post.1"


@pytest.fixture
def model(make_model):
    return make_model("gpt2")


def grown(model, change):
    """The same model with its weights changed by a function of name and tensor."""
    hf = copy.deepcopy(model.hf)
    with torch.no_grad():
        for name, tensor in hf.state_dict(keep_vars=True).items():
            change(name, tensor)
    return load_model(hf, tokenizer=model.tokenizer)


def only(part):
    def change(name, tensor):
        if name.endswith(part):
            tensor += 0.01

    return change


@pytest.mark.parametrize("part", ["h.1.ln_1.weight", "h.0.attn.c_attn.bias", "wpe.weight", "mlp.c_fc.weight"])
def test_every_kind_of_weight_counts(model, part):
    other = grown(model, only(part))
    assert other.fingerprint.tensors != model.fingerprint.tensors
    direction = MassMean().fit(capture(model, Examples(TEXTS, y=[0, 1, 0, 1]), SITE)).direction()
    with pytest.raises(ValueError, match="their weights differ"):
        edited(other, Ablate(direction))
    assert grown(model, lambda name, tensor: None).fingerprint == model.fingerprint
    edited(grown(model, lambda name, tensor: None), Ablate(direction))


def test_a_single_number_anywhere_counts():
    draw = torch.Generator().manual_seed(0)
    big = torch.randn(3 * WIDTH + 7, 5, generator=draw)
    first = values_of(big)
    for at in (0, 1, 2 * WIDTH, big.numel() // 2, big.numel() - 1):
        other = big.clone()
        other.view(-1)[at] += 1e-3
        assert values_of(other) != first
    swapped = big.clone()
    swapped[0], swapped[1] = big[1], big[0]
    assert values_of(swapped) != first and values_of(big.clone()) == first
    assert values_of(big.T.contiguous().T) == first  # where it lies is not what it is


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.float64])
def test_tensors_of_every_precision_have_values(dtype):
    t = (torch.arange(4 * WIDTH * 8 + 3) % 7).to(dtype)
    other = t.clone()
    other[-2] = 1 - other[-2] if dtype != torch.bool else ~other[-2]
    assert digest([("a", t)]) == digest([("a", t.clone())]) != digest([("a", other)])
    assert digest([("a", t[1:])]) == digest([("a", t[1:].clone())]) != digest([("b", t[1:])])
    assert digest([("a", t.to("meta"))]) == digest([("a", other.to("meta"))])


def test_a_model_that_is_trained_in_place_is_another(model):
    direction = MassMean().fit(capture(model, Examples(TEXTS, y=[0, 1, 0, 1]), SITE)).direction()
    with torch.no_grad():
        model.hf.transformer.h[0].ln_1.bias[3] += 0.5  # by the version of the tensor
    with pytest.raises(ValueError, match="their weights differ"):
        edited(model, Ablate(direction))
    with torch.no_grad():
        model.hf.transformer.h[0].ln_1.bias[3] -= 0.5
    for p in model.hf.parameters():
        p.data *= 1.2  # past the versions
    with pytest.raises(ValueError, match="their weights differ"):
        edited(model, Ablate(direction))


def test_a_bias_that_was_baked_in_makes_another_model(model):
    direction = MassMean().fit(capture(model, Examples(TEXTS, y=[0, 1, 0, 1]), SITE)).direction()
    baked = bake(model, Add(direction, gaps=5))
    with pytest.raises(ValueError, match="their weights differ"):
        edited(baked, Ablate(direction))


def test_an_adapter_that_is_switched_off_makes_the_base_model(with_lora, make_hf, make_tokenizer, tmp_path):
    """`with_lora` wraps what `make_hf` gives."""
    base = load_model(make_hf(), tokenizer=make_tokenizer())
    acts = capture(base, Examples(TEXTS, y=[0, 1, 0, 1]), SITE, store=tmp_path / "store").load()
    direction = MassMean().fit(acts).direction()
    tuned = load_model(with_lora(modules_to_save=["lm_head"]), tokenizer=make_tokenizer())
    on = tuned.fingerprint
    with pytest.raises(ValueError, match=r"adapters differ .none, now default.\. "):
        edited(tuned, Ablate(direction))
    merged = load_model(with_lora().merge_and_unload(), tokenizer=make_tokenizer())
    with pytest.raises(
        ValueError, match=r"adapters differ .default, now none, which merging or unloading them"
    ):
        on.check(merged.fingerprint, "the probe")
    with tuned.hf.disable_adapter():
        off = tuned.fingerprint
        assert replace(off, name=base.name) == base.fingerprint
        quiet = edited(tuned, Ablate(direction))
        torch.testing.assert_close(quiet.logits(TEXTS), edited(base, Ablate(direction)).logits(TEXTS))
        again = capture(tuned, Examples(TEXTS, y=[0, 1, 0, 1]), SITE, store=tmp_path / "store")
        assert torch.equal(again.load().x, acts.x) and len(list((tmp_path / "store").iterdir())) == 1
        with pytest.raises(ValueError, match=r"adapters differ .default, now none, which"):
            on.check(off, "the probe")
        with torch.no_grad():
            inside = tuned.hf.base_model.model.model.layers[0].self_attn.q_proj
            kept = inside.base_layer.weight.clone()
            inside.base_layer.weight[0, 0] += 1
        with pytest.raises(ValueError, match="their weights differ"):
            edited(tuned, Ablate(direction))
        with torch.no_grad():
            inside.base_layer.weight[:] = kept
            inside.lora_A["default"].weight[0, 0] += 1  # no pass meets it
        assert tuned.fingerprint.config == off.config
        edited(tuned, Ablate(direction))
    assert tuned.fingerprint.tensors != on.tensors
    for use in (quiet.logits, quiet.generate, lambda texts: capture(quiet, texts, SITE)):
        with pytest.raises(ValueError, match="edited while its adapters were switched off, and now they act"):
            use(TEXTS)
    tuned.hf.unload()
    quiet.logits(TEXTS)


def test_adapters_that_may_act_are_not_taken_for_the_base_model(with_lora, make_hf, make_tokenizer):
    from peft import IA3Config, get_peft_model

    base = load_model(make_hf(), tokenizer=make_tokenizer()).fingerprint
    tuned = load_model(with_lora(), tokenizer=make_tokenizer())
    layers = [m for m in tuned.hf.modules() if hasattr(m, "base_layer")]
    for layer in layers[:-1]:
        layer.enable_adapters(False)
    with pytest.raises(ValueError, match="adapters differ"):  # one still acts
        base.check(tuned.fingerprint, "the probe")
    tuned.hf.merge_adapter()
    with tuned.hf.disable_adapter(), pytest.raises(ValueError, match=r"adapters differ .*merged"):
        base.check(tuned.fingerprint, "the probe")
    other = get_peft_model(make_hf(), IA3Config(target_modules=["q_proj"], feedforward_modules=[]))
    other = load_model(other, tokenizer=make_tokenizer())
    with other.hf.disable_adapter(), pytest.raises(ValueError, match=r"adapters differ .*switched off"):
        base.check(other.fingerprint, "the probe")


@pytest.mark.filterwarnings("ignore:no forward pass of this:probes.HookprobeWarning")
def test_hooks_of_other_code_are_named_and_ours_are_not(model):
    plain = model.fingerprint

    def doubled(module: nn.Module, args, output):
        return output

    with applied(model.hf, Add(Direction.from_vector(np.eye(model.width)[0], SITE, model), norm=1.0)):
        assert model.fingerprint == plain
    handle = model.hf.transformer.h[0].mlp.register_forward_hook(doubled)
    hooked = model.fingerprint
    assert hooked.state.hooks[0].startswith("transformer.h.0.mlp: ") and "doubled" in hooked.state.hooks[0]
    with pytest.warns(UserWarning, match="hooks of other code on the model: none; now there are: .*doubled"):
        plain.check(hooked, "the direction")
    handle.remove()
    assert model.fingerprint == plain
    assert Fingerprint.from_dict(hooked.as_dict()) == hooked
    old = {k: v for k, v in plain.as_dict().items() if k not in ("tensors", "state")}
    Fingerprint.from_dict(old).check(plain, "an older file")


def kept(model, folder):
    return capture(model, TEXTS, SITE, store=folder, progress=False).load()


def test_a_store_does_not_hand_out_rows_of_what_the_model_was(model, tmp_path):
    first = kept(model, tmp_path)
    assert torch.equal(kept(model, tmp_path).x, first.x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = kept(model, tmp_path)
    assert cast.receipt["model"]["state"]["autocast"] == "bfloat16" and not torch.equal(cast.x, first.x)
    handle = model.hf.transformer.h[1].register_forward_hook(lambda m, a, out: out * 2)
    assert not torch.equal(kept(model, tmp_path).x, first.x)
    handle.remove()
    assert torch.equal(kept(model, tmp_path).x, first.x)
    with torch.no_grad():
        model.hf.transformer.h[0].ln_1.weight *= 1.5
    assert torch.equal(kept(model, tmp_path).x, capture(model, TEXTS, SITE, progress=False).x)
    assert not torch.equal(kept(model, tmp_path).x, first.x)


def test_rows_read_inside_applied_name_the_edit_and_are_kept_apart(model, tmp_path):
    edit = Add(Direction.from_vector(np.eye(model.width)[0], "resid_post.0", model), norm=6.0)
    first = capture(model, TEXTS, SITE, progress=False)
    with applied(model.hf, edit):
        inside, stored = capture(model, TEXTS, SITE, progress=False), kept(model, tmp_path)
    by_value = capture(edited(model, edit), TEXTS, SITE, progress=False)
    assert inside.receipt["edits"] == by_value.receipt["edits"] and len(inside.receipt["edits"]) == 1
    assert torch.allclose(inside.x, by_value.x, atol=1e-5) and torch.equal(stored.x, inside.x)
    assert torch.equal(kept(model, tmp_path).x, first.x) and not first.receipt["edits"]


def test_weights_that_did_not_change_are_not_read_again(model, monkeypatch):
    calls = []
    monkeypatch.setattr("probes.data.fingerprint.digest", lambda tensors: calls.append(1) or "x")
    copied = load_model(copy.deepcopy(model.hf), tokenizer=model.tokenizer)
    for _ in range(3):
        assert copied.fingerprint.tensors == "x"
    assert len(calls) == 1


def test_numbers_taken_from_rows_of_another_model_are_refused(model, make_model):
    foreign, examples = make_model("gpt2", seed=1), Examples(TEXTS, y=[0, 1, 0, 1])
    sites = [SITE, "attn_out.1"]
    own, theirs = (capture(m, examples, sites, progress=False) for m in (model, foreign))
    direction = MassMean().fit(own).direction(SITE)
    doors = {
        "mean_of": lambda rows: edited(model, Ablate(direction, mean_of=rows)),
        "the reference": lambda rows: edited(model, Affine(direction, rows)),
        "the direction": lambda rows: direction.calibrated(rows),
    }
    for what, door in doors.items():
        door(own)
        with pytest.raises(ValueError, match=f"{what} belongs to model .* their weights differ"):
            door(theirs)
    edited(model, Skip("attn_out.1", mean_of=own))
    with pytest.raises(ValueError, match="mean_of belongs to model"):
        edited(model, Skip("attn_out.1", mean_of=theirs))


def by_last_token(model, *edits, y=(0, 1, 0, 1), at="last"):
    there = edited(model, *edits) if edits else model
    return capture(there, Examples(TEXTS, y=list(y)), SITE, at, progress=False)


def test_directions_of_two_models_have_no_angle(model, make_model):
    own, theirs = (MassMean().fit(by_last_token(m)).direction() for m in (model, make_model("gpt2", seed=1)))
    bare, moved = Direction.from_vector(own.unit, SITE), theirs.on(model, reason="to compare the two")
    doors = [own.cosine_to, own.orthogonal_to, lambda d: cosine_map([own, own, d])]
    for door in doors:
        door(moved)
        with pytest.raises(ValueError, match=r"belongs to model .* their weights differ"):
            door(theirs)
    assert own.cosine_to(bare) == pytest.approx(1)
    assert own.cosine_to(moved) == pytest.approx(float(own.unit @ theirs.unit))


def test_rows_read_under_other_edits_or_elsewhere_are_warned_of(model, recwarn):
    own = by_last_token(model)
    direction = MassMean().fit(own).direction()
    push, there = Add(direction, gaps=9), Site("attn_out", 1)
    doors = [
        lambda m, rows: direction.calibrated(rows),
        lambda m, rows: edited(m, Ablate(direction, mean_of=rows, at="last")),
        lambda m, rows: edited(m, Skip(there, mean_of=replace(rows, sites=(there,)), at=-1)),
        lambda m, rows: edited(m, Affine(direction, rows)),
    ]  # fmt: skip
    pushed, elsewhere = by_last_token(model, push), by_last_token(model, at=1)
    for door in (doors[0], doors[1], doors[3]):
        door(model, own)
        door(model, Activations.from_arrays(own.x, own.y, sites=[SITE]))  # who does not say passes
        assert not recwarn.list
        said = r"was read under Add.*9 gaps.* and is used under no edits.*Activations\.from_arrays\("
        with pytest.warns(UserWarning, match=said):
            door(model, pushed)
        with pytest.warns(UserWarning, match="was read at 1 and is used for last"):
            door(model, elsewhere)
        recwarn.clear()
    for door in doors[1:]:
        door(edited(model, push), replace(pushed, receipt=pushed.receipt | {"at": "-1"}))
    with pytest.warns(UserWarning, match="mean_of was read under Add"):
        doors[2](model, pushed)
    again = MassMean().fit(pushed).direction()
    recwarn.clear()
    again.calibrated(pushed)
    edited(model, Ablate(direction, mean_of=elsewhere))  # all tokens have no place of their own
    assert not recwarn.list


ASKED = Examples(TEXTS, y=[0, 1, 0, 1], columns={"answer": ["red", "tree", "old", "house"]})


@pytest.fixture(scope="module")
def known():
    """A small model, one with other weights, an edit, and what the first said."""
    model, other = (Model.of(build_hf("llama", seed=s), build_tokenizer()) for s in (0, 1))
    edit = Add(Direction.from_vector(np.eye(model.width)[0], SITE, model), norm=4.0)
    return model, other, edit


def match(n):
    return ExactMatch(max_new_tokens=n)


BEFORE = {
    "belongs to model .* their weights differ": lambda m, other, edit, b: b(other, ASKED),
    "under other edits .Add.*; now none": lambda m, _, edit, b: b(edited(m, edit), ASKED),
    "by another behaviour .*now max_new_tokens=2": lambda m, *_: match(3)(m, ASKED),
    "when the column 'answer' of the prompts held other values": lambda m, other, edit, b: b(
        m, Examples(ASKED.texts, y=ASKED.y, columns={"answer": ["blue"] * 4})
    ),
    "behind other texts": lambda m, other, edit, b: b(
        m, Examples(["old " + t for t in TEXTS], y=ASKED.y, columns=ASKED.columns, ids=ASKED.ids)
    ),
}  # fmt: skip


def ending(m, b, ends):
    """What a behaviour gives while other tokens end the model's texts."""
    kept = m.hf.generation_config.eos_token_id
    m.hf.generation_config.eos_token_id = ends
    try:
        return b(m, ASKED)
    finally:
        m.hf.generation_config.eos_token_id = kept


BEFORE["under other generation settings .*eos_token_id=..*; now eos_token_id="] = lambda m, _, edit, b: (
    ending(m, b, [2, 5])
)


@pytest.mark.parametrize("fault", BEFORE)
def test_records_of_somebody_else_are_no_before(known, fault):
    model, other, edit = known
    behaviour = match(2)
    theirs = BEFORE[fault](model, other, edit, behaviour)
    options = {"none": Ablate(edit.direction)}
    quiet = {"progress": False, "n_controls": 0}
    with pytest.raises(ValueError, match=f"before (was measured )?{fault}"):
        search(model, options, behaviour, ASKED, before=theirs, **quiet)
    with pytest.raises(ValueError, match=f"before (was measured )?{fault}"):
        effect(model, Ablate(edit.direction), behaviour, ASKED, before=theirs, progress=False)
    more = Examples(TEXTS, y=[1, 1, 0, 0], columns=dict(ASKED.columns) | {"more": TEXTS})
    own = behaviour(model, ASKED)
    search(model, options, behaviour, more, before=own, **quiet)
    search(model, options, behaviour, ASKED, before=replace(theirs, receipt={}), **quiet)
    given = behaviour(model, ASKED, given=own.texts)
    assert given.receipt == {} and own.receipt["behaviour"]["max_new_tokens"] == "2"
    both = Records.concat([own, replace(own, ids=np.arange(4))])
    assert both.receipt == own.receipt
    # What does not act makes no other records.
    model.hf.generation_config.temperature = 0.7
    try:
        search(model, options, behaviour, ASKED, before=own, **quiet)
    finally:
        model.hf.generation_config.temperature = None


@pytest.mark.filterwarnings("ignore:4 of 4 answers were cut:probes.HookprobeWarning")
def test_what_writes_says_how_also_within_another_form(known):
    model, *_ = known
    told = match(2)(model, ASKED).receipt["decoding"]
    assert told["max_new_tokens"] == 2 and told["do_sample"] is False and told["eos_token_id"] == [2]
    assert "decoding" not in Answers(" yes", " no")(model, ASKED).receipt
    chatty = Model.of(model.hf, build_tokenizer(chat=True))
    within = InChat(match(3))(chatty, ASKED).receipt
    assert within["decoding"]["max_new_tokens"] == 3


def test_train_rows_of_somebody_else_make_no_controls(known):
    model, other, edit = known
    ablate = Ablate(edit.direction)

    def drawn(train):
        return controls_of(model, ablate, ASKED, 2, 0, train)[0].source

    many = Examples([f"{a} {b}" for a in ("the old", "a small", "red") for b in WORDS[:8]], y=[0, 1] * 12)
    own = capture(model, many, SITE, progress=False)
    bare = Activations.from_arrays(own.x, own.y, sites=[SITE])
    assert drawn(own) == drawn(bare) == "exchanging labels" != drawn(None)
    for rows, words in [
        (by_last_token(other), "train belongs to model .* their weights differ"),
        (by_last_token(model, edit), "train was read under Add.* measured on a model under no edits"),
        (capture(model, ASKED, "resid_post.0", progress=False), "train has no rows at resid_post.1"),
        (capture(model, TEXTS, SITE, progress=False), "train has no labels y"),
    ]:
        with pytest.raises(ValueError, match=words):
            drawn(rows)


def grown_by(strength):
    def hook(module: nn.Module, args, output):
        return output + strength

    return hook


def replaced(module, factor):
    before = module.forward
    module.forward = lambda *args: before(*args) * factor


def steady(hf):
    """Hooks of other code on a model, whose mere running is no change."""
    seen, count, table = [], 0, {"n": 0}

    def looks_on(module: nn.Module, args, output):
        nonlocal count
        count += 1
        table["n"] += 1
        seen.append(output)

    hf.model.layers[0].register_forward_hook(looks_on)


PAST = {
    "a row": lambda hf: hf.model.layers[0].mlp.down_proj.weight.data[3].mul_(5),
    "a row, by numpy": lambda hf: hf.model.layers[1].mlp.up_proj.weight.detach().numpy().__setitem__(3, 0),
    "columns": lambda hf: hf.model.layers[0].self_attn.o_proj.weight.data[:, 8:9].zero_(),
    "activation": lambda hf: setattr(hf.model.layers[0].mlp, "act_fn", nn.Identity()),
    "rotary frequencies": lambda hf: hf.model.rotary_emb.inv_freq.mul_(0.1),
    "eps": lambda hf: setattr(hf.model.layers[0].input_layernorm, "variance_epsilon", 5.0),
    "scaling": lambda hf: setattr(hf.model.layers[0].self_attn, "scaling", 3.0),
    "forward": lambda hf: replaced(hf.model.layers[0].mlp, 3),
}


@pytest.mark.parametrize("change", PAST)
def test_what_changes_a_model_past_its_versions_is_noticed(make_hf, make_tokenizer, tmp_path, change):
    model = load_model(make_hf("llama"), tokenizer=make_tokenizer())
    first, edit = kept(model, tmp_path), Ablate(Direction.from_vector(np.eye(model.width)[0], SITE, model))
    assert torch.equal(kept(model, tmp_path).x, first.x) and edited(model, edit)
    PAST[change](model.hf)
    with pytest.raises(ValueError, match=r"their (weights|settings) differ"):
        edited(model, edit)
    now = capture(model, TEXTS, SITE, progress=False).x
    assert torch.equal(kept(model, tmp_path).x, now) and not torch.equal(now, first.x)


def test_a_single_number_past_its_version_is_noticed_by_a_store(make_hf, make_tokenizer, tmp_path):
    model = load_model(make_hf("llama"), tokenizer=make_tokenizer())
    weight = model.hf.model.layers[0].mlp.gate_proj.weight.data
    for at in range(0, weight.numel(), 97):
        first = kept(model, tmp_path)
        weight.view(-1)[at] += 3.0
        assert torch.equal(kept(model, tmp_path).x, capture(model, TEXTS, SITE, progress=False).x)
        assert not torch.equal(kept(model, tmp_path).x, first.x)
        if at > 400:
            break


@pytest.mark.parametrize(("rows", "columns"), [(7, 3), (48, 32), (32, 48), (5, 4096), (4096, 5), (64, 64)])
def test_the_walk_meets_every_row_and_every_column(rows, columns):
    met = torch.zeros(rows, columns)
    met.view(-1)[:: _step(rows, columns)] = 1
    assert met.any(0).all() and met.any(1).all()


def test_hooks_are_told_apart_by_what_they_hold(make_hf, make_tokenizer, tmp_path):
    model = load_model(make_hf("llama"), tokenizer=make_tokenizer())
    block, told = model.hf.model.layers[0], {"by": 1.0}
    hooks = [grown_by(1.0), grown_by(9.0), partial(lambda by, m, a, out: out + by, 2.0)]
    hooks += [partial(lambda by, m, a, out: out + by, 3.0), lambda m, a, out: out + told["by"]]
    seen = []
    for hook in (*hooks, hooks[-1]):
        handle = block.register_forward_hook(hook)
        now = capture(model, TEXTS, SITE, progress=False).x
        assert torch.equal(kept(model, tmp_path).x, now)
        seen.append(model.fingerprint.state.hooks)
        handle.remove()
        told["by"] += 4.0
    assert len(set(seen)) == len(seen)
    steady(model.hf)
    before = model.fingerprint
    capture(model, TEXTS, SITE, progress=False)
    assert model.fingerprint == before


def test_the_scaling_of_an_adapter_counts(with_lora, make_tokenizer):
    tuned = load_model(with_lora(), tokenizer=make_tokenizer())
    first = tuned.fingerprint
    assert tuned.fingerprint == first
    for layer in tuned.hf.modules():
        if hasattr(layer, "scale_layer"):
            layer.scale_layer(8.0)
    with pytest.raises(ValueError, match=r"their settings differ .*scaling"):
        first.check(tuned.fingerprint, "the probe")


def test_an_adapter_that_wrote_a_text_is_the_same_model(with_lora, make_tokenizer):
    """PEFT leaves a function of its own on the model that it wraps when it writes."""
    tuned = load_model(with_lora(task_type="CAUSAL_LM"), tokenizer=make_tokenizer())
    before = tuned.fingerprint
    tuned.generate(TEXTS[:1], max_new_tokens=1)
    before.check(tuned.fingerprint, "the probe")
    assert tuned.fingerprint == before


@pytest.mark.parametrize("name", ["output_hidden_states", "output_attentions"])
def test_what_else_a_model_returns_makes_no_other_model(make_hf, make_tokenizer, name):
    hf = make_hf("llama")
    hf.set_attn_implementation("eager")  # attentions are returned by no other
    model = load_model(hf, tokenizer=make_tokenizer())
    before = model.fingerprint
    setattr(hf.config, name, True)
    assert model.fingerprint == before


def test_keys_that_change_no_hidden_state_make_no_other_model(make_hf, make_tokenizer, tmp_path):
    model = load_model(make_hf("llama"), tokenizer=make_tokenizer())
    probe = MassMean().fit(acts := capture(model, Examples(TEXTS, y=[0, 1, 0, 1]), SITE))
    kept = capture(model, TEXTS, SITE, store=tmp_path / "store")
    before, first = model.fingerprint, probe.score_texts(model, TEXTS)
    changed = {"pad_token_id": 5, "eos_token_id": [2, 6], "bos_token_id": None}
    for key, value in {**changed, "return_dict": False, "problem_type": "regression"}.items():
        setattr(model.hf.config, key, value)
        assert model.fingerprint.config != before.config
        before.check(model.fingerprint, "the probe")
        model.fingerprint.check(before, "the probe")
    model.hf.config.return_dict = True
    more = capture(model, Examples(["a red tree"], y=[0]), SITE)
    assert Activations.concat([acts, more]).receipt["model"] == before.as_dict()
    half = capture(load_model(copy.deepcopy(model.hf).half(), tokenizer=model.tokenizer), ["a tree"], SITE)
    with pytest.raises(ValueError, match="different models: one in float32, one in float16"):
        Activations.concat([acts, replace(half, y=np.ones(1))])
    edited(model, Ablate(probe.direction()))
    open_store(kept.folder, model)
    assert torch.equal(probe.score_texts(model, TEXTS), first)
    model.hf.save_pretrained(tmp_path / "saved")  # built anew around another pad token
    again = load_model(tmp_path / "saved", tokenizer=make_tokenizer())
    before.check(again.fingerprint, "the probe")
    assert torch.equal(probe.score_texts(again, TEXTS), first)


def test_keys_that_change_hidden_states_are_named(make_hf, make_tokenizer):
    model = load_model(make_hf("llama"), tokenizer=make_tokenizer())
    before = model.fingerprint
    model.hf.config.rms_norm_eps = 0.1
    with pytest.raises(ValueError, match=r"their config differs \(rms_norm_eps .*, now 0.1\)"):
        before.check(model.fingerprint, "the probe")
    # RoBERTa counts positions from the pad token.
    hf = make_hf("roberta")
    model = load_model(hf, tokenizer=make_tokenizer(encoder=True))
    before = model.fingerprint
    hf.config.pad_token_id = 3
    with pytest.raises(ValueError, match=r"their config differs \(pad_token_id 1, now 3\)"):
        before.check(model.fingerprint, "the probe")
    hf.config.pad_token_id = 1
    hf.embeddings.padding_idx = 3
    with pytest.raises(ValueError, match="their settings differ"):
        before.check(model.fingerprint, "the probe")


def test_receipts_of_before_are_known_by_the_whole_config(model, tmp_path):
    now = model.fingerprint
    old = now.as_dict()
    assert old.pop("core")
    old["state"]["settings"] = re.sub("/[^@]*", "", old["state"]["settings"])
    old = Fingerprint.from_dict(old)
    old.check(now, "the probe")
    now.check(old, "the probe")
    assert old.key == now.key
    model.hf.config.pad_token_id = 7  # they cannot tell which key it is
    with pytest.raises(ValueError, match=r"their config differs\. "):
        old.check(model.fingerprint, "the probe")


def test_what_differs_in_settings_is_named_where_it_was_met(model):
    own = model.fingerprint
    model.hf.transformer.h[0].attn.is_causal = False
    with pytest.raises(
        ValueError,
        match=r"their settings differ .*besides their weights: .*attn\.is_causal '?True'?, now .*False",
    ):
        own.check(model.fingerprint, "the probe")
    model.hf.transformer.h[0].attn.is_causal = True
    model.hf.transformer.h[0].ln_1.eps = 0.5
    with pytest.raises(ValueError, match=r"weights: transformer\.h\.0\.ln_1\.eps '1e-05', now '0\.5'\)"):
        own.check(model.fingerprint, "the probe")
    other = replace(own, state=replace(own.state, settings="a/b@" + own.state.settings.split("@")[1]))
    with pytest.raises(
        ValueError, match=r"weights: attributes, functions, buffers, scaling\)"
    ):  # not met here
        other.check(own, "the probe")


def test_remedies_are_calls_that_exist(model, make_model, tmp_path):
    foreign, rows = make_model("gpt2", seed=1), by_last_token(model)
    probe = MassMean().fit(rows)
    kept = capture(model, TEXTS, SITE, store=tmp_path / "store")
    doors = [lambda: probe.score(by_last_token(foreign)), lambda: open_store(kept.folder, foreign)]
    for door in doors:
        with pytest.raises(
            ValueError, match=r"make it anew from this one: capture \(and fit\) with this model$"
        ):
            door()
    with pytest.raises(ValueError, match=r"transfer on purpose with direction\.on"):
        edited(foreign, Ablate(probe.direction()))
    first = by_last_token(model, at="first")
    with pytest.warns(UserWarning, match=r"capture with at='last', or, .*Activations\.from_arrays\(rows\.x"):
        scores = probe.score(first)
    assert torch.equal(probe.score(Activations.from_arrays(first.x, first.y, sites=first.sites)), scores)


def test_receipts_without_settings_or_under_another_library_are_not_compared_by_them(model):
    own = model.fingerprint
    model.hf.transformer.h[0].ln_1.eps = 1.0
    now = model.fingerprint
    with pytest.raises(ValueError, match="their settings differ"):
        own.check(now, "the direction")
    old = own.as_dict()
    del old["state"]["settings"]
    Fingerprint.from_dict(old).check(now, "the direction")
    later = replace(now, state=replace(now.state, settings=now.state.settings + ".1"))
    own.check(later, "the direction")


def test_a_probe_says_texts_that_begin_otherwise_and_edits_that_are_left_out(make_model, recwarn):
    model, rows = make_model(), Examples(TEXTS, y=[0, 1, 0, 1])
    probe = MassMean().fit(capture(model, rows, SITE, progress=False))
    bare = build_tokenizer()
    bare.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    without = capture(load_model(model.hf, tokenizer=bare), rows, SITE, progress=False)
    with pytest.warns(
        UserWarning, match=r"begin with <s> and scores rows of texts that begin with no special"
    ):
        probe.score(without)
    edit = Add(Direction.from_vector(np.eye(model.width)[0], SITE, model), norm=1.0)
    under = MassMean().fit(capture(edited(model, edit), rows, SITE, progress=False))
    with pytest.warns(
        UserWarning, match=r"read under .*Add.*, and scores rows read without; capture them from"
    ):
        under.score(capture(model, rows, SITE, progress=False))
    recwarn.clear()
    # Rows of more edits, of arrays, and of texts and chats that bring their first token along.
    probe.score(capture(edited(model, edit), rows, SITE, progress=False))
    under.score(capture(edited(edited(model, edit), edit), rows, SITE, progress=False))
    under.score(Activations.from_arrays(without.x, sites=without.sites))
    typed = [f"<s> {t}" for t in TEXTS]
    probe.score(capture(load_model(model.hf, tokenizer=bare), typed, SITE, progress=False))
    assert not recwarn.list


# --- edits and weights that change afterwards
# --------------------------------------------------------------------


def found_on(model):
    acts = capture(model, Examples(TEXTS, y=[0, 1, 0, 1]), SITE, progress=False)
    return MassMean().fit(acts).direction()


def test_an_edited_model_is_asked_again_once_its_weights_have_changed(model):
    direction = found_on(model)
    quiet = edited(model, Add(direction, gaps=1))
    before = quiet.logits(TEXTS)
    kept = {k: v.clone() for k, v in model.hf.state_dict().items()}
    with torch.no_grad():
        for tensor in model.hf.parameters():
            tensor += 0.01
    passes = (
        lambda: quiet.logits(TEXTS),
        lambda: quiet.generate(TEXTS, 2),
        lambda: capture(quiet, TEXTS, SITE, progress=False),
    )
    for run in passes:
        with pytest.raises(ValueError, match=r"changed since it was edited .*their weights differ"):
            run()
    model.logits(TEXTS)
    edited(model, Add(direction.on(model, reason="trained on"), gaps=1)).logits(TEXTS)
    model.hf.load_state_dict(kept)
    assert torch.equal(quiet.logits(TEXTS), before), "the same weights, written again"


def test_an_edited_model_is_asked_again_once_its_adapters_were_switched(make_hf, make_tokenizer):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    tuned = get_peft_model(make_hf(), config)
    tuned.add_adapter("other", config)
    model = load_model(tuned, tokenizer=make_tokenizer("left"))
    changed = edited(model, Add(found_on(model), gaps=1))
    before = changed.logits(TEXTS)
    tuned.set_adapter("other")
    with pytest.raises(ValueError, match=r"changed since it was edited .*their adapters differ"):
        changed.logits(TEXTS)
    tuned.set_adapter("default")
    assert torch.equal(changed.logits(TEXTS), before)


def test_edits_that_belong_to_no_model_in_particular_go_on_when_weights_change(model):
    vector = Direction.from_vector(np.ones(model.width), SITE)
    quiet = edited(model, Add(vector, norm=1))
    with torch.no_grad():
        for tensor in model.hf.parameters():
            tensor += 0.01
    assert quiet.logits(TEXTS).shape[0] == len(TEXTS)


def test_edits_are_asked_again_only_where_a_weight_was_written(model, monkeypatch):
    quiet = edited(model, Add(found_on(model), gaps=1))
    asked = []
    monkeypatch.setattr(Direction, "check_model", lambda self, model: asked.append(model))
    quiet.logits(TEXTS)
    assert not asked
    model.hf.load_state_dict(model.hf.state_dict())
    quiet.logits(TEXTS)
    quiet.logits(TEXTS)
    assert len(asked) == 1


def test_weights_loaded_within_applied_are_warned_of_and_training_is_not(model):
    direction = found_on(model)
    other = {k: v + 0.01 for k, v in model.hf.state_dict().items()}
    ids = torch.tensor([[4, 5, 6]])
    with (
        pytest.warns(UserWarning, match=r"within applied\(\), the model was changed since .*weights"),
        applied(model.hf, Add(direction, gaps=1)),
    ):
        model.hf(input_ids=ids)
        model.hf.load_state_dict(other)
        model.hf(input_ids=ids)
    direction = found_on(model)
    with applied(model.hf, Add(direction, gaps=1)):
        optimiser = torch.optim.SGD(model.hf.train().parameters(), lr=0.1)
        model.hf(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
        model.hf.eval()(input_ids=ids)
