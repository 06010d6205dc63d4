"""Numbers with intervals: exact values, ties, groups, coverage."""

from fractions import Fraction
from itertools import count

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from probes import accuracy, auroc, plots
from probes.awareness import calibrated, two_by_two
from probes.controls import (
    brier,
    calibration_error,
    reliability,
    shuffled,
    shuffled_null,
    surface_baselines,
)
from probes.metrics.estimates import accuracy_difference, aurocs, mean
from probes.metrics.scores import as_scores, line_of
from probes.metrics.thresholds import exceeded_at_most, recall_at, youden
from probes.recipes import MassMean
from probes.testing import planted


@pytest.mark.parametrize("seed", range(5))
def test_auroc_equals_scikit_learn_with_and_without_ties(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 60)
    for scores in (rng.normal(size=60), rng.integers(0, 4, 60).astype(float)):
        assert auroc(scores, y).value == pytest.approx(roc_auc_score(y, scores))
        assert accuracy(scores, y, balanced=True).value == pytest.approx(
            balanced_accuracy_score(y, scores > 0)
        )


def test_constant_scores_have_auroc_one_half_exactly_and_an_interval_around_it():
    found = auroc(np.ones(11), np.arange(11) % 2)
    assert found.value == 0.5 and found.low < 0.4 and found.high == pytest.approx(1 - found.low)


def test_leading_shape_is_kept_and_rows_are_independent():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 50)
    scores = rng.normal(size=(2, 3, 50))
    found = auroc(scores, y)
    assert found.value.shape == found.low.shape == (2, 3)
    assert found.value[1, 2] == pytest.approx(roc_auc_score(y, scores[1, 2]))


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        y = np.arange(120) % 2
        e = auroc(rng.normal(size=120) + y, y)
        hits += e.low <= 0.7602 <= e.high  # Phi(1 / sqrt 2)
    assert 0.89 <= hits / 200 <= 0.99


def test_interval_resamples_groups_so_copies_of_rows_do_not_narrow_it():
    rng = np.random.default_rng(2)
    y = np.arange(60) % 2
    scores = rng.normal(size=60) + y
    once = auroc(scores, y, np.arange(60))
    copies = auroc(np.tile(scores, 10), np.tile(y, 10), np.tile(np.arange(60), 10))
    rows = auroc(np.tile(scores, 10), np.tile(y, 10))
    assert copies.high - copies.low == pytest.approx(once.high - once.low, rel=0.15)
    assert rows.high - rows.low < 0.5 * (once.high - once.low)
    assert (copies.n, copies.n_groups) == (600, 60)


@pytest.mark.parametrize(
    ("scores", "y", "message"),
    [
        (np.ones(4), np.zeros(4), "one class only"),
        (np.ones(4), np.array([0, 1, 2, 1]), "0 or 1"),
        (np.ones(4), np.array([0, 1]), r"y has shape \(2,\) but scores have 4 rows"),
        (np.array([1.0, np.nan]), np.array([0, 1]), "1 NaN"),
    ],
)
def test_bad_input_is_named(scores, y, message):
    with pytest.raises(ValueError, match=message):
        auroc(scores, y)


def test_mean_prints_with_its_interval():
    # Two of two: Wilson's interval of a share.
    assert f"{mean(np.array([1.0, 1.0]))}" == "1.00 [0.34, 1.00]"


def test_shuffling_stays_within_mixed_groups_and_moves_constant_groups_as_wholes():
    rng = np.random.default_rng(0)
    mixed, groups = np.tile([0, 1], 30), np.repeat(np.arange(30), 2)
    out = shuffled(mixed, groups, rng)
    assert (out.reshape(-1, 2).sum(1) == 1).all() and (out != mixed).any()
    constant = np.repeat(np.arange(30) % 2, 2)
    out = shuffled(constant, groups, rng)
    assert (out[::2] == out[1::2]).all() and (out != constant).any() and out.sum() == constant.sum()


def test_null_is_near_chance_while_the_planted_signal_beats_it():
    train, _ = planted(0)
    test, _ = planted(1)
    null = shuffled_null(MassMean(), train, test, 40)
    assert null.p_value == pytest.approx(1 / 41) and abs(null.by_site.mean() - 0.5) < 0.02
    empty = shuffled_null(MassMean(), planted(2, signal=0.0)[0], planted(3, signal=0.0)[0], 40)
    assert empty.p_value > 0.05


