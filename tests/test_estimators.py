"""Recipes inside scikit-learn: its own checks, and the tools people use estimators for."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as TheirRidge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from probes import CCS, LDA, MLP, TTPD, AttentionPooled, Concatenated, Logistic, MassMean, Ridge
from probes.exchange.estimators import as_estimator

# The array API check runs only where SCIPY_ARRAY_API was set before the first import.
CHECKS = [
    (estimator, check)
    for recipe in (MassMean(), Logistic(), LDA(), Ridge())
    for estimator, check in estimator_checks_generator(as_estimator(recipe))
    if check.func.__name__ != "check_array_api_input"
]


@pytest.mark.parametrize(
    ("estimator", "check"),
    CHECKS,
    ids=[f"{type(e).__name__}-{c.func.__name__}-{i}" for i, (e, c) in enumerate(CHECKS)],
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    groups = np.arange(240) // 3
    y = np.where(rng.integers(0, 2, 240) == 1, "true", "false")
    return rng.normal(size=(240, 10)) + 1.2 * (y == "true")[:, None] * np.eye(10)[0], y, groups


def test_cross_validation_grid_search_and_pipelines(data):
    x, y, groups = data
    ours = cross_val_score(
        as_estimator(Logistic(l2=0.1)), x, y, groups=groups, cv=GroupKFold(4), scoring="roc_auc"
    )
    theirs = cross_val_score(
        make_pipeline(StandardScaler(), LogisticRegression(C=1 / (180 * 0.1))),
        x,
        y,
        groups=groups,
        cv=GroupKFold(4),
        scoring="roc_auc",
    )
    assert np.allclose(ours, theirs, atol=1e-3) and ours.mean() > 0.7
    null = cross_val_score(
        as_estimator(Logistic(l2=0.1)),
        x,
        np.random.default_rng(1).permutation(y),
        groups=groups,
        cv=GroupKFold(4),
        scoring="roc_auc",
    )
    assert abs(null.mean() - 0.5) < 0.15
    search = GridSearchCV(
        make_pipeline(PCA(5, random_state=0), as_estimator(Logistic())),
        {"logisticclassifier__l2": [1e-3, 1.0], "logisticclassifier__prepare": ["mean", "zscore"]},
        cv=3,
    )
    best = search.fit(x, y).best_estimator_[-1]
    assert f"l2={best.l2}" in best.probe_.recipe
    assert set(search.predict(x)) == {"true", "false"}


def test_the_fitted_probe_is_at_hand_and_parameters_are_the_fields(data):
    x, y, _ = data
    estimator = as_estimator(MassMean(prepare="zscore")).fit(x, y)
    assert estimator.get_params() == {"prepare": "zscore", "whiten": False}
    assert abs(float(estimator.probe_.direction().unit[0])) > 0.8
    assert np.array_equal(estimator.predict(x), np.where(estimator.decision_function(x) > 0, "true", "false"))
    with pytest.raises(ValueError, match="Invalid parameter 'l2'"):
        estimator.set_params(l2=1)


@pytest.mark.parametrize("y", [np.linspace(-2, 3, 60), np.arange(60) % 2], ids=["numbers", "zeros and ones"])
def test_ridge_predicts_numbers(y):
    x = np.random.default_rng(0).normal(size=(60, 4)) + y[:, None] * [1, 0, 0, 0]
    ours = as_estimator(Ridge(l2=0.1, prepare="none")).fit(x, y).predict(x)
    assert np.allclose(ours, TheirRidge(alpha=6.0).fit(x, y).predict(x), atol=1e-4)


@pytest.mark.parametrize(
    ("recipe", "needs"),
    [
        (CCS(), "contrast pairs"),
        (TTPD(), "polarity"),
        (AttentionPooled(), "several tokens"),
        (Concatenated(), "several sites"),
        (MLP(), "no estimator"),
    ],
    ids=repr,
)
def test_recipes_that_need_more_than_an_array_say_what(recipe, needs):
    with pytest.raises(TypeError, match=needs):
        as_estimator(recipe)


def test_a_class_in_the_place_of_a_recipe_is_named():
    with pytest.raises(TypeError, match=r"write as_estimator\(Logistic\(\)\)"):
        as_estimator(Logistic)
