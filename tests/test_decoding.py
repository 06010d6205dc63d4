"""Ways of decoding: texts, rows and scores are those of one prompt at a time under the same settings, whoever
names them, or the setting is refused by its name.
"""

import copy

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import GenerationConfig, PreTrainedTokenizerFast, StoppingCriteriaList

from interventions import Add, Monitor, edited
from probes import Direction, MassMean, Site, capture, capture_generated, load_model
from probes.models.decoding import Decoding
from probes.models.ends import Ends

PROMPTS = ["the red house is", "river", "a tall tree lives near the blue river", "no tree"]
SITE = Site("resid_post", 1)
TALKATIVE = {"initializer_range": 0.3, "tie_word_embeddings": False, "seed": 1}


def letters():
    """A tokenizer of single letters: stop strings need one that can write any word."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", " ", "."]
    inner = Tokenizer(WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="<unk>"))
    inner.pre_tokenizer, inner.decoder = Split("", "isolated"), Fuse()
    inner.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    specials = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, padding_side="left", **specials)


@pytest.fixture
def model(make_hf):
    """Says different things after different prompts; padding is no end of text."""
    return load_model(make_hf(**TALKATIVE), tokenizer=letters())


@pytest.fixture
def probe(model):
    texts = [f"{a} {b}" for a in ("red", "blue", "old") for b in ("house", "tree", "river", "stone")]
    return MassMean().fit(capture(model, texts, SITE, progress=False).with_y([0, 1] * 6))


def alone(model, prompt, n, **options):
    """The new tokens of one prompt by plain Hugging Face, the model's own config included."""
    ids = torch.tensor([model.tokenizer(prompt)["input_ids"]])
    plain = {
        "max_new_tokens": n,
        "do_sample": False,
        "pad_token_id": 1,
        "attention_mask": torch.ones_like(ids),
    }
    with torch.no_grad():
        return model.hf.generate(input_ids=ids, **(plain | options))[0, ids.shape[1] :].tolist()


def greedy(model, prompt, n):
    """The likeliest token each time, without a cache and without `generate`."""
    ids = model.tokenizer(prompt)["input_ids"]
    new = []
    while len(new) < n and (not new or new[-1] != model.tokenizer.eos_token_id):
        with torch.no_grad():
            new.append(int(model.hf(input_ids=torch.tensor([ids + new])).logits[0, -1].argmax()))
    return new


def states_of(model, prompt, new):
    """One pass over prompt and new tokens, without a cache: the states of the new tokens."""
    ids = model.tokenizer(prompt)["input_ids"]
    with torch.no_grad():
        out = model.hf(input_ids=torch.tensor([ids + new]), output_hidden_states=True)
    return out.hidden_states[SITE.block + 1][0, len(ids) :]


def token_that_stops_some(model, n):
    """A token that appears early in some of the texts and not in all."""
    texts = [alone(model, p, n) for p in PROMPTS]
    counted = {t: sum(t in text[1:-2] for text in texts) for text in texts for t in text[1:-2] if t > 3}
    return next(t for t, count in sorted(counted.items(), key=lambda c: -c[1]) if 0 < count < len(texts))


# --- where texts end
# ----------------------------------------------------------------------------------------------


def ways_to_end(model, token):
    word = model.tokenizer.convert_ids_to_tokens(token)

    def until(ids, scores, **kwargs):
        return ids[:, -1] == token

    return {
        "a token in the call": {"eos_token_id": token},
        "several tokens": {"eos_token_id": [token, 2]},
        "a config given": {"generation_config": GenerationConfig(eos_token_id=token)},
        "a stop string": {"stop_strings": [word], "tokenizer": model.tokenizer},
        "a criterion of one's own": {"stopping_criteria": StoppingCriteriaList([until])},
    }


@pytest.mark.parametrize(
    "way",
    ["a token in the call", "several tokens", "a config given", "a stop string", "a criterion of one's own"],
)
def test_every_row_ends_where_its_text_does_alone(way, model, probe):
    n, token = 12, token_that_stops_some(model, 12)
    options = ways_to_end(model, token)[way]
    kept = way in ("a stop string", "a criterion of one's own")
    want = []
    for prompt in PROMPTS:
        new = alone(model, prompt, n, **options)
        want.append(new[:-1] if new[-1] in (token, 2) and not (kept and new[-1] == token) else new)
    lengths = [len(w) for w in want]
    assert min(lengths) < max(lengths), "some texts must end earlier than others"
    acts = capture_generated(model, PROMPTS, SITE, max_new_tokens=n, progress=False, **options)
    assert np.bincount(acts.example, minlength=len(PROMPTS)).tolist() == lengths
    for i, new in enumerate(want):
        got = acts.x[0][torch.from_numpy(acts.example == i)]
        assert (got - states_of(model, PROMPTS[i], new)).abs().max() <= 1e-4
    seen = Monitor(probe, SITE, 1e9).watch(model, PROMPTS, max_new_tokens=n, **options)
    words = model.tokenizer.convert_ids_to_tokens
    assert [list(w.tokens) for w in seen] == [words(new) for new in want]
    texts = [model.tokenizer.decode(new, skip_special_tokens=True) for new in want]
    assert model.generate(PROMPTS, n, **options) == texts == [w.text for w in seen]


