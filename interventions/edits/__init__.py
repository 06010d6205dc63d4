"""One file per edit. Each is frozen data whose `compile(model)` gives its changes, site by site.

A new edit is one file here and one line in the list of `tests/test_edits.py`, which puts it through the
contract (`interventions.testing.check_edit`).
"""

from interventions.edits.ablate import Ablate
from interventions.edits.add import Add
from interventions.edits.affine import Affine
from interventions.edits.clamp import Clamp
from interventions.edits.erase import Erase
from interventions.edits.keep_norm import KeepNorm
from interventions.edits.patch import Patch
from interventions.edits.skip import Skip
from interventions.edits.when import When

__all__ = ["Ablate", "Add", "Affine", "Clamp", "Erase", "KeepNorm", "Patch", "Skip", "When"]
