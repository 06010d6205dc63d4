"""Recipes as scikit-learn estimators, for pipelines, grid searches and cross-validation on plain arrays."""

from probes.exchange.estimators import (
    LDAClassifier,
    LogisticClassifier,
    MassMeanClassifier,
    RidgeRegressor,
    as_estimator,
)

__all__ = ["LDAClassifier", "LogisticClassifier", "MassMeanClassifier", "RidgeRegressor", "as_estimator"]
