"""What every behaviour gives: one record a prompt, whose mean is the behaviour's number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float

from interventions.behaviours.measures import Given, Kinds, MeanValue, Measure
from interventions.behaviours.row_forms import as_kinds, as_named, as_strings, as_values
from probes.checks.choices import mask
from probes.data.cells import as_cells, beside
from probes.data.examples import Examples
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, mean
from probes.models.model import Model


@dataclass(frozen=True, eq=False)
class Records(Displayed):
    """A behaviour prompt by prompt, in the order of the prompts.

    `values` [n] are in `unit`; NaN marks a prompt that could not be measured, such as one whose judge never
    answered. A behaviour that sorts answers into kinds has `labels` [n], each one of `classes`. `texts` keeps
    what the model wrote, `columns` whatever else is known per prompt. `judged_by` is what the behaviour is
    judged by; by default its kinds where it has any, and the mean of its values otherwise. `receipt`
    says who was asked what (`interventions.behaviours.asked`), as far as it is known.
    """

    behaviour: str
    unit: str
    values: Float[np.ndarray, " n"]
    ids: np.ndarray
    groups: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    texts: tuple[str, ...] | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    judged_by: Measure | None = None
    receipt: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = as_values(self.values)
        n, classes = len(values), as_strings(self.classes, "classes")
        forms: dict[str, Any] = {
            "values": values,
            "ids": as_cells(self.ids, n, "ids"),
            "groups": as_cells(self.groups, n, "groups"),
            "labels": None if self.labels is None else as_kinds(self.labels, classes, n),
            "classes": classes,
            "texts": None if self.texts is None else as_strings(self.texts, "texts"),
            "columns": as_named(self.columns, n),
        }
        if forms["texts"] is not None and len(forms["texts"]) != n:
            raise ValueError(f"texts has {len(forms['texts'])} rows but there are {n}; give one a prompt")
        for name, form in forms.items():
            object.__setattr__(self, name, form)

    @classmethod
    def of(
        cls,
        prompts: Examples,
        behaviour: str,
        unit: str,
        values: Any,
        *,
        labels: Any = None,
        classes: Any = (),
        texts: Any = None,
        **more: Any,
    ) -> "Records":
        """Records of these prompts, with their ids and groups. `values`, `labels` (each one of `classes`) and
        `texts` are lists, tuples or arrays, one a prompt in their order; `more` are other fields by name.
        """
        numbers = as_values(values)
        if len(numbers) != len(prompts):
            raise ValueError(
                f"{len(numbers)} values for {len(prompts)} prompts; give one each, in their order"
            )
        given = {"labels": labels, "classes": classes, "texts": texts, **more}
        return cls(behaviour, unit, numbers, prompts.ids, prompts.groups, **given)

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def concat(cls, parts: Sequence["Records"]) -> "Records":
        """Records of one behaviour about several sets of prompts, under one another; raises
        ValueError for different behaviours.
        """
        first = parts[0]
        if (
            len(
                {
                    (
                        p.behaviour,
                        p.unit,
                        p.classes,
                        p.labels is None,
                        p.texts is None,
                        tuple(sorted(p.columns)),
                        p.measure,
                    )
                    for p in parts
                }
            )
            > 1
        ):
            raise ValueError(
                f"records of {' and '.join(p.behaviour for p in parts)} differ in behaviour, unit, labels,"
                " texts or columns; join records of one behaviour"
            )
        return replace(
            first,
            values=np.concatenate([p.values for p in parts]),
            ids=np.concatenate([p.ids for p in parts]),
            groups=np.concatenate([p.groups for p in parts]),
            labels=(
                None
                if first.labels is None
                else np.concatenate([p.labels for p in parts if p.labels is not None])
            ),
            texts=(
                None
                if first.texts is None
                else tuple(t for p in parts if p.texts is not None for t in p.texts)
            ),
            columns={name: np.concatenate([p.columns[name] for p in parts]) for name in first.columns},
            receipt={k: v for k, v in first.receipt.items() if all(p.receipt.get(k) == v for p in parts)},
        )

    def same_measure(self, other: "Records") -> None:
        """Raises ValueError unless both are of one behaviour in one unit, with the same kinds of answers."""
        ours, theirs = self._measure, other._measure
        if ours != theirs:
            raise ValueError(
                f"records of {theirs} cannot stand beside records of {ours}; measure both with the same"
                " behaviour"
            )

    @property
    def _measure(self) -> str:
        kinds = "" if self.labels is None else f", sorted into {', '.join(self.classes)}"
        return f"{self.behaviour!r} (in {self.unit}{kinds}, judged by {type(self.measure).__name__})"

    @property
    def measure(self) -> Measure:
        """What the behaviour is judged by, and what a changed answer is."""
        if self.judged_by is not None:
            return self.judged_by
        return MeanValue() if self.labels is None else Kinds()

    def given(self, where: np.ndarray) -> Given:
        """The values and kinds of some prompts, as a measure takes them."""
        return Given(self.values[where], None if self.labels is None else self.labels[where])

    @property
    def measured(self) -> np.ndarray:
        return np.isfinite(self.values)

    def estimate(self, where: Any = None) -> Estimate:
        """Mean over the prompts that were measured, with its interval over groups; `where` (a boolean mask or
        positions) picks some. Raises ValueError when there are none.
        """
        return self._mean(self.values, where)

    def share(self, label: str, where: Any = None) -> Estimate:
        """The share of measured prompts with this label; raises ValueError for a label the behaviour
        does not give.
        """
        if self.labels is None or label not in self.classes:
            raise ValueError(
                f"{self.behaviour} does not give the label {label!r}; its labels are"
                f" {', '.join(self.classes) or 'none'}"
            )
        return self._mean((self.labels == label).astype(float), where)

    def _mean(self, values: np.ndarray, where: Any) -> Estimate:
        rows = self.measured & mask(where, len(self))
        if not rows.any():
            raise ValueError(
                f"none of the {len(self)} prompts was measured by {self.behaviour}"
                if where is None
                else "no measured prompt is chosen"
            )
        return mean(values[rows], self.groups[rows])

    def table(self) -> pd.DataFrame:
        """One row a prompt: id, group, value, label, text and the behaviour's own columns."""
        found: dict[str, Any] = {"id": self.ids, "group": self.groups, "value": self.values}
        if self.labels is not None:
            found["label"] = self.labels
        if self.texts is not None:
            found["text"] = list(self.texts)
        return pd.DataFrame(beside(found, self.columns, "a table of records"))

    def __repr__(self) -> str:
        missing = len(self) - int(self.measured.sum())
        shown = f"{self.estimate():.3f} {self.unit}" if self.measured.any() else "nothing measured"
        kinds = (
            ""
            if self.labels is None
            else ", " + ", ".join(f"{c} {int((self.labels == c).sum())}" for c in self.classes)
        )
        lost = f", {missing} not measured" if missing else ""
        return terminal(f"Records({self.behaviour}: {shown}, n={len(self)}{kinds}{lost})")


@runtime_checkable
class Behaviour(Protocol):
    """Something a model does with prompts. Frozen data; a new one is one file here and one line in
    the list of `tests/test_behaviours.py`.
    """

    def __call__(self, model: Model, prompts: Examples) -> Records:
        """One record a prompt, in the order of the prompts; raises ValueError for prompts it cannot
        be asked about.
        """
        ...


def as_behaviour(given: Any) -> Any:
    """The behaviour; raises TypeError for a class of them and for what cannot be called on a model."""
    if isinstance(given, type):
        raise TypeError(f"{given.__name__} is a kind of behaviour; give one of it, {given.__name__}()")
    if not callable(given):
        raise TypeError(
            f"expected a behaviour such as Answers(), got a {type(given).__name__}, {given!r:.60}"
        )
    return given


def check_records(given: Any, what: str) -> None:
    """Raises TypeError for what is no `Records`."""
    if not isinstance(given, Records):
        raise TypeError(
            f"{what} takes Records, which behaviour(model, prompts) gives, got a {type(given).__name__}; a"
            " behaviour of your own returns Records.of(prompts, name, unit, values)"
        )
