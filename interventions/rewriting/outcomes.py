"""What a model does with every version of its prompts: paired with the originals, each arm beside the
arms that have no aim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float

from interventions.behaviours.records import Behaviour, Records
from interventions.effects.transitions import Transitions, answers_of, transitions
from interventions.rewriting.arms import MOVE, ORIGINAL, SECOND, SELECTED, TEXT, Arm, Towards
from interventions.rewriting.elasticity import Elasticity, elasticity
from interventions.rewriting.verdict import AIMLESS, MARGIN, ArmNumbers, ArmVerdict, Beside, judged
from interventions.writes.edited import edited
from interventions.writes.lowrank import Edit
from probes.markup.progress import progress_bar
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, mean, mean_difference
from probes.models.model import Model

WEIGHTS = {"honest": 1.0, "deceptive": -1.0}


@dataclass(frozen=True, eq=False)
class Remeasured(Displayed):
    """Records of every arm. The outcome of a prompt is +1 for honest, -1 for deceptive and 0 for other
    answers, or the behaviour's value where it has no such classes.

    Arms named in `edits` are the original prompts under an edit. Prompts that were not measured in an arm and
    in the original are left out of that arm.
    """

    arms: Mapping[str, Arm]
    records: Mapping[str, Records]
    towards: Towards
    edits: Mapping[str, str] = field(default_factory=dict)

    @property
    def original(self) -> Records:
        return self.records[ORIGINAL]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.original.classes

    @property
    def unit(self) -> str:
        return "honest minus deceptive" if self._weighted else self.original.unit

    @property
    def _weighted(self) -> bool:
        return set(WEIGHTS) <= set(self.classes)

    def outcome(self, arm: str) -> Float[np.ndarray, " n"]:
        """The outcome of every prompt; NaN where it was not measured."""
        r = self._of(arm)
        if not self._weighted:
            return r.values
        assert r.labels is not None
        return np.where(r.measured, [WEIGHTS.get(label, 0.0) for label in r.labels], np.nan)

    def change(self, arm: str, kind: str | None = None, than: str = ORIGINAL) -> Estimate:
        """Mean change of the outcome against another arm, or the risk difference of one `kind` of
        answer, paired by prompt.
        """
        now, then = (self._kind(a, kind) if kind else self.outcome(a) for a in (arm, than))
        rows = np.isfinite(now) & np.isfinite(then)
        if not rows.any():
            raise ValueError(f"no prompt was measured both in {arm!r} and in {than!r}")
        return mean_difference(now[rows], then[rows], self.original.groups[rows])

    def shift(self, arm: str, by: str = "probe") -> Estimate:
        """The mean change of the score in the direction asked for, in calibrated units: positive
        means that rewrites went where they should, as `by` sees it.
        """
        return mean(self._moved(arm, by), self.original.groups, share=False)

    def transitions(self, arm: str) -> Transitions:
        """Which kind of answer became which, with Bowker's test, and McNemar's for one class
        (`.against_rest`).
        """
        return transitions(self.original, self._of(arm))

    def _symmetry(self, arm: str) -> float | None:
        """The p-value of its transitions; None of numbers, which are of no kind."""
        return None if answers_of(self.original) is None else self.transitions(arm).p_value

    def elasticity(self, arm: str, by: str = "probe") -> Elasticity:
        """Change of the outcome per unit of deploy-likeness. Raises ValueError for an edit: it leaves
        the prompt and so its score as they were.
        """
        if arm in self.edits:
            raise ValueError(f"{arm!r} is an edit, which changes no prompt; elasticity is for rewrites")
        now, then = self.outcome(arm), self.outcome(ORIGINAL)
        rows = np.isfinite(now) & np.isfinite(then)
        s0, s1 = (-self.arms[a].scores[by][rows] for a in (ORIGINAL, arm))
        return elasticity(then[rows], now[rows], s0, s1, self.original.groups[rows], unit=self.unit)

    def verdict(self, arm: str, margin: float | int = MARGIN) -> ArmVerdict:
        """What may be said about an arm of rewrites, in fixed words; changes below `margin` (of the outcome)
        are too small to speak of.

        Raises ValueError for an edit, whose verdict is that of `interventions.effect`, with its random edits.
        """
        if arm in self.edits or arm == ORIGINAL:
            raise ValueError(
                f"{arm!r} is no arm of rewrites; for an edit use interventions.effect, which runs matched"
                " random edits"
            )
        scored_twice = SECOND in self.arms[ORIGINAL].scores
        numbers = ArmNumbers(
            arm=arm,
            unit=self.unit,
            change=self.change(arm),
            aimless={name: self._beside(arm, name) for name in AIMLESS if name != arm},
            text_gap=self.change(arm, than=TEXT) if arm == SELECTED and TEXT in self.records else None,
            second_shift=self.shift(arm, SECOND) if scored_twice else None,
            kept=float((~self.arms[arm].rewritten).mean()),
            margin=float(margin),
        )
        return judged(numbers)

    def _beside(self, arm: str, control: str) -> Beside | None:
        if control not in self.records:
            return None
        return Beside(self.change(control), self.change(arm, than=control))

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row an arm: share rewritten, length, shift by each scorer, share of each kind, change
        of the outcome and its p-value of symmetry.
        """
        rows = []
        for name, r in self.records.items():
            arm = self.arms.get(name)
            row: dict[str, object] = {"arm": name, "n": int(r.measured.sum())}
            row |= (
                {"rewritten": None, "length": None}
                if arm is None
                else {"rewritten": float(arm.rewritten.mean()), "length": float(arm.length.mean())}
            )
            for by in self.arms[ORIGINAL].scores:
                row[f"shift by {by}"] = None if arm is None else self.shift(name, by)
            measured: dict[str, object] = (
                {kind: float(r.share(kind).value) for kind in r.classes}
                if r.labels is not None
                else {r.unit: r.estimate()}
            )
            changed = (
                {"change": None, "p": None}
                if name == ORIGINAL
                else {"change": self.change(name), "p": self._symmetry(name)}
            )
            # A kind of answers may be called as a column is.
            taken = row | changed
            row |= {f"share {kind}" if kind in taken else kind: v for kind, v in measured.items()} | changed
            rows.append(row)
        return pd.DataFrame(rows).set_index("arm")

    def __repr__(self) -> str:
        what = f"{self.original.behaviour} of {len(self.original)} prompts, towards {self.towards}"
        return terminal(f"Remeasured({what}; change is that of {self.unit})\n{self.shown().to_string()}")

    def shown(self) -> pd.DataFrame:
        """The table as short texts."""
        return pd.DataFrame(
            {c: [_short(v) for v in self.table[c]] for c in self.table.columns}, index=self.table.index
        )

    def _of(self, arm: str) -> Records:
        if arm not in self.records:
            raise ValueError(f"no arm {arm!r}; there are {', '.join(self.records)}")
        return self.records[arm]

    def _kind(self, arm: str, kind: str) -> np.ndarray:
        r = self._of(arm)
        if r.labels is None or kind not in r.classes:
            raise ValueError(
                f"{r.behaviour} gives no answers of kind {kind!r}; its kinds are"
                f" {', '.join(r.classes) or 'none'}"
            )
        return np.where(r.measured, r.labels == kind, np.nan)

    def _moved(self, arm: str, by: str) -> np.ndarray:
        if arm not in self.arms or by not in self.arms[arm].scores:
            raise ValueError(
                f"arm {arm!r} has no scores by {by!r}; arms of rewrites are {', '.join(self.arms)}, scored by"
                f" {', '.join(self.arms[ORIGINAL].scores)}"
            )
        return MOVE[self.towards] * (self.arms[arm].scores[by] - self.arms[ORIGINAL].scores[by])


