"""What is said about an edit: transitions, comparisons, verdicts and doses, on a planted direction
and on directions that mean nothing.
"""

import re
import sys
from dataclasses import replace
from functools import partial
from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest, chi2

from interventions import Ablate, Add, Affine, Answers, Clamp, Erase, ExactMatch, dosed, effect, transitions
from interventions.behaviours.measures import TwoSided
from interventions.behaviours.records import Records
from interventions.effects.comparisons import comparisons
from interventions.effects.effect import Effect
from interventions.effects.transitions import bowker
from interventions.effects.verdict import Controls, Drawn, EditNumbers, judged, ruled
from probes import Estimate, Examples, MassMean, capture
from tests.test_effects import PROMPTS, _answer_direction

EXAMPLES = Examples(PROMPTS, y=[0, 1, 0, 1, 0, 1])
MEAN = Answers(judged_by="mean")


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("llama")


@pytest.fixture(scope="module")
def strong(model):
    return effect(model, Add(_answer_direction(model), norm=20), MEAN, EXAMPLES, neutral=PROMPTS[:3])


def records(labels, classes=("a", "b", "c"), values=None, ids=None):
    n = len(labels)
    return Records(
        "kinds",
        "share",
        np.zeros(n) if values is None else np.asarray(values, float),
        np.arange(n) if ids is None else ids,
        np.arange(n),
        np.asarray(labels),
        classes,
    )


def test_a_control_that_does_as_much_up_to_rounding_counts():
    def run(values):
        return Records("own", "nats", values, np.arange(6), np.arange(6))

    moved = np.arange(6) / 7
    for off, p in ((1e-6, 1.0), (0.01, 1 / 20)):
        controls = (run(moved * (1 - off)),) * 19
        assert Effect("edit", run(0 * moved), run(moved), controls, None).p_value() == p


def test_transitions_count_pairs_and_leave_out_what_was_not_measured():
    before = records(list("aaabbc"), values=[0, 0, np.nan, 0, 0, 0])
    after = records(list("abcbba"))
    found = transitions(before, after)
    assert found.counts.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]] and found.changed == 2
    assert transitions(before, after, np.arange(6) > 2).counts.sum() == 3
    with pytest.raises(ValueError, match="on the same prompts"):
        transitions(before, records(list("aaabbc"), ids=np.arange(6) + 1))


def test_the_tests_are_mcnemars_and_bowkers():
    two = transitions(
        records(["a"] * 12 + ["b"] * 8, ("a", "b")),
        records(["b"] * 9 + ["a"] * 3 + ["a"] * 2 + ["b"] * 6, ("a", "b")),
    )
    assert two.test == "McNemar exact" and two.p_value == pytest.approx(binomtest(9, 11).pvalue)
    three = transitions(records(list("aaaaaabbcc")), records(list("bbbbbcacab")))
    # Pairs a-b: 5 against 1; a-c: 1 against 1; b-c: 1 against 1: too few for chi-squared, so every way of
    # exchanging them is counted.
    ways = [(i, j, k) for i, j, k in product(range(7), range(3), range(3))]
    chance = (
        sum(
            comb(6, i) * comb(2, j) * comb(2, k)
            for i, j, k in ways
            if (2 * i - 6) ** 2 / 6 + (2 * j - 2) ** 2 / 2 + (2 * k - 2) ** 2 / 2 >= 16 / 6
        )
        / 2**10
    )
    assert (
        three.test == "Bowker exact"
        and three.p_value == pytest.approx(chance)
        and abs(chance - chi2.sf(16 / 6, 3)) > 0.01
    )
    many = transitions(records(list("aaaaaabbcc") * 10), records(list("bbbbbcacab") * 10))
    assert many.test == "Bowker" and many.p_value == pytest.approx(chi2.sf(160 / 6 + 0 + 0, 3))
    # a against the rest: 6 left it, 2 came.
    assert (
        three.against_rest("a") == pytest.approx(binomtest(2, 8).pvalue)
        and transitions(records(list("abc")), records(list("abc"))).against_rest("a") == 1.0
    )
    with pytest.raises(ValueError, match="there is no class 'd'"):
        three.against_rest("d")
    assert transitions(records(list("abc")), records(list("abc"))).p_value == 1.0


def test_outcomes_too_many_to_count_are_drawn(monkeypatch):
    up, down = np.array([9, 7, 3]), np.array([2, 1, 6])
    counted = bowker(up, down)
    monkeypatch.setattr(sys.modules["interventions.effects.transitions"], "OUTCOMES", 1)
    assert bowker(up, down) == pytest.approx(counted, abs=0.005) and bowker(up, down) != counted


