"""What an edit does to behaviour: paired by prompt, beside matched random edits, with what it costs elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from interventions.behaviours.neutral_text import Cost, neutral_costs
from interventions.behaviours.records import Behaviour
from interventions.controls import matched_random
from interventions.edited import edited
from interventions.lowrank import Edit
from probes.examples import Examples
from probes.metrics import Estimate, accuracy, auroc, mean
from probes.models import Model

MIN_CONTROLS = 20


@dataclass(frozen=True, eq=False)
class Effect:
    """One behaviour under one edit and under its matched random edits, per prompt.

    `base` and `after` are [n] in the behaviour's unit (for `Answers`: logits), `controls` [control, n]. `y` says what the right
    answer is. Methods summarise all prompts or, with `where`, some of them.
    """

    edit: str
    base: Float[np.ndarray, " n"]
    after: Float[np.ndarray, " n"]
    controls: Float[np.ndarray, "c n"]
    y: Int[np.ndarray, " n"] | None
    groups: np.ndarray
    cost: Cost | None = None
    control_costs: tuple[Cost, ...] = ()

    def _rows(self, where: np.ndarray | None) -> np.ndarray:
        return np.arange(len(self.base)) if where is None else np.flatnonzero(np.asarray(where))

    def _labels(self, rows: np.ndarray) -> np.ndarray:
        if self.y is None:
            raise ValueError("the prompts have no y, so there is no right answer to compare with; give the Examples y")
        return self.y[rows]

    def change(self, where: np.ndarray | None = None) -> Estimate:
        """Mean change of the behaviour, edited minus base."""
        k = self._rows(where)
        return mean(self.after[k] - self.base[k], self.groups[k])

    def control_changes(self, where: np.ndarray | None = None) -> Float[np.ndarray, " c"]:
        """Mean change under each matched random edit."""
        k = self._rows(where)
        return (self.controls[:, k] - self.base[k]).mean(1)

    def p_value(self, where: np.ndarray | None = None) -> float:
        """How often a matched random edit moves the mean at least as far; never below 1 / (controls + 1)."""
        size = abs(float(self.change(where).value))
        return float((1 + (np.abs(self.control_changes(where)) >= size).sum()) / (1 + len(self.controls)))

    def accuracy(self, of: str = "after", where: np.ndarray | None = None) -> Estimate:
        """Balanced accuracy of the answers; `of` is base, after or controls (then one value a control)."""
        k = self._rows(where)
        return accuracy(getattr(self, of)[..., k], self._labels(k), self.groups[k], balanced=True)

    def auroc(self, of: str = "after", where: np.ndarray | None = None) -> Estimate:
        """How well the behaviour still ranks right above wrong; `of` as for `accuracy`."""
        k = self._rows(where)
        return auroc(getattr(self, of)[..., k], self._labels(k), self.groups[k])

    def turned(self, towards: int, of: str = "after", where: np.ndarray | None = None) -> Estimate:
        """Among the prompts whose base answer was the other one, the share now answered `towards` (1 positive, 0 negative).

        Raises ValueError when no prompt had the other answer.
        """
        rows = self._rows(where)
        k = rows[(self.base[rows] > 0) != bool(towards)]
        if not len(k):
            raise ValueError(f"no prompt had the other answer before the edit, so none can be turned towards {towards}")
        return mean(((getattr(self, of)[..., k] > 0) == bool(towards)).astype(float), self.groups[k])

    def __repr__(self) -> str:
        return f"Effect({self.edit}: mean change {self.change():.3f}, p={self.p_value():.3f} against {len(self.controls)} matched random edits)"


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
    before: Float[np.ndarray, " n"] | None = None,
    progress: bool = True,
) -> Effect:
    """Runs a behaviour under an edit and under `n_controls` random edits that change h by the same mean length per token.

    With `neutral` texts the cost (KL and loss) is measured for the edit and, with `control_costs`, for every control. `before` saves a run when the
    base behaviour on these prompts is already known. Raises ValueError for fewer than 20 controls.
    """
    if n_controls < MIN_CONTROLS:
        raise ValueError(f"an effect is shown beside at least {MIN_CONTROLS} matched random edits, got n_controls={n_controls}")
    joined = _Joined(tuple(edit)) if isinstance(edit, Sequence) else edit
    changed = edited(base, joined)
    before = behaviour(base, prompts).values if before is None else before
    after = behaviour(changed, prompts).values
    random = [edited(base, control) for control in matched_random(base, joined, prompts, n_controls, seed)]
    bar = tqdm(random, desc="matched random", delay=2, leave=False, disable=None if progress else True)
    controls = [behaviour(model, prompts).values for model in bar]
    costs = [] if neutral is None else neutral_costs(base, [changed, *(random if control_costs else [])], neutral)
    y = None if prompts.y is None else prompts.y.astype(np.int64)
    return Effect(repr(joined), before, after, np.stack(controls), y, prompts.groups, costs[0] if costs else None, tuple(costs[1:]))


@dataclass(frozen=True, eq=False)
class _Joined:
    """Several edits as one, in order."""

    edits: tuple[Edit, ...]

    def compile(self, model: Model) -> tuple:
        return tuple(change for edit in self.edits for change in edit.compile(model))

    def __repr__(self) -> str:
        return " then ".join(map(repr, self.edits))
