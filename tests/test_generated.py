"""The states of generated tokens are those of reading prompt and answer in one go."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from probes import Examples, Position, Site, capture, capture_generated, load_model
from probes.data.tokenised import Tokenised
from probes.data.tokens import Encoded
from probes.models.decoding import end_tokens
from probes.models.ends import until_end
from tests.test_capture import Shift

PROMPTS = ["the red house is", "river", "a tall tree lives near the blue river", "no tree"]

WORDS_ONLY = {"suppress_tokens": [0, 1, 2, 3]}


def read_whole(model, acts, prompts, sites):
    """One unpadded pass over prompt and answer together, at the answer's tokens."""
    rows = []
    for i, prompt in enumerate(prompts):
        here = acts.example == i
        ids = model.tokenizer(prompt)["input_ids"]
        new = [model.tokenizer.convert_tokens_to_ids(t) for t in acts.columns["token_text"][here]]
        if not new:
            continue
        whole = Encoded(tuple(ids + new), (False,) * len(ids + new), None, "")
        (batch,) = model.batches([whole])
        states = model.run(
            batch,
            sites,
            lambda h: h[0].clone(),
            model.bound_writes(batch, Tokenised.of_tokens([whole], model.tokenizer)),
        ).states
        rows.append(torch.stack([states[s][len(ids) :] for s in sites]))
    return torch.cat(rows, dim=1)


@pytest.mark.parametrize(
    "family", ["llama", "gpt2", "qwen3", "gemma3", "gpt_neox", "opt", "bloom", "falcon", "mixtral"]
)
def test_every_generated_token_has_the_state_of_a_pass_without_cache(family, make_model):
    model = make_model(family, "right")
    kinds = ["resid_pre.1", "resid_post.2", "attn_out.1", "mlp_out.0"]
    acts = capture_generated(model, PROMPTS, kinds, max_new_tokens=6)
    assert len(acts) > 4
    assert (acts.x - read_whole(model, acts, PROMPTS, acts.sites)).abs().max() <= 1e-5
    texts = model.generate(PROMPTS, max_new_tokens=6)
    # Behind the prompt, an answer begins with a space; alone it has none.
    assert [str(acts.columns["answer"][acts.example == i][0]) for i in np.unique(acts.example)] == [
        f" {texts[i]}" if texts[i] else "" for i in np.unique(acts.example)
    ]


def test_rows_say_which_token_of_which_prompt_they_are(make_model):
    model = make_model()
    acts = capture_generated(
        model,
        Examples(PROMPTS, y=[0, 1, 0, 1], groups=list("abab"), columns={"n": [5, 6, 7, 8]}),
        "resid_post.1",
        max_new_tokens=3,
        **WORDS_ONLY,
    )
    lengths = [len(model.tokenizer(p)["input_ids"]) for p in PROMPTS]
    for i, length in enumerate(lengths):
        here = acts.example == i
        assert acts.token[here].tolist() == list(range(length, length + here.sum()))
        assert set(acts.columns["prompt_tokens"][here]) == {length}
        assert set(acts.columns["n"][here]) == {5 + i}
        assert f" {' '.join(acts.columns['token_text'][here])}" == acts.columns["answer"][here][0]
    assert acts.receipt["at"] == "generated"
    assert len(set(acts.ids)) == len(acts)


def test_the_end_of_text_and_what_follows_are_no_rows(make_hf, make_tokenizer):
    hf = make_hf()
    model = load_model(hf, tokenizer=make_tokenizer("left"))
    free = capture_generated(model, PROMPTS, "resid_post.2", max_new_tokens=8)
    second = free.columns["token_text"][
        (free.example == 0) & (free.token == free.columns["prompt_tokens"] + 1)
    ][0]
    hf.generation_config.eos_token_id = [model.tokenizer.convert_tokens_to_ids(str(second))]
    ended = capture_generated(model, PROMPTS, "resid_post.2", max_new_tokens=8)
    first = free.columns["token_text"][free.example == 0]
    assert (ended.example == 0).sum() == list(first).index(second)
    assert second not in ended.columns["token_text"]
    same = [np.flatnonzero(free.ids == i)[0] for i in ended.ids]
    assert (ended.x - free.x[:, same]).abs().max() <= 1e-5
    hf.generation_config.eos_token_id = list(range(len(model.tokenizer)))
    with pytest.raises(ValueError, match="every answer is empty"):
        capture_generated(model, PROMPTS, "resid_post.2")


@pytest.mark.parametrize(
    ("settings", "tokenizer", "ends"),
    [
        (7, "</s>", {7}),
        ([7, 9], "</s>", {7, 9}),
        (None, "</s>", {"</s>"}),
        (None, None, set()),
        (0, None, {0}),
    ],
)
def test_what_ends_a_text_is_found_whoever_names_it(settings, tokenizer, ends, make_hf, make_tokenizer):
    hf, words = make_hf(), make_tokenizer()
    hf.generation_config.eos_token_id = settings
    words.eos_token = tokenizer
    expected = {words.convert_tokens_to_ids(e) if isinstance(e, str) else e for e in ends}
    assert end_tokens(hf, words) == expected
    first = min(expected, default=5)
    written = [11, 12, first, 13, first]
    assert until_end(written, expected) == ([11, 12] if expected else written)


@pytest.mark.parametrize("at", ["all", "last"])
def test_an_edited_model_is_read_after_its_edits(at, make_model):
    model = make_model()
    edited = replace(model, writes=(Shift(Site("resid_post", 1), Position(at), 2.0),))
    acts = capture_generated(edited, PROMPTS, "resid_post", max_new_tokens=5)
    plain = capture_generated(model, PROMPTS, "resid_post", max_new_tokens=5)
    assert acts.columns["answer"].tolist() != plain.columns["answer"].tolist()
    if at == "all":
        assert (acts.x - read_whole(edited, acts, PROMPTS, acts.sites)).abs().max() <= 1e-5


def test_reading_changes_no_answer_and_leaves_no_hooks(make_model):
    model = make_model("gpt2")
    before = model.generate(PROMPTS, max_new_tokens=7)
    capture_generated(model, PROMPTS, max_new_tokens=7)
    assert model.generate(PROMPTS, max_new_tokens=7) == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())


def test_what_would_mix_rows_is_refused(make_model):
    model = make_model()
    for option in ({"num_beams": 2}, {"num_return_sequences": 2}, {"use_cache": False}):
        with pytest.raises(ValueError, match="would change which row is which token"):
            capture_generated(model, PROMPTS, **option)
    with pytest.raises(ValueError, match="max_new_tokens must be at least 1, got 0"):
        capture_generated(model, PROMPTS, max_new_tokens=0)
    with pytest.raises(ValueError, match="needs a causal language model"):
        capture_generated(make_model("bert"), PROMPTS)


def test_a_later_capture_of_the_whole_text_has_the_same_rows(make_model):
    """What people do by hand: prompt and answer are one text, the space between them included."""
    model = make_model()
    acts = capture_generated(model, PROMPTS, "resid_post.1", max_new_tokens=4, **WORDS_ONLY)
    answered = [i for i in range(len(PROMPTS)) if (acts.example == i).any()]
    joined = [f"{PROMPTS[i]}{acts.columns['answer'][acts.example == i][0]}" for i in answered]
    starts = [int(acts.columns["prompt_tokens"][acts.example == i][0]) for i in answered]
    whole = capture(
        model, Examples(joined, columns={"prompt_tokens": starts}), "resid_post.1", at="generated"
    )
    assert whole.token.tolist() == acts.token.tolist()
    assert (whole.x - acts.x).abs().max() <= 1e-5
