"""What else an edit could have been: its mirror image, or the same direction at other blocks."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from interventions.edits import Ablate, Add, Affine, Clamp
from interventions.effects.verdict import SIGN_FLIP
from interventions.writes.lowrank import Edit, same_site
from probes.data.sites import Site
from probes.models.model import Model

OTHER_BLOCKS = 2


def comparisons(edit: Edit, model: Model) -> Mapping[str, Edit]:
    """Named edits to stand beside one, as far as its kind has them.

    `sign flip` for edits with a strength (a projection is its own mirror image); `at SITE` moves an edit of
    one site to blocks a third and two thirds through the model. Edits of other kinds have none of these.
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
    return found


def _elsewhere(own: Site, model: Model) -> list[Site]:
    """Blocks spread over the model, other than the one edited."""
    blocks = np.unique(np.linspace(0, model.n_blocks - 1, OTHER_BLOCKS + 2).round().astype(int)[1:-1])
    return [replace(own, block=int(b)) for b in blocks if b != own.block]
