"""What an edit does to behaviour: paired by prompt, beside matched random edits, with what it costs
elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from tqdm import tqdm

from interventions.behaviours.neutral_text import Cost, neutral_costs
from interventions.behaviours.records import Behaviour, Records
from interventions.effects.comparisons import comparisons
from interventions.effects.random import matched_random
from interventions.effects.transitions import Transitions, labels_of, transitions
from interventions.effects.verdict import EditNumbers, Verdict, judged
from interventions.writes.edited import edited
from interventions.writes.joined import joined
from interventions.writes.lowrank import Edit
from probes.data.activations import Activations
from probes.data.examples import Examples
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, accuracy, auroc, mean, mean_difference
from probes.models.model import Model

MIN_CONTROLS = 20


@dataclass(frozen=True, eq=False)
class Effect(Displayed):
    """One behaviour under one edit, under its matched random edits and under what else it could have been,
    per prompt.

    `before` and `now` are the behaviour's records without and with the edit, `random` those under each
    matched random edit, `others` under named comparisons (sign flip, other blocks, shuffled labels). `y` says
    what the right answer is. Methods summarise all prompts or, with `where`, some.
    """

    edit: str
    before: Records
    now: Records
    random: tuple[Records, ...]
    y: Int[np.ndarray, " n"] | None
    others: Mapping[str, Records] = field(default_factory=dict)
    cost: Cost | None = None
    control_costs: tuple[Cost, ...] = ()

    @property
    def base(self) -> Float[np.ndarray, " n"]:
        """Values without the edit, in the behaviour's unit."""
        return self.before.values

    @property
    def after(self) -> Float[np.ndarray, " n"]:
        """Values under the edit."""
        return self.now.values

    @property
    def controls(self) -> Float[np.ndarray, "c n"]:
        """Values under each matched random edit."""
        return np.stack([r.values for r in self.random])

    @property
    def groups(self) -> np.ndarray:
        return self.before.groups

    def rows(self, where: np.ndarray | None) -> np.ndarray:
        """The prompts asked about that were measured every time."""
        whole = np.logical_and.reduce([r.measured for r in (self.before, self.now, *self.random)])
        return np.flatnonzero(whole if where is None else whole & np.asarray(where, dtype=bool))

    def _labels(self, rows: np.ndarray) -> np.ndarray:
        if self.y is None:
            raise ValueError(
                "the prompts have no y, so there is no right answer to compare with; give the Examples y"
            )
        return self.y[rows]

    def change(self, where: np.ndarray | None = None) -> Estimate:
        """Mean change of the behaviour, edited minus base."""
        k = self.rows(where)
        return mean_difference(self.after[k], self.base[k], self.groups[k])

    def control_changes(self, where: np.ndarray | None = None) -> Float[np.ndarray, " c"]:
        """Mean change under each matched random edit."""
        k = self.rows(where)
        return (self.controls[:, k] - self.base[k]).mean(1)

    def p_value(self, where: np.ndarray | None = None) -> float:
        """How often a matched random edit moves the mean at least as far; never below 1 / (controls + 1)."""
        size = abs(float(self.change(where).value))
        return float((1 + (np.abs(self.control_changes(where)) >= size).sum()) / (1 + len(self.controls)))

    def accuracy(self, of: str = "after", where: np.ndarray | None = None) -> Estimate:
        """Balanced accuracy of the answers; `of` is base, after or controls (then one value a control)."""
        k = self.rows(where)
        return accuracy(getattr(self, of)[..., k], self._labels(k), self.groups[k], balanced=True)

    def auroc(self, of: str = "after", where: np.ndarray | None = None) -> Estimate:
        """How well the behaviour still ranks right above wrong; `of` as for `accuracy`."""
        k = self.rows(where)
        return auroc(getattr(self, of)[..., k], self._labels(k), self.groups[k])

    def turned(self, towards: int, of: str = "after", where: np.ndarray | None = None) -> Estimate:
        """Among the prompts whose base answer was the other one, the share now answered `towards` (1
        positive, 0 negative).

        Raises ValueError when no prompt had the other answer.
        """
        rows = self.rows(where)
        k = rows[(self.base[rows] > 0) != bool(towards)]
        if not len(k):
            raise ValueError(
                f"no prompt had the other answer before the edit, so none can be turned towards {towards}"
            )
        return mean(((getattr(self, of)[..., k] > 0) == bool(towards)).astype(float), self.groups[k])

    def transitions(self, where: np.ndarray | None = None) -> Transitions:
        """Which kind of answer became which, with McNemar's or Bowker's test."""
        return transitions(self.before, self.now, where)

    def changed(self, where: np.ndarray | None = None) -> Estimate:
        """The share of prompts whose answer became another kind (for a behaviour without kinds:
        changed sign).
        """
        k = self.rows(where)
        return mean((labels_of(self.now)[k] != labels_of(self.before)[k]).astype(float), self.groups[k])

    def control_changed(self, where: np.ndarray | None = None) -> Float[np.ndarray, " c"]:
        """The same share under each matched random edit."""
        k = self.rows(where)
        return np.array([(labels_of(r)[k] != labels_of(self.before)[k]).mean() for r in self.random])

    def verdict(self, alpha: float = 0.05, max_kl: float = 0.05) -> Verdict:
        """What may be said about the edit, in fixed words, with what stands against saying more."""
        numbers = EditNumbers(
            edit=self.edit,
            behaviour=self.before.behaviour,
            unit=self.before.unit,
            change=self.change(),
            p=self.p_value(),
            controls=self.control_changes(),
            others={name: self._moved_by(other) for name, other in self.others.items()},
            kl=None if self.cost is None else self.cost.kl,
            alpha=alpha,
            max_kl=max_kl,
        )
        return judged(numbers)

    def _moved_by(self, other: Records) -> Estimate | None:
        """Mean change under a comparison; None where no prompt was measured under it."""
        rows = self.rows(None)
        here = rows[other.measured[rows]]
        if not len(here):
            return None
        return mean_difference(other.values[here], self.base[here], self.groups[here])

    def table(self) -> pd.DataFrame:
        """Mean of the behaviour and share of changed answers: unedited, edited, every comparison, and
        the range of the matched random edits.
        """
        rows = self.rows(None)
        lines: list[tuple[str, str, str]] = [
            ("unedited", f"{mean(self.base[rows], self.groups[rows]):.3f}", "")
        ]
        for name, r in {self.edit: self.now, **self.others}.items():
            here = rows[r.measured[rows]]
            moved = (labels_of(r)[here] != labels_of(self.before)[here]).astype(float)
            lines.append(
                (
                    name,
                    f"{mean(r.values[here], self.groups[here]):.3f}",
                    f"{mean(moved, self.groups[here]):.2f}",
                )
            )
        means, shares = self.controls[:, rows].mean(1), self.control_changed()
        lines.append(
            (
                f"{len(self.random)} matched random",
                f"{means.min():.3f} to {means.max():.3f}",
                f"{shares.min():.2f} to {shares.max():.2f}",
            )
        )
        return pd.DataFrame(lines, columns=["edit", f"mean {self.before.unit}", "share of answers changed"])

    def __repr__(self) -> str:
        against = f"p={self.p_value():.3f} against {len(self.random)} matched random edits"
        return terminal(f"Effect({self.edit}: mean change {self.change():.3f}, {against})")


