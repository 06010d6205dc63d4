"""What an alarm does."""

from interventions.writes.lowrank import Edit, as_edit
from probes.models.model import Model
from probes.models.writes import Write

Then = str | Edit
"""What an alarm does: "go on", "stop", or an edit."""


def triggered(then: Then, model: Model) -> tuple[Write, ...]:
    """The writes of the edit that an alarm triggers; raises ValueError for one that names tokens of the
    prompt, and for another word.
    """
    if isinstance(then, str):
        if then not in ("go on", "stop"):
            raise ValueError(f'then is {then!r}; choose "go on", "stop" or an edit')
        return ()
    writes = as_edit(then).compile(model)
    placed = [w for w in writes if w.needs_prompts]
    if placed:
        raise ValueError(
            f"an alarm edits the tokens that come after it, and {placed[0]} names tokens of the prompt;"
            " use at='all'"
        )
    return writes
