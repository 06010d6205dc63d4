"""Backends that compute with a copy of the model's modules: what happens to the model afterwards is followed,
or refused by name.
"""

import warnings

import pytest
import torch
from torch import nn

from probes import Site, capture, load_model
from probes.models.stamp import Stamp
from tests.conftest import build_hf

TEXTS = ["the red house is old", "a small tree"]


def lora():
    from peft import LoraConfig

    return LoraConfig(
        r=4,
        target_modules=["q_proj", "down_proj"],
        init_lora_weights=False,
        lora_alpha=64,
        task_type="CAUSAL_LM",
    )


def with_adapters(hf):
    from peft import get_peft_model

    torch.manual_seed(0)
    found = get_peft_model(hf, lora()).eval()
    found.add_adapter("two", lora())
    return found.eval()


def doubled(linear):
    found = nn.Linear(linear.in_features, linear.out_features, bias=False)
    found.weight = nn.Parameter(2 * linear.weight.detach())
    return found


def scale(hf):
    for module in hf.modules():
        if hasattr(module, "set_scale") and hasattr(module, "scaling"):
            module.set_scale("default", 5.0)


CHANGES = {
    "another block": lambda hf: hf.model.layers.__setitem__(2, build_hf(seed=3).model.layers[2]),
    "another linear": lambda hf: setattr(
        hf.model.layers[1].mlp, "up_proj", doubled(hf.model.layers[1].mlp.up_proj)
    ),
    "another norm": lambda hf: setattr(hf.model, "norm", nn.Identity()),
    "another head": lambda hf: setattr(hf, "lm_head", doubled(hf.lm_head)),
    "another forward": lambda hf: setattr(hf.model.layers[2].mlp, "forward", lambda x: 0 * x),
    "another class": lambda hf: setattr(hf.model.layers[1], "__class__", halved(type(hf.model.layers[1]))),
    "a hook on a block": lambda hf: hf.model.layers[1].register_forward_hook(lambda m, a, out: 2 * out),
    "a hook on a linear": lambda hf: hf.model.layers[1].mlp.up_proj.register_forward_hook(
        lambda m, a, o: 2 * o
    ),
    "a hook before a block": lambda hf: hf.model.layers[1].register_forward_pre_hook(
        lambda m, a: (2 * a[0], *a[1:])
    ),
    "weights assigned": lambda hf: hf.load_state_dict(build_hf(seed=3).state_dict(), assign=True),
    "more tokens": lambda hf: hf.resize_token_embeddings(hf.config.vocab_size + 8, mean_resizing=False),
    "eps": lambda hf: setattr(hf.model.layers[1].input_layernorm, "variance_epsilon", 1.0),
    "scaling": lambda hf: setattr(hf.model.layers[1].self_attn, "scaling", 3.0),
    "a buffer": lambda hf: setattr(hf.model.rotary_emb, "inv_freq", 2 * hf.model.rotary_emb.inv_freq),
    "config": lambda hf: setattr(hf.config, "num_attention_heads", 2),
    "an adapter": lambda hf: hf.add_adapter(lora()),
    "pruned": lambda hf: prune(hf.model.layers[1].mlp.up_proj),
}
ADAPTERS = {
    "another adapter": lambda hf: hf.set_adapter("two"),
    "merged": lambda hf: hf.merge_adapter(),
    "unloaded": lambda hf: hf.unload(),
    "merged for good": lambda hf: hf.merge_and_unload(),
    "a third adapter": lambda hf: (hf.add_adapter("three", lora()), hf.set_adapter("three")),
    "scaled": scale,
}


def halved(kind):
    def forward(self, *args, **kwargs):
        return kind.forward(self, *args, **kwargs) / 2

    return type(kind.__name__, (kind,), {"forward": forward})


def prune(linear):
    from torch.nn.utils import prune

    prune.l1_unstructured(linear, "weight", amount=0.5)


def same(ours, plain):
    assert torch.allclose(ours.logits(TEXTS), plain.logits(TEXTS), atol=1e-4)
    assert ours.generate(TEXTS, 5) == plain.generate(TEXTS, 5)
    for site in ("resid_pre", "resid_post"):
        one, other = (capture(m, TEXTS, site, check=False, progress=False) for m in (ours, plain))
        assert torch.allclose(one.x, other.x, atol=1e-4), site


def both(hf, tokenizer, backend="nnsight"):
    return load_model(hf, tokenizer=tokenizer, backend=backend), load_model(hf, tokenizer=tokenizer)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("change", {**CHANGES, **ADAPTERS}.values(), ids={**CHANGES, **ADAPTERS})