def test_surface_baseline_sees_a_leaking_word_and_nothing_where_there_is_none():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    words = rng.choice(["red", "blue", "green"], 200)
    clean = [f"the {w} house" for w in words]
    leaking = [f"{t} {'indeed' if label else 'perhaps'}" for t, label in zip(clean, y, strict=True)]
    assert surface_baselines(leaking[:100], y[:100], leaking[100:], y[100:])["words"].value > 0.99
    assert all(e.low < 0.6 for e in surface_baselines(clean[:100], y[:100], clean[100:], y[100:]).values())


RATES = ("0.0001", "0.01", "0.03", "0.05", "0.07", "0.1", "0.15", "0.29", "0.3", "0.5", "0.6", "0.9")


@pytest.mark.parametrize("rate", RATES)
def test_a_threshold_is_fixed_by_as_many_negatives_as_it_asks_for_and_not_by_one_less(rate):
    exact = Fraction(rate)
    fewest = next(n for n in count(1) if (n + 1) * exact >= 1)
    draw = np.random.default_rng(0)
    for n in {fewest, fewest + 1, 2 * fewest, 3 * fewest + 1, max(fewest, 99)}:
        lines = draw.normal(size=(2, n))
        above = (lines > exceeded_at_most(lines, float(rate))[:, None]).sum(1)
        assert (above == above[0]).all()
        k = int(above[0])
        assert Fraction(k + 1, n + 1) <= exact < Fraction(k + 2, n + 1), (
            "a new row exceeds it at most this often, and no lower score does"
        )
    with pytest.raises(
        ValueError,
        match=(
            rf"^{fewest - 1} quiet rows cannot fix a false-positive rate of .*; it takes at least {fewest}$"
        ),
    ):
        exceeded_at_most(draw.normal(size=fewest - 1), float(rate), rows="quiet rows")


@pytest.mark.parametrize("rate", RATES[1:])
def test_recall_at_a_rate_takes_as_many_negatives_as_it_asks_for_and_not_one_less(rate):
    fewest = next(n for n in count(1) if n * Fraction(rate) >= 1)
    # At this number one negative may be above, so the positive below the highest of them counts.
    scores, y = np.r_[np.arange(fewest), fewest - 1.5], np.r_[np.zeros(fewest), 1]
    assert recall_at(scores, y, rate=float(rate), n_boot=2).value == 1
    with pytest.raises(
        ValueError, match=rf"^{fewest - 1} negative rows cannot tell .*; it takes at least {fewest}$"
    ):
        recall_at(np.arange(fewest), np.r_[np.zeros(fewest - 1), 1], rate=float(rate))


