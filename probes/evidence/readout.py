"""What every control asks of a probe: one score a row, and a name for every line of scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from probes.data.activations import Activations, PairActivations, check_states
from probes.data.sites import Site, SiteLike
from probes.fitting.recipe import Recipe, as_recipe
from probes.metrics.scores import as_scores


def asked(recipe: Recipe, *parts: Any) -> None:
    """Raises TypeError unless the recipe can be fitted and the parts are activations."""
    as_recipe(recipe)
    for part in parts:
        check_states(part, "a control")


def check_probe(given: Any, what: str) -> None:
    """Raises TypeError for what gives no scores: a recipe that is not fitted yet, a direction."""
    if not hasattr(given, "score"):
        todo = "fit it: recipe.fit(acts)" if hasattr(given, "fit") else "give what recipe.fit(acts) returns"
        raise TypeError(f"{what} takes a fitted probe, got a {type(given).__name__}; {todo}")


def scored(
    probe: Any, acts: Activations | PairActivations
) -> tuple[Float[np.ndarray, "k n"], tuple[Site | str, ...]]:
    """Scores with one line a site, or a single line named "all sites"; raises TypeError for probes of
    tokens or of several classes.
    """
    scores = as_scores(probe.score(acts))
    if scores.ndim != 2 or scores.shape[1] != len(acts):
        raise TypeError(
            f"{type(probe).__name__} gives scores of shape {scores.shape} for {len(acts)} rows; controls need"
            " one score a row, so for token probes score the texts yourself (metrics.auroc on"
            " probes.recipes.attention.texts_of(acts)), and for several classes take one class at a time"
        )
    return scores, acts.sites if len(scores) == len(acts.sites) else ("all sites",)


def line_at(lines: Sequence[Site | str], site: SiteLike) -> int:
    """Where the scores of a site are, or of "all sites"; raises ValueError naming what there is."""
    named = [str(line) for line in lines]
    if str(site) not in named:
        raise ValueError(f"there are no scores at {site}; there are those at {', '.join(named)}")
    return named.index(str(site))


def halves(acts: Any, share: float, seed: int) -> tuple[Any, Any]:
    """A split by group in which both parts have both classes; later seeds are tried where the first
    has not. Raises ValueError when no split has.
    """
    for k in range(50):
        parts = acts.split((share, 1 - share), seed=seed + 1000 * k)
        if all(len(np.unique(np.asarray(p.y))) > 1 for p in parts):
            return parts
    raise ValueError(
        f"no split of {len(np.unique(acts.groups))} groups into {share:.0%} and {1 - share:.0%} has both"
        " classes in both parts; give more groups, or groups that hold both classes"
    )
