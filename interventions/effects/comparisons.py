"""What else an edit could have been: its mirror image, the same direction at other blocks, directions
from shuffled labels.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from interventions.edits import Ablate, Add, Affine, Clamp
from interventions.effects.verdict import SHUFFLED, SIGN_FLIP
from interventions.writes.lowrank import Edit, same_site
from probes.data.activations import Activations
from probes.data.sites import Site
from probes.fitting.directions import Direction
from probes.models.model import Model
from probes.recipes.mass_mean import MassMean

OTHER_BLOCKS = 2
SHUFFLES = 3


def comparisons(
    edit: Edit, model: Model, train: Activations | None = None, seed: int = 0
) -> Mapping[str, Edit]:
    """Named edits to stand beside one, as far as its kind has them.

    `sign flip` for edits with a strength (a projection is its own mirror image); `at SITE` moves an edit of
    one site to blocks a third and two thirds through the model; `shuffled labels` needs `train`, the labelled
    activations that the direction came from: directions found in the same way after the labels were permuted,
    used at the same strength. Edits of other kinds have none of these.
    """
    if not isinstance(edit, Ablate | Add | Affine | Clamp):
        return {}
    found: dict[str, Edit] = {}
    if isinstance(edit, Add):
        found[SIGN_FLIP] = replace(
            edit,
            gaps=None if edit.gaps is None else -edit.gaps,
            norm=None if edit.norm is None else -edit.norm,
        )
    elif isinstance(edit, Clamp) and any(edit.amounts):
        found[SIGN_FLIP] = replace(edit, to=[-t for t in edit.amounts])
    own = same_site(edit.direction)[0].site
    # A mean was taken at sites of its own, and an affine map is of its site.
    fixed = isinstance(edit, Affine) or (isinstance(edit, Ablate) and edit.mean_of is not None)
    if edit.sites is None and not fixed:
        found |= {f"at {site}": replace(edit, sites=site) for site in _elsewhere(own, model)}
    if train is not None and isinstance(edit.direction, Direction):
        found |= {
            f"{SHUFFLED} {k}": replace(edit, direction=d)
            for k, d in enumerate(_shuffled(edit.direction, train, seed))
        }
    return found


def _elsewhere(own: Site, model: Model) -> list[Site]:
    """Blocks spread over the model, other than the one edited."""
    blocks = np.unique(np.linspace(0, model.n_blocks - 1, OTHER_BLOCKS + 2).round().astype(int)[1:-1])
    return [replace(own, block=int(b)) for b in blocks if b != own.block]


def _shuffled(direction: Direction, train: Activations, seed: int) -> list[Direction]:
    """Mean differences under permuted labels at the direction's site, given its gap so that an equal
    strength is an equal length.
    """
    draw = np.random.default_rng(seed)
    acts = train[direction.site]
    y, found = np.asarray(acts.y), []
    for k in range(SHUFFLES):
        made: Any = MassMean().fit(acts.with_y(draw.permutation(y))).direction(direction.site)
        found.append(
            replace(
                made,
                gap=direction.gap,
                source=f"{SHUFFLED} {k} of {direction.source}",
                receipt=direction.receipt,
            )
        )
    return found
