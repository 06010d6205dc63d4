"""Models as values: where they come from, what they are asked, and whether two of them are the same."""

import copy
import json
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import GenerationConfig

from probes import Examples, MassMean, Position, Site, capture, load_model
from probes.data.fingerprint import Fingerprint
from probes.data.tokens import Encoded
from tests.plain_write import PlainWrite

PROMPTS = [
    "the red house is",
    "river",
    "a tall tree lives near the blue river and the small stone house is not",
    "no tree",
    "alpha beta gamma",
]


def same_model(again, model, texts):
    """The same weights to the bit, and states up to rounding.

    Loaded weights lie elsewhere in memory, where some processors round otherwise.
    """
    ours, theirs = again.hf.state_dict(), model.hf.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert torch.allclose(capture(again, texts).x, capture(model, texts).x, atol=1e-5)


def saved(hf, tokenizer, folder):
    hf.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return str(folder)


# --- loading
# --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "roberta"])
def test_a_saved_folder_loads_as_the_model_that_was_saved(family, make_model, texts, tmp_path):
    model = make_model(family, "left")
    again = load_model(saved(model.hf, model.tokenizer, tmp_path))
    assert type(again.hf) is type(model.hf)
    same_model(again, model, texts)
    assert (again.n_blocks, again.width, again.dtype, again.name) == (
        3,
        model.width,
        torch.float32,
        str(tmp_path),
    )
    assert not any(m.training for m in again.hf.modules())


def test_a_path_object_and_a_tokenizer_of_ones_own_work(make_hf, make_tokenizer, tmp_path):
    tokenizer = make_tokenizer("left")
    saved(make_hf(), None, tmp_path)
    assert load_model(tmp_path, tokenizer=tokenizer).tokenizer is tokenizer


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_a_folder_loads_in_the_precision_asked_for(dtype, make_model, tmp_path):
    model = make_model()
    assert load_model(saved(model.hf, model.tokenizer, tmp_path), dtype=dtype).dtype == torch.bfloat16


def test_a_half_precision_checkpoint_stays_in_half_precision(make_model, tmp_path):
    model = make_model()
    assert load_model(saved(model.hf.bfloat16(), model.tokenizer, tmp_path)).dtype == torch.bfloat16


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_a_model_in_memory_is_wrapped_and_not_changed(family, make_hf, make_tokenizer):
    hf = make_hf(family).train()
    keys, config = list(hf.state_dict()), hf.config.to_dict()
    model = load_model(hf, tokenizer=make_tokenizer())
    assert model.hf is hf
    assert (list(hf.state_dict()), hf.config.to_dict(), hf.training) == (keys, config, True)


@pytest.mark.parametrize(
    ("family", "n"), [("llama", 5), ("gpt2", 1), ("gemma2", 2), ("gpt_neox", 4), ("bert", 6), ("deberta", 2)]
)
def test_the_blocks_are_found_however_many_there_are(family, n, make_model):
    model = make_model(family, num_hidden_layers=n)
    assert (model.n_blocks, len(model.sites("resid_post"))) == (n, n)


def test_blocks_can_be_named(make_hf, make_tokenizer):
    hf = make_hf()
    assert load_model(hf, tokenizer=make_tokenizer(), blocks="model.layers").blocks is hf.model.layers
    with pytest.raises(
        ValueError,
        match=r"blocks='model\.norm' is a LlamaRMSNorm, expected the ModuleList of transformer blocks",
    ):
        load_model(hf, tokenizer=make_tokenizer(), blocks="model.norm")


def test_two_possible_block_lists_raise_and_ask_for_a_name(make_hf, make_tokenizer):
    hf = make_hf()
    hf.model.draft = copy.deepcopy(hf.model.layers)
    with pytest.raises(
        ValueError,
        match=(
            r"cannot tell .* its 3 blocks \(candidates: \['model\.draft', 'model\.layers'\]\); name them with"
            r" .*blocks="
        ),
    ):
        load_model(hf, tokenizer=make_tokenizer())


