"""Baked weights and adapters do what the hooked edits do, or say why they cannot."""

import builtins
from dataclasses import replace

import peft
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from interventions import Ablate, Add, Clamp, applied, edited, matched_random
from interventions.weights import baking
from interventions.weights.adapters import as_lora
from interventions.weights.baking import bake, save_baked
from interventions.weights.parts import composed
from interventions.writes.changes import Constant
from interventions.writes.lowrank import Fixed, LowRank, SiteEdit
from probes import Direction, Position, Site, capture, load_model
from probes.data.sites import WRITERS
from tests.conftest import FAMILIES

IDS = torch.randint(32, (4, 20), generator=torch.Generator().manual_seed(7))
PROMPTS = ["the red house is old", "a tree", "delta lives near the river"]


def direction(model, site="resid_post.1", seed=3):
    size = model.width_at(Site.parse(site))
    return Direction.from_vector(
        torch.randn(size, generator=torch.Generator().manual_seed(seed)), site, model
    )


def logits(hf):
    with torch.no_grad():
        return hf.eval()(input_ids=IDS.to(next(hf.parameters()).device)).logits.float()


def same_model(loaded, hf):
    """The same weights to the bit, and logits up to rounding.

    Loaded weights lie elsewhere in memory, where some processors round otherwise.
    """
    ours, theirs = loaded.state_dict(), hf.state_dict()
    same = ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    return same and torch.allclose(logits(loaded), logits(hf), atol=1e-5)


def off(got, want):
    """Largest difference, in root mean squares of the logits."""
    return float((got - want).abs().max() / want.square().mean().sqrt())


def assert_does(model, hf, *edits):
    """The other model gives the hooked one's logits on other tokens than the check in `bake` used;
    the edit itself changes them.
    """
    with applied(model.hf, *edits):
        want = logits(model.hf)
    assert off(logits(model.hf), want) > 0.05, "the edit does nothing here, so equality would mean nothing"
    assert off(logits(hf), want) < 1e-4


def gemma(**options):
    """Pre-norm, with a token embedding that gives several times its weight."""
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    return transformers.GemmaForCausalLM(
        transformers.GemmaConfig(vocab_size=32, pad_token_id=1, initializer_range=0.15, **sizes, **options)
    ).eval()


CASES = {
    "ablate all writers": lambda m: Ablate(direction(m), sites=WRITERS),
    "add to the stream": lambda m: Add(direction(m), norm=2, sites="resid_post.1"),
    "add to attention": lambda m: Add(direction(m), norm=2, sites="attn_out"),
    "ablate in one mlp": lambda m: Ablate(direction(m), sites="mlp_out.1"),
}
BIAS, NORMED, TIED, SUM = "no bias to hold", "post-norm", "untie=True", "not the sum of embeddings"
EXPERTS, ENCODER = "mixture of experts", "no language-model head"
PLAIN = ("works", BIAS, BIAS, "works")  # no biases, untied
EXPECTED = {
    "llama": PLAIN,
    "qwen2": PLAIN,
    "qwen3": PLAIN,
    "mistral": PLAIN,
    "phi3": PLAIN,
    "gpt_neox": ("works", "works", "works", "works"),
    "gpt2": (TIED, "works", "works", "works"),
    "opt": (TIED, "works", "works", "works"),
    "falcon": (TIED, "works", "works", "works"),
    "bloom": (SUM, "works", "works", "works"),
    "mixtral": (EXPERTS, EXPERTS, BIAS, EXPERTS),
    "qwen3_moe": (EXPERTS, EXPERTS, BIAS, EXPERTS),
    "gemma2": (NORMED, NORMED, NORMED, NORMED),
    "gemma3": (NORMED, NORMED, NORMED, NORMED),
    "olmo2": (NORMED, NORMED, NORMED, NORMED),
    "bert": (ENCODER, ENCODER, ENCODER, ENCODER),
    "roberta": (ENCODER, ENCODER, ENCODER, ENCODER),
    "deberta": (ENCODER, ENCODER, ENCODER, ENCODER),
    "t5": (ENCODER, ENCODER, ENCODER, ENCODER),
}


