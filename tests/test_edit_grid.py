"""Edit x position x backend x padding side x architecture: decoding equals a plain pass with a
hand-made hook, in logits.
"""

import pytest

from tests.edit_cells import BACKENDS, EDITS, FAMILIES, POSITIONS, SIDES, largest_gap, pairwise

CELLS = list(pairwise(FAMILIES, tuple(EDITS), POSITIONS, BACKENDS, SIDES))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: " ".join(cell))
def test_decoding_under_an_edit_equals_one_pass_by_hand(cell):
    family, name, at, backend, side = cell
    assert largest_gap(family, backend, side, name, at) <= 1e-5


def test_every_two_values_meet():
    axes = (FAMILIES, tuple(EDITS), POSITIONS, BACKENDS, SIDES)
    for i in range(len(axes)):
        for j in range(i):
            assert len({(c[i], c[j]) for c in CELLS}) == len(axes[i]) * len(axes[j])
