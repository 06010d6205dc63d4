"""Intervals cover as often as they say, have a width, and claim nothing where there are too few groups."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import binomtest, norm, t

from benchmarks.intervals import BEFORE, Config, Setting, measures, simulated
from probes import accuracy, auroc
from probes.metrics import (
    accuracy_difference,
    auroc_difference,
    auroc_within,
    bootstrapped,
    delong,
    mean,
    mean_difference,
)

SMALL = Config(designs=50, draws=6)
"""300 samples a setting: true coverage of .95 is seen below .92 once in a hundred settings."""
CORNERS = {
    "good probe, few groups, labels mixed": Setting(True, 0.5, 0.97, 10),
    "good probe, few groups, labels constant": Setting(False, 0.5, 0.97, 10),
    "good probe, rare class, labels constant": Setting(False, 0.05, 0.97, 20),
    "chance, rare class, labels constant": Setting(False, 0.05, 0.5, 10),
}


def measure(name):
    return next(m for m in measures() if m.name == name)


MIXED, CONSTANT, *RARE = CORNERS


@pytest.mark.parametrize(
    ("name", "corner"),
    [
        *(("auroc", corner) for corner in CORNERS),
        *(
            (name, corner)
            for name in ("accuracy", "mean", "auroc difference")
            for corner in (CONSTANT, RARE[0])
        ),
        ("accuracy difference", MIXED),
    ],
)
def test_intervals_hold_the_truth_in_the_worst_corners_and_are_never_points(name, corner):
    found = simulated(measure(name), CORNERS[corner], SMALL)
    assert found.covers >= 0.92
    assert found.widths.min() > 0.005
    assert found.widths.mean() < 2.2 * found.calibrated_width


def test_the_mean_of_skewed_numbers_reaches_to_the_side_of_the_long_tail():
    random, truth = np.random.default_rng(0), np.exp(0.5)
    values = random.lognormal(size=(2000, 20))
    for e in (mean(values), mean(-values)):  # Student's t alone covers .88
        assert ((e.low <= truth * np.sign(e.value)) & (truth * np.sign(e.value) <= e.high)).mean() >= 0.91
    up, down = mean(values), mean(-values)
    assert np.allclose(up.low, -down.high) and np.allclose(up.high, -down.low)
    assert ((up.high - up.value) > (up.value - up.low)).mean() > 0.95
    plain = random.normal(size=(2000, 20))
    e = mean(plain)
    reach = t.ppf(0.975, 19) * plain.std(axis=1, ddof=1) / 20**0.5
    assert 0.94 < ((e.low <= 0) & (e.high >= 0)).mean() < 0.98
    assert np.median((e.high - e.low) / (2 * reach)) < 1.06


def test_a_percentile_bootstrap_misses_in_such_a_corner():
    plain = simulated(BEFORE, CORNERS[CONSTANT], SMALL)
    assert plain.covers < 0.85 and plain.widths.min() == 0


def test_independent_rows_have_about_the_exact_intervals():
    rng = np.random.default_rng(0)
    for n in (20, 60, 400):
        for hits in (n, n - 1, n // 2):
            y = np.ones(n, dtype=int)
            y[: n // 2] = 0
            right = np.arange(n) < hits
            e = accuracy(np.where(right, 1, -1) * (2 * y - 1), y)
            exact = binomtest(hits, n).proportion_ci()
            assert e.value == hits / n and e.low == pytest.approx(exact.low, abs=0.05)
            assert (e.high - e.low) < 1.3 * (exact.high - exact.low)
    y = np.arange(400) % 2
    s, other = rng.normal(size=(2, 400)) + y
    known, _ = delong(s, other, y)
    e = auroc_difference(s, other, y)
    assert (e.low, e.high) == pytest.approx((known.low, known.high), abs=0.005)
    values = rng.normal(size=400)
    reach = norm.ppf(0.975) * values.std(ddof=1) / 20
    e = mean(values)
    assert (e.low, e.high) == pytest.approx((values.mean() - reach, values.mean() + reach), rel=0.03)


def test_perfect_separation_is_a_bound_that_rises_with_groups_and_not_with_rows():
    def separated(groups, rows):
        y = np.repeat(np.arange(groups) % 2, rows)
        return auroc(y + np.linspace(0, 0.5, len(y)), y, np.repeat(np.arange(groups), rows))

    lows = [separated(groups, 5).low for groups in (8, 20, 40, 200)]
    assert lows == sorted(lows) and 0.5 < lows[0] < 0.8 < lows[1] < 0.95 < lows[3] < 1
    assert separated(20, 50).low - separated(20, 5).low < 0.03
    assert all(separated(groups, 5).high == 1 for groups in (8, 200))
    turned = auroc(1 - np.arange(20) % 2, np.arange(20) % 2)
    assert turned.low == 0 and turned.high == pytest.approx(1 - separated(20, 1).low)


def test_nothing_that_does_not_vary_is_known_to_the_point():
    y, groups = np.tile([0, 1], 20), np.repeat(np.arange(20), 2)
    constant = np.ones(40)
    for e in (
        auroc(constant, y, groups),
        auroc(y, y, groups),
        accuracy(y - 0.5, y, groups),
        accuracy(y - 0.5, y, groups, balanced=True),
        mean(constant, groups),
        mean(0 * constant, groups),
        auroc_difference(y, y, y, groups),
        accuracy_difference(y, y, y, groups),
        mean_difference(y, y, groups),
        delong(y, y, y)[0],
    ):
        assert e.high - e.low > 0.05 and e.low <= e.value <= e.high
    # A number without bounds that never varies reads as a difference from as many groups on as signs would.
    for e in (mean(0.3 * constant, groups), mean(y + 0.5, groups), mean_difference(y + 2.5, y, groups)):
        assert 0 < e.low < 0.7 * e.value < 1.3 * e.value < e.high
    for n, told in ((5, False), (6, True)):
        assert binomtest(n, n).pvalue < 0.05 if told else binomtest(n, n).pvalue > 0.05
        assert (mean(np.full(n, 2.5)).low > 0) == (mean(np.full(n, -2.5)).high < 0) == told
    nothing = mean(0 * constant, groups, share=False)
    assert np.isnan(nothing.low) and np.isnan(nothing.high) and "all show 0" in str(nothing)
    assert not nothing.low > 0 and not nothing.high < 0
    still = bootstrapped(lambda w: np.ones((len(w), 1)), (), 40, groups, within=(0.0, 1.0))
    assert (still.low, still.high) == pytest.approx(binomtest(20, 20).proportion_ci())


def test_too_few_groups_of_a_class_are_said_and_read_as_no_difference():
    scores, y = np.r_[np.ones(4), np.zeros(16)], np.r_[np.ones(4), np.zeros(16)]
    one = np.r_[np.zeros(4), 1 + np.arange(16)]
    for e in (auroc(scores, y, one), accuracy(scores - 0.5, y, one, balanced=True)):
        assert (e.value, e.low, e.high) == (1, 0, 1) and "in one group only" in str(e)
    apart = auroc_difference(scores, -scores, y, one)
    assert (apart.value, apart.low, apart.high) == (1, -1, 1)
    assert not auroc(scores, y).doubt and auroc(scores, y).low > 0.5
    alone = [auroc(scores, y, np.zeros(20)), mean(scores, np.zeros(20)), accuracy(scores, y, np.zeros(20))]
    assert all(np.isnan(e.low) and np.isnan(e.high) and "one group" in e.doubt for e in alone)
    part = auroc_within(scores, y, [np.arange(20) < 4], one)
    assert np.isnan(part.value) and np.isnan(part.low) and "one class only" in part.doubt


def test_an_auroc_within_parts_is_the_mean_of_theirs():
    rng = np.random.default_rng(3)
    y, part, groups = rng.integers(0, 2, 300), np.arange(300) % 3, np.arange(300) // 6
    scores, others = rng.normal(size=(2, 300)) + y + 5 * part
    parts = [part == k for k in range(3)]
    e = auroc_within(scores, y, parts, groups)
    of_each = [auroc(scores[m], y[m], groups[m]) for m in parts]
    assert e.value == pytest.approx(np.mean([k.value for k in of_each]))
    assert e.high - e.low < min(k.high - k.low for k in of_each), "three parts tell more than one"
    ahead = auroc_within(scores, y, parts, groups, others=others)
    assert ahead.value == pytest.approx(e.value - auroc_within(others, y, parts, groups).value)
    assert ahead.low < ahead.value < ahead.high
    assert auroc_within(scores, y, parts, groups, others=-others).low > 0


def test_intervals_do_not_depend_on_order_names_units_or_which_class_is_called_positive():
    rng = np.random.default_rng(4)
    groups, y = np.repeat(np.arange(30), rng.integers(1, 6, 30)), None
    y = rng.integers(0, 2, len(groups))
    scores = rng.normal(size=len(y)) + 0.7 * y + rng.normal(size=30)[groups]
    order = rng.permutation(len(y))
    e = auroc(scores, y, groups)
    for same in (
        auroc(scores[order], y[order], groups[order]),
        auroc(scores, y, np.array([f"group {29 - g}" for g in groups])),
        auroc(np.exp(scores), y, groups),
        auroc(-scores, 1 - y, groups),
    ):
        assert (same.value, same.low, same.high) == pytest.approx((e.value, e.low, e.high), abs=1e-9)
    m, k = mean(scores, groups), mean(1000 + 10 * scores, groups)
    assert (k.low, k.high) == pytest.approx((1000 + 10 * m.low, 1000 + 10 * m.high))
    both = auroc(np.stack([scores, -scores]), y, groups)
    assert both.low == pytest.approx([e.low, 1 - e.high]) and both[0].high == pytest.approx(e.high)


@pytest.mark.parametrize("level", [95.0, 0.0, -1.0, 1.0])
def test_a_level_that_is_no_share_is_named(level):
    with pytest.raises(ValueError, match="level"):
        auroc([0, 1, 0, 2], [0, 1, 1, 0], level=level)


def test_a_higher_level_reaches_farther():
    rng = np.random.default_rng(5)
    y = np.arange(100) % 2
    scores = rng.normal(size=100) + y
    for kind in (auroc, accuracy):
        narrow, wide = kind(scores, y, level=0.68), kind(scores, y, level=0.99)
        assert wide.low < narrow.low < narrow.high < wide.high


def test_many_sites_take_no_more_room_than_their_scores():
    rng = np.random.default_rng(6)
    n, sites = 50_000, 8
    y, groups = np.arange(n) % 2, np.arange(n) // 4
    scores = rng.normal(size=(sites, n)) + 0.1 * y
    tracemalloc.start()
    auroc(scores, y, groups)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 * scores.nbytes


def test_few_groups_with_rows_of_both_classes_tell_no_spread_of_an_auroc():
    """Of two groups, whose rows are compared with each other alone, both vary as one, whatever the scores."""
    rng = np.random.default_rng(0)
    for n_groups, told in ((2, False), (4, False), (8, True)):
        groups, y = np.repeat(np.arange(n_groups), 24), np.tile([0, 1], 12 * n_groups)
        found = [auroc(rng.normal(size=len(y)), y, groups) for _ in range(60)]
        assert all(e.low <= 0.5 <= e.high for e in found) or told
        assert np.mean([e.low <= 0.5 <= e.high for e in found]) > 0.85
        assert all(((e.low, e.high) == (0, 1) and "tell too little" in e.doubt) != told for e in found)
        scores = rng.normal(size=(2, len(y)))
        apart = auroc_difference(*scores, y, groups)
        assert ((apart.low, apart.high) == (-1, 1)) != told
    # Labels that are constant within groups are another matter: rows of a class come from several groups.
    constant = auroc(np.arange(4.0), [0, 0, 1, 1], np.arange(4))
    assert float(constant.low) > 0 and not constant.doubt
