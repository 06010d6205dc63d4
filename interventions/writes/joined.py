"""Several edits as one."""

from collections.abc import Sequence
from dataclasses import dataclass

from interventions.writes.edited import listed
from interventions.writes.lowrank import Edit
from probes.models.model import Model
from probes.models.writes import Write


@dataclass(frozen=True, eq=False)
class Joined:
    """Several edits as one, in order."""

    edits: tuple[Edit, ...]

    def compile(self, model: Model) -> tuple[Write, ...]:
        """The changes of each edit, one edit after the other."""
        return tuple(change for edit in self.edits for change in edit.compile(model))

    def __repr__(self) -> str:
        return " then ".join(map(repr, self.edits))


def joined(edit: Edit | Sequence[Edit]) -> Edit:
    """The edit itself, or several as one; raises ValueError for none."""
    edits = listed([edit])
    return edits[0] if len(edits) == 1 else Joined(tuple(edits))
