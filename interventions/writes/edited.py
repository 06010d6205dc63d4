"""Running a model under edits: `edited` makes a model value, `applied` covers other people's code."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from interventions.writes.lowrank import Edit, as_edit
from interventions.writes.meant import Meant
from probes.checks.saying import warn
from probes.fitting.exactly import made_exactly
from probes.models.backends.hooking import hooked
from probes.models.compiled import eagerly
from probes.models.model import Model
from probes.models.switched_off import switched_off
from probes.models.unwrap import inner_model
from probes.models.writes import Bound, Write


def edited(model: Model, *edits: Edit | Sequence[Edit]) -> Model:
    """The model under these edits, as a value: capture it, score it, generate with it; the given model is
    untouched.

    Edits act in the order given, after those the model already has. Raises ValueError when an edit belongs to
    another model, also at a pass, where the model was changed since.
    """
    if not isinstance(model, Model):
        raise TypeError(
            f"edited takes a Model, got a {type(model).__name__}; wrap it with load_model(model,"
            " tokenizer=tokenizer), or edit it for a while: with applied(model, edit)"
        )
    as_base = model.edited_as_base or bool(switched_off(model.hf))
    writes = (*model.writes, *compiled(model, edits))
    asked = partial(compiled, model, edits)
    meant = (*model.meant, Meant(model.hf, asked, model.tokenizer, model.chat_template_kwargs))
    return replace(model, writes=writes, edited_as_base=as_base, meant=meant)


@made_exactly
def compiled(model: Model, edits: Sequence[Any]) -> list[Write]:
    """What edits come to on a model, in numbers as exact as their directions and rows."""
    return [change for edit in listed(edits) for change in edit.compile(model)]


def listed(edits: Sequence[Any]) -> list[Edit]:
    """Edits given one by one or in lists; raises ValueError for none and TypeError for what is no edit."""
    flat = [e for each in edits for e in (each if isinstance(each, list | tuple) else [each])]
    if not flat:
        raise ValueError("no edits given; pass at least one, such as Ablate(direction)")
    return [as_edit(e) for e in flat]


@contextmanager
def applied(
    hf: nn.Module | Model, *edits: Edit | Sequence[Edit], blocks: str | None = None
) -> Generator[nn.Module]:
    """Within the `with`, every forward pass of a Hugging Face model runs under the edits, whoever calls it.

    For pipelines, evaluation harnesses and your own loops, also in threads started inside (by whoever is
    inside, with `threading`: streaming generation needs it), and never in those that others start meanwhile.
    A pool's thread is inside where it was begun there, whoever hands it work later; `asyncio.to_thread` goes
    by its task. A thread with `applied` or `recording` of its own on the same model sees only those. Of
    nested blocks the innermost acts first, and the edits of a model value act behind all of them; give edits
    to one block to fix their order. An answer that a model value or a monitor began to write inside is under
    them to its end. Edits here act on all tokens:
    prompt positions are unknown in other people's batches, so `at` must be "all". Compiled models run
    uncompiled meanwhile. The model is as before afterwards, also when an exception leaves the block. Warns
    where no pass met the edits, and of weights that were changed within, unless the model was trained there,
    to which edits then belong no more.
    """
    if isinstance(hf, Model):
        raise TypeError(
            "applied takes the Hugging Face model, whose passes other code makes, got a Model; write"
            " applied(model.hf, edit), or edited(model, edit) for a model value under the edit"
        )
    if not isinstance(hf, nn.Module):
        raise TypeError(f"applied takes a Hugging Face model, got a {type(hf).__name__}; load it first")
    model = Model.of(hf, blocks=blocks)
    if hf.training and torch.is_grad_enabled() and any(map(_computed_again, hf.modules())):
        raise ValueError(
            "the model keeps no activations (gradient checkpointing), so backward() runs its blocks again, by"
            " then perhaps without the edits, and gradients would be wrong without a word; call"
            " gradient_checkpointing_disable() first, or hf.eval() where nothing is trained"
        )
    writes = [change for edit in listed(edits) for change in edit.compile(model)]
    placed = [w for w in writes if w.needs_prompts]
    if placed:
        raise ValueError(
            f"applied() acts on all tokens, but {placed[0]} depends on which prompts are run; use"
            " edited(model, ...) for positions"
        )
    trained: set[bool] = set()
    acts = [(w, _Noted(w, hf, trained)) for w in writes]
    changes = [(model.backend.point(w.site), act) for w, act in acts]
    meant = Meant(hf, partial(compiled, model, edits))
    with eagerly(), hooked(inner_model(hf), [], changes, shared=True, edits=acts) as entry:
        yield hf
    if not entry.begun:
        warn(
            f"no forward pass of this {type(hf).__name__} ran within applied(), so the edits changed nothing;"
            " if one was meant to, it was that of another copy, another process, or a thread begun before"
        )
    elif not any(trained):
        try:
            meant()
        except ValueError as error:
            warn(f"within applied(), {error}")


class _Noted(Bound):
    """A write on prompts that are not known, which notes whether the model was being trained."""

    def __init__(self, write: Write, hf: nn.Module, trained: set[bool]) -> None:
        super().__init__(write, None)
        self.hf, self.trained = hf, trained

    def __call__(self, h: Tensor) -> Tensor:
        self.trained.add(self.hf.training)
        return super().__call__(h)


def _computed_again(module: nn.Module) -> bool:
    return bool(getattr(module, "gradient_checkpointing", False))
