"""Choosing an edit is a measurement: every option asked the same validation prompts, beside a few edits of
its size along directions that mean nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

from interventions.behaviours.neutral_text import neutral_costs
from interventions.behaviours.records import Behaviour, Records, as_behaviour
from interventions.effects.running import controls_of, known_before
from interventions.searching.option import Option
from interventions.searching.searched import Searched
from interventions.writes.edited import edited
from interventions.writes.joined import joined
from interventions.writes.lowrank import Edit
from probes.data.examples import Examples
from probes.markup.progress import progress_bar
from probes.models.given import check_model
from probes.models.model import Model
from probes.models.prefixes import shared_prefixes

FEW = 3
"""Controls beside every option: enough to doubt a candidate, too few to report one."""


def search(
    model: Model,
    options: Mapping[Any, Edit | Sequence[Edit]],
    behaviour: Behaviour,
    validation: Examples,
    *,
    neutral: Sequence[str] | None = None,
    n_controls: int = FEW,
    seed: int = 0,
    before: Records | None = None,
    progress: bool = True,
) -> Searched:
    """Measures every option on validation prompts, so that `.best(...)` can choose one; report the choice on
    other prompts, with `effect`.

    An option is an edit, or several as one. Beside each stand `n_controls` controls as in `effect`: edits of
    its size along directions that mean nothing. Three may speak against a choice, not for it; with 19 or more
    `choice.stands` can be true. `effect` takes its own number for the one chosen. With `neutral` texts the
    cost (KL and loss) is measured. `before` saves a run when the unedited behaviour on these prompts is
    known. Raises ValueError without options, or for a `before` of other prompts, another model, edit,
    behaviour or answer key.
    """
    check_model(model, "search")
    behaviour = as_behaviour(behaviour)
    if not isinstance(options, Mapping):
        raise TypeError(
            f"options are given by name, {{'block 3': Ablate(direction)}}, got a {type(options).__name__}"
        )
    if not isinstance(n_controls, Integral) or n_controls < 0:
        raise ValueError(f"n_controls={n_controls!r:.60}; expected 0 or more controls beside every option")
    if not options:
        raise ValueError("no options given; name at least one, such as {'block 3': Ablate(direction)}")
    edits = {name: joined(edit) for name, edit in options.items()}
    before = known_before(before, behaviour, model, validation)
    measured = []
    runs_wanted = len(edits) * (1 + n_controls)
    with progress_bar("options", progress, total=runs_wanted) as bar, shared_prefixes(model):
        for name, edit in edits.items():
            controls = controls_of(model, edit, validation, n_controls, seed)[1] if n_controls else []
            runs = []
            for each in (edit, *controls):
                runs.append(behaviour(edited(model, each), validation))
                before.same_measure(runs[-1])
                bar.update()
            measured.append(Option(name, edit, _sites(model, edit), runs[0], tuple(runs[1:])))
    found = Searched(validation, before, tuple(measured))
    return found if neutral is None else _with_costs(model, found, neutral)


def _sites(model: Model, edit: Edit) -> tuple:
    """Where an edit acts, in forward order."""
    return tuple(sorted({write.site for write in edit.compile(model)}, key=lambda site: site.order))


def _with_costs(model: Model, found: Searched, neutral: Sequence[str]) -> Searched:
    """Costs of all options, for one pass of the unedited model."""
    costs = neutral_costs(model, [edited(model, o.edit) for o in found.options], neutral)
    priced = tuple(replace(o, cost=cost) for o, cost in zip(found.options, costs, strict=True))
    return replace(found, options=priced)
