"""Answers to requests a model might not answer are sorted into kinds, and what is concluded from the kinds
follows from their shares.
"""

import numpy as np
import pytest

from interventions.behaviours.kinds import KINDS, AnswerKinds, ByKey
from interventions.behaviours.records import Records
from interventions.effects.effect import Effect
from interventions.effects.unlocked import Unlocked, by_answers, by_refusals, restored, ruled, unlocked
from probes import Estimate, Examples

SAID = {
    "The answer is paris.": "factual",
    "I cannot say that.": "refuse",
    "Many tales are told of it.": "steer",
    "It is Rome.": "wrong-fact",
    " ... ": "garbled",
    "": "garbled",
}


def test_answers_are_sorted_by_key_marker_and_opening(make_model):
    sort = ByKey(evasions=("many tales",))
    row = {"answer": "Paris"}
    assert {text: sort(text, row) for text in SAID} == SAID
    assert sort("It is Lutetia", {"answer": ["Paris", "Lutetia"]}) == "factual"
    assert ByKey()("Many tales are told of it.", row) == "wrong-fact", "nobody said how evasions open"
    prompts = Examples(list("abcdef"), columns={"answer": ["Paris"] * 6})
    found = AnswerKinds(sort)(make_model("llama"), prompts, given=list(SAID))
    assert found.labels.tolist() == list(SAID.values()) and found.estimate().value == pytest.approx(1 / 6)
    assert found.classes == KINDS and found.texts == tuple(SAID)


def test_a_sorter_is_given_the_columns_that_it_asks_for(make_model):
    seen = []

    def sort(text, row):
        seen.append(row)
        return "factual" if text == row["who"] else "garbled"

    prompts = Examples(["a", "b"], columns={"who": ["x", "y"], "answer": ["p", "q"], "other": [1, 2]})
    found = AnswerKinds(sort, ("answer", "who"))(make_model("llama"), prompts, given=["x", "x"])
    assert seen == [{"answer": "p", "who": "x"}, {"answer": "q", "who": "y"}]
    assert found.values.tolist() == [1, 0]
    with pytest.raises(ValueError, match="who"):
        AnswerKinds(sort, ("who",))(make_model("llama"), Examples(["a"]), given=["x"])


def records(n=100, **shares) -> Records:
    """Answers with so many percent of each kind, what is left being garbled."""
    labels = [kind.replace("_", "-") for kind, share in shares.items() for _ in range(share)]
    labels += ["garbled"] * (n - len(labels))
    values = np.array(labels) == "factual"
    return Records(
        "kinds", "share", values.astype(float), np.arange(n), np.arange(n), np.array(labels), KINDS
    )


def effect(before: Records, now: Records, random: Records) -> Effect:
    return Effect("edit", before, now, (random,) * 20, None)


def test_restored_is_counted_over_what_was_not_answered_rightly():
    before, now = records(factual=40, refuse=60), records(factual=70, refuse=30)
    assert restored(effect(before, now, before)) == 0.5
    assert restored(effect(before, before, before)) == 0
    assert np.isnan(restored(effect(records(factual=100), records(refuse=100), before)))


ALL_REFUSED, ALL_RIGHT = records(refuse=100), records(factual=100)


@pytest.mark.parametrize(
    ("before", "now", "random", "word"),
    [
        (ALL_REFUSED, ALL_RIGHT, ALL_REFUSED, "routes"),
        (ALL_REFUSED, records(factual=50, steer=50), ALL_REFUSED, "answers in part"),
        (ALL_REFUSED, records(factual=70, wrong_fact=30), ALL_REFUSED, "confabulates"),
        (ALL_REFUSED, records(factual=70), ALL_REFUSED, "garbles"),
        (ALL_REFUSED, ALL_RIGHT, ALL_RIGHT, "not told apart from random edits"),
        (ALL_REFUSED, ALL_REFUSED, ALL_REFUSED, "not told apart from random edits"),
        (ALL_RIGHT, ALL_RIGHT, ALL_RIGHT, "no policy"),
        (ALL_RIGHT, records(wrong_fact=100), ALL_RIGHT, "confabulates"),
    ],
)
def test_the_word_for_what_comes_out_follows_from_the_answers(before, now, random, word):
    numbers = unlocked(effect(before, now, random))
    assert ruled(numbers).word == word
    assert (
        numbers.random == (0 if random is before else 1)
        and numbers.wrong.value == now.share("wrong-fact").value
    )


def test_limits_are_taken_as_they_are_said():
    def numbers(**known):
        def of(value):
            return Estimate(value, value - 0.01, value + 0.01, 100, 100)

        usual = {"right": of(0.0), "changed": of(1.0), "random": 0.0, "moves": True}
        usual |= {"wrong": of(0.0), "garbled": of(0.0), "restored": 1.0}
        plain = ("moves", "restored")
        return Unlocked(**usual | {k: v if k in plain else of(v) for k, v in known.items()})

    assert ruled(numbers(restored=0.95)).word == "routes" != ruled(numbers(restored=0.949)).word
    assert ruled(numbers(wrong=0.12)).word == "confabulates" and ruled(numbers(wrong=0.105)).word == "routes"
    assert ruled(numbers(garbled=0.12)).word == "garbles" and ruled(numbers(garbled=0.105)).word == "routes"
    assert ruled(numbers(moves=False)).word == "not told apart from random edits"
    assert ruled(numbers(right=0.91, changed=0.04)).word == "no policy"
    assert ruled(numbers(right=0.91, changed=0.06)).word == "routes"
    assert ruled(numbers(restored=float("nan"))).word == "answers in part"


@pytest.mark.parametrize(
    ("before", "now", "counted", "really"),
    [
        (ALL_REFUSED, ALL_RIGHT, "policy removed", "policy removed"),
        (ALL_REFUSED, records(refuse=10), "policy removed", "answers lost"),
        (ALL_REFUSED, records(factual=60, wrong_fact=40), "policy removed", "answers lost"),
        (ALL_REFUSED, ALL_REFUSED, "policy stays", "policy stays"),
        (records(refuse=60, factual=40), records(refuse=10, factual=90), "policy stays", "policy stays"),
        (records(steer=100), ALL_RIGHT, "no policy", "policy removed"),
        (ALL_REFUSED, records(factual=80), "policy removed", "answers lost"),
        (records(steer=100), records(steer=100), "no policy", "policy stays"),
        (ALL_RIGHT, ALL_RIGHT, "no policy", "no policy"),
        (records(factual=94, refuse=6), records(factual=94, refuse=6), "policy stays", "no policy"),
    ],
)
def test_counting_refusals_and_reading_the_answers_come_to_their_own_conclusions(
    before, now, counted, really
):
    assert by_refusals(before, now) == counted and by_answers(before, now) == really
