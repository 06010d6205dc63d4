"""More than two classes: one probe a class against all others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.data.activations import Activations, PairActivations, check_states
from probes.data.examples import Examples
from probes.fitting.exactly import made_exactly
from probes.fitting.recipe import Recipe, as_recipe
from probes.metrics.estimates import Estimate, auroc, mean
from probes.models.model import Model


@dataclass(frozen=True, eq=False)
class OneVsRestProbe:
    """One fitted binary probe a class: `probes[c]` tells `classes[c]` from the rest, with everything
    a binary probe offers.
    """

    classes: tuple[Any, ...]
    probes: tuple[Any, ...]

    @made_exactly
    def score(self, acts: Any) -> Float[Tensor, "class site n"]:
        """Margins of every class."""
        check_states(acts, "probe.score")
        return torch.stack([p.score(acts) for p in self.probes])

    def score_texts(self, model: Model, texts: Examples | Sequence[str], **options: Any) -> Tensor:
        """Captures the texts at the probes' own sites and position, then scores them."""
        return self.score(self.probes[0].captured(model, texts, **options))

    def predict(self, acts: Any) -> np.ndarray:
        """The class with the highest margin, [site, n]."""
        return np.asarray(self.classes)[self.score(acts).argmax(0).cpu().numpy()]

    def accuracy(self, acts: Any) -> Estimate:
        """Share of rows whose class was predicted, one value a site."""
        return mean((self.predict(acts) == np.asarray(acts.y)).astype(float), acts.groups)

    def auroc(self, acts: Any) -> dict[Any, Estimate]:
        """AUROC of each class against the rest, for the classes that occur in the rows."""
        there = [c for c in self.classes if 0 < (acts.y == c).sum() < len(acts)]
        return {
            c: auroc(self.probes[self.classes.index(c)].score(acts), (acts.y == c).astype(int), acts.groups)
            for c in there
        }

    def __repr__(self) -> str:
        return (
            f"OneVsRestProbe({len(self.classes)} classes: {', '.join(map(str, self.classes))};"
            f" {self.probes[0]!r})"
        )


@dataclass(frozen=True)
class OneVsRest:
    """What `one_vs_rest` returns: a recipe for labels of several classes."""

    recipe: Recipe

    @made_exactly
    def fit(self, acts: Activations | PairActivations) -> OneVsRestProbe:
        """Fits the binary recipe once a class; raises ValueError for fewer than two classes or labels
        that are not whole numbers.
        """
        check_states(acts, "one_vs_rest")
        y = None if acts.y is None else np.asarray(acts.y)
        if y is None or (y != np.round(y)).any() or len(np.unique(y)) < 2:
            raise ValueError(
                "one_vs_rest needs whole-number labels of at least two classes, got"
                f" {'no y' if y is None else np.unique(y)[:5].tolist()}"
            )
        classes = tuple(np.unique(y).tolist())
        return OneVsRestProbe(
            classes, tuple(self.recipe.fit(acts.with_y((y == c).astype(int))) for c in classes)
        )


def one_vs_rest(recipe: Recipe) -> OneVsRest:
    """A recipe for labels of several classes, made of a binary one: `one_vs_rest(Logistic()).fit(acts)`.

    The margins of different classes are compared as they are; with recipes whose margins have no common
    scale, such as MassMean, look at AUROC a class rather than at the predicted class.
    """
    return OneVsRest(as_recipe(recipe))
