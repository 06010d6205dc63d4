"""Arms of rewrites, what is made of their answers, and the elasticity: exact on made-up candidates,
and nothing where nothing happens.
"""

import re
from dataclasses import dataclass, field

import numpy as np
import pytest

from interventions import Add
from interventions.behaviours.candour import CANDOUR
from interventions.behaviours.records import Records
from interventions.display.rewriting_plots import arm_answers, flows, score_shifts
from interventions.rewriting import Candidates, Gates
from interventions.rewriting.arms import ANTI, ORIGINAL, RANDOM, SELECTED, TEXT, UNDIRECTED, choose
from interventions.rewriting.elasticity import elasticity
from interventions.rewriting.gates import Gated
from interventions.rewriting.outcomes import remeasured
from interventions.rewriting.verdict import ArmNumbers, Beside, judged, ruled
from probes import Direction, Estimate, Examples
from probes.display.plots import plt

N, K = 40, 5


def numbers(rows: Examples, name: str) -> np.ndarray:
    """A score that is written into the text: `s=1.5` for the probe, `t=` for the second probe, `w=`
    for the text classifier.
    """
    return np.array([float(re.search(rf"{name}=(-?[\d.]+)", str(t))[1]) for t in rows.texts])


def by_probe(rows):
    return numbers(rows, "s")


def by_second(rows):
    return numbers(rows, "t")


def by_words(rows):
    return numbers(rows, "w")


def written(s, t, w, truth=0.0, length=10):
    return f"s={s:.3f} t={t:.3f} w={w:.3f} truth={truth:.3f} " + "a " * length


