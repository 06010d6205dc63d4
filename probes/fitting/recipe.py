"""What a recipe is: frozen settings, and a `fit` that gives an immutable probe. Kinds of recipes say
what else they can do.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from probes.fitting.transforms import Transform


@runtime_checkable
class Recipe(Protocol):
    """Settings of a method. `fit(acts)` fits all sites and gives a new probe; nothing about the recipe
    changes.

    It takes Activations, PairActivations or both, and raises TypeError for the other kind
    (`probes.testing.check_recipe`).
    """

    def fit(self, acts: Any) -> Any: ...


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
