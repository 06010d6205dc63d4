"""How strong an edit has to be: behaviour and cost over doses, and the smallest dose that does what
is asked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from interventions.behaviours.records import Behaviour, as_behaviour
from interventions.effects.effect import Effect
from interventions.effects.running import MIN_CONTROLS, effect
from interventions.writes.lowrank import Edit
from probes.checks.arrays import real_array
from probes.data.examples import Examples
from probes.markup.terminal import terminal
from probes.markup.values import Displayed, draw
from probes.models.given import check_model
from probes.models.model import Model
from probes.models.prefixes import shared_prefixes


@dataclass(frozen=True, eq=False)
class Doses(Displayed):
    """Effects of one edit at several strengths, weakest first, all against the same unedited run and
    each beside its own matched random edits.
    """

    doses: tuple[float, ...]
    effects: tuple[Effect, ...]

    def table(self) -> pd.DataFrame:
        """One row a dose: mean change with interval, p against matched random edits, share of changed
        answers, KL and loss on neutral text.
        """
        lines = []
        for dose, e in zip(self.doses, self.effects, strict=True):
            cost = (
                {}
                if e.cost is None
                else {"KL": float(e.cost.kl.value), "loss rise": float(e.cost.loss.value)}
            )
            change = e.change()
            lines.append(
                {
                    "dose": dose,
                    "change": float(change.value),
                    "low": float(change.low),
                    "high": float(change.high),
                    "p": e.p_value(),
                    "changed": float(e.changed().value),
                    "random changed": float(e.control_changed().max()),
                    **cost,
                }
            )
        return pd.DataFrame(lines)

    def smallest(self, wanted: Callable[[Effect], bool], max_kl: float | None = 0.05) -> float:
        """The weakest dose whose effect is as wanted, such as `lambda e: e.changed().low > .9`, within the
        cost on neutral text (None: at any cost).

        Raises ValueError, with the table, when no dose is, or when there is a limit and no cost was measured.
        """
        if max_kl is not None and any(e.cost is None for e in self.effects):
            raise ValueError(
                "the cost was not measured, so it cannot be limited; give neutral texts, or max_kl=None to"
                " choose at any cost"
            )
        order = sorted(range(len(self.doses)), key=lambda i: abs(self.doses[i]))
        for i in order:
            cost = self.effects[i].cost
            if wanted(self.effects[i]) and (
                max_kl is None or (cost is not None and float(cost.kl.value) <= max_kl)
            ):
                return self.doses[i]
        raise ValueError(
            f"no dose does what is wanted within KL {max_kl}:\n{self.table().to_string(index=False)}"
        )

    def plot(self, ax: Any = None) -> Any:
        """Mean behaviour over doses with its interval, beside what matched random edits do; draws on
        `ax`, or a figure of its own, and gives the Axes.
        """
        return draw(self, ax)

    def __repr__(self) -> str:
        table = self.table().to_string(index=False, float_format=lambda v: f"{v:.3f}")
        return terminal(f"Doses({self.effects[0].before.behaviour})\n{table}")


def dosed(
    base: Model,
    make: Callable[[float], Edit],
    doses: Sequence[float | int],
    behaviour: Behaviour,
    prompts: Examples,
    *,
    neutral: Sequence[str] | None = None,
    n_controls: int = MIN_CONTROLS,
    **options: Any,
) -> Doses:
    """The effect of `make(dose)` at every dose, such as `lambda g: Add(direction, gaps=g)`; further options
    as for `effect`.

    The unedited behaviour is measured once. Choose a dose on other prompts than those it is reported on.
    Raises ValueError without doses.
    """
    check_model(base, "dosed")
    if not callable(make):
        raise TypeError(
            f"dosed takes a function that makes the edit of a dose, lambda g: Add(direction, gaps=g), got a"
            f" {type(make).__name__}"
        )
    strengths = real_array(doses, "doses").astype(float)
    if strengths.ndim != 1 or not len(strengths) or not np.isfinite(strengths).all():
        raise ValueError(f"doses must be numbers such as [0.5, 1, 2, 4], one at least, got {doses!r:.60}")
    behaviour = as_behaviour(behaviour)
    before = behaviour(base, prompts)
    settings: dict[str, Any] = {"compare": False, "control_costs": False} | options
    with shared_prefixes(base):
        found = [
            effect(
                base,
                make(float(d)),
                behaviour,
                prompts,
                neutral=neutral,
                n_controls=n_controls,
                before=before,
                **settings,
            )
            for d in np.sort(strengths)
        ]
    return Doses(tuple(np.sort(strengths).tolist()), tuple(found))
