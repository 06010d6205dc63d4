"""The TransformerLens backend gives what plain hooks give, and leaves the Hugging Face model as it was."""

import importlib.util
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from probes import Site, capture, recording
from probes.models.backends import bridge, transformer_lens
from probes.models.backends.bridge import boot, twin
from probes.models.backends.hooks import Hooks
from probes.models.backends.points import Backend, Layout, whole
from probes.models.backends.transformer_lens import TransformerLens
from probes.models.model import Model
from tests.conftest import ENCODERS, FAMILIES
from tests.plain_write import PlainWrite

pytest.importorskip("transformer_lens")

WITHOUT_BRIDGE = ("deberta", "t5")
BRIDGED = tuple(f for f in FAMILIES if f not in WITHOUT_BRIDGE)
COPIED = ("gpt_neox", "bloom", "falcon")
STREAM = ["resid_pre", "resid_post", "attn_out", "mlp_out"]
SIDES = ("left", "right")


@dataclass(frozen=True)
class Shift(PlainWrite):
    def __call__(self, h):
        # Not the same everywhere, which a LayerNorm would take out again.
        return h + self.by * torch.linspace(-1, 1, h.shape[-1])


@dataclass(frozen=True)
class Double(Shift):
    def __call__(self, h):
        return 2 * h


PADDED = {
    "input_ids": torch.tensor([[1, 1, 0, 7, 9], [0, 4, 8, 21, 5]]),
    "attention_mask": torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]),
}


def kept(h):
    """The tokens that are no padding, as a copy."""
    return h[PADDED["attention_mask"].bool()]


def difference(got, want):
    assert got.shape == want.shape
    return (got - want).abs().max().item()


def standing_hooks(lens):
    """How many functions hang on each hook point; some are TransformerLens' own and stay."""
    return {
        name: len(point._forward_hooks) for name, point in lens.bridge.hook_dict.items()
    }, lens.bridge.context_level


@pytest.fixture(scope="module", params=BRIDGED)
def bridged(request, make_hf, make_tokenizer):
    """One bridge a family, with what the model was before it."""
    hf = make_hf(request.param)
    before = (
        {k: v.clone() for k, v in hf.state_dict().items()},
        hf.config._attn_implementation,
        [type(m) for m in hf.modules()],
    )
    inputs = {"input_ids": torch.tensor([[0, 7, 9, 21, 5]])}
    with torch.no_grad():
        output = hf(**inputs)[0]
    lens = TransformerLens(hf)
    encoder = request.param in ENCODERS
    models = {
        side: (Model(hf, t, "tiny", lens), Model.of(hf, t))
        for side in SIDES
        for t in [make_tokenizer(side, encoder)]
    }
    return SimpleNamespace(
        family=request.param, hf=hf, lens=lens, models=models, before=before, inputs=inputs, output=output
    )


@pytest.fixture(scope="module")
def llama(make_hf, make_tokenizer):
    hf, tokenizer = make_hf(), make_tokenizer("left")
    lens = TransformerLens(hf, tokenizer)
    return SimpleNamespace(
        hf=hf, lens=lens, model=Model(hf, tokenizer, "tiny", lens), plain=Model.of(hf, tokenizer)
    )


# --- conformance
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "heads"), [("left", "z"), ("right", "z.1.2")])
def test_every_token_at_every_site_equals_plain_hooks(bridged, side, heads, texts):
    ours, plain = bridged.models[side]
    for sites in (STREAM, heads):
        got, want = (capture(m, texts, sites, at="all", batch_size=32, check=False) for m in (ours, plain))
        assert difference(got.x, want.x) <= 1e-5
        assert got.sites == want.sites


def test_a_write_does_what_it_does_with_plain_hooks(bridged):
    ours, plain = (m.backend for m in bridged.models["left"])
    posts = [Site("resid_post", b) for b in range(3)]
    before = plain.run(PADDED, posts, kept, (), False, {}).states
    for name in ("resid_pre.1", "resid_post.1", "attn_out.1", "mlp_out.1", "z.1", "z.1.2"):
        site = Site.parse(name)
        sites = list(dict.fromkeys([*posts, site]))
        got, want = (
            b.run(PADDED, sites, kept, [(site, Shift(site))], False, {}).states for b in (ours, plain)
        )
        assert max(difference(got[s], want[s]) for s in sites) <= 2e-5, name
        assert difference(got[posts[2]], before[posts[2]]) > 0.01, f"{name}: the write must show"


