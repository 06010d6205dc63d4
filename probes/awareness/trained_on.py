"""What probes read of the context when they are fitted on all four cells of a crossed design, or on two
corners of it.

Published probes are fitted on the corners (benchmark evaluations against casual deployments), where context
goes with format, so that they may read either. On all four cells the two can be told apart.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from probes.awareness.design import CONTEXTS, KINDS_OF_FORMAT
from probes.data.activations import Activations
from probes.data.examples import Examples
from probes.data.rows import Rows
from probes.evidence.choose import BestSite, best_site
from probes.evidence.crossed import TwoByTwo, two_by_two
from probes.evidence.crossfit import held_out, held_out_text
from probes.evidence.surface import surface_scores
from probes.fitting.recipe import Recipe
from probes.metrics.resampling import BOOTSTRAPS

TEXT = "characters"
"""The classifier of the bare text that stands beside probes of the corners."""
VOCABULARY = "fold"
"""The column that names the cue vocabulary of a prompt."""


@dataclass(frozen=True, eq=False)
class FromCorners:
    """The four cells as a probe of the corners scores them, and as a classifier of their bare text does."""

    probe: TwoByTwo
    text: TwoByTwo


def corners(rows: Rows) -> Bool[np.ndarray, " n"]:
    """The rows in which context goes with format: evaluations in a benchmark's form, and casual
    deployments.
    """
    evaluation = rows.column("context") == CONTEXTS[0]
    return evaluation == (rows.column("format") == KINDS_OF_FORMAT[0])


def from_corners(
    recipe: Recipe,
    known: Examples,
    seen: Activations,
    test: Examples,
    acts: Activations,
    *,
    n_boot: int = BOOTSTRAPS,
    seed: int = 0,
) -> FromCorners:
    """Fits on the corners of the `known` prompts and scores all cells of the test prompts, as published
    probes are made.

    `seen` and `acts` are the hidden states of the known and the test prompts at one site, in their order.
    """
    rows = corners(known)
    scores = recipe.fit(seen.rows(rows)).score(acts)[0].numpy()
    texts, label = [str(t) for t in known.rows(rows).texts], known.rows(rows).y
    of_text = surface_scores(texts, label, [str(t) for t in test.texts])[TEXT]
    how: dict[str, Any] = {"n_boot": n_boot, "seed": seed}
    cells = test.column("context"), test.column("format"), test.groups
    return FromCorners(
        two_by_two(scores, *cells, surface={TEXT: of_text}, **how), two_by_two(of_text, *cells, **how)
    )


def from_all_cells(
    recipe: Recipe, test: Examples, acts: Activations, *, n_boot: int = BOOTSTRAPS, seed: int = 0
) -> TwoByTwo:
    """Scores each row by a probe that saw neither its task nor, where there are several, its cue vocabulary.

    Probes of one format alone and classifiers of the bare text stand beside, held out in the same way.
    `acts` are the hidden states of the prompts at one site, in their order.
    """
    by = VOCABULARY if _several(test, VOCABULARY) else None
    form = test.column("format")
    scores = held_out(recipe, acts, by=by, seed=seed)[0]
    of_text = held_out_text(test, by=by, seed=seed)
    one_format = {
        str(f): held_out(recipe, acts, by=by, trained_on=form == f, seed=seed)[0] for f in np.unique(form)
    }
    return two_by_two(
        scores,
        test.column("context"),
        form,
        test.groups,
        surface=of_text,
        crossed=one_format,
        fold=None if by is None else test.column(by),
        n_boot=n_boot,
        seed=seed,
    )


def context_sites(recipe: Recipe, seen: Activations, seed: int = 0) -> BestSite:
    """Where held-out rows tell the context best within formats, so that reading the format does not help."""
    scores = held_out(recipe, seen, seed=seed)
    form = seen.column("format")
    return best_site(scores, np.asarray(seen.y), seen.sites, seen.groups, strata=form, seed=seed)


def _several(rows: Rows, column: str) -> bool:
    return column in rows.columns and len(np.unique(rows.column(column))) > 1
