"""Steering from the prompt's last token on, and reading generated answers again by their token ids."""

import numpy as np
import pytest
import torch

from interventions import Add, Monitor, edited, effect
from interventions.behaviours.answers import Answers
from interventions.behaviours.logprob import continued, logprobs
from interventions.behaviours.refusal import Refusal
from interventions.edits.patch import Patch
from probes import Direction, Examples, Site, capture, capture_generated, load_model

PROMPTS = ["the red house is", "river", "a tall tree lives near the blue river", "no tree"]
SITE = Site("resid_post", 1)
TALKATIVE = {"initializer_range": 0.3, "tie_word_embeddings": False, "seed": 1}


@pytest.fixture
def model(make_model):
    return make_model("llama", "left", **TALKATIVE)


def direction(model, seed=3):
    noise = torch.randn(model.width, generator=torch.Generator().manual_seed(seed))
    return Direction.from_vector(noise, SITE, model)


def logits_by_hand(model, ids, start, unit, length):
    """A whole pass without a cache, the vector added from token `start` on."""

    def add(module, args, output):
        h = output.clone()
        h[:, start:] += length * unit
        return h

    handle = model.hf.model.layers[SITE.block].register_forward_hook(add)
    try:
        with torch.no_grad():
            return model.hf(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    finally:
        handle.remove()


def written_by_hand(model, prompt, unit, length, n):
    ids = model.tokenizer(prompt)["input_ids"]
    start = len(ids)
    for _ in range(n):
        ids.append(int(logits_by_hand(model, ids, start - 1, unit, length)[-1].argmax()))
    return ids[start:]


ENDLESS = {"eos_token_id": None}


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_an_edit_from_the_last_token_on_acts_where_every_token_of_the_answer_is_made(
    side, use_cache, make_model
):
    model = make_model("llama", side, **TALKATIVE)
    d = direction(model)
    want = [written_by_hand(model, p, d.unit, 12.0, 8) for p in PROMPTS]
    steered = edited(model, Add(d, norm=12.0, at="from_last"))
    assert steered.generate(PROMPTS, 8, use_cache=use_cache, return_ids=True, **ENDLESS) == want
    for batch_size, more in (
        (1, {}),
        (None, {"prefill_chunk_size": 2}),
        (1, {"prompt_lookup_num_tokens": 2}),
    ):
        if use_cache:
            got = steered.generate(PROMPTS, 8, batch_size=batch_size, return_ids=True, **ENDLESS, **more)
            assert got == want
    for other in ("last", "all"):
        placed = edited(model, Add(d, norm=12.0, at=other))
        assert placed.generate(PROMPTS, 8, use_cache=use_cache, return_ids=True, **ENDLESS) != want


@pytest.mark.parametrize("backend", ["nnsight", "transformer_lens"])
def test_backends_agree_on_where_it_acts(backend, model):
    d = direction(model)
    other = load_model(model.hf, backend=backend, tokenizer=model.tokenizer)
    want, got = (
        edited(m, Add(d, norm=5.0, at="from_last")).generate(PROMPTS, 8, return_ids=True, **ENDLESS)
        for m in (model, other)
    )
    assert got == want != other.generate(PROMPTS, 8, return_ids=True, **ENDLESS)


def test_given_continuations_are_scored_under_the_edit_that_would_have_made_them(model):
    d = direction(model)
    steered = edited(model, Add(d, norm=5.0, at="from_last"))
    answers = ["tall stone yes", "no", "a red", "river house tree"]
    parts = continued(steered, PROMPTS, answers)
    want = []
    for i in range(len(PROMPTS)):
        ids, n = list(parts.wholes[i].ids), len(parts.prompts.encoded[i])
        scores = logits_by_hand(model, ids, n - 1, d.unit, 5.0).log_softmax(-1)
        want.append(sum(float(scores[k - 1, ids[k]]) for k in range(n, len(ids))))
    assert np.allclose(logprobs(steered, parts), want, atol=1e-4)
    at_last = edited(model, Add(d, norm=5.0, at="last"))
    assert not np.allclose(logprobs(at_last, continued(at_last, PROMPTS, answers)), want, atol=1e-2)


def test_effects_and_behaviours_take_the_position_and_controls_keep_to_it(model):
    words = ("red", "blue", "old", "tall", "small")
    prompts = Examples([f"the {a} {b}" for a in words for b in ("house", "tree", "river", "stone")])
    edit = Add(direction(model), norm=5.0, at="from_last")
    found = effect(model, edit, Answers(" yes", " no"), prompts, compare=False, progress=False)
    same = Answers(" yes", " no")(edited(model, Add(direction(model), norm=5.0, at="last")), prompts)
    assert np.allclose(found.now.values, same.values, atol=1e-4), "one token: the last is all there is"
    assert all("from_last" in repr(w) for w in edited(model, edit).writes)
    texts = Refusal(max_new_tokens=6)(edited(model, edit), prompts).texts
    assert texts != Refusal(max_new_tokens=6)(model, prompts).texts


def test_reading_from_the_last_token_on_and_what_cannot_be_there(model):
    ids = model.generate(PROMPTS, 5, return_ids=True, **ENDLESS)
    whole = model.tokenise(PROMPTS).followed_by(ids)
    acts = capture(model, whole, SITE, "from_last", progress=False)
    assert np.bincount(acts.example).tolist() == [6] * 4
    assert torch.allclose(acts.x, capture(model, whole, SITE, slice(-6, None), progress=False).x)
    alone = capture(model, PROMPTS, SITE, "from_last", progress=False)
    assert torch.equal(alone.x, capture(model, PROMPTS, SITE, "last", progress=False).x)
    with pytest.raises(ValueError, match="goes on as long as tokens come"):
        edited(model, Patch(alone))
    with pytest.raises(ValueError, match="picks no token"):
        capture(model, Examples(["the river"], columns={"prompt_tokens": [9]}), SITE, "from_last")


def test_generated_rows_are_those_of_the_same_token_ids_read_again(model):
    got = capture_generated(model, PROMPTS, SITE, max_new_tokens=7, progress=False)
    ids = model.generate(PROMPTS, 7, return_ids=True)
    assert [got.columns["token_id"][got.example == i].tolist() for i in range(4)] == ids
    whole = model.tokenise(Examples(PROMPTS, y=[0, 1, 0, 1], columns={"n": [1, 2, 3, 4]})).followed_by(ids)
    again = capture(model, whole, SITE, "generated", progress=False)
    assert again.token.tolist() == got.token.tolist() and (again.x - got.x).abs().max() <= 1e-4
    assert again.y.tolist() == np.array([0, 1, 0, 1])[again.example].tolist() and "n" in again.columns
    raw = [[*e.ids, *new] for e, new in zip(model.tokenise(PROMPTS).encoded, ids, strict=True)]
    last = capture(model, raw, SITE, "last", progress=False)
    ends = np.flatnonzero(np.diff([*again.example, -1]))
    assert torch.allclose(last.x, again.x[:, ends], atol=1e-5)
    with pytest.raises(ValueError, match="3 answers for 4 prompts"):
        model.tokenise(PROMPTS).followed_by(ids[:3])
    with pytest.raises(ValueError, match="has token 32, but the model knows 32"):
        capture(model, [[0, 32]], SITE)


def test_an_answer_that_is_empty_is_named_with_what_to_do(model):
    ids = [[3, 4], [], [5], []]
    asked = model.tokenise(PROMPTS).followed_by(ids)
    said = rf"2 of 4 answers are empty, such as that behind prompt 1 \({PROMPTS[1]!r}\).*asked\.rows\("
    with pytest.raises(ValueError, match=said):
        capture(model, asked, SITE, "generated")
    acts = capture(model, asked.rows([i for i, new in enumerate(ids) if new]), SITE, "generated")
    assert acts.token.tolist() == [
        len(e) + k
        for e, new in zip(model.tokenise(PROMPTS).encoded, ids, strict=True)
        for k in range(len(new))
    ]
    assert len(capture(model, asked, SITE, "from_last").x[0]) == 4 + 3
    with pytest.raises(ValueError, match="column prompt_tokens says 9 and"):  # no empty answer
        capture(
            model, Examples(PROMPTS[:1], columns={"prompt_tokens": [9], "answer": ["x"]}), SITE, "generated"
        )


def test_an_answer_keeps_the_space_that_parts_it_from_its_prompt(make_hf):
    """SentencePiece drops it where an answer is decoded by itself."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import Metaspace as Joined
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Metaspace
    from transformers import PreTrainedTokenizerFast

    words = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        *(f"\u2581{w}{end}" for w in ("red", "old", "sea", "cat", "dog", "sun", "one") for end in ("", "s")),
    ]
    words += [f"x{i}" for i in range(32 - len(words))]
    inner = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer, inner.decoder = Metaspace(), Joined()
    specials = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, padding_side="left", **specials)
    model = load_model(make_hf(**TALKATIVE), tokenizer=tokenizer)
    prompts, only_words = ["red cats", "one old sea"], {"suppress_tokens": [0, 1, 2, 3, *range(18, 32)]}
    got = capture_generated(model, prompts, SITE, max_new_tokens=5, progress=False, **only_words)
    answers = [str(got.columns["answer"][got.example == i][0]) for i in range(2)]
    assert all(a.startswith(" ") for a in answers)
    assert answers != model.generate(prompts, 5, **only_words)
    joined = Examples(
        [p + a for p, a in zip(prompts, answers, strict=True)], columns={"prompt_tokens": [2, 3]}
    )
    again = capture(model, joined, SITE, "generated", progress=False)
    assert (again.x - got.x).abs().max() <= 1e-4


def test_a_monitor_watches_a_model_steered_from_the_last_token_on(model):
    from probes import MassMean

    texts = [f"{a} {b}" for a in ("red", "blue", "old") for b in ("house", "tree", "river", "stone")]
    probe = MassMean().fit(capture(model, texts, SITE, progress=False).with_y([0, 1] * 6))
    steered = edited(model, Add(direction(model), norm=5.0, at="from_last"))
    seen = Monitor(probe, SITE, 1e9).watch(steered, PROMPTS, max_new_tokens=6, **ENDLESS)
    rows = capture_generated(steered, PROMPTS, SITE, max_new_tokens=6, progress=False, **ENDLESS)
    scores = probe.score(rows)[0].numpy().reshape(4, 6)
    assert np.allclose([w.scores[1:] for w in seen], scores[:, :5], atol=1e-4)