def test_nnsight_computes_with_the_model_as_it_is_now(make_hf, make_tokenizer, change):
    hf = make_hf() if change in CHANGES.values() else with_adapters(make_hf())
    ours, plain = both(hf, make_tokenizer("left"))
    same(ours, plain)
    before = ours.logits(TEXTS)
    torch.manual_seed(1)
    change(hf)
    hf.eval()
    same(ours, plain)
    after = ours.logits(TEXTS)
    said = change in (
        CHANGES["config"],
        ADAPTERS["merged"],
        ADAPTERS["merged for good"],
    )  # nothing else comes of it
    assert said or before.shape != after.shape or not torch.allclose(before, after, atol=1e-3), "no test"


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_nnsight_follows_adapters_that_are_off_for_a_while(make_hf, make_tokenizer):
    hf = with_adapters(make_hf())
    ours, plain = both(hf, make_tokenizer("left"))
    on = ours.logits(TEXTS)
    with hf.disable_adapter():
        same(ours, plain)
        assert not torch.allclose(ours.logits(TEXTS), on, atol=1e-2)
    assert torch.allclose(ours.logits(TEXTS), on, atol=1e-5)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_bridge_is_refused_where_the_model_is_another(make_hf, make_tokenizer, change):
    hf = make_hf()
    ours = load_model(hf, tokenizer=make_tokenizer("left"), backend="transformer_lens")
    ours.logits(TEXTS)
    change(hf)
    for use in (lambda: ours.logits(TEXTS), lambda: capture(ours, TEXTS, "resid_post.1", check=False)):
        with pytest.raises(ValueError, match=r"changed after its bridge was made.*load it again"):
            use()


@pytest.mark.parametrize("backend", ["nnsight", "transformer_lens"])
def test_a_copy_goes_on_where_nothing_is_another(make_hf, make_tokenizer, backend):
    hf = make_hf()
    ours, plain = both(hf, make_tokenizer("left"), backend)
    copied = getattr(ours.backend, "_copy", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hf.train().eval()
        hf.requires_grad_(False)
        plain.generate(TEXTS, 3)
        hf(torch.tensor([[0, 4, 5]]), output_hidden_states=True, output_attentions=False)
        hf.model.layers[1].register_forward_hook(lambda *_: None).remove()
        hf.model.layers[2] = hf.model.layers[2]
        hf.config.use_cache = False
        hf.config.pad_token_id = 2
        hf.generation_config.max_new_tokens = 7
        hf._something_kept = 1
        same(ours, plain)
    assert getattr(ours.backend, "_copy", None) is copied, "made anew for nothing"


def test_what_a_hook_of_other_code_gathers_is_gathered_in_passes_of_nnsight(make_hf, make_tokenizer):
    class Collector:
        def __init__(self):
            self.seen = []

        def __call__(self, module, args, out):
            self.seen.append(out.detach().clone())

    hf, one, two = make_hf(), Collector(), Collector()
    hf.model.layers[1].register_forward_hook(one)
    ours, plain = both(hf, make_tokenizer("left"))
    hf.model.layers[1].register_forward_hook(two)
    got = capture(ours, TEXTS[:1], Site("resid_post", 1), check=False, progress=False).x[0, 0]
    ours.logits(TEXTS[:1])
    assert torch.allclose(one.seen[-1][0, -1], got) and torch.allclose(two.seen[-1][0, -1], got)
    assert plain.logits(TEXTS[:1]) is not None


def test_a_stamp_names_what_is_another(make_hf):
    hf = make_hf()
    stamp = Stamp.of(hf)
    assert stamp.changed(hf) == ""
    hf.model.layers[1].self_attn.scaling = 2.0
    assert stamp.changed(hf) == "model.layers.1.self_attn: scaling"
    stamp = Stamp.of(hf)
    with torch.no_grad():
        hf.model.layers[0].mlp.up_proj.weight.mul_(1)
    assert stamp.changed(hf) == "model.layers.0.mlp.up_proj: weights or buffers"
    assert stamp.changed(hf, written=False) == ""


def test_nnsight_makes_no_change_where_hooks_of_other_code_are(make_hf, make_tokenizer):
    from interventions import Add, edited
    from probes import Direction

    hf = make_hf()
    ours, plain = both(hf, make_tokenizer("left"))
    here, there = (Add(Direction.from_vector(torch.ones(32), f"resid_post.{b}"), norm=3.0) for b in (1, 0))
    handle = hf.model.layers[1].register_forward_hook(lambda m, a, out: out * out)
    with pytest.raises(ValueError, match=r"resid_post\.1 .*has hooks of other code"):
        edited(ours, here).logits(TEXTS)
    same(edited(ours, there), edited(plain, there))
    handle.remove()
    same(edited(ours, here), edited(plain, here))
