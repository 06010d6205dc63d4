"""Any edit, with the length of the hidden state kept."""

from dataclasses import dataclass, replace

from interventions.writes.changes import NormKept
from interventions.writes.lowrank import Edit, SiteEdit, as_edit, wrapped
from probes.models.model import Model


@dataclass(frozen=True, eq=False)
class KeepNorm:
    """The edit, then h scaled back to the length it had: only the direction of the hidden state changes.

    Strong shifts also make hidden states long, which later norms and attention answer to whatever the
    direction; this keeps the two apart. No longer linear, so it runs in hooks and cannot be baked into
    weights. Source: norm-preserving steering as in repeng and heretic; see docs/edits.md.
    """

    edit: Edit

    def __post_init__(self) -> None:
        as_edit(self.edit)

    def compile(self, model: Model) -> tuple[SiteEdit, ...]:
        return tuple(
            replace(c, change=NormKept(c.change), label=repr(self)) for c in wrapped(self.edit, model)
        )

    def __repr__(self) -> str:
        return f"KeepNorm({self.edit!r})"
