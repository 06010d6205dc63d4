"""Running a model under edits: `edited` makes a model value, `applied` covers other people's code."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

from torch import nn

from interventions.writes.lowrank import Edit
from probes.models.backends.hooking import hooked
from probes.models.model import Model
from probes.models.unwrap import inner_model
from probes.models.writes import everywhere


def edited(model: Model, *edits: Edit) -> Model:
    """The model under these edits, as a value: capture it, score it, generate with it; the given model is
    untouched.

    Edits act in the order given, after those the model already has. Raises ValueError when an edit belongs to
    another model.
    """
    if not edits:
        raise ValueError("no edits given; pass at least one, such as Ablate(direction)")
    return replace(
        model, writes=(*model.writes, *(change for edit in edits for change in edit.compile(model)))
    )


@contextmanager
def applied(hf: nn.Module, *edits: Edit, blocks: str | None = None) -> Generator[nn.Module]:
    """Within the `with`, every forward pass of a Hugging Face model runs under the edits, whoever calls it.

    For pipelines, evaluation harnesses and your own loops, also in threads started inside, as streaming
    generation needs. A thread with edits or readings of its own on the same model sees only those. Of nested
    blocks the innermost acts first; give edits to one block to fix their order. Edits here act on all tokens:
    prompt positions are unknown in other people's batches, so `at` must be "all". The model is as before
    afterwards, also when an exception leaves the block.
    """
    if not edits:
        raise ValueError("no edits given; pass at least one, such as Ablate(direction)")
    model = Model.of(hf, blocks=blocks)
    writes = [change for edit in edits for change in edit.compile(model)]
    placed = [w for w in writes if w.needs_prompts]
    if placed:
        raise ValueError(
            f"applied() acts on all tokens, but {placed[0]} depends on which prompts are run; use"
            " edited(model, ...) for positions"
        )
    changes = [(model.backend.point(w.site), everywhere(w)) for w in writes]
    with hooked(inner_model(hf), [], changes, shared=True, edits=writes):
        yield hf
