"""One rule chooses the reading site: the highest value on validation, and of equals within noise the
earliest.
"""

import numpy as np
import pytest

from probes import Site, auroc
from probes.evidence import choose
from probes.evidence.choose import best_site, equal_to_best

SITES = [Site("resid_post", b) for b in range(5)]


def _scores(strength, n=400, n_groups=40, seed=0):
    """Scores that tell y as well as `strength` says at each site, with noise of each site's own."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 2, n)
    scores = np.asarray(strength)[:, None] * (2 * y - 1) + draw.normal(size=(len(strength), n))
    return scores, y, np.arange(n) % n_groups


def test_of_sites_that_are_as_good_the_earliest_is_chosen_and_worse_ones_are_not_as_good():
    later = 0
    for seed in range(20):
        scores, y, groups = _scores([0, 0.5, 1.5, 1.5, 1.5], seed=seed)
        found = best_site(scores, y, SITES, groups)
        assert found.stands and not found.equal[:2].any(), "sites that read less are told apart"
        assert found.index >= 2 and found.site == SITES[found.index]
        later += int(np.argmax(found.values)) > found.index
    assert later > 5, "the highest of equals is often a later one"
    backwards = best_site(scores[::-1], y, SITES[::-1], groups)
    assert backwards.site == found.site and backwards.index == 4 - found.index, (
        "earliest in the model, not in the list"
    )


def test_without_signal_nothing_stands_and_a_constant_site_is_never_chosen():
    stood = 0
    for seed in range(40):
        scores, y, groups = _scores([0, 0, 0, 0, 0], seed=seed)
        scores[0] = 0.3  # the embedding of one shared token
        found = best_site(scores, y, SITES, groups)
        stood += found.stands
        assert found.index != 0
        if not found.stands:
            assert found.index == 1 + np.argmax(found.values[1:])
    assert stood <= 8, "the best of four sites without signal, at 95%"
    assert best_site(np.zeros((2, 6)), np.arange(6) % 2, SITES[:2]).values.tolist() == [0.5, 0.5]


def test_the_difference_is_paired():
    """Two sites share their errors; one makes a few more. Intervals side by side overlap, the paired
    difference does not reach 0.
    """
    draw = np.random.default_rng(0)
    y = np.arange(600) % 2
    shared = 0.8 * (2 * y - 1) + draw.normal(size=600)
    worse = shared - 0.8 * (2 * y - 1) * (np.arange(600) % 32 == 0)
    groups = np.arange(600) // 10
    found = best_site(np.stack([worse, shared]), y, SITES[:2], groups)
    assert found.index == 1 and 0.005 < found.values[1] - found.values[0] < 0.03
    by_site = auroc(np.stack([worse, shared]), y, groups, level=0.68)
    assert by_site.high[0] > by_site.low[1], "side by side nothing could be told"


def test_noise_is_over_groups_and_not_over_rows():
    """One group of forty makes the whole difference: as rows it is many, as groups it is one."""
    y = np.arange(1600) % 2
    good = 1.2 * y + np.random.default_rng(0).normal(size=1600)
    slipped = np.where(np.arange(1600) // 40 == 0, good[::-1], good)
    scores = np.stack([slipped, good])
    by_rows, by_groups = (
        best_site(scores, y, SITES[:2]),
        best_site(scores, y, SITES[:2], np.arange(1600) // 40),
    )
    assert by_rows.index == 1 and by_rows.values[1] - by_rows.values[0] > 0.01
    assert by_groups.index == 0 and by_groups.equal.all()


def test_of_few_rows_no_early_site_that_reads_less_is_taken(monkeypatch):
    """On sixteen rows nearly all sites are equal within one standard error of the best."""

    def given_away() -> None:
        for seed in range(30):
            scores, y, groups = _scores([0.4, 0.7, 1.0, 1.3, 1.6], n=16, n_groups=16, seed=seed)
            found = best_site(scores, y, SITES, groups)
            assert not found.stands or found.values[found.index] >= found.values.max() - 0.02

    given_away()
    monkeypatch.setattr(choose, "GIVEN_AWAY", np.inf)
    with pytest.raises(AssertionError):
        given_away()


def test_within_strata_a_site_that_reads_the_stratum_is_not_chosen():
    draw = np.random.default_rng(0)
    form = draw.integers(0, 2, 600)
    y = np.where(draw.random(600) < 0.85, form, 1 - form)
    reads_form = 5.0 * form + draw.normal(size=600)
    reads_y = 0.6 * (2 * y - 1) + draw.normal(size=600)
    scores = np.stack([reads_form, reads_y])
    assert best_site(scores, y, SITES[:2]).index == 0
    found = best_site(scores, y, SITES[:2], strata=form)
    assert found.index == 1 and found.stands and abs(found.values[0] - 0.5) < 0.1


def test_what_cannot_be_chosen_by_is_refused():
    scores, y, _ = _scores([0, 1, 1])
    with pytest.raises(ValueError, match="3 lines of scores for 5 sites"):
        best_site(scores, y, SITES)
    with pytest.raises(ValueError, match="one class only among the 400 validation rows"):
        best_site(scores, y * 0, SITES[:3])
    with pytest.raises(ValueError, match="no stratum has rows of both classes"):
        best_site(scores, y, SITES[:3], strata=y)
    with pytest.raises(ValueError, match="none of the 2 options has a value"):
        equal_to_best(lambda w: np.full((len(w), 2), np.nan), 5)


def test_labels_that_are_not_those_of_the_scores_never_choose_a_site(without_type_checks):
    scores, y, groups = _scores([0, 1, 1])
    sites = SITES[:3]
    assert best_site(scores, y == 1, sites).site == best_site(scores, y, sites).site
    with pytest.raises(ValueError, match=r"y has shape \(300,\) for 400 columns"):
        best_site(scores, y[:300], sites)
    with pytest.raises(ValueError, match=r"y must be 0 or 1, got values .'no', 'yes'"):
        best_site(scores, np.where(y == 1, "yes", "no"), sites)
    with pytest.raises(ValueError, match=r"y must be 0 or 1, got values .-1, 1"):
        best_site(scores, 2 * y - 1, sites)
    with pytest.raises(ValueError, match=r"strata have shape \(5,\) for 400 rows"):
        best_site(scores, y, sites, groups, strata=np.arange(5))
    with pytest.raises(ValueError, match=r"scores have shape \(400,\)"):
        best_site(scores[0], y, sites)


@pytest.mark.parametrize("columns", [slice(None), slice(3, 4)], ids=["everywhere", "in one row"])
def test_a_site_whose_scores_are_nan_is_named_and_not_reported_as_chance(columns):
    scores, y, _ = _scores([0, 1, 1])
    scores[1, columns] = np.nan
    with pytest.raises(ValueError, match=r"scores are NaN at resid_post\.1, so"):
        best_site(scores, y, SITES[:3])
    kept = [0, 2]
    assert best_site(scores[kept], y, [SITES[i] for i in kept]).site == SITES[2]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("within", np.nan), ("within", -1), ("within", "1"), ("level", 2), ("level", 1), ("level", np.nan)],
)
def test_a_margin_or_a_level_that_is_none_is_refused(setting, value, without_type_checks):
    with pytest.raises(ValueError, match=f"{setting} must be a"):
        equal_to_best(lambda w: np.ones((len(w), 2)), 10, **{setting: value})


def test_options_without_a_value_are_left_out_and_a_margin_makes_equals():
    values = np.array([np.nan, 1.0, 0.97, 0.5])
    fixed = equal_to_best(lambda w: np.tile(values, (len(w), 1)), 10, within=0.05)
    assert fixed.best == 1 and fixed.equal.tolist() == [False, True, True, False]
    assert equal_to_best(lambda w: np.tile(values, (len(w), 1)), 10, level=0).equal.tolist() == [
        False,
        True,
        False,
        False,
    ]


def test_the_best_of_many_sites_pays_for_having_been_chosen():
    names, stood = [f"resid_post.{k}" for k in range(32)], 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        y, noise = np.arange(100) % 2, rng.normal(size=(32, 100))
        stood += best_site(noise, y, names, seed=seed).stands
        noise[20] += 1.5 * y
        found = best_site(noise, y, names, seed=seed)
        assert found.stands and found.index == 20
    assert stood <= 5, stood  # at 2.5% more than 5 of 30 come once in 10,000; pointwise it is every other