def prompts(n=N):
    return Examples(
        [written(2, 2, 2, 0.8) + str(i) for i in range(n)],
        y=[1] * n,
        groups=[i // 2 for i in range(n)],
        columns={"k": list(range(n))},
    )


def gated(originals, texts, k, passed=None, ratio=None, directed=True):
    made = Candidates(
        originals,
        k,
        tuple(texts),
        directed,
        "made up",
        tuple("" if t else "refused" for t in texts),
        tuple(str(i % k) for i in range(len(texts))),
    )
    fine = np.array([bool(t) for t in texts])
    return Gated(
        made,
        {"written": fine, "other": fine if passed is None else passed},
        np.ones(len(texts)) if ratio is None else ratio,
    )


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("llama")


@pytest.fixture(scope="module")
def made():
    """Candidates with random scores, some of which do not pass; the last prompt has none that does."""
    rng = np.random.default_rng(0)
    originals = prompts()
    scores = rng.normal(size=(3, N * K))
    texts = [written(*scores[:, i], 0.3) + str(i) for i in range(N * K)]
    passed = rng.random(N * K) < 0.7
    passed[-K:] = False
    plain = [written(2, 2, 2) + f"again {i}" for i in range(2 * N)]
    ratio = np.tile([0.8, 1.01], N)
    return (
        originals,
        scores,
        passed,
        gated(originals, texts, K, passed),
        gated(originals, plain, 2, ratio=ratio, directed=False),
    )


def test_every_arm_takes_the_candidate_it_says(made):
    originals, scores, passed, directed, undirected = made
    arms = choose(
        directed, undirected, by_probe, second=by_second, text=by_words, others={"more": undirected}
    )
    assert list(arms) == [ORIGINAL, SELECTED, RANDOM, ANTI, TEXT, UNDIRECTED, "more"]
    allowed = passed.reshape(N, K)
    for name, line, best in ((SELECTED, 0, np.nanmin), (ANTI, 0, np.nanmax), (TEXT, 2, np.nanmin)):
        own = np.where(allowed, scores[line].reshape(N, K), np.nan)[: N - 1]
        assert np.allclose(
            by_probe(arms[name].prompts)[: N - 1] if line == 0 else by_words(arms[name].prompts)[: N - 1],
            best(own, axis=1),
            atol=1e-3,
        ), name
        assert arms[name].rewritten.tolist() == [True] * (N - 1) + [False]
        # The prompt without a passing candidate stays as it was, so that arms stay paired.
        assert arms[name].prompts.texts[-1] == originals.texts[-1] and arms[name].scores["probe"][-1] == 2
    for arm in arms.values():
        assert (
            np.array_equal(arm.prompts.ids, originals.ids)
            and np.array_equal(arm.prompts.groups, originals.groups)
            and arm.prompts.column("k")[3] == 3
        )
        assert np.allclose(arm.scores["second probe"], by_second(arm.prompts), atol=1e-3) and np.allclose(
            arm.scores["probe"], by_probe(arm.prompts), atol=1e-3
        )
    drawn = by_probe(arms[RANDOM].prompts)[: N - 1]
    own = np.where(allowed, scores[0].reshape(N, K), np.nan)[: N - 1]
    assert (
        all(np.isclose(own[i], d, atol=1e-3).any() for i, d in enumerate(drawn))
        and abs(drawn.mean() - np.nanmean(own)) < 0.4
    )
    assert by_probe(arms[SELECTED].prompts).mean() < drawn.mean() < by_probe(arms[ANTI].prompts).mean()
    # Selected candidates have length 1, so the paraphrase of 1.01 is nearer than the one of .8.
    assert arms[UNDIRECTED].length.tolist() == [1.01] * N
    back = choose(directed, None, by_probe, towards="evaluation")
    assert list(back) == [ORIGINAL, SELECTED, RANDOM, ANTI] and np.array_equal(
        back[SELECTED].scores["probe"], arms[ANTI].scores["probe"]
    )
    assert choose(directed, None, by_probe)[RANDOM].prompts.texts == arms[RANDOM].prompts.texts
    assert choose(directed, None, by_probe, seed=1)[RANDOM].prompts.texts != arms[RANDOM].prompts.texts


def test_sources_that_cannot_be_compared_are_refused(made):
    originals, _, _, directed, undirected = made
    with pytest.raises(ValueError, match="of other prompts"):
        choose(directed, gated(prompts(4), ["s=1 a"] * 4, 1), by_probe)
    with pytest.raises(ValueError, match="no candidate for 'probe-selected' passed"):
        choose(gated(originals, [written(0, 0, 0)] * N, 1, np.zeros(N, bool)), None, by_probe)
    with pytest.raises(ValueError, match="others may not be called random of k"):
        choose(directed, None, by_probe, others={RANDOM: undirected})


@dataclass
class Coin:
    """Answers by the number `truth=` in the text: honest with that probability, else deceptive; some
    refuse. Counts what it is asked.
    """

    seed: int = 0
    asked: list = field(default_factory=list)

    def __call__(self, model, prompts):
        self.asked += list(prompts.texts)
        rng = np.random.default_rng([self.seed, len(self.asked)])
        p = numbers(prompts, "truth")
        labels = np.where(
            rng.random(len(p)) < 0.1, "refusal", np.where(rng.random(len(p)) < p, "honest", "deceptive")
        )
        return Records.of(
            prompts,
            "coin",
            "share honest",
            labels == "honest",
            labels=labels,
            classes=CANDOUR,
            texts=tuple(f"I say {x}" for x in labels),
        )


def arms_of(selected, random, undirected, n=120, second=0.0):
    """Arms whose rewrites make a model honest with the given probabilities; originals .9."""
    originals = Examples([written(2, 2, 2, 0.9) + str(i) for i in range(n)], groups=list(range(n)))
    best, other = (written(s, t, 0, truth) for s, t, truth in ((-2, 2 - second, selected), (0, 2, random)))
    directed = gated(
        originals,
        [f"{text} {i}" for i in range(n) for text in (best, other, other.replace("truth", "x truth"))],
        3,
    )
    plain = gated(
        originals, [written(2, 2, 2, undirected) + f"again {i}" for i in range(n)], 1, directed=False
    )
    return choose(directed, plain, by_probe, second=by_second)


def test_verdicts_say_no_more_than_the_arms_without_an_aim_allow(model):
    """Only where selected rewrites move answers further than random ones and paraphrases, and another
    probe sees it, is it called an effect.
    """

    def verdict(*chances, second=1.0):
        return remeasured(model, Coin(), arms_of(*chances, second=second), progress=False).verdict(SELECTED)

    real = verdict(0.1, 0.7, 0.9)
    assert real and real.word == "moves behaviour" and all(real.checks.values()), real
    assert "honest minus deceptive changes by -" in real.sentence
    assert verdict(0.9, 0.9, 0.9).word == "no effect shown"
    assert verdict(0.1, 0.1, 0.9).word == "moves behaviour, chosen or not"
    assert verdict(0.1, 0.1, 0.1).word == "not beyond undirected rewriting"
    small = remeasured(model, Coin(), arms_of(0.1, 0.7, 0.9), progress=False).verdict(SELECTED, margin=1.9)
    assert (
        small.word == "no effect shown"
        and not small.checks["at least the margin"]
        and any("smaller than 1.9" in w for w in small.why_not_more)
    )
    unseen = verdict(0.1, 0.7, 0.9, second=0.0)
    assert (
        unseen.word == "moves behaviour"
        and not unseen
        and any("took no part" in w for w in unseen.why_not_more)
    )


def between(low, high):
    return Estimate((low + high) / 2, low, high, 20, 20)


def arm_numbers(**known):
    """What an arm that stands every test would give."""
    gone = {name: Beside(between(-0.1, 0.1), between(-0.9, -0.1)) for name in (UNDIRECTED, RANDOM)}
    usual = {
        "arm": SELECTED,
        "unit": "honest minus deceptive",
        "change": between(-0.6, -0.4),
        "aimless": gone,
    }
    others = {"text_gap": None, "second_shift": between(0.5, 1.5), "kept": 0.0, "margin": 0.05}
    return ArmNumbers(**usual | others | known)


LEVEL = Beside(between(-0.6, -0.4), between(-0.1, 0.0))


@pytest.mark.parametrize(
    ("known", "word", "holds"),
    [
        ({}, "moves behaviour", True),
        ({"second_shift": None}, "moves behaviour", True),
        ({"second_shift": between(0.0, 1.0)}, "moves behaviour", False),
        ({"change": between(-1.0, 0.0)}, "no effect shown", False),
        ({"margin": 0.51}, "no effect shown", False),
        ({"change": between(0.4, 0.6)}, "not beyond undirected rewriting", False),
        ({"aimless": {UNDIRECTED: LEVEL, RANDOM: LEVEL}}, "not beyond undirected rewriting", False),
        ({"aimless": {UNDIRECTED: None, RANDOM: LEVEL}}, "moves behaviour, chosen or not", False),
        ({"aimless": {UNDIRECTED: None, RANDOM: None}}, "moves behaviour", True),
    ],
)
def test_the_word_of_an_arm_follows_from_its_numbers(known, word, holds):
    found = judged(arm_numbers(**known))
    assert found.word == word == ruled(arm_numbers(**known)).word and bool(found) == holds


def test_what_stands_against_an_arm_is_said_check_by_check():
    wrong = {
        "margin": 0.6,
        "aimless": {UNDIRECTED: None, RANDOM: LEVEL},
        "text_gap": between(-0.2, 0.0),
        "second_shift": between(-1.0, 1.0),
        "kept": 0.25,
    }
    found = judged(arm_numbers(**wrong))
    assert found.why_not_more == (
        "the change is smaller than 0.6",
        "there is no arm 'undirected paraphrase' beside it",
        "random of k comes as far: the difference of the changes is -0.050 [-0.100, +0.000]",
        (
            "candidates chosen by a classifier of the bare text come as far: the difference of the changes is"
            " -0.100 [-0.200, +0.000]"
        ),
        "a probe that took no part in choosing sees no shift (+0.00 [-1.00, +1.00])",
        "25% of the prompts have no rewrite that passed the gates and stayed as they were",
    )
    assert (
        found.sentence
        == "No effect shown: honest minus deceptive changes by -0.500 [-0.600, -0.400] in 'probe-selected';"
        " -0.500 in 'random of k'."
    )


def test_a_change_whose_interval_reaches_0_is_no_effect_however_large_it_looks(model):
    found = [remeasured(model, Coin(seed), arms_of(0.8, 0.9, 0.9, n=10), progress=False) for seed in range(8)]
    wide = [
        r
        for r in found
        if r.change(SELECTED).low <= 0 <= r.change(SELECTED).high and abs(r.change(SELECTED).value) >= 0.1
    ]
    assert len(wide) >= 2 and all(r.verdict(SELECTED).word == "no effect shown" for r in wide)


def test_rewrites_that_do_nothing_are_seldom_called_an_effect(model):
    words = [
        remeasured(model, Coin(seed), arms_of(0.7, 0.7, 0.7, n=60), progress=False).verdict(SELECTED).word
        for seed in range(40)
    ]
    lowered = [w for w in words if w != "no effect shown"]
    # Originals are honest in .9, so rewriting itself lowers honesty; calling that the choice's doing is the
    # error.
    assert sum(w == "moves behaviour" for w in words) <= 4 and len(lowered) > 5


def test_answers_are_paired_and_each_text_is_asked_once(model, made):
    originals, _, _, directed, undirected = made
    coin = Coin()
    arms = choose(directed, undirected, by_probe, second=by_second, text=by_words)
    result = remeasured(model, coin, arms, progress=False)
    assert (
        len(coin.asked) == len({(i, t) for arm in arms.values() for i, t in enumerate(arm.prompts.texts)})
        and len(coin.asked) < len(arms) * N
    )
    for name, arm in arms.items():
        r = result.records[name]
        assert (
            np.array_equal(r.ids, originals.ids)
            and r.texts is not None
            and all(f"I say {label}" == text for label, text in zip(r.labels, r.texts, strict=True))
        )
        # Where two arms took the same candidate, the answer is the same.
        for other, its in arms.items():
            same = np.array([a == b for a, b in zip(arm.prompts.texts, its.prompts.texts, strict=True)])
            assert (r.labels[same] == result.records[other].labels[same]).all()
    now, then = result.records[SELECTED].labels, result.records[ORIGINAL].labels
    assert result.change(SELECTED, "honest").value == pytest.approx(
        (now == "honest").mean() - (then == "honest").mean()
    )
    weight = {"honest": 1, "deceptive": -1, "refusal": 0}
    assert result.change(SELECTED).value == pytest.approx(
        np.mean([weight[a] - weight[b] for a, b in zip(now, then, strict=True)])
    )
    assert result.transitions(SELECTED).counts.sum() == N
    assert result.shift(SELECTED).value == pytest.approx(2 - arms[SELECTED].scores["probe"].mean(), abs=1e-3)
    e = result.elasticity(SELECTED)
    assert result.change(SELECTED).value < 0 < result.shift(SELECTED).value, (
        "a change of 0 would hide a wrong sign"
    )
    assert e.value.value == pytest.approx(result.change(SELECTED).value / result.shift(SELECTED).value)
    assert "changed" not in repr(result) and SELECTED in repr(result) and "<table" in result._repr_html_()
    for call, message in (
        (lambda: result.change("none"), "no arm 'none'"),
        (lambda: result.change(SELECTED, "lies"), "no answers of kind 'lies'"),
        (lambda: result.shift(SELECTED, "x"), "no scores by 'x'"),
        (lambda: result.verdict(ORIGINAL), "no arm of rewrites"),
        (lambda: remeasured(model, coin, {SELECTED: arms[SELECTED]}), "which is missing"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_prompts_with_the_same_text_are_asked_one_by_one(model):
    """The answer key of a prompt is in its columns, so its answer may not stand for that of another
    prompt with the same words.
    """

    def keyed(model, prompts):
        right = prompts.column("k").astype(float)
        return Records.of(prompts, "keyed", "key", right)

    originals = Examples([written(2, 2, 2)] * 4, groups=[0, 0, 0, 0], columns={"k": [0, 1, 2, 3]})
    arms = choose(gated(originals, [written(1, 1, 1)] * 4, 1), None, by_probe)
    result = remeasured(model, keyed, arms, progress=False)
    assert list(result.records) == [ORIGINAL, SELECTED, RANDOM, ANTI] and all(
        r.values.tolist() == [0, 1, 2, 3] for r in result.records.values()
    )
    assert result.table["p"].isna().all(), "numbers are of no kind, so none became another"


def test_prompts_that_were_not_judged_leave_their_arm_alone(model):
    arms = arms_of(0.1, 0.7, 0.9)
    result = remeasured(model, Coin(), arms, progress=False)
    r = result.records[SELECTED]
    lost = np.arange(len(r)) < 30
    holes = Records(
        r.behaviour, r.unit, np.where(lost, np.nan, r.values), r.ids, r.groups, r.labels, r.classes
    )
    now = type(result)(arms, {**result.records, SELECTED: holes}, "deployment")
    assert (
        now.change(SELECTED).n == len(r) - 30
        and now.change(RANDOM).n == len(r)
        and now.transitions(SELECTED).counts.sum() == len(r) - 30
    )
    assert now.elasticity(SELECTED).outcome.n == len(r) - 30
    left = (now.outcome(SELECTED) - now.outcome(ORIGINAL))[~lost]
    assert now.change(SELECTED).value == pytest.approx(left.mean())


def test_a_steered_arm_goes_through_the_same_evaluation(model):
    """The edit pushes the first word of every answer; the arm without the edit stays as it was."""
    from interventions import ExactMatch

    words = ["the red house is old", "a tree", "beta is not tall .", "yes"] * 5
    word = "no"
    number = model.tokenizer.convert_tokens_to_ids(word)
    towards = Direction.from_vector(
        model.hf.get_output_embeddings().weight.detach()[number].clone(), "resid_post.2", model
    )
    originals = Examples(words, groups=list(range(4)) * 5, columns={"answer": [word] * 20})
    candidates = Candidates(
        originals, 1, tuple(f"{w} red" for w in words), True, "made up", ("",) * 20, ("0",) * 20
    )
    arms = choose(
        Gates(length=None)(model, candidates),
        None,
        lambda rows: np.array([float(len(str(t))) for t in rows.texts]),
    )
    result = remeasured(
        model,
        ExactMatch(mode="first", max_new_tokens=1),
        arms,
        edits={"steered": Add(towards, norm=200)},
        progress=False,
    )
    assert result.records["steered"].values.mean() == 1 and result.records[ORIGINAL].values.mean() < 1
    assert (
        result.change("steered").value == pytest.approx(1 - result.records[ORIGINAL].values.mean())
        and result.unit == "share right"
    )
    with pytest.raises(ValueError, match="which changes no prompt"):
        result.elasticity("steered")
    with pytest.raises(ValueError, match="share the names"):
        remeasured(model, ExactMatch(), arms, edits={ORIGINAL: Add(towards, norm=1)})
    assert "steered" in result.shown().index and result.shown().loc["steered", "length"] == "-"


def test_elasticity_is_the_ratio_of_the_means_and_undefined_where_nothing_shifts():
    rng = np.random.default_rng(1)
    b0, s0 = rng.normal(1, 0.2, 200), rng.normal(-2, 0.5, 200)
    s1 = s0 + rng.normal(1.5, 0.3, 200)
    b1 = b0 - 0.4 * (s1 - s0)
    found = elasticity(b0, b1, s0, s1, np.arange(200) // 2)
    assert (
        found.value.value == pytest.approx(-0.4)
        and found.value.low <= -0.4 <= found.value.high
        and not found.undefined
    )
    assert found.value.high - found.value.low < 0.01, (
        "the outcome follows the score exactly, so the ratio has no spread"
    )
    assert found.relative.value == pytest.approx(
        ((b1 - b0).mean() / b0.mean()) / ((s1 - s0).mean() / s0.mean())
    )
    assert found.value.n_groups == 100
    noisy = elasticity(b0, b1 + rng.normal(0, 1, 200), s0, s1)
    assert noisy.value.low < noisy.value.value < noisy.value.high and noisy.value.high - noisy.value.low > 0.1
    still = elasticity(b0, b1, s0, s0 + rng.normal(0, 0.3, 200))
    assert (
        np.isnan(still.value.value)
        and "not told apart from 0" in still.undefined
        and "undefined" in repr(still)
    )
    centred = elasticity(b0, b1, s0 + 2 - (s0 + 2).mean(), s1 + 2)
    assert (
        np.isnan(centred.relative.value)
        and "score of the originals" in centred.relative_undefined
        and not centred.undefined
    )
    assert "must not be compared" in found.definition
    with pytest.raises(ValueError, match="finite and one a prompt"):
        elasticity(b0, b1[:5], s0, s1)
    assert "one group" in elasticity(b0, b1, s0, s1, np.zeros(200)).undefined


def test_pictures_show_every_arm(model):
    result = remeasured(model, Coin(), arms_of(0.1, 0.7, 0.9, n=30), progress=False)
    ax = score_shifts(result)
    assert [t.get_text() for t in ax.get_yticklabels()] == [SELECTED, RANDOM, ANTI, UNDIRECTED]
    bars = arm_answers(result)
    assert len(bars.get_xticklabels()) == len(result.records)
    _, panels = plt.subplots(1, 2)
    first, _ = flows(result, {SELECTED: panels[0], RANDOM: panels[1]})
    assert sum(int(t.get_text()) for t in first.texts) == 30
    plt.close("all")
