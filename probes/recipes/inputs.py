"""Each recipe says which kind of activations it takes; the other kind raises here."""

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from probes.activations import Activations, PairActivations


def single(acts: Any, recipe: Any) -> tuple[Float[Tensor, "site n d"], Bool[Tensor, " n"]]:
    """The rows of single texts and their two classes."""
    if isinstance(acts, PairActivations):
        raise TypeError(f"{type(recipe).__name__} reads single texts, got contrast pairs; fit it on one side, pairs.side('yes')")
    if not isinstance(acts, Activations):
        raise TypeError(f"{type(recipe).__name__} fits on Activations, got {type(acts).__name__}; wrap arrays with Activations.from_arrays(x, y)")
    y, _ = acts.classes
    return acts.x, y.to(acts.x.device)


def paired(acts: Any, recipe: Any) -> tuple[Float[Tensor, "site n d"], Float[Tensor, "site n d"], Bool[Tensor, " n"] | None]:
    """The yes rows, the no rows and, where labels were given, whether each statement is true."""
    if not isinstance(acts, PairActivations):
        raise TypeError(
            f"{type(recipe).__name__} fits on contrast pairs, got {type(acts).__name__}; make them with capture_pairs(model, Pairs(...)) "
            "or PairActivations.from_arrays(yes, no)"
        )
    return acts.yes, acts.no, None if acts.y is None else acts.classes[0].to(acts.yes.device)