@pytest.mark.filterwarnings("ignore:the tokenizer knows:probes.HookprobeWarning")
def test_an_encoder_decoder_raises_and_its_encoder_works(make_tokenizer, texts):
    from transformers import T5Config, T5Model

    torch.manual_seed(0)
    t5 = T5Model(
        T5Config(
            vocab_size=64,
            d_model=32,
            d_kv=8,
            d_ff=48,
            num_layers=3,
            num_heads=4,
            decoder_start_token_id=1,
            pad_token_id=1,
        )
    ).eval()
    with pytest.raises(
        ValueError,
        match=(
            r"T5Model is an encoder-decoder, which has two stacks; pass its encoder"
            r" \(model\.get_encoder\(\)\)"
        ),
    ):
        load_model(t5, tokenizer=make_tokenizer())
    model = load_model(t5.get_encoder(), tokenizer=make_tokenizer("left"))
    alone = torch.stack([capture(model, [t], "resid_post.2").x[0, 0] for t in texts])
    assert (capture(model, texts, "resid_post.2", batch_size=32).x[0] - alone).abs().max() <= 1e-5


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"device": "cpu"}, {"device_map": "auto"}])
def test_a_model_in_memory_is_not_moved_or_cast(options, make_hf, make_tokenizer):
    with pytest.raises(ValueError, match="already in memory and is left as it is; move or cast it yourself"):
        load_model(make_hf(), tokenizer=make_tokenizer(), **options)


def test_an_unknown_backend_is_named_with_those_there_are(make_hf, make_tokenizer):
    with pytest.raises(ValueError, match=r"unknown backend 'hoks'; there is .*hooks"):
        load_model(make_hf(), "hoks", tokenizer=make_tokenizer())


def test_a_folder_without_a_config_holds_no_model(make_tokenizer, tmp_path):
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(
        ValueError,
        match=(
            rf"{tmp_path.name} is a folder without config\.json \(or adapter_config\.json\), so it holds no"
            r" model"
        ),
    ):
        load_model(tmp_path)


def test_a_model_in_memory_without_a_tokenizer_raises(make_hf):
    with pytest.raises(
        ValueError, match=r"a model in memory needs its tokenizer: load_model\(model, tokenizer=tokenizer\)"
    ):
        load_model(make_hf())


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "bert", "roberta"])
def test_a_folder_without_a_tokenizer_raises_and_says_how_to_give_one(family, make_hf, tmp_path):
    """transformers 5 may hand out an empty tokenizer here, which turns every word into the same token."""
    with pytest.raises(ValueError, match=r"(?s)no tokenizer.*tokenizer=") as raised:
        load_model(saved(make_hf(family), None, tmp_path))
    assert str(tmp_path) in str(raised.value)


# --- adapters
# -------------------------------------------------------------------------------------------------------


def test_a_lora_adapter_acts_on_what_is_captured(with_lora, make_model, make_tokenizer, texts, plain_states):
    peft, base = with_lora(), make_model()
    got = capture(load_model(peft, tokenizer=make_tokenizer("left")), texts, batch_size=32)
    oracle = plain_states(peft, make_tokenizer(), texts)
    want = torch.stack([torch.stack([states[str(site)][-1] for states in oracle]) for site in got.sites])
    assert (got.x - want).abs().max() <= 1e-5
    assert (got.x - capture(base, texts).x).abs().max() > 0.01
    with peft.disable_adapter():
        off = capture(load_model(peft, tokenizer=make_tokenizer("left")), texts).x
    assert (off - capture(base, texts).x).abs().max() <= 1e-5


