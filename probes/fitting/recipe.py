"""What a recipe is: frozen settings, and a `fit` that gives an immutable probe. Kinds of recipes say
what else they can do.
"""

from dataclasses import fields
from numbers import Real
from typing import Any, ClassVar, Protocol, get_type_hints, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from probes.checks.settings import check_choices, check_count, check_number
from probes.fitting.transforms import Transform


@runtime_checkable
class Recipe(Protocol):
    """Settings of a method. `fit(acts)` fits all sites and gives a new probe; nothing about the recipe
    changes.

    It takes Activations, PairActivations or both, and raises TypeError for the other kind
    (`probes.testing.check_recipe`).
    """

    def fit(self, acts: Any) -> Any: ...


def as_recipe(given: Any) -> Any:
    """The recipe; raises TypeError for what has no `fit` of activations, a class of recipes among it."""
    name = given.__name__ if isinstance(given, type) else type(given).__name__
    if isinstance(given, type) and hasattr(given, "fit"):
        raise TypeError(f"{name} is a kind of recipe, expected one of that kind; write {name}()")
    if hasattr(given, "get_params"):
        raise TypeError(
            f"a scikit-learn {name} is no recipe, which fits on activations; use Logistic(), or bring the"
            " recipe to scikit-learn with as_estimator(recipe)"
        )
    if not hasattr(given, "fit"):
        done = "; a fitted probe is scored: probe.score(acts)" if hasattr(given, "score") else ""
        raise TypeError(
            f"expected a recipe such as MassMean() or Logistic(), got a {name}, {given!r:.60}{done}"
        )
    return given


COUNTS = {"restarts": 1, "steps": 1, "hidden": 1, "folds": 2, "seed": 0}
"""The smallest number of each setting of recipes that counts something."""


def check_settings(recipe: Any) -> None:
    """Raises ValueError for a setting of a recipe that cannot be meant, where the recipe is made."""
    check_choices(recipe)
    hints = get_type_hints(type(recipe))
    for field in fields(recipe):
        value, hint = getattr(recipe, field.name), hints[field.name]
        kind = hint if hint in (bool, str) else object
        if not isinstance(value, kind):
            raise TypeError(f"{field.name} must be a {kind.__name__}, got {value!r:.60}")
        if hint in (float, float | int):
            check_number(field.name, value)
        if field.name in COUNTS:
            check_count(field.name, value, COUNTS[field.name])
        if field.name == "prepare":
            Transform.parse(value)  # pyright: ignore[reportArgumentType]


def check_penalties(l2: Any) -> tuple[float, ...]:
    """Penalties as a tuple; raises ValueError unless each is a finite number above 0, without which separable
    data and wide problems have no single optimum.
    """
    if not isinstance(l2, tuple | Real) or isinstance(l2, bool):
        raise ValueError(
            f"l2 is one number or a tuple of numbers, got {l2!r:.60}; several penalties are a tuple, because"
            " recipes are hashable"
        )
    each = l2 if isinstance(l2, tuple) else (l2,)
    if not each or not all(isinstance(v, Real) and 0 < float(v) < float("inf") for v in each):
        raise ValueError(
            f"l2 must be above 0 and finite, got {l2!r:.60}; without a penalty there is no single optimum"
        )
    return tuple(map(float, each))


@runtime_checkable
class Prepares(Recipe, Protocol):
    """A recipe that reads each site by itself, after a transform of its rows."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def prepare(self) -> str | Transform: ...


@runtime_checkable
class SolvesLabels(Prepares, Protocol):
    """A recipe that solves many labellings of the same prepared rows as one problem."""

    @property
    def solves_together(self) -> bool:
        """False where the settings leave a choice that depends on the labels, such as one among
        several penalties.
        """
        ...

    def fit_labels(
        self, z: Float[Tensor, "site n d"], y: Bool[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b site d"], Float[Tensor, "b site"]]:
        """Weights and biases for each labelling."""
        ...


@runtime_checkable
class SignFromLabels(Recipe, Protocol):
    """A recipe whose labels decide which end is positive and nothing else."""

    labels_give_sign: bool


@runtime_checkable
class Seeded(Recipe, Protocol):
    """A recipe that searches from random starts."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def seed(self) -> int: ...


@runtime_checkable
class Whitens(Prepares, Protocol):
    """A recipe that may divide by the covariance within classes."""

    @property
    def whiten(self) -> bool: ...
