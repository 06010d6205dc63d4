"""Rivals of a claim as lines of test scores: the bare text, and the same rows as read elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from probes.data.activations import Activations, PairActivations
from probes.data.rows import Rows
from probes.evidence.choose import best_site
from probes.evidence.readout import halves, scored
from probes.evidence.rivals import upright
from probes.evidence.surface import surface_scores
from probes.fitting.recipe import Recipe
from probes.metrics.estimates import aurocs
from probes.metrics.scores import as_scores


def rival_lines(
    recipe: Recipe,
    train: Activations | PairActivations,
    test: Activations | PairActivations,
    baselines: Mapping[str, Any],
    texts: tuple[Sequence[str], Sequence[str]] | None,
    seed: int,
) -> dict[str, np.ndarray]:
    """One line of test scores a rival: classifiers of the text, where there are texts, and the user's
    baselines.
    """
    given = {}
    for name, baseline in baselines.items():
        scores = _read_elsewhere(name, recipe, baseline, (train, test), seed)
        given[name] = _baseline_line(name, scores, test)
    return given if texts is None else surface_scores(texts[0], train.y, texts[1]) | given


def chosen_within(recipe: Recipe, train: Activations | PairActivations, seed: int) -> int:
    """The site that does best on train groups held out for choosing."""
    inner, held = halves(train, 0.7, seed)
    lines, sites = scored(recipe.fit(inner), held)
    return best_site(lines, np.asarray(held.y), sites, held.groups, seed=seed).index


def _read_elsewhere(name: str, recipe: Recipe, baseline: Any, rows: tuple[Any, Any], seed: int) -> Any:
    """Test scores of the recipe fitted on the same rows as they were read elsewhere; scores that are
    already there pass.
    """
    if isinstance(baseline, Activations | PairActivations):
        raise ValueError(
            f"baseline {name!r} is one set of rows; give a tuple, the train rows and the test rows, since the"
            " recipe is fitted on the former"
        )
    if not (
        isinstance(baseline, tuple | list)
        and len(baseline) == 2
        and all(isinstance(part, Activations | PairActivations) for part in baseline)
    ):
        return baseline
    for part, here, which in zip(baseline, rows, ("train", "test"), strict=True):
        if not all(
            np.array_equal(getattr(part, name), getattr(here, name)) for name in ("ids", "groups", "y")
        ):
            raise ValueError(
                f"the {which} rows of baseline {name!r} ({len(part)}) are not those of the claim"
                f" ({len(here)}) in the same order; capture the same Examples and split with the same sizes"
                " and seed"
            )
    train, test = baseline
    lines, _ = scored(recipe.fit(train), test)
    return lines[chosen_within(recipe, train, seed) if len(lines) > 1 else 0]


def _baseline_line(name: str, scores: Any, test: Rows) -> np.ndarray:
    """A user's baseline as one vector that ranks positives above negatives."""
    line = as_scores(scores)
    if line.shape != (len(test),):
        one = f"give one score for each of the {len(test)} test rows, such as probe.score(acts)[0]"
        rows = "or a tuple of the train and test rows as read elsewhere"
        raise ValueError(f"baseline {name!r} has shape {line.shape}; {one}, {rows}")
    return upright(line, float(aurocs(line[None], np.asarray(test.y))[0]))