def test_a_lora_model_generates_as_peft_does(with_lora, make_tokenizer):
    peft, tokenizer = with_lora(), make_tokenizer()
    ids = torch.tensor([tokenizer(PROMPTS[0])["input_ids"]])
    want = tokenizer.decode(
        peft.generate(input_ids=ids, max_new_tokens=8, do_sample=False, pad_token_id=1)[0, ids.shape[1] :],
        skip_special_tokens=True,
    )
    assert load_model(peft, tokenizer=tokenizer).generate(PROMPTS, max_new_tokens=8)[0] == want


def test_a_saved_adapter_loads_on_top_of_its_base(with_lora, make_tokenizer, texts, tmp_path):
    peft, tokenizer = with_lora(), make_tokenizer()
    base = saved(peft.get_base_model(), tokenizer, tmp_path / "copy")  # only for the config and the tokenizer
    with peft.disable_adapter():
        plain = copy.deepcopy(peft).unload()
    saved(plain, tokenizer, base)
    peft.peft_config["default"].base_model_name_or_path = base
    peft.save_pretrained(tmp_path / "adapter")
    again = load_model(tmp_path / "adapter")
    same_model(again, load_model(peft, tokenizer=tokenizer), texts)


def test_prompt_tuning_raises_because_positions_would_be_off(make_hf, make_tokenizer):
    peft = get_peft_model(make_hf(), PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"))
    with pytest.raises(
        ValueError,
        match="prompt-tuning adapters add virtual tokens, so token positions would be off; merge or remove",
    ):
        load_model(peft, tokenizer=make_tokenizer())


# --- what goes in
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_second_beginning_of_text_token_raises(family, make_model):
    with pytest.raises(
        ValueError,
        match=(
            "text 1 starts with two beginning-of-text tokens; the tokenizer adds one already, so take it out"
        ),
    ):
        make_model(family).encode(["the river", "<s> the river"])


@pytest.mark.parametrize(("family", "special"), [("llama", 1), ("gpt2", 1), ("bert", 2), ("roberta", 2)])
def test_a_text_longer_than_the_model_raises_and_one_that_just_fits_is_read(family, special, make_model):
    """RoBERTa has 66 places and counts from 2, so all of these read 64 tokens."""
    model = make_model(family)
    assert model.max_length == 64
    fits = "red " * (64 - special)
    assert capture(model, [fits, "red"], at="all", batch_size=2).x.shape[1] == 64 + special + 1
    with pytest.raises(ValueError, match="text 1 has 65 tokens but the model reads at most 64; shorten it"):
        capture(model, ["red", fits + "red"])


def test_an_encoder_can_be_read_but_not_asked(make_model):
    model = make_model("bert")
    assert not model.generates
    message = (
        "{} needs a causal language model, but .* is a BertModel without a language-model head .* it can be"
        " read"
    )
    with pytest.raises(ValueError, match=message.format("generate")):
        model.generate(["the river"])
    with pytest.raises(ValueError, match=message.format("logits")):
        model.logits(["the river"])


@pytest.mark.parametrize(
    ("family", "head"), [("bert", "ForMaskedLM"), ("llama", "Model"), ("llama", "ForSequenceClassification")]
)
def test_a_model_with_another_head_or_none_does_not_generate(family, head, make_model):
    model = make_model(family, head=head)
    assert not model.generates
    with pytest.raises(ValueError, match=f"is a {type(model.hf).__name__} without a language-model head"):
        model.generate(["the river"])


def test_one_string_instead_of_prompts_raises(make_model):
    with pytest.raises(TypeError, match="prompts is one string; give a list of prompts"):
        make_model().generate("the river")


# --- logits and generation
# ------------------------------------------------------------------------------------------

DECODERS = ("llama", "gpt2", "qwen2", "gemma2", "gpt_neox")


@pytest.fixture
def talkative(make_model):
    """Random weights that say different things after different prompts, instead of one word for ever."""
    return lambda family: make_model(family, initializer_range=0.3, tie_word_embeddings=False, seed=1)


def plain_generation(model, prompt, n, **options):
    ids = torch.tensor([model.tokenizer(prompt)["input_ids"]])
    out = model.hf.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=n,
        do_sample=False,
        pad_token_id=1,
        **options,
    )
    return model.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("family", DECODERS)
