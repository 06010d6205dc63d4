"""Sites inside blocks are what the sublayers add to the residual stream, on every architecture, or
are refused.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from probes import Site, capture, load_model
from probes.data.tokens import pad
from probes.models.backends.points import MODULES, explained, whole
from tests.conftest import ENCODERS, FAMILIES
from tests.test_capture import Shift, difference, expected_rows


@pytest.fixture(scope="module", params=FAMILIES)
def read(request, make_hf, make_tokenizer, texts, plain_states):
    """One family: the model under left padding, and plain Hugging Face's residual stream."""
    hf, encoder = make_hf(request.param), request.param in ENCODERS
    oracle = plain_states(hf, make_tokenizer(encoder=encoder), texts)
    return request.param, load_model(hf, tokenizer=make_tokenizer("left", encoder)), oracle


def rows(model, kind, texts):
    return capture(model, texts, kind, at="all", batch_size=32).x


def test_the_sublayers_account_for_what_a_block_does_to_the_plain_residual_stream(read, texts):
    """Against states of one unpadded text at a time, so that a sublayer read at padded places would
    show as well.
    """
    family, model, oracle = read
    attn, mlp = rows(model, "attn_out", texts), rows(model, "mlp_out", texts)
    pre, post = (
        expected_rows(oracle, [f"{k}.{b}" for b in range(3)], [slice(None)] * len(texts))
        for k in ("resid_pre", "resid_post")
    )
    if family in ("bert", "deberta", "roberta"):
        for b, block in enumerate(model.blocks):
            with torch.no_grad():
                middle = block.attention.output.LayerNorm(pre[b] + attn[b])
                assert difference(block.output.LayerNorm(middle + mlp[b]), post[b]) <= 1e-5
    else:
        assert difference(attn + mlp, post - pre) <= 1e-5
    assert attn.abs().mean() > 0.01 < mlp.abs().mean()


def test_the_mlp_output_is_what_the_mlp_makes_of_the_stream_after_attention(make_model, texts):
    """Tells attention and MLP apart where only their sum is proven."""
    model = make_model("llama", "left")
    pre, attn, mlp = (rows(model, k, texts) for k in ("resid_pre", "attn_out", "mlp_out"))
    for b, block in enumerate(model.blocks):
        with torch.no_grad():
            assert difference(block.mlp(block.post_attention_layernorm(pre[b] + attn[b])), mlp[b]) <= 1e-5