def test_a_test_keeps_its_level_where_nothing_happens_and_finds_what_does():
    draw = np.random.default_rng(0)

    def p_of(lean):
        before = draw.integers(0, 3, 300)
        moves = draw.random(300) < 0.3
        after = np.where(moves, np.where(draw.random(300) < lean, 0, draw.integers(0, 3, 300)), before)
        return transitions(
            records(np.array(list("abc"))[before]), records(np.array(list("abc"))[after])
        ).p_value

    null, real = np.array([p_of(0.0) for _ in range(300)]), np.array([p_of(0.6) for _ in range(50)])
    assert 0.01 < (null < 0.05).mean() < 0.1
    assert (real < 0.05).mean() > 0.9


def test_the_planted_direction_moves_behaviour_and_a_random_one_is_not_told_apart(model, strong):
    cheap = strong.verdict(max_kl=1e9)
    assert cheap.word == "moves behaviour" and cheap and all(cheap.checks.values()), cheap
    assert "20 edits of its size" in cheap.sentence and "KL" in cheap.sentence
    assert strong.verdict(max_kl=1e-6).word == "moves behaviour, at a cost" and not strong.verdict(
        max_kl=1e-6
    )
    other = effect(model, Add(_answer_direction(model).random_like(5), norm=20), MEAN, EXAMPLES)
    assert other.verdict().word in ("no effect shown", "not told apart from random edits")
    assert any("cost on unrelated text was not measured" in w for w in other.verdict().why_not_more)
    nothing = effect(model, Add(_answer_direction(model), norm=0), MEAN, EXAMPLES)
    assert nothing.verdict().word == "no effect shown" and float(nothing.changed().value) == 0
    assert nothing.transitions().changed == 0


def numbers(**known):
    """What an edit that stands every test would give."""
    usual = {
        "edit": "Add(d)",
        "behaviour": "yes or no",
        "unit": "logit difference",
        "by_answers": False,
        "moved": between(0.5, 1.5),
        "p": 0.04,
        "controls": Controls(np.linspace(-0.1, 0.2, 20), np.array([0.0])),
        "before": {"mean logit difference": between(0.0, 0.2)},
        "after": {"mean logit difference": between(1.0, 1.2)},
        "others": {},
        "change": between(0.5, 1.5),
        "flipped": None,
        "kl": None,
        "alpha": 0.05,
        "max_kl": 0.05,
    }
    made = usual | known
    return EditNumbers(**{"excess": made["moved"]} | made)


def between(low, high):
    return Estimate((low + high) / 2, low, high, 20, 20)


@pytest.mark.parametrize(
    ("known", "word"),
    [
        ({}, "moves behaviour"),
        ({"moved": between(-1.5, -0.5)}, "moves behaviour"),
        ({"moved": between(0.0, 2.0)}, "no effect shown"),
        ({"moved": between(-2.0, 0.0), "p": 1.0}, "no effect shown"),
        ({"moved": Estimate(1.0, float("nan"), float("nan"), 20, 1)}, "no effect shown"),
        ({"p": 0.051}, "not told apart from random edits"),
        ({"by_answers": True}, "moves behaviour"),
        ({"by_answers": True, "moved": between(0.0, 0.2), "excess": between(-0.1, 0.2)}, "no effect shown"),
        ({"by_answers": True, "excess": between(0.0, 0.4)}, "not told apart from random edits"),
        ({"by_answers": True, "excess": between(-0.4, -0.1)}, "not told apart from random edits"),
        ({"others": {"at resid_post.1": between(2.0, 3.0)}, "flipped": between(0.5, 1.5)}, "moves behaviour"),
        ({"kl": between(0.04, 0.06)}, "moves behaviour"),
        ({"kl": between(0.05, 0.06)}, "moves behaviour, at a cost"),
        ({"kl": between(0.05, 0.06), "p": 0.06}, "not told apart from random edits"),
    ],
)
def test_the_word_of_an_edit_follows_from_its_numbers(known, word):
    verdict = judged(numbers(**known))
    assert ruled(numbers(**known)).word == word and verdict.word == word
    # What costs too much moves behaviour all the same, though nobody should call it a success.
    assert verdict.moves == word.startswith("moves behaviour") and bool(verdict) == (
        word == "moves behaviour"
    )