def test_generation_in_batches_equals_hugging_face_one_prompt_at_a_time(family, talkative):
    model = talkative(family)
    want = [plain_generation(model, p, 10) for p in PROMPTS]
    assert len(set(want)) == len(PROMPTS), "the prompts must lead to different texts"
    assert model.generate(PROMPTS, max_new_tokens=10) == want
    assert model.generate(PROMPTS, max_new_tokens=10, batch_size=2) == want
    assert [model.generate([p], max_new_tokens=10)[0] for p in PROMPTS] == want


@pytest.mark.parametrize("family", DECODERS)
def test_generation_without_the_cache_is_the_same(family, talkative):
    model = talkative(family)
    assert model.generate(PROMPTS, max_new_tokens=10, use_cache=False) == model.generate(
        PROMPTS, max_new_tokens=10
    )


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", DECODERS)
def test_logits_are_those_after_the_last_token_of_each_text(family, side, make_model, texts):
    model = make_model(family, side)
    with torch.no_grad():
        want = torch.cat(
            [model.hf(input_ids=torch.tensor([model.tokenizer(t)["input_ids"]])).logits[:, -1] for t in texts]
        )
    assert (model.logits(texts) - want).abs().max() <= 2e-5
    assert torch.equal(model.logits(model.encode(texts)), model.logits(texts))


def test_logits_take_texts_or_tokens_but_no_mixture(make_model):
    model = make_model()
    with pytest.raises(TypeError, match="give either texts or encoded tokens, not a mixture"):
        model.logits(["the river", *model.encode(["a tree"])])
    with pytest.raises(ValueError, match="no texts given"):
        model.logits([])


def test_tokens_of_another_vocabulary_never_give_logits(make_model, make_hf, make_tokenizer):
    model, texts = make_model(), ["the river", "a tree"]
    same, other = make_tokenizer(), make_tokenizer()
    other.add_tokens(["riverbank"])
    twin, foreign = (load_model(make_hf(), tokenizer=t) for t in (same, other))
    assert torch.equal(model.logits(twin.encode(texts)), model.logits(texts))
    with pytest.raises(ValueError, match="made by a tokenizer with another vocabulary; encode the texts"):
        model.logits(foreign.encode(texts))
    last = model.hf.get_input_embeddings().num_embeddings - 1
    for token, refused in ((last, False), (last + 1, True)):
        handmade = [Encoded((0, token), (False,) * 2, None, "")]
        if not refused:
            assert model.logits(handmade).shape == (1, last + 1)
            continue
        with pytest.raises(ValueError, match=f"text 0 has token {token}, but the model knows {token} tokens"):
            model.logits(handmade)


def test_generation_can_sample_with_hugging_face_options(make_model):
    model = make_model()
    torch.manual_seed(0)
    first = model.generate(PROMPTS, max_new_tokens=10, do_sample=True, temperature=2.0)
    torch.manual_seed(0)
    assert model.generate(PROMPTS, max_new_tokens=10, do_sample=True, temperature=2.0) == first
    assert model.generate(PROMPTS, max_new_tokens=10, do_sample=True, temperature=2.0) != first


def test_generation_answers_chat_messages(make_hf, make_tokenizer):
    model = load_model(make_hf(), tokenizer=make_tokenizer(chat=True))
    chat = [{"role": "user", "content": "the river ?"}]
    rendered = model.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert model.generate([chat], max_new_tokens=6) == [
        plain_generation(model, rendered.removeprefix("<s>"), 6)
    ]