def remeasured(
    model: Model,
    behaviour: Behaviour,
    arms: Mapping[str, Arm],
    *,
    edits: Mapping[str, Edit | Sequence[Edit]] | None = None,
    towards: Towards = "deployment",
    progress: bool = True,
) -> Remeasured:
    """Runs a behaviour on every arm, and on the original prompts under each of `edits`; a steered arm goes
    through the same evaluation as a rewritten one.

    Texts that several arms share are asked once, so arms that took the same candidate cannot differ by
    chance. Raises ValueError without the arm "original".
    """
    if ORIGINAL not in arms:
        raise ValueError(f"every arm is compared with {ORIGINAL!r}, which is missing among {', '.join(arms)}")
    if clash := set(edits or {}) & set(arms):
        raise ValueError(f"edits and arms share the names {', '.join(sorted(clash))}; rename the edits")
    records: dict[str, Records] = {}
    told: dict[tuple[int, str], tuple[str, int]] = {}
    with progress_bar("arms", progress, total=len(arms) + len(edits or {})) as bar:
        for name, arm in arms.items():
            records[name] = _asked(model, behaviour, arm, name, records, told)
            bar.update()
        for name, edit in (edits or {}).items():
            several = tuple(edit) if isinstance(edit, Sequence) else (edit,)
            records[name] = behaviour(edited(model, *several), arms[ORIGINAL].prompts)
            bar.update()
    return Remeasured(arms, records, towards, {name: repr(edit) for name, edit in (edits or {}).items()})


def _asked(
    model: Model,
    behaviour: Behaviour,
    arm: Arm,
    name: str,
    records: Mapping[str, Records],
    told: dict[tuple[int, str], tuple[str, int]],
) -> Records:
    """Records of an arm, of which only prompts that no earlier arm had are asked."""
    keys = [(i, str(text)) for i, text in enumerate(arm.prompts.texts)]
    new = np.array([key not in told for key in keys])
    asked = behaviour(model, arm.prompts.rows(new)) if new.any() else None
    place = np.cumsum(new) - 1
    parts: list[tuple[Records, int]] = []
    for i, key in enumerate(keys):
        if new[i]:
            assert asked is not None
            parts.append((asked, int(place[i])))
        else:
            earlier, row = told[key]
            parts.append((records[earlier], row))
        told.setdefault(key, (name, i))
    first = parts[0][0]

    def line(name: str) -> np.ndarray:
        return np.array([getattr(r, name)[j] for r, j in parts])

    columns = {
        c: np.array([r.columns[c][j] for r, j in parts], dtype=first.columns[c].dtype) for c in first.columns
    }
    return Records(
        first.behaviour,
        first.unit,
        line("values"),
        arm.prompts.ids,
        arm.prompts.groups,
        None if first.labels is None else line("labels"),
        first.classes,
        None if first.texts is None else tuple((r.texts or ())[j] for r, j in parts),
        columns,
        judged_by=first.judged_by,
    )


def _short(value: object) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "-"
    if isinstance(value, Estimate):
        return f"{value:.2f}"
    return (
        f"{value:.2g}"
        if isinstance(value, float) and 0 < abs(value) < 0.005
        else f"{value:.2f}"
        if isinstance(value, float)
        else str(value)
    )