def test_the_original_stays_as_it_was(bridged, tmp_path):
    state, attention, modules = bridged.before
    with torch.no_grad():
        assert torch.equal(bridged.hf(**bridged.inputs)[0], bridged.output)
    assert list(bridged.hf.state_dict()) == list(state)
    assert all(torch.equal(v, state[k]) for k, v in bridged.hf.state_dict().items())
    assert (bridged.hf.config._attn_implementation, [type(m) for m in bridged.hf.modules()]) == (
        attention,
        modules,
    )
    bridged.hf.save_pretrained(tmp_path)
    again = type(bridged.hf).from_pretrained(tmp_path)
    assert all(torch.equal(v, state[k]) for k, v in again.state_dict().items())


def test_only_fused_and_interleaved_attention_weights_are_copied(bridged):
    def storages(tensors):
        return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}

    modules = [*bridged.lens.bridge.modules(), *bridged.lens.bridge.original_model.modules()]
    ours = storages(
        t for m in modules for t in (*m._parameters.values(), *m._buffers.values()) if t is not None
    )
    own = storages([*bridged.hf.parameters(), *bridged.hf.buffers()])
    extra = sum(size for place, size in ours.items() if place not in own)
    fused = sum(storages(p for n, p in bridged.hf.named_parameters() if "query_key_value" in n).values())
    assert extra <= (fused if bridged.family in COPIED else 0) + 256, "and a few numbers of bookkeeping"
    assert extra >= fused if bridged.family in COPIED else extra < fused + 256


def test_generation_and_logits_are_those_of_plain_hooks(bridged):
    ours, plain = (m.backend for m in bridged.models["left"])
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 1, "eos_token_id": None}
    if not bridged.models["left"][0].generates:
        with pytest.raises(ValueError, match="no language-model head to generate with"):
            ours.generate(PADDED, [], options)
        return
    write = [(Site("resid_post", 1), Shift(Site("resid_post", 1), by=9.0))]
    free, held, cacheless = (
        ours.generate(PADDED, w, options | more)
        for w, more in (((), {}), (write, {}), (write, {"use_cache": False}))
    )
    assert torch.equal(free, plain.generate(PADDED, [], options))
    assert torch.equal(held, plain.generate(PADDED, write, options))
    assert torch.equal(held, cacheless)
    assert not torch.equal(free, held), "the write must show"
    got, want = (b.run(PADDED, [], kept, write, True, {}).logits for b in (ours, plain))
    assert difference(kept(got), kept(want)) <= 2e-5


# --- what is refused
# -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", WITHOUT_BRIDGE)
def test_a_family_without_a_bridge_raises(family, make_hf):
    with pytest.raises(ValueError, match=r'TransformerLens has no bridge for \w+; use backend="hooks"'):
        TransformerLens(make_hf(family))


def test_a_classifier_raises(make_hf):
    with pytest.raises(ValueError, match="no bridge for LlamaForSequenceClassification"):
        TransformerLens(make_hf(head="ForSequenceClassification"))


def test_a_quantised_model_raises(make_hf):
    hf = make_hf()
    hf.model.layers[0].mlp.up_proj.weight = nn.Parameter(
        torch.zeros(48, 32, dtype=torch.int8), requires_grad=False
    )
    with pytest.raises(ValueError, match=r"LlamaForCausalLM is quantised \(torch.float32, torch.int8\)"):
        TransformerLens(hf)
    hf = make_hf()
    hf.config.quantization_config = {"quant_method": "fp8"}
    with pytest.raises(ValueError, match="is quantised"):
        TransformerLens(hf)