def test_generation_leaves_training_flags_hooks_and_config_alone(make_hf, make_tokenizer):
    hf = make_hf().train()
    before = hf.generation_config.to_dict(), hf.config.to_dict()
    load_model(hf, tokenizer=make_tokenizer()).generate(PROMPTS, max_new_tokens=2)
    assert (hf.generation_config.to_dict(), hf.config.to_dict()) == before
    assert all(m.training for m in hf.modules())
    assert not any(b._forward_hooks or b._forward_pre_hooks for b in hf.model.layers)


@dataclass(frozen=True)
class Push(PlainWrite):
    """An edit that adds a fixed vector."""

    def __call__(self, h):
        return h + 3 * torch.cos(torch.arange(h.shape[-1], dtype=h.dtype))


def edited_by_hand(model, prompt, n, chosen, write):
    """Greedy decoding without cache or padding; `chosen(length of prompt, length now)` gives the
    columns to edit.
    """
    ids = model.tokenizer(prompt)["input_ids"]
    prompt_length = len(ids)

    def hook(module, args, output):
        h = output.clone()
        at = chosen(prompt_length, h.shape[1])
        h[:, at] = write(h[:, at])
        return h

    handle = model.blocks[write.site.block].register_forward_hook(hook)
    try:
        for _ in range(n):
            with torch.no_grad():
                ids.append(
                    int(model.hf(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
                )
            if ids[-1] == model.tokenizer.eos_token_id:
                break
    finally:
        handle.remove()
    return model.tokenizer.decode(ids[prompt_length:], skip_special_tokens=True)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize(
    ("at", "chosen"),
    [("all", lambda n, now: slice(None)), ("last", lambda n, now: [n - 1]), (0, lambda n, now: [0])],
)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_edit_acts_on_its_tokens_of_the_prompt_in_every_step_of_generation(
    family, at, chosen, use_cache, talkative
):
    model = talkative(family)
    write = Push(Site("resid_post", 1), Position.parse(at))
    edited = replace(model, writes=(write,))
    want = [edited_by_hand(model, p, 8, chosen, write) for p in PROMPTS]
    assert edited.generate(PROMPTS, max_new_tokens=8, use_cache=use_cache) == want
    assert want != model.generate(PROMPTS, max_new_tokens=8), "the edit must matter"


def test_an_edit_at_one_position_refuses_beams(make_model):
    edited = replace(make_model(), writes=(Push(Site("resid_post", 1), Position("last")),))
    with pytest.raises(
        ValueError, match="edits at single prompt positions would go astray; use num_beams=1 or at='all'"
    ):
        edited.generate(PROMPTS, num_beams=2)


@pytest.mark.parametrize("where", ["own config", "config given"])
def test_beams_and_self_drafts_that_a_config_asks_for_are_refused_too(where, make_hf, make_tokenizer):
    for name, value in (("num_beams", 2), ("assistant_early_exit", 1), ("num_return_sequences", 2)):
        hf = make_hf()
        config = GenerationConfig(**{name: value}, do_sample=name == "num_return_sequences")
        if where == "own config":
            hf.generation_config = config
        given = {} if where == "own config" else {"generation_config": config}
        model = load_model(hf, tokenizer=make_tokenizer())
        edited = replace(model, writes=(Push(Site("resid_post", 1), Position("last")),))
        with pytest.raises(ValueError, match=r"go astray|one text a prompt"):
            edited.generate(PROMPTS, **given)


def test_an_edit_at_one_position_is_never_lost_to_a_draft_of_the_model_itself(talkative):
    model = talkative("llama")
    edited = replace(model, writes=(Push(Site("resid_post", 1), Position("last")),))
    want = edited.generate(PROMPTS[:1], max_new_tokens=6)
    for name, value in (("assistant_model", model.hf), ("assistant_early_exit", 1)):
        with pytest.raises(ValueError, match=f"{name} lets the model draft.*would go astray"):
            edited.generate(PROMPTS[:1], max_new_tokens=6, **{name: value})
    assert edited.generate(PROMPTS[:1], max_new_tokens=6, assistant_model=copy.deepcopy(model.hf)) == want


def test_options_that_generation_cannot_keep_are_refused(make_hf, make_tokenizer):
    hf = make_hf()
    hf.generation_config.return_dict_in_generate = True
    model = load_model(hf, tokenizer=make_tokenizer())
    assert len(model.generate(PROMPTS, max_new_tokens=2)) == len(PROMPTS), "texts whatever the config says"
    with pytest.raises(ValueError, match="generate returns texts, so return_dict_in_generate"):
        model.generate(PROMPTS, return_dict_in_generate=True)
    with pytest.raises(ValueError, match=r"max_length=5 counts the prompt too.*max_new_tokens"):
        model.generate(PROMPTS, max_length=5)


def test_several_sequences_a_prompt_are_refused(make_model):
    with pytest.raises(
        ValueError,
        match="generate returns one text a prompt; for several samples give the prompt several times",
    ):
        make_model().generate(PROMPTS, num_return_sequences=2, do_sample=True)


# --- identity
# -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "deberta"])
def test_the_same_weights_have_the_same_fingerprint_wherever_they_lie(family, make_model, tmp_path):
    model = make_model(family)
    again = load_model(saved(model.hf, model.tokenizer, tmp_path))
    assert replace(again.fingerprint, name="") == replace(model.fingerprint, name="")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fingerprint.check(again.fingerprint, "the direction")


def test_a_fingerprint_survives_json(make_model):
    found = make_model().fingerprint
    assert Fingerprint.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_reading_and_training_mode_leave_the_fingerprint_alone(make_hf, make_tokenizer, texts):
    hf, tokenizer = make_hf(), make_tokenizer()
    first = load_model(hf, tokenizer=tokenizer).fingerprint
    capture(load_model(hf, tokenizer=tokenizer), texts)
    load_model(hf, tokenizer=tokenizer).generate(PROMPTS, max_new_tokens=2)
    hf.train()
    assert load_model(hf, tokenizer=tokenizer).fingerprint == first


REFUSAL = (
    "the direction belongs to model .* but was used on .*: their {} differ.* Use it on its own model, or"
    " transfer on purpose with direction.on"
)


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("weights", {"seed": 1}),
        ("config", {"num_attention_heads": 8}),
        ("config", {"rope_parameters": {"rope_type": "default", "rope_theta": 99.0}}),
        ("config", {"num_hidden_layers": 2}),
    ],
)
def test_a_foreign_model_is_refused_naming_what_differs(field, other, make_model):
    with pytest.raises(ValueError, match=REFUSAL.format(field)):
        make_model().fingerprint.check(make_model(**other).fingerprint, "the direction")


