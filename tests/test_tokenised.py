"""Prompts become tokens once: what was tokenised and found is passed along, and gives the very same
numbers.
"""

from collections import Counter

import numpy as np
import pytest

from interventions import Add, Answers, Choices, Refusal, RefusalLogprob, effect
from probes import Direction, Examples, Position, capture, load_model
from probes.data import tokens
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
    look_up, tokenise = Position.tokens, tokens.encode

    def looked_up(self, encoded, columns):
        found[str(self)] += 1
        return look_up(self, encoded, columns)

    def tokenised(tokenizer, texts, max_length=None, arguments=None):
        found["texts"] += len(texts)
        return tokenise(tokenizer, texts, max_length, arguments)

    monkeypatch.setattr(Position, "tokens", looked_up)
    monkeypatch.setattr("probes.models.model.encode", tokenised)  # all others ask the model
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
    assert type(part) is Examples and len(part) + len(rest) == 96


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