def test_a_model_on_several_devices_raises(make_hf):
    hf = make_hf()
    hf.hf_device_map = {"model.layers.0": 0, "model.layers.1": "cpu"}
    with pytest.raises(ValueError, match="is spread over 0, cpu"):
        TransformerLens(hf)
    hf.hf_device_map = {"": "cpu"}
    TransformerLens(hf)


def test_an_adapter_raises(make_hf):
    peft = pytest.importorskip("peft")
    with pytest.raises(ValueError, match="carries an adapter"):
        TransformerLens(peft.get_peft_model(make_hf(), peft.LoraConfig(target_modules=["q_proj"])))


def test_a_bridge_that_fails_to_boot_says_why(make_hf, monkeypatch):
    monkeypatch.setattr(
        "transformer_lens.model_bridge.sources.build_bridge_from_module", lambda *args, **kwargs: {}["gone"]
    )
    with pytest.raises(
        ValueError, match=r"cannot make a bridge for this LlamaForCausalLM \(KeyError: 'gone'\); use backend"
    ):
        boot(make_hf())


def test_residual_streams_that_differ_from_the_original_raise_with_the_size(make_hf, monkeypatch):
    monkeypatch.setattr(transformer_lens, "RESIDUAL", {"resid_pre": "hook_in", "resid_post": "hook_in"})
    with pytest.raises(
        ValueError,
        match=(
            r"resid_post.0 of the bridge differs from the original LlamaForCausalLM by \S+ of its size .*"
            r" allowed is 1e-05"
        ),
    ):
        TransformerLens(make_hf())
    monkeypatch.setattr(
        transformer_lens, "RESIDUAL", {"resid_pre": "hook_in", "resid_post": "hook_mlp_in_of_nobody"}
    )
    with pytest.raises(
        ValueError, match=r"the bridge of LlamaForCausalLM has no blocks.0.hook_mlp_in_of_nobody"
    ):
        TransformerLens(make_hf())


@pytest.mark.parametrize("side", [0, 1], ids=["plain", "padded"])
def test_the_check_sees_padded_and_plain_passes(side, make_hf, monkeypatch):
    """A bridge that is only wrong under padding, or only without, is found out."""
    run = Hooks.run

    def wrong(self, inputs, *args, **kwargs):
        passed = run(self, inputs, *args, **kwargs)
        if ("attention_mask" in inputs) == side:
            passed.states[Site("resid_post", 2)] += 0.001
        return passed

    monkeypatch.setattr(Hooks, "run", wrong)
    with pytest.raises(ValueError, match=r"resid_post.2 of the bridge differs"):
        TransformerLens(make_hf())


def test_sublayers_that_do_not_add_up_raise(make_hf, monkeypatch):
    monkeypatch.setattr(
        transformer_lens, "LAYOUTS", (Layout("attn.hook_out", "mlp.hook_out", "attn.o.hook_in"),)
    )
    lens = TransformerLens(make_hf("gemma2"))
    with pytest.raises(
        ValueError, match=r'TransformerLens: attn_out, mlp_out and z are not proven .* use backend="hooks"'
    ):
        lens.lens_layout()


def test_heads_that_differ_from_the_original_raise(make_hf, monkeypatch):
    monkeypatch.setattr(
        transformer_lens, "LAYOUTS", (Layout("attn.hook_out", "mlp.hook_out", "attn.hook_in"),)
    )
    lens = TransformerLens(make_hf("gpt2"))
    for _ in range(2):  # nothing is kept of what failed
        with pytest.raises(ValueError, match=r"z.0 of the bridge differs from the original GPT2LMHeadModel"):
            lens.run({"input_ids": torch.tensor([[0, 5]])}, [Site("z", 0)], whole, (), False, {})


def test_generation_from_a_wrong_cache_raises(make_hf, monkeypatch):
    lens = TransformerLens(make_hf())
    model = lens.bridge.original_model
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda past_key_values=None, **inputs: forward(**inputs))
    with pytest.raises(ValueError, match="a pass with a cache of the bridge differs"):
        lens.generate({"input_ids": torch.tensor([[0, 5]])}, [], {"max_new_tokens": 1})