def test_another_tokenizer_is_refused_and_a_missing_one_is_not_compared(make_hf, make_tokenizer):
    hf, own, foreign = make_hf(), make_tokenizer(), make_tokenizer()
    foreign.add_tokens(["zzz"])
    first = load_model(hf, tokenizer=own).fingerprint
    with pytest.raises(ValueError, match=REFUSAL.format("tokenizer")):
        first.check(load_model(hf, tokenizer=foreign).fingerprint, "the direction")
    first.check(replace(first, tokenizer=""), "the direction")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_copy_only_warns(dtype, make_hf, make_tokenizer):
    hf, tokenizer = make_hf(), make_tokenizer()
    first = load_model(hf, tokenizer=tokenizer).fingerprint
    half = load_model(copy.deepcopy(hf).to(dtype), tokenizer=tokenizer).fingerprint
    for a, b in ((first, half), (half, first)):
        with pytest.warns(
            UserWarning, match=f"the direction was made in {a.dtype} and the model .* runs in {b.dtype}"
        ):
            a.check(b, "the direction")


def test_other_weights_in_half_precision_are_refused(make_hf, make_tokenizer):
    tokenizer = make_tokenizer()
    first, other = (
        load_model(make_hf(), tokenizer=tokenizer),
        load_model(make_hf(seed=1).bfloat16(), tokenizer=tokenizer),
    )
    with pytest.raises(ValueError, match=REFUSAL.format("weights")):
        first.fingerprint.check(other.fingerprint, "the direction")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_lora_adapter_makes_another_model(dtype, with_lora, make_model, make_tokenizer):
    base, adapted = make_model(), load_model(with_lora().to(dtype), tokenizer=make_tokenizer())
    with pytest.raises(ValueError, match=r"their adapters differ .none, now default."):
        base.fingerprint.check(adapted.fingerprint, "the direction")