def test_the_ends_in_the_models_own_config_count_as_options_do(model):
    token = token_that_stops_some(model, 12)
    want = model.generate(PROMPTS, 12, eos_token_id=token)
    model.hf.generation_config.eos_token_id = [token]
    assert model.generate(PROMPTS, 12) == want
    assert model.generate(PROMPTS, 12, eos_token_id=None) != want, "no end at all, where the call says so"
    model.hf.generation_config.eos_token_id = None
    model.hf.generation_config.stop_strings = [model.tokenizer.convert_ids_to_tokens(token)]
    word = model.tokenizer.convert_ids_to_tokens(token)
    stopped = model.generate(PROMPTS, 12)
    assert [t.removesuffix(word) for t in stopped] == want and stopped != want


def test_a_text_ends_at_the_tokenizers_end_where_the_config_names_none(model):
    tokenizer = model.tokenizer
    token = token_that_stops_some(model, 12)
    model.hf.generation_config.eos_token_id = None
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(token)
    acts = capture_generated(model, PROMPTS, SITE, max_new_tokens=12, progress=False)
    want = [
        new[: new.index(token)] if token in new else new for new in (alone(model, p, 12) for p in PROMPTS)
    ]
    assert np.bincount(acts.example, minlength=4).tolist() == list(map(len, want))
    assert model.generate(PROMPTS, 12) == [tokenizer.decode(w, skip_special_tokens=True) for w in want]


def test_rows_that_ended_are_cut_whatever_stands_behind_them():
    ends = Ends({9}, [lambda ids, scores: ids[:, -1] == 5], rows=3, width=2)
    written = torch.tensor([[0, 0, 1, 9, 1, 1], [0, 0, 1, 2, 5, 7], [0, 0, 3, 3, 3, 3]])
    for n in range(3, 7):
        ends(written[:, :n], None)
    assert ends.cut(written, again=False) == [[1], [1, 2, 5], [3, 3, 3, 3]]
    anew = Ends({9}, [lambda ids, scores: ids[:, -1] == 5], rows=3, width=2)
    assert anew.cut(written, again=True) == [[1], [1, 2, 5], [3, 3, 3, 3]]


# --- greedy means greedy
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("repetition_penalty", 3.0),
        ("no_repeat_ngram_size", 1),
        ("suppress_tokens", list(range(8, 20))),
        ("begin_suppress_tokens", list(range(8, 20))),
        ("bad_words_ids", [[t] for t in range(8, 20)]),
        ("min_new_tokens", 9),
        ("num_beams", 3),
        ("guidance_scale", 4.0),
        ("forced_eos_token_id", 2),
        ("min_length", 60),
    ],
)
def test_what_the_models_config_asks_for_does_not_act_in_greedy_texts(setting, value, model):
    want = [model.tokenizer.decode(greedy(model, p, 8), skip_special_tokens=True) for p in PROMPTS]
    assert model.generate(PROMPTS, 8) == want
    setattr(model.hf.generation_config, setting, value)
    said = setting != "min_length"  # which counts padding, and is never kept
    if said:
        with pytest.warns(UserWarning, match=f"set aside: {setting}="):
            assert model.generate(PROMPTS, 8) == want
    else:
        assert model.generate(PROMPTS, 8) == want
    if setting not in ("min_new_tokens", "min_length", "forced_eos_token_id", "num_beams", "guidance_scale"):
        assert model.generate(PROMPTS, 8, **{setting: value}) != want, "asked for, it acts"