@pytest.mark.parametrize("family", EXPECTED)
def test_every_architecture_is_baked_exactly_or_refused_with_the_reason(family, make_model):
    model = make_model(family)
    before = {k: v.clone() for k, v in model.hf.state_dict().items()}
    for (name, make), expected in zip(CASES.items(), EXPECTED[family], strict=True):
        edit = make(model)
        if expected == "works":
            assert_does(model, bake(model, edit).hf, edit)
        else:
            with pytest.raises(ValueError, match=expected) as refusal:
                bake(model, edit)
            assert "edited(model" in str(refusal.value), (
                f"{name}: the refusal does not say what to do instead"
            )
        if expected == TIED:
            baked = bake(model, edit, untie=True)
            assert_does(model, baked.hf, edit)
            assert not baked.config.tie_word_embeddings and model.config.tie_word_embeddings
            assert torch.equal(
                baked.hf.get_output_embeddings().weight, model.hf.get_output_embeddings().weight
            )
    after = model.hf.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before), (
        "the given model was changed"
    )


def test_the_table_covers_every_family():
    assert EXPECTED.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_with_all_writers_ablated_nothing_ever_lies_along_the_direction(family, make_model):
    model = make_model(family)
    u = direction(model).unit
    baked = bake(model, Ablate(direction(model), sites=WRITERS), untie=True)
    for kind in ("resid_pre", "resid_post"):
        assert (capture(model, PROMPTS, kind, "all").x @ u).abs().amax(1).min() > 0.1
        assert (capture(baked, PROMPTS, kind, "all").x @ u).abs().max() < 1e-5


def changed_weights(model, baked):
    old = dict(model.hf.named_parameters())
    return {
        n: (p - old[n]).detach()
        for n, p in baked.hf.named_parameters()
        if n in old and not torch.equal(p, old[n])
    }


def test_only_the_weights_concerned_change_and_by_the_formula(make_model):
    llama, gpt2 = make_model("llama"), make_model("gpt2")
    u, W = direction(llama).unit, llama.hf.get_submodule("model.layers.1.mlp.down_proj").weight.detach()
    got = changed_weights(llama, bake(llama, Ablate(direction(llama), sites="mlp_out.1")))
    assert list(got) == ["model.layers.1.mlp.down_proj.weight"]
    assert torch.allclose(got["model.layers.1.mlp.down_proj.weight"], -torch.outer(u, u @ W), atol=1e-5)

    d = direction(gpt2)
    for site, name in [
        ("resid_post.1", "h.1.mlp.c_proj.bias"),
        ("resid_pre.2", "h.1.mlp.c_proj.bias"),
        ("attn_out.0", "h.0.attn.c_proj.bias"),
    ]:
        got = changed_weights(gpt2, bake(gpt2, Add(d, norm=3, sites=site)))
        assert list(got) == [f"transformer.{name}"] and torch.allclose(
            got[f"transformer.{name}"], 3 * d.unit, atol=1e-5
        )
    # Before the first block a shift goes into the positions, so that the tied token embedding keeps its head.
    got = changed_weights(gpt2, bake(gpt2, Add(d, norm=3, sites="resid_pre.0")))
    assert list(got) == ["transformer.wpe.weight"] and torch.allclose(
        got["transformer.wpe.weight"], (3 * d.unit).expand(64, -1), atol=1e-5
    )


def test_baked_weights_share_no_memory_with_the_given_model(make_model):
    model = make_model("llama")
    baked = bake(model, Ablate(direction(model), sites="mlp_out.1"))
    assert not {p.data_ptr() for p in model.hf.parameters()} & {p.data_ptr() for p in baked.hf.parameters()}
    assert not baked.writes and "Ablate" in baked.name
    with pytest.raises(ValueError, match="weights differ"):
        edited(baked, Ablate(direction(model)))