@pytest.mark.parametrize(
    ("name", "base", "said"),
    [
        (
            "balanced accuracy",
            (0.5, 0.42, 0.58),
            "unedited model answers at chance .* no behaviour for an edit",
        ),
        ("balanced accuracy", (0.5, 0.3, 0.7), "answers at chance"),
        (
            "balanced accuracy",
            (0.5, 0.1, 0.9),
            "whether the unedited .* cannot be told .* nothing to take out",
        ),
        ("balanced accuracy", (0.0, 0.0, 0.33), "the wrong way round .* are the answers exchanged"),
        ("mean share", (0.0, 0.0, 0.0), "the mean share is 0 unedited, so there was nothing to take out"),
        ("share refused", (1.0, 1.0, 1.0), "the share refused is 1 unedited, so nothing could be added"),
        ("balanced accuracy", (1.0, 0.9, 1.0), None),
        ("share refused", (0.1, 0.05, 0.2), None),
        ("mean logit difference", (0.0, 0.0, 0.0), None),
    ],
)
def test_what_was_not_there_to_be_taken_out_is_said_of_an_edit_that_is_not_seen_to_act(name, base, said):
    measured = {name: Estimate(*base, 40, 20)}
    seen = {"by_answers": True, "before": measured, "after": measured}
    nothing = judged(numbers(**seen, moved=between(0.0, 0.2), excess=between(-0.1, 0.2)))
    told = [why for why in nothing.why_not_more if "unedited" in why]
    assert nothing.word == "no effect shown" and len(told) == (said is not None)
    assert not told or re.search(str(said), told[0])
    for other in (numbers(**seen), numbers(**seen, p=0.5)):
        assert not any("unedited" in why for why in judged(other).why_not_more), "of one that moves or may"


def test_what_stands_against_an_edit_is_said_comparison_by_comparison():
    others = {"sign flip": between(0.5, 1.5), "at resid_post.1": between(0.6, 1.6), "at resid_post.2": None}
    drawn = Drawn("exchanging labels", "rows are few", None, np.array([3.0, 3.2]), np.array([0.2, 0.95]))
    controls = Controls(np.array([-0.1, 0.2]), np.array([]), drawn)
    found = judged(
        numbers(others=others, flipped=between(0.5, 1.5), kl=between(0.0, 0.02), controls=controls)
    )
    assert found.why_not_more == (
        (
            "pushed the other way, the mean logit difference moves to the same side (1.000 [0.500, 1.500]),"
            " as damage would move it"
        ),
        (
            "the same direction moves it as far at resid_post.1 (1.100 [0.600, 1.600]), so the effect is not"
            " special to its site"
        ),
        "no prompt could be measured under at resid_post.2",
        "rows are few",
        "1 of 2 of them are nearly the same direction (|cosine| 0.9 or more)",
        "where the answer is read they are of the edit's size, over all tokens 3.10 times as large",
    )
    assert found.checks == {
        "interval excludes 0": True,
        "more than controls on average": True,
        "beyond directions that mean nothing": True,
        "sign flip goes the other way": False,
        "cost within the limit": True,
    }


@pytest.mark.parametrize(
    ("flipped", "other_way"),
    [
        (between(-1.5, -0.5), True),
        (between(0.1, 0.3), False),
        (between(-0.042, 0.196), True),  # an interval that reaches 0 is on no side
    ],
)
def test_the_sign_flip_is_judged_by_its_interval(flipped, other_way):
    found = ruled(numbers(flipped=flipped))
    assert found.checks["sign flip goes the other way"] == other_way


def test_too_few_controls_to_tell_an_edit_apart_are_said_and_not_called_like_it():
    few = numbers(controls=Controls(np.linspace(-0.1, 0.2, 10), np.array([0.0])), p=1 / 11)
    found = judged(few)
    assert found.word == "not told apart from random edits"
    assert found.sentence.startswith("Too few controls to tell it apart")
    assert any("p cannot fall below 0.091" in reason for reason in found.why_not_more)
    like = judged(numbers(p=0.5))
    assert like.sentence.startswith("Not told apart from controls")
    assert not any(
        "cannot fall" in reason for reason in (*like.why_not_more, *judged(numbers()).why_not_more)
    )


def test_what_is_said_of_answers_is_a_share_of_them():
    share = {
        "by_answers": True,
        "moved": between(0.4, 0.6),
        "controls": Controls(np.array([0.0, 0.02]), np.array([0.01]), Drawn("the covariance of h")),
        "before": {"balanced accuracy": between(0.95, 1.0)},
        "after": {"balanced accuracy": between(0.4, 0.6)},
    }
    said = judged(numbers(**share)).sentence
    assert said == (
        "Moves behaviour: Add(d) changes 50.0% [40.0%, 60.0%] of the answers (yes or no): balanced accuracy"
        " 0.975 [0.950, 1.000] before, 0.500 [0.400, 0.600] after; 2 edits of its size along directions that"
        " mean nothing (the covariance of h) change 0.0% to 2.0%, 1 isotropic ones 1.0% to 1.0% (p=0.040)."
    )