@pytest.mark.filterwarnings("ignore:texts are greedy")
def test_the_receipt_names_every_setting_that_acts_and_what_is_set_aside(model):
    own = model.hf.generation_config
    own.do_sample, own.temperature, own.repetition_penalty = True, 0.5, 1.3
    said = capture_generated(
        model, PROMPTS, SITE, max_new_tokens=3, progress=False, no_repeat_ngram_size=2
    ).receipt["generation"]
    assert said["do_sample"] is False and said["no_repeat_ngram_size"] == 2 and said["max_new_tokens"] == 3
    assert said["eos_token_id"] == [2] and said["set_aside"]["repetition_penalty"] == 1.3
    assert "temperature" not in said and "repetition_penalty" not in said
    torch.manual_seed(0)
    said = capture_generated(model, PROMPTS, SITE, max_new_tokens=3, progress=False, do_sample=True).receipt[
        "generation"
    ]
    assert said["do_sample"] is True and said["temperature"] == 0.5 and said["repetition_penalty"] == 1.3
    assert said["top_k"] == 50 and "set_aside" not in said


def test_sampling_takes_what_the_models_config_recommends(model):
    def drawn(**options):
        torch.manual_seed(0)
        return model.generate(PROMPTS * 3, 8, do_sample=True, **options)

    free, cold = drawn(), drawn(temperature=0.01)
    model.hf.generation_config.temperature = 0.01
    assert drawn() == cold != free and drawn(temperature=1.0) == free
    given = GenerationConfig(do_sample=True)
    torch.manual_seed(0)
    assert model.generate(PROMPTS * 3, 8, generation_config=given) == cold, "a config given can ask to sample"


def test_no_temperature_is_another_word_for_greedy(model):
    greedy = model.generate(PROMPTS, 8)
    for said in ({"temperature": 0}, {"temperature": 0.0, "do_sample": False}):
        assert model.generate(PROMPTS, 8, **said) == greedy
        assert model.decoding(8, said).receipt() == model.decoding(8, {}).receipt()
    assert model.generate(PROMPTS, 8, generation_config=GenerationConfig(temperature=0.0)) == greedy


def test_lengths_and_sampling_that_would_not_act_are_refused(model):
    with pytest.raises(ValueError, match="asks for 5 new tokens and the call for 20"):
        model.generate(PROMPTS, generation_config=GenerationConfig(max_new_tokens=5))
    assert model.generate(PROMPTS, 5, generation_config=GenerationConfig(max_new_tokens=5))
    with pytest.raises(ValueError, match=r"temperature=0\.7 acts on samples only"):
        model.generate(PROMPTS, temperature=0.7)
    with pytest.raises(
        ValueError, match="sampled at temperature=0, which means greedy; leave do_sample=True out"
    ):
        model.generate(PROMPTS, do_sample=True, temperature=0)
    with pytest.raises(ValueError, match=r"top_p=0\.5 acts on samples only"):
        model.generate(PROMPTS, temperature=0, top_p=0.5)
    with pytest.raises(ValueError, match="min_length=9 counts the prompt and its padding"):
        model.generate(PROMPTS, generation_config=GenerationConfig(min_length=9))


# --- passes that are not one new token of every prompt
# ------------------------------------------------------------


def served(model, probe, options, n=8):
    """Rows and scores under these options, and the tokens they are of."""
    acts = capture_generated(model, PROMPTS, SITE, max_new_tokens=n, progress=False, **options)
    seen = Monitor(probe, SITE, 1e9).watch(model, PROMPTS, max_new_tokens=n, **options)
    return acts, seen


@pytest.mark.parametrize(
    "options", [{}, {"prefill_chunk_size": 3}, {"cache_implementation": "static"}], ids=str
)
@pytest.mark.parametrize("own", [False, True])
def test_served_ways_give_the_states_and_scores_of_the_tokens_written(options, own, model, probe):
    if own:
        for name, value in options.items():
            setattr(model.hf.generation_config, name, value)
    acts, seen = served(model, probe, {} if own else options)
    for i, prompt in enumerate(PROMPTS):
        new = [t for t in greedy(model, prompt, 8) if t != 2]
        want = states_of(model, prompt, new)
        assert (acts.x[0][torch.from_numpy(acts.example == i)] - want).abs().max() <= 1e-4
        last = capture(model, [prompt], SITE, progress=False).x[0]
        expected = probe.score(replaced(acts, torch.cat([last, want])))[0][: len(seen[i].scores)]
        assert len(seen[i].scores) in (len(new), len(new) + 1)
        assert np.allclose(seen[i].scores, expected, atol=1e-4)


def replaced(acts, x):
    from probes import Activations

    return Activations.from_arrays(x[None].numpy(), sites=[SITE])


REFUSED = {
    "num_beams": 2,
    "prompt_lookup_num_tokens": 2,
    "assistant_early_exit": 1,
    "guidance_scale": 1.5,
    "token_healing": True,
    "penalty_alpha": 0.6,
    "dola_layers": "low",
    "forced_eos_token_id": 2,
}