SEVERAL = {
    "shift, then projection": lambda d, e: [
        Add(d, norm=2, sites="attn_out.1"),
        Ablate(d, sites="attn_out.1"),
    ],
    "projection, then shift": lambda d, e: [
        Ablate(d, sites="attn_out.1"),
        Add(d, norm=2, sites="attn_out.1"),
    ],
    "directions that are not orthogonal": lambda d, e: [
        Ablate(d, sites="mlp_out"),
        Clamp(e, to=1.5, sites="mlp_out"),
    ],
    "the same, turned round": lambda d, e: [Clamp(e, to=1.5, sites="mlp_out"), Ablate(d, sites="mlp_out")],
    "shift of the stream before a projection of the sublayer": lambda d, e: [
        Add(d, norm=2, sites="resid_post.1"),
        Ablate(d, sites="mlp_out.1"),
    ],
    "and after it": lambda d, e: [Ablate(d, sites="mlp_out.1"), Add(d, norm=2, sites="resid_pre.2")],
    "shift and projection of the embeddings": lambda d, e: [
        Add(e, norm=2, sites="resid_pre.0"),
        Ablate(d, sites="resid_pre.0"),
    ],
    "a clamp of the embeddings, twice": lambda d, e: [
        Clamp(d, to=1, sites="resid_pre.0"),
        Clamp(e, to=-2, sites="resid_pre.0"),
    ],
    "a plane": lambda d, e: [Ablate([d, e], sites=WRITERS), Add(d, norm=1, sites="resid_post")],
}


@pytest.mark.parametrize("family", ["gpt2", "falcon"])
@pytest.mark.parametrize("name", SEVERAL)
def test_several_edits_compose_in_the_order_of_the_hooks(name, family, make_model):
    model = make_model(family)
    edits = SEVERAL[name](direction(model), direction(model, seed=4))
    assert_does(model, bake(model, *edits, untie=True).hf, *edits)
    held = edited(edited(model, *edits[:1]), *edits[1:])
    assert_does(model, bake(held, untie=True).hf, *edits)


def test_the_same_change_given_twice_acts_twice(make_model):
    model = make_model("gpt2")
    once = Fixed(Add(direction(model), norm=1, sites="resid_post.1").compile(model), "once")
    assert_does(model, bake(model, once, once).hf, Add(direction(model), norm=2, sites="resid_post.1"))


def test_composed_is_one_after_the_other():
    draw = torch.Generator().manual_seed(0)
    steps = [
        LowRank(
            torch.randn(6, k, generator=draw),
            torch.randn(k, 6, generator=draw),
            torch.randn(6, generator=draw),
        )
        for k in (1, 2, 0, 3)
    ]
    h = want = torch.randn(5, 6, generator=draw).double()
    for step in steps:
        want = want + step.delta(want)
    assert torch.allclose(h + composed(steps, 6).delta(h), want, atol=1e-10)
    assert not torch.allclose(h + composed(steps[::-1], 6).delta(h), want, atol=1e-2)


def test_heads_go_into_the_map_that_mixes_them(make_model):
    for family in ("llama", "gpt2", "gpt_neox", "mixtral", "gemma2"):
        model = make_model(family)
        head, whole = direction(model, "z.1.2"), direction(model, "z.1")
        edits = [Ablate(head), Ablate(whole)]
        assert_does(model, bake(model, *edits).hf, *edits)
        assert_does(model, bake(model, *edits[::-1]).hf, *edits[::-1])
        shift = Add(head, norm=3)
        if family.startswith("gpt"):
            both = [
                Ablate(direction(model), sites="attn_out.1"),
                shift,
                Ablate(whole),
            ]  # what goes in is changed before what comes out
            assert_does(model, bake(model, *both).hf, *both)
        else:
            with pytest.raises(ValueError, match=BIAS):
                bake(model, shift)


def test_scaled_embeddings(make_tokenizer):
    model = load_model(gemma(), tokenizer=make_tokenizer())
    for edit in (
        Ablate(direction(model), sites=WRITERS),
        Clamp(direction(model), to=2, sites="resid_pre.0"),
        Add(direction(model), norm=2, sites="resid_pre.0"),
    ):
        assert_does(model, bake(model, edit, untie=True).hf, edit)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "falcon", "gpt_neox"])
