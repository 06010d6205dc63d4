"""Prompts become tokens once: what was tokenised and found is passed along, and gives the very same
numbers.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from interventions import Add, Answers, Choices, Refusal, RefusalLogprob, effect
from probes import Direction, Examples, capture, load_model
from probes.data import tokens
from probes.data.picking import tokens_at
from probes.data.tokenised import Tokenised

WORDS = ["red", "old", "tall", "small", "blue"]
PROMPTS = [f"the {a} house near a {b} river is {c}" for a in WORDS for b in WORDS for c in WORDS][:96]
ASKED = Examples(PROMPTS, y=np.arange(96) % 2, columns={"who": ["house"] * 96})
BEHAVIOURS = [
    Answers(" yes", " no"),
    Choices(("yes", "no")),
    RefusalLogprob(("no", "red")),
    Refusal(max_new_tokens=2),
]


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("llama")


@pytest.fixture
def counted(monkeypatch):
    """How often each position was looked up in a text, and how many texts were tokenised."""
    found = Counter()
    look_up, tokenise = tokens_at, tokens.encode

    def looked_up(at, encoded, columns):
        found[str(at)] += 1
        return look_up(at, encoded, columns)

    def tokenised(tokenizer, texts, max_length=None, arguments=None):
        found["texts"] += len(texts)
        return tokenise(tokenizer, texts, max_length, arguments)

    monkeypatch.setattr("probes.data.tokenised.tokens_at", looked_up)
    monkeypatch.setattr("probes.data.tokenising.encode", tokenised)  # all others ask the model
    return found


def push(model, at="span:who"):
    return Add(Direction.from_vector(np.linspace(-1, 1, model.width), "resid_post.0"), norm=2, at=at)


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda b: type(b).__name__)
def test_an_effect_looks_up_each_position_once_however_many_controls_there_are(behaviour, model, counted):
    made = effect(model, push(model), behaviour, ASKED, compare=False, progress=False)
    assert len(made.random) == 20
    per_prompt = {"Choices": 4, "RefusalLogprob": 2}.get(type(behaviour).__name__, 1)
    sized = 64  # random edits are matched on so many texts, which are another set of prompts
    assert counted["span:who"] == 96 * per_prompt + sized
    continuations = {"Answers": 2, "Choices": 4, "RefusalLogprob": 2}.get(type(behaviour).__name__, 0)
    assert counted["texts"] <= 96 * (1 + continuations) + sized


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda b: type(b).__name__)
def test_tokenised_prompts_give_the_same_records_as_plain_ones(behaviour, model):
    asked = model.tokenise(ASKED.rows(range(9)))
    plain, first, again = (
        behaviour(model, ASKED.rows(range(9))),
        behaviour(model, asked),
        behaviour(model, asked),
    )
    for found in (first, again):
        assert np.array_equal(found.values, plain.values) and np.array_equal(found.ids, plain.ids)


def test_behaviours_with_other_words_do_not_share_what_they_made_of_the_prompts(model):
    asked = model.tokenise(ASKED.rows(range(4)))
    one, other = (Answers(*words)(model, asked).values for words in ((" yes", " no"), (" red", " no")))
    assert np.array_equal(other, Answers(" red", " no")(model, ASKED.rows(range(4))).values)
    assert not np.allclose(one, other)


def test_everything_that_takes_examples_takes_them_tokenised(model):
    asked = model.tokenise(ASKED)
    assert asked.hash == ASKED.hash and len(asked) == 96 and asked.y is ASKED.y
    assert np.array_equal(capture(model, asked, "resid_post.1").x, capture(model, ASKED, "resid_post.1").x)
    assert model.generate(asked.rows([0, 3]), 3) == model.generate(ASKED.rows([0, 3]), 3)
    assert np.array_equal(model.logits(asked), model.logits(ASKED.texts))
    part, rest = asked.split((0.5, 0.5), seed=0)
    assert type(part) is Tokenised and len(part) + len(rest) == 96


def test_another_models_tokens_are_not_used(model, make_hf, make_tokenizer):
    tokenizer = make_tokenizer("left")
    other = load_model(make_hf("llama"), tokenizer=tokenizer)
    asked = model.tokenise(ASKED)
    assert model.tokenise(asked) is asked
    again = other.tokenise(asked)
    assert again is not asked and again.tokenizer is tokenizer and again.texts == asked.texts


def test_tokens_that_do_not_belong_to_the_examples_raise(model):
    with pytest.raises(ValueError, match="2 tokenised texts do not belong to 96 examples"):
        Tokenised(ASKED, model.encode(PROMPTS[:2]), model.tokenizer)


def given_ids(model):
    """Prompts as token ids without the beginning-of-text token that the tokenizer would put in front."""
    return [e.ids[1:] for e in model.encode(PROMPTS[:6])]


def test_token_ids_stay_what_they_are_through_everything_that_examples_do(model):
    ids = given_ids(model)
    asked = model.tokenise(ids)
    assert model.tokenise(list(asked.texts)).encoded[0].ids != ids[0]  # what the text alone would give
    half = asked.rows([0, 1, 2])
    ways = {
        "rows": (asked.rows([4, 1]), [4, 1]),
        "with_y": (asked.with_y([0, 1] * 3), range(6)),
        "with_groups": (asked.with_groups(list("aabbcc")), range(6)),
        "some": (asked.some(6), range(6)),
        "concat": (Examples.concat([half, asked.rows([3, 5])]), [0, 1, 2, 3, 5]),
    }
    for name, (found, rows) in ways.items():
        assert [e.ids for e in model.tokenise(found).encoded] == [ids[i] for i in rows], name
    parts = asked.split((0.5, 0.5))
    assert sorted(e.ids for part in parts for e in model.tokenise(part).encoded) == sorted(ids)
    with pytest.raises(ValueError, match="some of the parts are token ids and some are texts"):
        Examples.concat([Examples(["a tree"]), half])


def test_behaviours_ask_behind_the_very_token_ids(model):
    ids = given_ids(model)
    yes, no = model.tokenizer.convert_tokens_to_ids(["yes", "no"])
    with torch.no_grad():
        log_p = [model.hf(torch.tensor([each])).logits[0, -1].log_softmax(-1) for each in ids]
    found = Answers(" yes", " no")(model, model.tokenise(ids)).values
    assert found == pytest.approx([float(p[yes] - p[no]) for p in log_p], abs=1e-4)
    said = RefusalLogprob(("no",))(model, model.tokenise(ids)).values
    assert said == pytest.approx([float(p[no]) for p in log_p], abs=1e-4)
    with pytest.raises(ValueError, match="these prompts are token ids; give the texts"):
        Choices(("yes", "no"))(model, model.tokenise(ids))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_token_ids_are_refused_and_an_end_of_text_is_not(side, model):
    pad, end = model.tokenizer.pad_token_id, model.tokenizer.eos_token_id
    assert pad not in (end, model.tokenizer.bos_token_id)
    ids = [list(each) for each in given_ids(model)]
    padded = [[*each, pad] if side == "right" else [pad, *each] for each in ids]
    with pytest.raises(ValueError, match=r"text 0 (begins|ends) with 1 padding tokens \('<pad>'\)"):
        model.tokenise(padded)
    assert model.tokenise([[*each, end] for each in ids]).encoded[0].ids[-1] == end
    assert (
        model.tokenise([ids[0] + [pad] + ids[1]]).encoded[0].ids[len(ids[0])] == pad
    )  # meant, in the middle


def test_tokens_too_many_for_a_smaller_model_of_the_same_tokenizer_are_refused(model, make_model):
    small = make_model("llama", max_position_embeddings=4)
    asked = model.tokenise(PROMPTS[:2])
    shared = replace(small, tokenizer=model.tokenizer)
    with pytest.raises(ValueError, match=r"text 0 has \d+ tokens but the model reads at most 4"):
        shared.logits(asked)