@pytest.mark.parametrize(("setting", "value"), REFUSED.items())
@pytest.mark.parametrize("own", ["in the call", "in a config given", "in the model's own"])
def test_ways_that_mix_tokens_are_refused_by_name_wherever_they_come_from(setting, value, own, model, probe):
    options = {"in the call": {setting: value}}.get(own, {})
    if own == "in a config given":
        options = {"generation_config": GenerationConfig(**{setting: value})}
    if own == "in the model's own":
        setattr(model.hf.generation_config, setting, value)
    told = f"{setting}={value}.*would change which row is which token"
    with pytest.raises(ValueError, match=told):
        capture_generated(model, PROMPTS[:1], SITE, max_new_tokens=4, progress=False, **options)
    monitor = Monitor(probe, SITE, 1e9)
    with pytest.raises(ValueError, match=told):
        monitor.watch(model, PROMPTS[:1], max_new_tokens=4, **options)
    with pytest.raises(ValueError, match=told):
        next(monitor.stream(model, PROMPTS[0], max_new_tokens=4, **options))


def test_a_draft_model_is_refused_where_rows_are_read_and_gives_the_same_text(model, probe):
    draft = copy.deepcopy(model.hf)
    with pytest.raises(ValueError, match="assistant_model=LlamaForCausalLM would change which row"):
        capture_generated(model, PROMPTS[:1], SITE, assistant_model=draft)
    want = model.generate(PROMPTS, 8)
    for options in ({"assistant_model": draft}, {"prompt_lookup_num_tokens": 2}):
        assert model.generate(PROMPTS, 8, batch_size=1, **options) == want


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"prompt_lookup_num_tokens": 3}], ids=str)
def test_texts_of_several_tokens_or_beams_a_pass_end_at_stop_strings_too(options, model):
    token = token_that_stops_some(model, 12)
    word = model.tokenizer.convert_ids_to_tokens(token)
    for ending in ({"eos_token_id": token}, {"stop_strings": [word]}):
        got = model.generate(PROMPTS, 12, batch_size=1, **options, **ending)
        want = []
        for prompt in PROMPTS:
            # The oracle of speculative decoding is the text without it.
            way = options if "num_beams" in options else {}
            new = alone(model, prompt, 12, **way, **ending, tokenizer=model.tokenizer)
            behind = [i for i, t in enumerate(new) if t in (token, 2)]
            last = behind[0] + ("stop_strings" in ending and new[behind[0]] == token) if behind else len(new)
            want.append(model.tokenizer.decode(new[:last], skip_special_tokens=True))
        assert got == want


def test_guidance_at_single_prompt_tokens_is_refused(model):
    d = Direction.from_vector(torch.randn(32, generator=torch.Generator().manual_seed(0)), SITE, model)
    placed = edited(model, Add(d, norm=3, at="last"))
    with pytest.raises(ValueError, match=r"guidance_scale runs a second pass.*astray"):
        placed.generate(PROMPTS[:1], guidance_scale=1.5)
    everywhere = edited(model, Add(d, norm=3))
    assert everywhere.generate(PROMPTS[:1], 8, guidance_scale=1.5)


# --- backends
# -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:texts are greedy")
@pytest.mark.parametrize("backend", ["nnsight", "transformer_lens"])
def test_backends_agree_on_settings_that_change_after_loading(backend, model):
    """They hold copies of the model, whose generation config is the one of the moment they were made."""
    token = token_that_stops_some(model, 12)
    d = Direction.from_vector(torch.randn(32, generator=torch.Generator().manual_seed(0)), SITE, model)
    other = load_model(model.hf, backend=backend, tokenizer=model.tokenizer)
    model.hf.generation_config.eos_token_id = token
    model.hf.generation_config.repetition_penalty = 3.0
    for options in ({}, {"stop_strings": ["e"]}, {"prefill_chunk_size": 3}, {"num_beams": 2}):
        want = edited(model, Add(d, norm=1)).generate(PROMPTS, 8, **options)
        assert edited(other, Add(d, norm=1)).generate(PROMPTS, 8, **options) == want
        assert other.generate(PROMPTS, 8, **options) == model.generate(PROMPTS, 8, **options)


def test_a_decoding_says_every_setting_so_that_no_config_fills_in(model):
    model.hf.generation_config.repetition_penalty = 3.0
    decoding = Decoding.of(model.hf, model.tokenizer, 1, 5, {})
    said, _ = decoding.begun(1, 1)
    assert said["repetition_penalty"] == 1.0 and set(vars(GenerationConfig())) - set(said) <= {
        name for name in vars(GenerationConfig()) if name.startswith("_")
    } | {"transformers_version", "continuous_batching_config"}