def test_a_saved_folder_is_an_ordinary_model(family, make_model, tmp_path):
    model = make_model(family)
    baked = bake(model, Ablate(direction(model), sites=WRITERS), untie=True)
    baked.hf.tie_weights(recompute_mapping=False)
    baked.hf.tie_weights()
    folder = save_baked(baked, tmp_path / "new" / "baked")
    plain, ours = AutoModelForCausalLM.from_pretrained(folder), load_model(folder)
    assert same_model(plain, baked.hf) and same_model(ours.hf, baked.hf)
    assert (
        not plain.config.tie_word_embeddings
        and plain.get_input_embeddings().weight is not plain.get_output_embeddings().weight
    )
    assert ours.generate(PROMPTS, 8) == edited(model, Ablate(direction(model), sites=WRITERS)).generate(
        PROMPTS, 8
    )
    with pytest.raises(ValueError, match="not empty"):
        save_baked(baked, folder)
    with pytest.raises(ValueError, match=r"in hooks.*save_baked\(bake"):
        save_baked(edited(model, Ablate(direction(model))), tmp_path / "hooks")
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_a_tied_head_that_need_not_change_stays_tied_through_saving(make_model, tmp_path):
    model = make_model("gpt2")
    baked = bake(model, Add(direction(model), norm=2, sites=["resid_pre.0", "resid_post.1"]), untie=True)
    loaded = AutoModelForCausalLM.from_pretrained(save_baked(baked, tmp_path / "baked"))
    assert loaded.config.tie_word_embeddings and loaded.lm_head.weight is loaded.transformer.wte.weight
    assert same_model(loaded, baked.hf)