@pytest.mark.parametrize(
    "kind", ["self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"]
)
def test_a_change_to_any_one_kind_of_matrix_makes_another_model(kind, make_hf, make_tokenizer):
    """Merged adapters and weight edits often touch one kind of matrix only; the depth is that of a
    real model.
    """
    hf, tokenizer = make_hf(num_hidden_layers=32, hidden_size=16, intermediate_size=16), make_tokenizer()
    first = load_model(hf, tokenizer=tokenizer).fingerprint
    with torch.no_grad():
        for block in hf.model.layers:
            weight = block.get_submodule(kind).weight
            weight += 0.1 * torch.outer(torch.randn(weight.shape[0]), torch.randn(weight.shape[1]))
    with pytest.raises(ValueError, match=REFUSAL.format("weights")):
        first.check(load_model(hf, tokenizer=tokenizer).fingerprint, "the direction")


def test_a_model_says_what_it_is(make_model):
    model = make_model()
    assert repr(model).endswith("LlamaForCausalLM, 3 blocks, width 32, torch.float32)")
    assert "1 edited sites" in repr(replace(model, writes=(Push(Site("resid_post", 1), Position("all")),)))
    assert np.prod(capture(model, ["the river"]).x.shape) == 3 * 32


def test_matrices_of_many_millions_of_weights_have_a_fingerprint(make_hf, make_tokenizer):
    """GPT-2's embedding has 38,597,376 values, the last index of which float32 cannot hold."""
    hf = make_hf()
    hf.spare = torch.nn.Embedding(50257 * 768, 1, dtype=torch.bfloat16)
    with torch.no_grad():
        hf.spare.weight[-1] = 7
    assert 7 in load_model(hf, tokenizer=make_tokenizer()).fingerprint.weights


def test_a_probe_refuses_rows_of_another_model_and_scores_those_of_its_own(make_hf, make_tokenizer):
    texts, y = ["the red house", "a small tree", "the river is old", "a house"], [0, 1, 0, 1]
    own, other = (load_model(make_hf("llama", seed=s), tokenizer=make_tokenizer()) for s in (0, 1))
    probe = MassMean().fit(capture(own, Examples(texts, y=y), "resid_post.1"))
    assert probe.score(capture(own, texts, "resid_post.1")).isfinite().all()
    with pytest.raises(ValueError, match="the probe"):
        probe.score(capture(other, texts, "resid_post.1"))


def test_texts_do_not_grow_beyond_positions_that_were_learned(make_model):
    prompt = ["the red house"]
    gpt2, llama = make_model("gpt2"), make_model("llama")
    long = len(gpt2.encode(prompt)[0])
    assert gpt2.max_length == llama.max_length == 64
    with pytest.raises(ValueError, match=rf"prompt of {long} tokens and {65 - long} new ones come to 65"):
        gpt2.generate(prompt, 65 - long)
    assert gpt2.generate(prompt, 64 - long, eos_token_id=-1) and llama.generate(prompt, 65 - long)


def test_copies_that_hooks_do_not_see_are_named(make_model):
    model = make_model()
    wrapped = torch.nn.DataParallel(model.hf)
    with pytest.raises(ValueError, match=r"DataParallel runs copies .* give the model inside, \.module"):
        load_model(wrapped, tokenizer=model.tokenizer)
    assert load_model(wrapped.module, tokenizer=model.tokenizer).n_blocks == model.n_blocks
