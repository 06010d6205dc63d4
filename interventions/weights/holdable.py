"""What weights can hold: which edits, and of which models."""

from collections.abc import Sequence
from typing import Any

import torch

from interventions.writes.lowrank import Edit, as_edit
from probes.data.lowrank import LowRank
from probes.models.given import check_model
from probes.models.model import Model
from probes.models.writes import Write

HOOKS = "keep the edit in hooks: edited(model, ...)"

_PLAIN = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def linear_writes(model: Model, edits: Sequence[Edit]) -> tuple[Write, ...]:
    """All changes the model would hold, its own first; raises ValueError where the model or an edit
    is not one that weights can hold.
    """
    check_model(model, "baking")
    writes = (*model.writes, *(w for edit in edits for w in as_edit(edit).compile(model)))
    if not writes:
        raise ValueError("no edits given; pass at least one, such as Ablate(direction, sites=WRITERS)")
    _refuse_model(model)
    for w in writes:
        linear(w)
        if w.needs_prompts:
            raise refused(
                w, "it acts at single tokens, and weights act at all of them", f"use at='all', or {HOOKS}"
            )
    return writes


def linear(w: Write) -> LowRank:
    """The linear form of a write; raises ValueError where it has none."""
    data = w.as_data()
    if data is None:
        raise refused(w, "it is not a linear change h + (h U) V + c, and weights hold nothing else")
    return data


def refused(w: Any, why: str, instead: str = HOOKS) -> ValueError:
    """The error for a write that has no place in the weights."""
    return ValueError(f"{w!r} cannot go into weights: {why}; {instead}")


def _refuse_model(model: Model) -> None:
    hf, name = model.hf, model.name
    if not model.generates:
        raise ValueError(
            f"{name!r} ({type(hf).__name__}) has no language-model head, and changed weights are proven on"
            f" logits; {HOOKS}"
        )
    if hasattr(hf, "peft_config"):
        raise ValueError(
            f"{name!r} carries an adapter, which acts beside the weights; merge it first (merge_and_unload)"
            " and load the result"
        )
    dtypes = {p.dtype for p in hf.parameters()}
    if getattr(model.config, "quantization_config", None) is not None or not dtypes <= _PLAIN:
        raise ValueError(
            f"{name!r} is quantised ({', '.join(sorted(map(str, dtypes)))}); load it unquantised, and"
            " quantise what comes out"
        )
    planned, devices = (
        {str(d) for d in found}
        for found in (getattr(hf, "hf_device_map", {}).values(), {p.device for p in hf.parameters()})
    )
    if (
        max(len(planned), len(devices)) > 1
        or "disk" in planned
        or "meta" in devices
        or any(hasattr(p, "device_mesh") for p in hf.parameters())
    ):
        raise ValueError(
            f"{name!r} is sharded or not in memory ({', '.join(sorted(planned | devices))}); load it whole on"
            " one device, the CPU for example"
        )
