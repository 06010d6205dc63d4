"""The contract every behaviour keeps, for this project's and for your own:
`check_behaviour(behaviour, model, prompts)`.
"""

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch

from interventions.behaviours.records import Behaviour, Records
from probes.data.examples import Examples
from probes.models.model import Model


def check_behaviour(
    behaviour: Behaviour,
    model: Model,
    prompts: Examples,
    changed: Model | None = None,
    tolerance: float = 1e-4,
) -> Records:
    """Every law a behaviour keeps on a model, and the records it gave; failures raise AssertionError saying
    which law broke.

    Give prompts of different lengths, so that a behaviour that reads padding shows. `changed` is an edited
    model that must behave otherwise on at least one of them. Values may differ by `tolerance` where prompts
    share a batch with others, by rounding alone.
    """
    before = _Before.of(model, prompts)
    made: Any = behaviour
    frozen = is_dataclass(behaviour) and made.__dataclass_params__.frozen
    assert frozen, "a behaviour is a frozen dataclass: a value that can be compared and printed"
    found = behaviour(model, prompts)
    _check_records(found, prompts)
    _same(found, behaviour(model, prompts), "running twice", 0.0)

    backwards = np.arange(len(prompts))[::-1]
    _same(
        _rows(found, backwards),
        behaviour(model, prompts.rows(backwards)),
        "another order of the prompts",
        tolerance,
    )
    for i in range(len(prompts)):
        alone = behaviour(model, prompts.rows([i]))
        _same(_rows(found, np.array([i])), alone, f"prompt {i} alone", tolerance)

    before.check_unchanged(model, prompts)
    if changed is not None:
        other = behaviour(changed, prompts)
        assert not np.allclose(other.values, found.values, atol=tolerance), (
            "an edited model that must behave otherwise gave the same values"
        )
        assert np.array_equal(other.ids, prompts.ids), (
            "records of the edited model must carry the ids of the prompts"
        )
        _same(found, behaviour(model, prompts), "the base model after an edited one", 0.0)

    before.check_unchanged(model, prompts)
    return found


def _check_records(found: Records, prompts: Examples) -> None:
    assert isinstance(found, Records), f"a behaviour gives Records, not {type(found).__name__}"
    assert np.array_equal(found.ids, prompts.ids), "records must carry the ids of the prompts, in their order"
    assert np.array_equal(found.groups, prompts.groups), (
        "records must carry the groups of the prompts, in their order"
    )
    assert np.isfinite(found.values).all(), "values must be finite on prompts that can be measured"
    named = found.behaviour and found.unit and repr(found) and len(found.table()) == len(prompts)
    assert named, "records must name the behaviour and its unit, and print"
    assert found.labels is None or set(found.labels) <= set(found.classes), "labels must be among the classes"


@dataclass(frozen=True, eq=False)
class _Before:
    """What a model and prompts were like before a behaviour ran, for `check_unchanged` afterwards."""

    state: dict[str, torch.Tensor]
    logits: torch.Tensor
    modes: list[bool]
    settings: str
    asked: str

    @classmethod
    def of(cls, model: Model, prompts: Examples) -> "_Before":
        return cls(
            state={name: tensor.clone() for name, tensor in model.hf.state_dict().items()},
            logits=model.logits(prompts.texts, columns=prompts.columns),
            modes=[m.training for m in model.hf.modules()],
            settings=str(getattr(model.hf, "generation_config", None)),
            asked=prompts.hash,
        )

    def check_unchanged(self, model: Model, prompts: Examples) -> None:
        now = model.hf.state_dict()
        alike = list(now) == list(self.state) and all(torch.equal(now[k], t) for k, t in self.state.items())
        assert alike, "the behaviour changed the model's weights"
        logits = model.logits(prompts.texts, columns=prompts.columns)
        assert torch.equal(logits, self.logits), (
            "the behaviour left hooks or modes behind: the model's logits changed"
        )
        assert [m.training for m in model.hf.modules()] == self.modes, (
            "the behaviour changed train or eval mode"
        )
        settings = str(getattr(model.hf, "generation_config", None))
        assert settings == self.settings, "the behaviour changed the model's generation settings"
        assert prompts.hash == self.asked, "the behaviour changed the prompts"


def _rows(records: Records, index: np.ndarray) -> Records:
    taken = {f.name: getattr(records, f.name) for f in fields(records)}
    taken |= {name: taken[name][index] for name in ("values", "ids", "groups")}
    taken["labels"] = None if records.labels is None else records.labels[index]
    taken["texts"] = None if records.texts is None else tuple(records.texts[i] for i in index)
    taken["columns"] = {name: column[index] for name, column in records.columns.items()}
    return Records(**taken)


def _same(expected: Records, got: Records, when: str, tolerance: float) -> None:
    assert np.array_equal(expected.ids, got.ids), f"{when}: other ids"
    assert np.allclose(expected.values, got.values, rtol=0, atol=tolerance, equal_nan=True), (
        f"{when}: values {got.values} instead of {expected.values}"
    )
    labels = [[] if r.labels is None else r.labels.tolist() for r in (expected, got)]
    assert labels[0] == labels[1], f"{when}: labels {labels[1]} instead of {labels[0]}"
    assert expected.texts == got.texts, f"{when}: other texts"