def test_scores_of_any_kind_are_the_same_numbers():
    given = [1.5, -0.25, 3.0]
    kinds = (
        given,
        np.array(given, dtype=np.float32),
        torch.tensor(given, dtype=torch.bfloat16),
        torch.tensor(given, requires_grad=True),
    )
    assert all(as_scores(kind).tolist() == given == line_of(kind, "scores", 3).tolist() for kind in kinds)
    for wrong, message in (
        (given[:2], "for 3 rows"),
        ([given], r"shape \(1, 3\)"),
        ([1.0, np.nan, 2.0], "1 NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            line_of(wrong, "scores", 3)


P = np.linspace(0.05, 0.95, 40)
Y = (np.random.default_rng(0).random(40) < P).astype(int)
SCALE = calibrated(P + 0.1 * np.sin(np.arange(40)), Y)
TAKE_LABELS = {
    "auroc": lambda y: auroc(P, y),
    "aurocs": lambda y: aurocs(P[None], y),
    "accuracy": lambda y: accuracy(P, y, threshold=0.5),
    "recall_at": lambda y: recall_at(P, y, rate=0.1, n_boot=9),
    "brier": lambda y: brier(P, y),
    "calibration_error": lambda y: calibration_error(P, y, bins=4),
    "reliability": lambda y: reliability(P, y, bins=4),
    "rates": lambda y: SCALE.rates(P, y),
    "calibrated": lambda y: calibrated(P, y),
    "youden": lambda y: youden(P, y),
    "score_histogram": lambda y: plots.score_histogram(P, y),
    "calibration_curve": lambda y: plots.calibration_curve({"p": P}, y),
}


@pytest.mark.parametrize("measure", TAKE_LABELS.values(), ids=TAKE_LABELS)
def test_labels_in_another_coding_are_refused_by_everything_that_takes_labels(measure):
    for y in (2 * Y - 1, Y + 1, P, Y + 0.5, np.full(40, np.nan)):
        with pytest.raises(ValueError, match="y must be 0 or 1, got values"):
            measure(y)
    for y in (Y.astype(str), np.where(Y == 1, "yes", "no"), np.array([None, *Y[1:]], dtype=object)):
        with pytest.raises(TypeError, match="y "):
            measure(y)
    with pytest.raises(ValueError, match=r"shape|broadcast"):
        measure(Y[:-1])
    for y in (Y, Y.astype(bool), Y.astype(float), torch.from_numpy(Y), Y.astype(object)):
        measure(y)
    plt.close("all")


def test_probabilities_and_labels_in_the_wrong_order_are_refused():
    for measure in (brier, calibration_error, reliability, plots.score_histogram):
        with pytest.raises(ValueError, match=r"the order is .scores, y., and these look exchanged"):
            measure(Y, P)
    # A wrong answer, not a wrong coding: labels on both sides.
    assert brier(Y.astype(float), Y).value == 0


def test_a_cut_needs_numbers_and_both_classes():
    scores = np.where(np.arange(40) < 5, np.nan, P)
    for measure in (youden, SCALE.rates, plots.score_histogram):
        with pytest.raises(ValueError, match="5 NaN"):
            measure(scores, Y)
    with pytest.raises(ValueError, match="one class only"):
        youden(P, np.ones(40))
    assert youden(P, P > 0.5) == pytest.approx((P[19] + P[20]) / 2)
    # Rates of rows of one class are known for that class.
    assert list(SCALE.rates(P, np.ones(40, dtype=int))) == ["recall"]


def test_accuracy_says_when_scores_look_like_probabilities():
    with pytest.warns(
        UserWarning, match=r"100% of them count as class 1; of probabilities take threshold=0.5"
    ):
        accuracy(P, P > 0.5)
    with pytest.warns(UserWarning, match="threshold=0.5"):
        accuracy_difference(P, P**2, P > 0.5)
    assert accuracy(P, P > 0.5, threshold=0.5).value == 1.0
    with pytest.warns(UserWarning, match="threshold=0.5"):
        two_by_two(P, P > 0.5, np.arange(40) % 2)
    # Margins, and labels as scores, pass without a word.
    two_by_two(P - 0.5, P > 0.5, np.arange(40) % 2)
    assert accuracy(P - 0.5, P > 0.5).value == accuracy((P > 0.5) * 1.0, P > 0.5).value == 1.0


def test_names_of_groups_give_the_same_interval_of_whatever_kind_they_are():
    s, y = np.array([1.0, 2, 3, 4, 2.5, 3.5, 0, 5]), np.array([0, 1, 0, 1, 1, 0, 0, 1])
    names = list("aabbccdd")
    numbers = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    kinds = [
        *(np.array(names, dtype=d) for d in ("U", "S", object)),
        *(np.array([n.encode() for n in names], dtype=object), [np.str_(n) for n in names], tuple(names)),
        *(pd.Series(names, dtype=d) for d in ("string", "category")),
        *(pd.Categorical(names), numbers, numbers.bfloat16(), numbers.double().requires_grad_()),
    ]
    for measured in (auroc, accuracy, lambda s, y, g: mean(s, g)):
        known = measured(s, y, names)
        for kind in kinds:
            found = measured(s, y, kind)
            assert (found.value, found.low, found.high) == (known.value, known.low, known.high), kind
            assert found.n_groups == 4
    scale, other = calibrated(s, y), ["x", None, *names[2:]]
    for refused in (lambda: auroc(s, y, other), lambda: scale.rates(s, y, other)):
        with pytest.raises(ValueError, match="groups lack 1"):
            refused()


def test_an_estimate_of_one_number_compares_by_its_value_and_others_say_what_to_do():
    one, many = auroc(P, P > 0.5), auroc(np.stack([P, -P]), P > 0.5)
    assert one > 0.5 and one >= 1 and one <= 1 and not one < 1 and float(one) == 1.0
    assert many[0] > many[1] and not many[0] < many[1]
    with pytest.raises(TypeError, match=r"neither true nor false; compare it"):
        bool(one)
    # Several numbers compare one by one, as those of numpy do.
    assert (many > 0.5).tolist() == [True, False] and (many <= one).tolist() == [True, True]
    assert one == 1 and one == many[0] and one != 0.5 and (one != 1) is np.False_ and one is not None
    assert (many == 1).tolist() == [True, False] and (many != many[0]).tolist() == [False, True]
    assert (np.array([1.0, 0.0]) == one).tolist() == [True, False] and one != "1" and {one: 2}[one] == 2
    for ask in (lambda: bool(many), lambda: float(many)):
        with pytest.raises(TypeError, match=r"estimate\[0\]|estimate > 0.5"):
            ask()