def test_the_heads_side_by_side_are_what_the_output_projection_mixes(read, texts):
    _, model, _ = read
    z, attn = rows(model, "z", texts), rows(model, "attn_out", texts)
    layout = model.backend.layout()
    for b, block in enumerate(model.blocks):
        with torch.no_grad():
            mixed = block.get_submodule(layout.z)(z[b])
            if layout.attn_out == "post_attention_layernorm":
                mixed = block.post_attention_layernorm(mixed)
        assert difference(mixed, attn[b]) <= 1e-5
    heads = capture(model, texts, [f"z.1.{h}" for h in range(4)], at="all", batch_size=32)
    assert torch.equal(torch.cat(list(heads.x), dim=-1), z[1])
    assert heads.x.shape[-1] == model.width_at(Site("z", 1, 0)) == z.shape[-1] // 4


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_a_heads_columns_are_its_attention_over_its_values(family, make_hf, make_tokenizer, texts):
    """From the attention weights that eager attention returns and the value projection, head by head."""
    hf = make_hf(family, attn_implementation="eager")
    model = load_model(hf, tokenizer=make_tokenizer())
    ids = torch.tensor([model.tokenizer(texts[2])["input_ids"]])
    with torch.no_grad():
        weights = hf(input_ids=ids, output_attentions=True).attentions[1][0]
        pre = capture(model, [texts[2]], "resid_pre.1", at="all").x[0]
        block = model.blocks[1]
        joint = family == "gpt2"
        values = (
            block.attn.c_attn(block.ln_1(pre)).split(model.width, dim=1)[2]
            if joint
            else block.self_attn.v_proj(block.input_layernorm(pre))
        )
        size = model.width_at(Site("z", 1, 0))
        shared = 4 // (values.shape[1] // size)  # query heads that share one head of values
        for head in range(4):
            mine = values[:, (head // shared) * size : (head // shared + 1) * size]
            got = capture(model, [texts[2]], f"z.1.{head}", at="all").x[0]
            assert difference(got, weights[head] @ mine) <= 1e-5


@pytest.mark.parametrize("family", ["gemma2", "olmo2", "bloom"])
def test_the_names_that_look_right_are_refused_where_they_are_wrong(family, make_model):
    """Gemma-2 and OLMo-2 norm a sublayer's output before adding it, BLOOM's sublayers return the sum."""
    model = make_model(family)
    naive = next(
        m
        for m in MODULES
        if (m.attn_out, m.mlp_out) == (("self_attention" if family == "bloom" else "self_attn"), "mlp")
    )
    kinds = ("resid_pre", "attn_out", "mlp_out", "resid_post")
    sites = {k: [Site(k, b) for b in range(3)] for k in kinds}
    inputs = {"input_ids": torch.tensor([[0, 4, 5, 6]])}

    def off(layout):
        states = model.backend.run(
            inputs, [s for of in sites.values() for s in of], whole, (), False, {}, layout
        ).states
        return explained(layout, {k: [states[s] for s in of] for k, of in sites.items()}, list(model.blocks))

    assert off(naive) > 1000
    assert off(model.backend.layout()) < 2


def test_a_block_that_does_something_else_is_refused_with_the_size_of_the_gap(make_model):
    model = make_model()
    for block in model.blocks:
        block.register_forward_hook(lambda module, args, out: out + 0.1 * args[0])
    assert capture(model, ["the river"], "resid_post").x.shape == (3, 1, 32)
    with pytest.raises(
        ValueError,
        match=(
            r"not proven for LlamaForCausalLM: .*self_attn and mlp miss by \d{3,} roundings\); resid_pre and"
            r" resid_post can be read"
        ),
    ):
        capture(model, ["the river"], "attn_out")


def test_a_block_type_nobody_knows_is_refused(make_model):
    class Renamed(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.attention_part = block

        def forward(self, *args, **kwargs):
            return self.attention_part(*args, **kwargs)

    model = make_model()
    model.hf.model.layers = nn.ModuleList([Renamed(b) for b in model.hf.model.layers])
    with pytest.raises(ValueError, match="its modules have none of the known names"):
        load_model(model.hf, tokenizer=model.tokenizer).sites("z") and capture(model, ["the river"], "z")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gemma2", "bert", "falcon", "mixtral"])
def test_the_proof_holds_in_half_precision(family, dtype, make_hf, make_tokenizer):
    hf = make_hf(family).to(dtype)
    layout = load_model(hf, tokenizer=make_tokenizer(encoder=family in ENCODERS)).backend.layout()
    assert layout == load_model(make_hf(family), tokenizer=make_tokenizer()).backend.layout()


@pytest.mark.parametrize("family", ["llama", "opt", "bloom", "gemma2"])
@pytest.mark.parametrize("site", ["attn_out.1", "mlp_out.1"])
def test_an_edit_of_a_sublayer_moves_the_stream_by_as_much(family, site, make_model, texts):
    model = make_model(family, "left")
    edited = replace(model, writes=(Shift(Site.parse(site)),))
    assert difference(rows(edited, site, texts), rows(model, site, texts) + 1) <= 1e-5
    if site.startswith("mlp"):  # what attention adds also changes what the MLP makes of it
        moved = rows(edited, "resid_post.1", texts) - rows(model, "resid_post.1", texts)
        assert difference(moved, torch.ones_like(moved)) <= 1e-4


def test_an_edit_of_one_head_leaves_the_others(make_model, texts):
    model = make_model("qwen2", "left")
    edited = replace(model, writes=(Shift(Site("z", 1, 2)),))
    before, after = rows(model, "z.1", texts)[0], rows(edited, "z.1", texts)[0]
    expected = before.clone()
    expected[:, 20:30] += 1
    assert difference(after, expected) <= 1e-5


def test_a_model_whose_parameters_are_shared_is_proven_once(make_model, monkeypatch):
    model = make_model()
    runs = []
    real = type(model.backend).run
    monkeypatch.setattr(
        type(model.backend), "run", lambda self, *a, **k: runs.append(k) or real(self, *a, **k)
    )
    for _ in range(3):
        replace(model, writes=()).backend.point(Site("z", 0))
    assert len(runs) == 1


def test_sites_of_different_width_are_refused_together(make_model):
    with pytest.raises(
        ValueError,
        match=(
            r"one width, and resid_post\.0 has 32 coordinates, z\.0 has 48 coordinates; capture them in"
            r" separate calls"
        ),
    ):
        capture(make_model("gemma3"), ["the river"], ["resid_post.0", "z.0"])


def test_heads_that_are_not_there_are_named(make_model):
    with pytest.raises(
        ValueError, match=r"z\.1\.4 is out of range: the model has 4 heads, so z\.1\.0 to z\.1\.3"
    ):
        capture(make_model(), ["the river"], "z.1.4")


def test_padding_does_not_reach_inside(make_model, texts):
    """The flat MLP of OPT sees [batch * pos, d]; its rows must come back in order."""
    model = make_model("opt", "left")
    encoded = model.encode(texts[:3])
    batch = pad(encoded, model.pad_id, "left", torch.arange(3).numpy())
    together = model.run(batch, [Site("mlp_out", 2)], whole).states[Site("mlp_out", 2)]
    for i, e in enumerate(encoded):
        alone = model.run(
            pad([e], model.pad_id, "left", torch.zeros(1).long().numpy()), [Site("mlp_out", 2)], whole
        ).states[Site("mlp_out", 2)]
        assert difference(together[i, int(batch.start[i]) :], alone[0]) <= 1e-5