def effect(
    base: Model,
    edit: Edit | Sequence[Edit],
    behaviour: Behaviour,
    prompts: Examples,
    *,
    neutral: Sequence[str] | None = None,
    control_costs: bool = True,
    n_controls: int = MIN_CONTROLS,
    seed: int = 0,
    before: Records | None = None,
    train: Activations | None = None,
    compare: bool = True,
    progress: bool = True,
) -> Effect:
    """Runs a behaviour under an edit, under `n_controls` random edits that change h by the same mean length
    per token, and under its comparisons.

    The comparisons (`interventions.effects.comparisons`) are the sign flip and other blocks, as far as the
    edit has them, and, given the `train` activations of its direction, directions from shuffled labels;
    `compare=False` leaves them out. With `neutral` texts the cost (KL and loss) is measured for the edit and,
    with `control_costs`, for every control. `before` saves a run when the base behaviour on these prompts is
    already known. Raises ValueError for fewer than 20 controls, or for a `before` of other prompts.
    """
    if n_controls < MIN_CONTROLS:
        raise ValueError(
            f"an effect is shown beside at least {MIN_CONTROLS} matched random edits, got"
            f" n_controls={n_controls}"
        )
    whole = joined(edit)
    changed = edited(base, whole)
    if before is not None and not np.array_equal(before.ids, prompts.ids):
        raise ValueError(
            f"before holds {len(before)} records of other prompts than the {len(prompts)} given; measure it"
            " on the same prompts"
        )
    prompts = base.tokenise(prompts)  # once, for all the models that are asked
    before = behaviour(base, prompts) if before is None else before
    random = [edited(base, control) for control in matched_random(base, whole, prompts, n_controls, seed)]
    named = comparisons(whole, base, train, seed) if compare else {}
    with tqdm(
        total=1 + len(random) + len(named),
        desc="edits",
        delay=2,
        leave=False,
        disable=None if progress else True,
    ) as bar:

        def under(model: Model) -> Records:
            found = behaviour(model, prompts)
            bar.update()
            return found

        now, others = under(changed), {name: under(edited(base, other)) for name, other in named.items()}
        controls = tuple(under(model) for model in random)
    costs = (
        [] if neutral is None else neutral_costs(base, [changed, *(random if control_costs else [])], neutral)
    )
    y = None if prompts.y is None else prompts.y.astype(np.int64)
    return Effect(
        repr(whole), before, now, controls, y, others, costs[0] if costs else None, tuple(costs[1:])
    )