def test_comparisons_stand_beside_the_edit(model, strong):
    assert set(strong.others) == {"sign flip", "at resid_post.1"}
    assert strong.verdict().checks["sign flip goes the other way"]
    table = strong.table()
    assert len(table) == 6 and table["edit"].str.contains("controls|isotropic").sum() == 2
    shown = strong._repr_html_()
    assert "20 controls" in shown and "McNemar" in shown
    assert strong.transitions().counts.sum() == 6
    assert strong.changed().value == pytest.approx((strong.base != strong.after).mean())
    assert strong.control_changed().shape == (20,)
    alone = effect(model, Add(_answer_direction(model), norm=20), MEAN, EXAMPLES, compare=False)
    assert not alone.others and np.allclose(alone.after, strong.after)


def test_comparisons_by_kind_of_edit(model):
    texts = Examples(["red", "blue tree", "old", "yes no", "tall", "no", "the house", "river"], y=[0, 1] * 4)
    acts = capture(model, texts, "resid_post.2")
    d = _answer_direction(model).calibrated(acts)
    assert set(comparisons(Add(d, gaps=2), model)) == {"sign flip", "at resid_post.1"}
    assert set(comparisons(Ablate(d), model)) == {"at resid_post.1"}
    assert comparisons(Ablate(d, sites="resid_post"), model) == {}
    assert set(comparisons(Clamp(d, to=3), model)) == {"sign flip", "at resid_post.1"}
    assert set(comparisons(Clamp(d, to=0), model)) == {"at resid_post.1"}
    assert comparisons(Affine(d, acts), model) == {} and comparisons(Erase.fit(acts), model) == {}
    flipped = comparisons(Add(d, gaps=2), model)["sign flip"]
    assert flipped.gaps == -2 and comparisons(Clamp(d, to=3), model)["sign flip"].amounts == (-3.0,)


def test_a_control_that_does_as_much_is_held_against_the_edit(model, strong):
    from dataclasses import replace

    # A tie up to rounding is as much.
    as_much = replace(strong.now, values=strong.base + (strong.after - strong.base) * (1 - 1e-6))
    level = replace(strong, random=(*strong.random[1:], as_much))
    assert level.p_value() == pytest.approx(strong.p_value() + 1 / 21)
    assert level.verdict(max_kl=1e9).word == "not told apart from random edits"
    mirrored = replace(strong, others={"sign flip": strong.now})
    assert not mirrored.verdict(max_kl=1e9).checks["sign flip goes the other way"]


def test_before_of_other_prompts_is_refused_and_unmeasured_prompts_are_left_out(model, strong):
    with pytest.raises(ValueError, match="other prompts"):
        effect(
            model,
            Add(_answer_direction(model), norm=1),
            Answers(),
            EXAMPLES.rows([1, 0, 2, 3, 4, 5]),
            before=strong.before,
        )
    for other in (Answers(), Answers(" no", " yes", judged_by="mean")):
        with pytest.raises(ValueError, match="measured by another behaviour"):
            effect(model, Add(_answer_direction(model), norm=1), other, EXAMPLES, before=strong.before)
    from dataclasses import replace

    values = strong.now.values.copy()
    values[2] = np.nan
    partly = replace(strong, now=replace(strong.now, values=values))
    keep = np.arange(6) != 2
    assert (
        partly.change().value == pytest.approx((strong.after - strong.base)[keep].mean())
        and partly.change().n == 5
    )


def test_the_smallest_dose_within_the_cost(model):
    d = _answer_direction(model)
    found = dosed(
        model,
        lambda norm: Add(d, norm=norm),
        [20, 0, 80, 5],
        Answers(),
        EXAMPLES,
        neutral=PROMPTS[:3],
        progress=False,
    )
    assert found.doses == (0.0, 5.0, 20.0, 80.0)
    changes = [float(e.change().value) for e in found.effects]
    assert changes[0] == 0 and changes == sorted(changes)
    kl = [float(e.cost.kl.value) for e in found.effects]
    assert kl[0] == pytest.approx(0, abs=1e-6) and kl == sorted(kl)
    limit = (kl[2] + kl[3]) / 2
    reached = [float(e.turned(1).value) for e in found.effects]
    wanted = reached[2]
    assert wanted > 0
    first = found.doses[next(i for i, r in enumerate(reached) if r >= wanted)]
    assert found.smallest(lambda e: e.turned(1).value >= wanted, limit) == first
    with pytest.raises(ValueError, match="no dose does what is wanted"):
        found.smallest(lambda e: float(e.change().value) > changes[2] * 1.01, limit)
    assert found.smallest(lambda e: float(e.change().value) > changes[2] * 1.01, None) == 80
    assert len(found.table()) == 4 and {"dose", "p", "KL"} <= set(found.table().columns)
    free = dosed(model, lambda norm: Add(d, norm=norm), [1], Answers(), EXAMPLES, progress=False)
    with pytest.raises(ValueError, match="cost was not measured"):
        free.smallest(lambda e: True)