def test_weights_changed_after_the_bridge_was_made_raise(make_hf):
    def change(hf):
        with torch.no_grad():
            hf.lm_head.weight.add_(1)

    for later in (
        change,
        lambda hf: hf.to(torch.float64),
        lambda hf: setattr(hf.lm_head.weight, "data", torch.zeros(32, 32)),
    ):
        hf = make_hf()
        lens = TransformerLens(hf)
        later(hf)
        with pytest.raises(ValueError, match="weights were moved or changed after its bridge was made"):
            lens.run({"input_ids": torch.tensor([[0, 5]])}, [Site("resid_post", 0)], whole, (), False, {})


def test_a_missing_package_is_named_with_its_cure(make_hf, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformer_lens.factories.architecture_adapter_factory", None)
    with pytest.raises(ImportError, match=r'pip install "hookprobe\[transformer-lens\]"'):
        TransformerLens(make_hf())


def test_the_module_can_be_imported_without_the_package(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "transformer_lens"]:
        monkeypatch.setitem(sys.modules, name, None)
    for module in (bridge, transformer_lens):
        spec = importlib.util.spec_from_file_location("again", module.__file__)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


# --- one pass
# ------------------------------------------------------------------------------------------------------


def test_it_is_a_backend_and_names_sites_as_the_hugging_face_model_does(llama):
    assert isinstance(llama.lens, Backend)
    plain = Hooks(llama.hf)
    assert llama.lens.layout() == plain.layout()
    assert all(llama.lens.point(Site(k, 1)) == plain.point(Site(k, 1)) for k in (*STREAM, "z"))
    with recording(llama.model, "attn_out.1") as seen, torch.no_grad():
        llama.hf(torch.tensor([[0, 5, 6]]))
    assert seen["attn_out.1"].shape == (1, 3, 32)


def test_writes_act_in_order_and_before_reads(llama):
    site = Site("attn_out", 1)
    inputs = {"input_ids": torch.tensor([[0, 5, 6, 9]])}
    value = llama.lens.run(inputs, [site], whole, (), False, {}).states[site]
    ramp = torch.linspace(-1, 1, 32)
    for order, want in (((Shift, Double), 2 * (value + ramp)), ((Double, Shift), 2 * value + ramp)):
        got = llama.lens.run(inputs, [site], whole, [(site, w(site)) for w in order], False, {}).states[site]
        assert difference(got, want) <= 1e-6


def test_a_write_to_one_head_leaves_the_others(llama):
    head, heads = Site("z", 0, 3), Site("z", 0)
    inputs = {"input_ids": torch.tensor([[0, 5, 6, 9]])}
    plain, shifted = (
        llama.lens.run(inputs, [heads], whole, w, False, {}).states[heads]
        for w in ((), [(head, Shift(head))])
    )
    assert torch.equal(shifted, plain + torch.cat([torch.zeros(24), torch.linspace(-1, 1, 8)]))


def test_position_ids_are_used_as_given(make_hf):
    hf = make_hf("gpt2")
    lens, plain, site = TransformerLens(hf), Hooks(hf), Site("resid_post", 2)
    inputs = {
        "input_ids": torch.tensor([[1, 1, 0, 5, 6]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1, 1]]),
        "position_ids": torch.tensor([[0, 0, 7, 9, 8]]),
    }
    ours, want, without = (
        b.run(i, [site], whole, (), False, {}).states[site][:, 2:]
        for b, i in (
            (lens, inputs),
            (plain, inputs),
            (lens, {k: v for k, v in inputs.items() if k != "position_ids"}),
        )
    )
    assert difference(ours, want) <= 1e-5 < 0.01 < difference(ours, without)


def test_the_pass_ends_after_the_last_site_and_only_without_logits(llama):
    reached = []
    handle = llama.lens.bridge.blocks[2].register_forward_hook(
        lambda module, args, output: reached.append("block 2")
    )
    try:
        inputs, sites = (
            {"input_ids": torch.tensor([[0, 5, 6]])},
            [Site("resid_post", 1), Site("resid_pre", 0)],
        )
        passed = llama.lens.run(inputs, sites, whole, (), False, {})
        assert (set(passed.states), passed.logits, reached) == (set(sites), None, [])
        passed = llama.lens.run(inputs, sites, whole, (), True, {"logits_to_keep": 1})
        assert (set(passed.states), tuple(passed.logits.shape), reached) == (
            set(sites),
            (1, 1, 32),
            ["block 2"],
        )
    finally:
        handle.remove()


