"""Recipes as scikit-learn estimators, for pipelines, grid searches and cross-validation on plain arrays."""

from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter, Signature
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from probes.checks.arrays import unmasked
from probes.data.activations import Activations
from probes.fitting.recipe import Recipe
from probes.metrics.scores import as_scores
from probes.recipes import LDA, Logistic, MassMean, Ridge


class _ProbeEstimator(BaseEstimator):
    """What the estimators share; the parameters are the fields of the recipe."""

    RECIPE: type

    def _recipe(self) -> Any:
        return self.RECIPE(**{f.name: getattr(self, f.name) for f in fields(self.RECIPE)})

    def _margins(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, unmasked(X, "X"), reset=False, dtype=np.float64)
        return as_scores(self.probe_.score(Activations.from_arrays(torch.tensor(X)))[0])  # pyright: ignore


class _Classifier(ClassifierMixin, _ProbeEstimator):
    def fit(self, X: Any, y: Any) -> "_Classifier":
        """Fits the recipe on rows X [n, d] with two classes; the probe is kept as `probe_`."""
        X, y = validate_data(self, unmasked(X, "X"), unmasked(y, "y"), dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) != 2:
            found = "1 class" if len(self.classes_) == 1 else f"{len(self.classes_)} classes"
            raise ValueError(
                f"Only binary classification is supported: {self.RECIPE.__name__} tells two classes apart,"
                f" got {found}"
            )
        self.probe_ = self._recipe().fit(Activations.from_arrays(torch.tensor(X), codes))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Margins, above 0 meaning `classes_[1]`."""
        return self._margins(X)

    def predict(self, X: Any) -> np.ndarray:
        """The class of every row."""
        margins = self._margins(X)
        return self.classes_[(margins > 0).astype(int)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities [n, 2]: the margins squashed, which are calibrated for Logistic and LDA only."""
        p = 1 / (1 + np.exp(-self._margins(X)))
        return np.stack([1 - p, p], axis=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


class _Regressor(RegressorMixin, _ProbeEstimator):
    def fit(self, X: Any, y: Any) -> "_Regressor":
        """Fits the recipe on rows X [n, d] and numbers y; the probe is kept as `probe_`."""
        X, y = validate_data(
            self, unmasked(X, "X"), unmasked(y, "y"), dtype=np.float64, y_numeric=True, ensure_min_samples=2
        )
        self.probe_ = self._recipe().fit(Activations.from_arrays(torch.tensor(X), y.astype(float)))
        # On labels 0 and 1 a score is a margin about one half; here the number itself is asked for.
        self.offset_ = 0.5 if np.isin(y, (0, 1)).all() else 0.0
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The predicted number of every row."""
        return self._margins(X) + self.offset_


def _init(recipe: type) -> Any:
    """An `__init__` with the recipe's fields as parameters, which is where scikit-learn looks for them."""
    known = [f for f in fields(recipe)]

    def __init__(self: Any, **values: Any) -> None:
        for f in known:
            default = f.default if f.default is not MISSING else f.default_factory()  # pyright: ignore
            setattr(self, f.name, values.pop(f.name, default))
        if values:
            raise TypeError(
                f"{recipe.__name__} has no parameter {', '.join(values)}; it has"
                f" {', '.join(f.name for f in known)}"
            )

    parameters = [
        Parameter("self", Parameter.POSITIONAL_OR_KEYWORD),
        *(Parameter(f.name, Parameter.KEYWORD_ONLY, default=f.default) for f in known),
    ]
    __init__.__signature__ = Signature(parameters)  # pyright: ignore
    return __init__


def _made(name: str, kind: type[_ProbeEstimator], recipe: type) -> type[_ProbeEstimator]:
    doc = f"`{recipe.__name__}` as a scikit-learn {'classifier' if kind is _Classifier else 'regressor'}."
    return type(
        name, (kind,), {"RECIPE": recipe, "__init__": _init(recipe), "__doc__": doc, "__module__": __name__}
    )  # pyright: ignore[reportReturnType]


MassMeanClassifier = _made("MassMeanClassifier", _Classifier, MassMean)
LogisticClassifier = _made("LogisticClassifier", _Classifier, Logistic)
LDAClassifier = _made("LDAClassifier", _Classifier, LDA)
RidgeRegressor = _made("RidgeRegressor", _Regressor, Ridge)

_ESTIMATORS: dict[type, type[_ProbeEstimator]] = {
    c.RECIPE: c for c in (MassMeanClassifier, LogisticClassifier, LDAClassifier, RidgeRegressor)
}
_NEEDS = {
    "AttentionPooled": "several tokens a text",
    "CCS": "contrast pairs",
    "CRC": "contrast pairs",
    "ContrastEigen": "contrast pairs",
    "VINC": "contrast pairs",
    "PolarityAwareCCS": "contrast pairs with their opposites",
    "TTPD": "the polarity of every row",
    "Concatenated": "several sites",
}


def as_estimator(recipe: Recipe) -> Any:
    """A scikit-learn estimator with the recipe's fields as its parameters:
    `cross_val_score(as_estimator(Logistic()), x, y, groups=g, cv=GroupKFold())`.

    For `MassMean`, `Logistic`, `LDA` (classifiers) and `Ridge` (a regressor). The fitted probe, with its
    direction, is `probe_`. Raises TypeError for recipes that need more than an array, naming what they need.
    """
    if isinstance(recipe, type):
        raise TypeError(
            f"as_estimator takes a recipe, got its class; write as_estimator({recipe.__name__}())"
        )
    kind = _ESTIMATORS.get(type(recipe))
    if kind is None:
        name = type(recipe).__name__
        reason = (
            f"it needs {_NEEDS[name]}, and scikit-learn passes single rows"
            if _NEEDS.get(name)
            else "there is no estimator for it"
        )
        raise TypeError(
            f"{name} cannot be a scikit-learn estimator: {reason}; use {name}.fit(acts), or one of"
            f" {', '.join(r.__name__ for r in _ESTIMATORS)}"
        )
    assert is_dataclass(recipe)
    return kind(**{f.name: getattr(recipe, f.name) for f in fields(recipe)})