def test_some_prompts_are_picked_by_a_mask_or_by_positions(strong):
    n = len(strong.before)
    picked = np.arange(n) % 3 == 0
    for of in (strong.change, strong.moved, strong.changed, strong.before.estimate):
        one = float(of(where=picked).value)
        assert float(of(where=np.flatnonzero(picked)).value) == one
        assert float(of(where=list(np.flatnonzero(picked) - n)).value) == one, "from the end"
        for wrong, words in (
            (picked.astype(int), "zeros and ones, one a row"),
            ([n], f"there is no row {n}"),
            (["yes"] * n, "by a boolean mask or by whole numbers"),
            (picked[1:], "the mask has shape"),
        ):
            with pytest.raises(ValueError, match=words):
                of(where=wrong)
    some = strong.transitions(where=[0, 1])
    assert some.counts.sum() == 2 and strong.transitions(where=np.arange(n)).counts.sum() == n


def test_transitions_are_of_one_question(model):
    asked = Examples(EXAMPLES.texts, columns={"answer": ["yes"] * len(EXAMPLES)})
    before = ExactMatch(max_new_tokens=2)(model, asked)
    assert transitions(before, ExactMatch(max_new_tokens=2)(model, asked)).changed == 0
    with pytest.raises(ValueError, match=r"of another behaviour .max_new_tokens=2; then max_new_tokens=3"):
        transitions(before, ExactMatch(max_new_tokens=3)(model, asked))
    keys = Examples(asked.texts, columns={"answer": ["no"] * len(asked)})
    with pytest.raises(ValueError, match="column 'answer' of the prompts held other values"):
        transitions(before, ExactMatch(max_new_tokens=2)(model, keys))
    others = Examples([f"{t} tree" for t in asked.texts], columns=asked.columns, ids=asked.ids)
    with pytest.raises(ValueError, match="of other texts"):
        transitions(before, ExactMatch(max_new_tokens=2)(model, others))


def test_numbers_become_no_other_kind_but_the_side_of_a_logit_difference_is_one(model, strong):
    before = Records.of(EXAMPLES, "letters", "letters", [0.0, 4, 2, 0, 7, 1])
    after = Records.of(EXAMPLES, "letters", "letters", [3.0, 4, 9, 1, 2, 0])
    made = Effect("edit", before, after, (before,) * 20, None)
    for refused in (made.transitions, partial(transitions, before, after)):
        with pytest.raises(ValueError, match=r"letters gives numbers .* effect\.change\(\) says"):
            refused()
    assert "before / after" not in made._repr_html_() and float(made.changed().value) == pytest.approx(5 / 6)
    for measured in (MEAN, Answers()):
        assert transitions(measured(model, EXAMPLES), measured(model, EXAMPLES)).counts.sum() == 6
    assert "before / after" in strong._repr_html_()
    own = replace(before, judged_by=TwoSided())
    assert transitions(own, replace(after, judged_by=TwoSided())).counts.tolist() == [[0, 2], [1, 3]]


def test_a_direction_found_on_the_very_prompts_is_said(model):
    others = Examples([f"tree {t}" for t in PROMPTS], y=EXAMPLES.y)
    found = MassMean().fit(capture(model, EXAMPLES, "resid_post.1")).direction()
    own, unlike, bare = (
        effect(model, Ablate(d), Answers(), rows, compare=False, progress=False).verdict()
        for d, rows in ((found, EXAMPLES), (found, others), (_answer_direction(model), EXAMPLES))
    )
    said = f"{len(EXAMPLES)} prompts are those that the direction was found on"
    assert any(said in why for why in own.why_not_more)
    assert not any("was found on" in why for why in (*unlike.why_not_more, *bare.why_not_more))
    both = effect(
        model, [Ablate(found), Add(found, gaps=1)], Answers(), EXAMPLES, compare=False, progress=False
    )
    assert both.drawn.fitted == len(EXAMPLES)
