"""Runs a behaviour under an edit and under everything that it has to be compared with."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from interventions.behaviours.asked import refuse_other_records
from interventions.behaviours.neutral_text import Cost, neutral_costs
from interventions.behaviours.records import Behaviour, Records, as_behaviour, check_records
from interventions.effects.comparisons import comparisons
from interventions.effects.effect import Effect
from interventions.effects.meaningless import directions_of, isotropic, meaningless
from interventions.effects.random import matched, rank_of
from interventions.effects.verdict import Drawn
from interventions.writes.edited import edited
from interventions.writes.joined import Joined, joined
from interventions.writes.lowrank import Edit
from probes.checks.settings import check_count
from probes.data.activations import Activations, check_states
from probes.data.examples import Examples
from probes.data.tokenised import Tokenised
from probes.fitting.rows_of_fit import was_fitted_on
from probes.markup.progress import progress_bar
from probes.models.given import check_model
from probes.models.model import Model
from probes.models.prefixes import shared_prefixes

MIN_CONTROLS = 20
ISOTROPIC = 5  # shown beside, not judged by


def effect(
    base: Model,
    edit: Edit | Sequence[Edit],
    behaviour: Behaviour,
    prompts: Examples,
    *,
    neutral: Sequence[str] | None = None,
    control_costs: bool | int = True,
    n_controls: int = MIN_CONTROLS,
    seed: int = 0,
    before: Records | None = None,
    train: Activations | None = None,
    compare: bool = True,
    progress: bool = True,
) -> Effect:
    """Runs a behaviour under an edit, under `n_controls` edits of its size along directions that mean
    nothing, under a few along isotropic directions, and under its comparisons (sign flip, other blocks).

    With the `train` activations on which the edit's direction was found, directions of controls come from
    exchanged labels on those rows; otherwise from the covariance of h on the prompts
    (`interventions.effects.meaningless`). `compare=False` leaves comparisons and isotropic edits out. With
    `neutral` texts the cost (KL and loss) is measured for the edit and, with `control_costs`, for every
    control, or for so many of them. `before` saves a run when the base behaviour on these prompts is known.
    Raises ValueError for fewer than 20 controls, for prompts with a y between whole numbers, for a `before`
    of other prompts, another model, edit, behaviour or answer key, and for `train` rows of another model,
    read under other edits, without the edit's site or without labels.
    """
    check_model(base, "effect")
    behaviour = as_behaviour(behaviour)
    if train is not None:
        check_states(train, "effect(train=...)")
    _enough(n_controls)
    prompts = base.tokenise(prompts)  # once, for all the models that are asked
    _whole_labels(prompts)
    whole = joined(edit)
    before = known_before(before, behaviour, base, prompts)
    drawn, controls = controls_of(base, whole, prompts, n_controls, seed, train)
    beside = _isotropic(base, whole, prompts, seed) if compare else []
    named = comparisons(whole, base) if compare else {}
    edits = [whole, *controls, *beside, *named.values()]
    with shared_prefixes(base):
        bar = progress_bar("edits", progress, edits)
        now, *rest = [_alike(behaviour(edited(base, each), prompts), before) for each in bar]
    n = len(controls)
    costs = _costs(base, [whole, *controls[: _priced(control_costs, n)]], neutral)
    return Effect(
        edit=repr(whole),
        before=before,
        now=now,
        random=tuple(rest[:n]),
        y=None if prompts.y is None else prompts.y.astype(np.int64),
        others=dict(zip(named, rest[n + len(beside) :], strict=True)),
        cost=costs[0] if costs else None,
        control_costs=tuple(costs[1:]),
        isotropic=tuple(rest[n : n + len(beside)]),
        drawn=replace(drawn, fitted=_fitted(whole, prompts)),
        applied=whole,
    )


def _priced(control_costs: bool | int, n: int) -> int:
    """Of how many controls the cost is measured."""
    if isinstance(control_costs, bool):
        return n if control_costs else 0
    return min(n, check_count("control_costs", control_costs, 0))


def _fitted(edit: Edit, prompts: Examples) -> int:
    """How many of the prompts a direction of the edit was found on, as far as receipts tell."""
    parts = edit.edits if isinstance(edit, Joined) else (edit,)
    receipts = [d.receipt for part in parts for d in directions_of(part)]
    return int(np.any([was_fitted_on(receipt, prompts) for receipt in receipts], axis=0).sum())


def _alike(records: Records, before: Records) -> Records:
    """The same records; raises ValueError where `before` is of another behaviour."""
    check_records(records, "effect")
    before.same_measure(records)
    return records


def _costs(base: Model, edits: Sequence[Edit], neutral: Sequence[str] | None) -> list[Cost]:
    """What each edit costs on neutral texts, where there are any."""
    return [] if neutral is None else neutral_costs(base, [edited(base, each) for each in edits], neutral)


def known_before(before: Records | None, behaviour: Behaviour, base: Model, prompts: Examples) -> Records:
    """The unedited records, measured where they are not given; raises ValueError for given ones of other
    prompts, or whose receipt names another model, edit, behaviour or answer key.
    """
    if before is None:
        measured = behaviour(base, prompts)
        check_records(measured, "what a behaviour gives")
        return measured
    check_records(before, "before=...")
    if not np.array_equal(before.ids, prompts.ids):
        raise ValueError(
            f"before holds {len(before)} records of other prompts than the {len(prompts)} given; measure it"
            " on the same prompts"
        )
    refuse_other_records(before.receipt, behaviour, base, prompts)
    return before


def _enough(n_controls: int) -> None:
    check_count("n_controls", n_controls, 0)
    if n_controls < MIN_CONTROLS:
        raise ValueError(
            f"an effect is shown beside at least {MIN_CONTROLS} matched random edits, got"
            f" n_controls={n_controls}"
        )


def _whole_labels(prompts: Examples) -> None:
    """Raises ValueError for labels that are no classes: y says which answer is right."""
    if prompts.y is not None and (prompts.y != np.round(prompts.y)).any():
        raise ValueError(
            "y must be whole numbers, since it says which answer is right (0 or 1), got values such as"
            f" {np.unique(prompts.y)[:5].tolist()}; choose the right answer with prompts.with_y(...), and"
            " keep numbers in a column"
        )


def controls_of(
    base: Model, edit: Edit, prompts: Examples, n: int, seed: int, train: Activations | None = None
) -> tuple[Drawn, list[Edit]]:
    """Edits of the same size along directions that mean nothing, and where these come from."""
    changes = edit.compile(base)
    directions = meaningless(base, edit, prompts, train, n, rank_of(changes), seed)
    made = matched(base, changes, prompts, directions, seed, "control")
    drawn = Drawn(
        directions.source,
        directions.note,
        at_read=np.array([m.at_read for m in made]),
        on_average=np.array([m.on_average for m in made]),
        cosines=directions.cosines,
    )
    return drawn, [m.edit for m in made]


def _isotropic(base: Model, edit: Edit, prompts: Tokenised, seed: int) -> list[Edit]:
    """A few along directions that are as likely as any other."""
    changes = edit.compile(base)
    directions = isotropic(changes[0].width, ISOTROPIC, rank_of(changes), seed)
    return [m.edit for m in matched(base, changes, prompts, directions, seed, "matched random")]