def test_hooks_are_gone_after_a_pass_and_after_an_exception(llama):
    inputs, site = {"input_ids": torch.tensor([[0, 5, 6]])}, Site("resid_post", 1)
    before, want = standing_hooks(llama.lens), Hooks(llama.hf).run(inputs, [], whole, (), True, {}).logits

    def broken(h):
        raise RuntimeError("broken on purpose")

    llama.lens.run(inputs, [site], whole, [(site, Shift(site))], False, {})
    for select, writes in ((broken, ()), (whole, [(site, Shift(site)), (site, broken)])):
        with pytest.raises(RuntimeError, match="broken on purpose"):
            llama.lens.run(inputs, [site, Site("z", 2)], select, writes, False, {})
        assert standing_hooks(llama.lens) == before
    with pytest.raises(RuntimeError, match="broken on purpose"):
        llama.lens.generate(inputs, [(site, broken)], {"max_new_tokens": 1})
    assert standing_hooks(llama.lens) == before
    assert difference(llama.lens.run(inputs, [], whole, (), True, {}).logits, want) <= 1e-5


def test_states_carry_no_gradient_and_dropout_is_off(make_hf):
    hf = make_hf("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5).train()
    inputs, site = {"input_ids": torch.tensor([[0, 5, 6]])}, Site("resid_post", 2)
    lens = TransformerLens(hf)
    got, want = (b.run(inputs, [site], whole, (), False, {}).states[site] for b in (lens, Hooks(hf)))
    assert difference(got, want) <= 1e-5
    assert not lens.run(inputs, [site], lambda h: h, (), False, {}).states[site].requires_grad
    assert all(m.training for m in hf.modules())


# --- other models
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "head"), [("llama", "Model"), ("gpt2", "Model"), ("bert", "ForMaskedLM")])
def test_models_with_and_without_a_head_can_be_read(family, head, make_hf, make_tokenizer, texts):
    hf, tokenizer = make_hf(family, head=head), make_tokenizer("left", family == "bert")
    got, want = (
        capture(m, texts, STREAM, at="all", batch_size=32, check=False)
        for m in (Model(hf, tokenizer, "tiny", TransformerLens(hf)), Model.of(hf, tokenizer))
    )
    assert difference(got.x, want.x) <= 1e-5


def test_a_bfloat16_model_can_be_read(make_hf, make_tokenizer, texts):
    hf, tokenizer = make_hf().to(torch.bfloat16), make_tokenizer("left")
    got, want = (
        capture(m, texts, STREAM, at="all", batch_size=32, check=False)
        for m in (Model(hf, tokenizer, "tiny", TransformerLens(hf)), Model.of(hf, tokenizer))
    )
    assert got.x.dtype == torch.bfloat16
    assert (got.x - want.x).float().norm() <= 2e-2 * want.x.float().norm()


def test_the_bridge_reads_text_with_a_copy_of_the_tokenizer(llama):
    assert llama.lens.bridge.tokenizer is not llama.model.tokenizer
    assert llama.lens.bridge.to_tokens("the river").tolist() == [
        llama.model.tokenizer("the river")["input_ids"]
    ]
    assert llama.model.tokenizer.padding_side == "left"


def test_the_twin_shares_memory_but_no_objects(make_hf):
    hf = make_hf("gpt2")
    ours = twin(hf)
    pairs = list(zip(hf.named_parameters(), ours.named_parameters(), strict=True))
    assert all(a[0] == b[0] and a[1] is not b[1] and a[1].data_ptr() == b[1].data_ptr() for a, b in pairs)
    assert ours.lm_head.weight is ours.transformer.wte.weight, "tied weights stay tied"