def test_a_save_that_fails_leaves_nothing(make_model, tmp_path, monkeypatch):
    model = make_model("llama")

    def full(self, *args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(type(model.tokenizer), "save_pretrained", full)
    with pytest.raises(OSError, match="no space"):
        save_baked(bake(model, Ablate(direction(model), sites="mlp_out.1")), tmp_path / "baked")
    assert not list(tmp_path.iterdir())


ADAPTERS = {
    "llama, all writers": ("llama", {}, lambda d, e: [Ablate(d, sites=WRITERS)]),
    "tied embeddings": ("llama", {"tie_word_embeddings": True}, lambda d, e: [Ablate(d, sites=WRITERS)]),
    "several ranks": (
        "qwen3",
        {},
        lambda d, e: [Ablate([d, e], sites="mlp_out.1"), Ablate(e, sites=WRITERS)],
    ),
    "Conv1D and its bias": (
        "gpt2",
        {},
        lambda d, e: [Ablate(d, sites="mlp_out.1"), Ablate(e, sites=["attn_out", "mlp_out"])],
    ),
    "Conv1D in front of a square map": ("gpt2", {}, lambda d, e: [Ablate(d, sites="attn_out.1")]),
    "learnt positions": ("gpt2", {}, lambda d, e: [Ablate(d, sites="resid_pre.0")]),
    "biases": ("gpt_neox", {}, lambda d, e: [Ablate(d, sites=["attn_out", "mlp_out"])]),
    "attention of a mixture of experts": ("mixtral", {}, lambda d, e: [Ablate(d, sites="attn_out")]),
    "more blocks than PEFT lists by name": (
        "llama",
        {"num_hidden_layers": 14},
        lambda d, e: [Ablate(d, sites=["attn_out.1", "mlp_out"])],
    ),
}


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
def test_an_adapter_gives_the_logits_of_the_hooks_on_the_untouched_model(
    name, make_hf, make_tokenizer, tmp_path
):
    family, options, make = ADAPTERS[name]
    base = tmp_path / "base"
    make_hf(family, **options).save_pretrained(base)
    make_tokenizer().save_pretrained(base)
    model = load_model(base)
    edits = make(direction(model), direction(model, seed=4))
    before = {k: v.clone() for k, v in model.hf.state_dict().items()}
    grads = [p.requires_grad for p in model.hf.parameters()]
    folder = as_lora(model, *edits, folder=tmp_path / "adapter")
    assert (
        all(torch.equal(v, before[k]) for k, v in model.hf.state_dict().items())
        and [p.requires_grad for p in model.hf.parameters()] == grads
    )
    assert_does(model, peft.PeftModel.from_pretrained(make_hf(family, **options), folder), *edits)
    assert_does(model, load_model(folder).hf, *edits)
    config = peft.PeftConfig.from_pretrained(folder)
    assert config.fan_in_fan_out == name.startswith("Conv1D")
    if name not in ("tied embeddings", "learnt positions"):  # where merging would change the head too
        assert_does(
            model,
            peft.PeftModel.from_pretrained(make_hf(family, **options), folder).merge_and_unload(),
            *edits,
        )
    assert (
        config.r
        == config.lora_alpha
        == (3 if name == "several ranks" else 2 if name.endswith("its bias") else 1)
    )
    assert sorted(p.name for p in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_heads_and_scaled_embeddings_as_adapters(make_model, make_tokenizer, make_hf, tmp_path):
    model = make_model("llama")
    edits = [Ablate(direction(model, "z.1.2")), Ablate(direction(model), sites="attn_out.1")]
    folder = as_lora(model, *edits, folder=tmp_path / "heads")
    assert_does(model, peft.PeftModel.from_pretrained(make_hf("llama"), folder), *edits)
    model = load_model(gemma(tie_word_embeddings=False), tokenizer=make_tokenizer())
    edit = Ablate(direction(model), sites=WRITERS)
    assert_does(
        model,
        peft.PeftModel.from_pretrained(
            gemma(tie_word_embeddings=False), as_lora(model, edit, folder=tmp_path / "scaled")
        ),
        edit,
    )


def test_what_an_adapter_cannot_hold(make_model, tmp_path, monkeypatch):
    gpt2, llama = make_model("gpt2"), make_model("llama")
    for edit, message in [
        (Add(direction(gpt2), norm=2), r"no constant part; use bake\(model"),
        (Clamp(direction(gpt2), to=1, sites="mlp_out.1"), "no constant part"),
        (Ablate(direction(gpt2), sites=WRITERS), "no lora_bias beside an adapter on an embedding"),
        (Ablate(direction(gpt2)), "sites=WRITERS"),
    ]:
        with pytest.raises(ValueError, match=message):
            as_lora(gpt2, edit, folder=tmp_path / "adapter")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    edit = Ablate(direction(llama), sites="mlp_out.1")
    with pytest.raises(ValueError, match="not empty"):
        as_lora(llama, edit, folder=tmp_path / "full")
    real = builtins.__import__

    def without_peft(name, *args, **kwargs):
        if name.split(".")[0] == "peft":
            raise ImportError("No module named 'peft'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_peft)
    with pytest.raises(ImportError, match=r"needs peft.*hookprobe\[peft\]"):
        as_lora(llama, edit, folder=tmp_path / "adapter")
    assert [p.name for p in tmp_path.iterdir()] == ["full"]


def test_the_result_is_checked_before_it_is_given_out(make_model, tmp_path, monkeypatch):
    model = make_model("llama")
    edit = Ablate(direction(model), sites="mlp_out.1")
    true = baking.factors
    monkeypatch.setattr(
        baking, "factors", lambda module, part: (lambda B, A, b: (1.05 * B, A, b))(*true(module, part))
    )
    monkeypatch.setattr("interventions.weights.adapters.factors", baking.factors)
    with pytest.raises(
        ValueError,
        match=(
            r"went into the weights of .* miss the hooked model's by \d\.\de-0\d of their size \(up to 1e-04"
        ),
    ):
        bake(model, edit)
    with pytest.raises(ValueError, match="went into an adapter of"):
        as_lora(model, edit, folder=tmp_path / "adapter")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(baking, "factors", true)
    assert bake(model, edit)


def test_what_weights_cannot_hold(make_model, make_hf, make_tokenizer):
    model = make_model("llama")
    d = direction(model)
    for sites in ("resid_post.1", "resid_pre.1", "resid_post", ["resid_pre.0", "resid_post.2"]):
        with pytest.raises(ValueError, match=r"projects the residual stream.*sites=WRITERS"):
            bake(model, Ablate(d, sites=sites))
    with pytest.raises(ValueError, match=r"single tokens.*use at='all'"):
        bake(model, Ablate(d, sites="mlp_out.1", at="last"))
    constant = SiteEdit(Site("mlp_out", 1), Position.parse("all"), Constant(torch.zeros(model.width)), "skip")
    with pytest.raises(ValueError, match="not a linear change"):
        bake(model, Fixed((constant,), "skip"))
    with pytest.raises(ValueError, match="no edits given"):
        bake(model)
    lora = peft.get_peft_model(make_hf("llama"), peft.LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(ValueError, match=r"carries an adapter.*merge_and_unload"):
        bake(
            load_model(lora, tokenizer=make_tokenizer()),
            Ablate(Direction.from_vector(d.unit, d.site), sites="mlp_out.1"),
        )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda hf: setattr(hf.config, "quantization_config", {"bits": 4}), "quantised"),
        (
            lambda hf: setattr(
                hf.lm_head,
                "weight",
                torch.nn.Parameter(torch.zeros(32, 32, dtype=torch.int8), requires_grad=False),
            ),
            "quantised.*int8",
        ),
        (lambda hf: setattr(hf, "hf_device_map", {"model": 0, "lm_head": 1}), "sharded"),
        (lambda hf: setattr(hf, "hf_device_map", {"": "disk"}), "sharded"),
        (
            lambda hf: setattr(hf.lm_head, "weight", torch.nn.Parameter(torch.empty(32, 32, device="meta"))),
            "sharded.*meta",
        ),
        (
            lambda hf: setattr(
                hf.model.layers[0].mlp.down_proj, "weight", hf.model.layers[1].mlp.down_proj.weight
            ),
            "shares its weight with model.layers.0",
        ),
    ],
)
def test_models_whose_weights_cannot_be_changed(spoil, message, make_model):
    model = make_model("llama")
    d = Direction.from_vector(direction(model).unit, "resid_post.1")
    spoil(model.hf)
    with pytest.raises(ValueError, match=message):
        bake(model, Ablate(d, sites="mlp_out.1"))


def test_a_model_on_one_device_by_its_device_map_is_baked(make_model):
    model = make_model("llama")
    model.hf.hf_device_map = {"": "cpu"}
    assert_does(
        model,
        bake(model, Ablate(direction(model), sites="mlp_out.1")).hf,
        Ablate(direction(model), sites="mlp_out.1"),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype, make_hf, make_tokenizer):
    model = load_model(make_hf("gpt2").to(dtype), tokenizer=make_tokenizer())
    baked = bake(model, edit := Ablate(direction(model), sites=WRITERS), untie=True)
    assert baked.dtype == dtype
    with applied(model.hf, edit):
        want = logits(model.hf)
    limit = baking.TOLERANCE.get(dtype, 1e-5)
    assert off(logits(baked.hf), want) < limit < off(logits(model.hf), want)


def test_matched_random_controls_are_baked_too(make_model):
    model = make_model("gpt_neox")
    control = matched_random(model, Ablate(direction(model), sites=WRITERS), PROMPTS, n=1, linear=True)[0]
    assert_does(model, bake(model, control).hf, control)


def test_another_backend_stays_what_it_is(make_hf, make_tokenizer):
    model = load_model(make_hf("gpt2"), backend="transformer_lens", tokenizer=make_tokenizer())
    edit = Add(direction(model), norm=2, sites=["attn_out.1", "resid_post.0"])
    baked = bake(model, edit)
    assert baked.backend.name == "transformer_lens"
    assert_does(
        replace(model, backend=load_model(model.hf, tokenizer=model.tokenizer).backend), baked.hf, edit
    )
