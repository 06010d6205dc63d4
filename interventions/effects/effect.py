"""What an edit did to a behaviour: paired by prompt, beside edits of its size that mean nothing, with what
it costs elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from interventions.behaviours.measures import Measure
from interventions.behaviours.neutral_text import Cost
from interventions.behaviours.records import Records
from interventions.effects.meaningless import cosine_of
from interventions.effects.transitions import Transitions, transitions
from interventions.effects.verdict import SIGN_FLIP, Controls, Drawn, EditNumbers, Verdict, judged
from interventions.writes.lowrank import Edit
from probes.checks.choices import mask
from probes.fitting.directions import Direction
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, accuracy, auroc, mean, mean_difference

TIE = 1e-4  # share by which a control may fall short of an edit and still do as much


@dataclass(frozen=True, eq=False)
class Effect(Displayed):
    """One behaviour under one edit, under controls and under what else it could have been, per prompt.

    `before` and `now` are the behaviour's records without and with the edit. `random` are those under each
    control, an edit of the same size along a direction that means nothing, which `drawn` tells about;
    `isotropic` those along directions as likely as any other. `others` are those under named comparisons
    (sign flip, other blocks). `y` says what the right answer is. Methods summarise all prompts or, with
    `where` (a boolean mask or positions), some.
    """

    edit: str
    before: Records
    now: Records
    random: tuple[Records, ...]
    y: Int[np.ndarray, " n"] | None
    others: Mapping[str, Records] = field(default_factory=dict)
    cost: Cost | None = None
    control_costs: tuple[Cost, ...] = ()
    isotropic: tuple[Records, ...] = ()
    drawn: Drawn = field(default_factory=Drawn)
    applied: Edit | None = None

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
        """Values under each control."""
        return np.stack([r.values for r in self.random])

    @property
    def groups(self) -> np.ndarray:
        return self.before.groups

    def rows(self, where: Any) -> np.ndarray:
        """The prompts asked about that were measured every time."""
        whole = np.logical_and.reduce([r.measured for r in (self.before, self.now, *self.random)])
        return np.flatnonzero(whole & mask(where, len(whole)))

    def _labels(self, rows: np.ndarray) -> np.ndarray:
        if self.y is None:
            raise ValueError(
                "the prompts have no y, so there is no right answer to compare with; give the Examples y,"
                " or see .shown() for what needs none"
            )
        return self.y[rows]

    @property
    def measure(self) -> Measure:
        """What the behaviour is judged by, and what a changed answer is."""
        return self.before.measure

    def change(self, where: Any = None) -> Estimate:
        """Mean change of the behaviour's values, edited minus base."""
        k = self.rows(where)
        return mean_difference(self.after[k], self.base[k], self.groups[k])

    def control_changes(self, where: Any = None) -> Float[np.ndarray, " c"]:
        """Mean change of the values under each control."""
        k = self.rows(where)
        return (self.controls[:, k] - self.base[k]).mean(1)

    def moved(self, where: Any = None) -> Estimate:
        """What the edit is judged by: the share of answers it changed, or the mean change of the values,
        as the behaviour's measure says.
        """
        return self._moved(self.now, self.rows(where))

    def control_moved(self, where: Any = None) -> Float[np.ndarray, " c"]:
        """The same number under each control."""
        k = self.rows(where)
        return np.array([self._moves(r, k).mean() for r in self.random])

    def excess(self, where: Any = None) -> Estimate:
        """The share of answers that the edit changed over what controls change on average, prompt by prompt;
        for a behaviour judged by its mean, the mean change.
        """
        k = self.rows(where)
        moves = self._moves(self.now, k)
        if self.measure.by_answers:
            moves = moves - np.mean([self._moves(r, k) for r in self.random], axis=0)
        return mean(moves, self.groups[k], share=False)

    def p_value(self, where: Any = None) -> float:
        """How often a control moves behaviour at least as far, by what it is judged by; never below
        1 / (controls + 1).
        """
        moved = abs(float(self.moved(where).value)) * (1 - TIE)
        return float((1 + (np.abs(self.control_moved(where)) >= moved).sum()) / (1 + len(self.random)))

    def shown(self, of: str = "after", where: Any = None) -> Mapping[str, Estimate]:
        """The behaviour's measures by name; `of` is base, after or controls (then one value a control)."""
        k = self.rows(where)
        return self._measures(self._of(of)[..., k], k)

    def _of(self, of: str) -> Float[np.ndarray, "..."]:
        if of not in ("base", "after", "controls"):
            raise ValueError(f"of={of!r} is unknown; choose base, after or controls")
        return getattr(self, of)

    def _moves(self, other: Records, rows: np.ndarray) -> Float[np.ndarray, " n"]:
        """What another run did to each prompt: changed the answer or not, or moved the value."""
        if self.measure.by_answers:
            return self.measure.changed(self.before.given(rows), other.given(rows)).astype(float)
        return other.values[rows] - self.base[rows]

    def _moved(self, other: Records, rows: np.ndarray) -> Estimate:
        return mean(self._moves(other, rows), self.groups[rows], share=self.measure.by_answers)

    def accuracy(self, of: str = "after", where: Any = None) -> Estimate:
        """Balanced accuracy of the answers; `of` is base, after or controls (then one value a control)."""
        k = self.rows(where)
        return accuracy(self._of(of)[..., k], self._labels(k), self.groups[k], balanced=True)

    def auroc(self, of: str = "after", where: Any = None) -> Estimate:
        """How well the behaviour still ranks right above wrong; `of` as for `accuracy`."""
        k = self.rows(where)
        return auroc(self._of(of)[..., k], self._labels(k), self.groups[k])

    def turned(self, towards: int, of: str = "after", where: Any = None) -> Estimate:
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
        return mean(((self._of(of)[..., k] > 0) == bool(towards)).astype(float), self.groups[k])

    def transitions(self, where: Any = None) -> Transitions:
        """Which kind of answer became which, with McNemar's or Bowker's test."""
        return transitions(self.before, self.now, where)

    def changed(self, where: Any = None) -> Estimate:
        """The share of prompts that got another answer: of another kind, on the other side of 0, or with
        another value, as the behaviour's measure says.
        """
        return self._share_changed(self.now, self.rows(where))

    def control_changed(self, where: Any = None) -> Float[np.ndarray, " c"]:
        """The same share under each control."""
        k = self.rows(where)
        return np.array([self.measure.changed(self.before.given(k), r.given(k)).mean() for r in self.random])

    def _share_changed(self, other: Records, rows: np.ndarray) -> Estimate:
        changed = self.measure.changed(self.before.given(rows), other.given(rows))
        return mean(changed.astype(float), self.groups[rows], share=True)

    def cosine_to(self, direction: Direction) -> float | None:
        """|Cosine| of the edit's direction to another at its site; None where the edit is not along one
        direction of that site.
        """
        return None if self.applied is None else cosine_of(self.applied, direction)

    def verdict(self, alpha: float = 0.05, max_kl: float = 0.05) -> Verdict:
        """What may be said about the edit, in fixed words, with what stands against saying more."""
        return judged(self.numbers(alpha, max_kl))

    def numbers(self, alpha: float = 0.05, max_kl: float = 0.05) -> EditNumbers:
        """Everything the verdict rests on."""
        rows = self.rows(None)
        flipped = self.others.get(SIGN_FLIP)
        return EditNumbers(
            edit=self.edit,
            behaviour=self.before.behaviour,
            unit=self.before.unit,
            by_answers=self.measure.by_answers,
            moved=self.moved(),
            excess=self.excess(),
            p=self.p_value(),
            controls=self._controls(rows),
            before=self.shown("base"),
            after=self.shown("after"),
            others={name: self._moved_by(other, rows) for name, other in self.others.items()},
            change=self.change(),
            flipped=None if flipped is None else self._changed_by(flipped, rows),
            kl=None if self.cost is None else self.cost.kl,
            alpha=alpha,
            max_kl=max_kl,
        )

    def _controls(self, rows: np.ndarray) -> Controls:
        isotropic = [self._moves(r, rows).mean() for r in self.isotropic if r.measured[rows].all()]
        return Controls(self.control_moved(), np.array(isotropic), self.drawn)

    def _moved_by(self, other: Records, rows: np.ndarray) -> Estimate | None:
        """The judged number under a comparison; None where no prompt was measured under it."""
        here = rows[other.measured[rows]]
        return self._moved(other, here) if len(here) else None

    def _changed_by(self, other: Records, rows: np.ndarray) -> Estimate | None:
        here = rows[other.measured[rows]]
        return mean_difference(other.values[here], self.base[here], self.groups[here]) if len(here) else None

    def table(self) -> pd.DataFrame:
        """The behaviour's measure and, where it is judged by answers, the share of them that changed:
        unedited, edited, under every comparison, and the range over controls and isotropic random edits.
        """
        rows = self.rows(None)
        lines = [("unedited", self._headline(self.before, rows), "")]
        for name, r in {self.edit: self.now, **self.others}.items():
            here = rows[r.measured[rows]]
            changed = f"{self._share_changed(r, here):.2f}" if self.measure.by_answers else ""
            lines.append((name, self._headline(r, here), changed))
        lines.append((f"{len(self.random)} controls ({self.drawn.source})", *self._ranges(self.random, rows)))
        isotropic = [r for r in self.isotropic if r.measured[rows].all()]
        if isotropic:
            lines.append((f"{len(isotropic)} isotropic random", *self._ranges(isotropic, rows)))
        columns = ["edit", next(iter(self.shown("base"))), "share of answers changed"]
        found = pd.DataFrame(lines, columns=columns)
        return found if self.measure.by_answers else found.drop(columns=columns[2])

    def _headline(self, records: Records, rows: np.ndarray) -> str:
        """The first measure on some prompts; a dash where they cannot show it."""
        found = self._measures(records.values[rows], rows)
        return f"{next(iter(found.values())):.3f}"

    def _ranges(self, runs: Sequence[Records], rows: np.ndarray) -> tuple[str, str]:
        values = next(iter(self._measures(np.stack([r.values[rows] for r in runs]), rows).values())).value
        changed = [self.measure.changed(self.before.given(rows), r.given(rows)).mean() for r in runs]
        return f"{values.min():.3f} to {values.max():.3f}", f"{min(changed):.2f} to {max(changed):.2f}"

    def _measures(self, values: np.ndarray, rows: np.ndarray) -> Mapping[str, Estimate]:
        y = None if self.y is None else self.y[rows]
        return self.measure.shown(values, self.groups[rows], y, self.before.unit)

    def __repr__(self) -> str:
        verdict = self.verdict()
        shown = self.table().to_string(index=False, max_colwidth=60)
        return terminal(f"{shown}\n{verdict}")
