"""A linear edit as a PEFT LoRA adapter: a small folder beside the untouched model, exact and without
training.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from interventions.weights.baking import check_equal, empty_folder, factors
from interventions.weights.holdable import HOOKS, linear, linear_writes
from interventions.weights.parts import Part, transposed
from interventions.weights.writers import plan
from interventions.writes.lowrank import Edit
from probes.data.artefacts import complete
from probes.models.backends.hooks import Hooks
from probes.models.model import Model
from probes.models.writes import Write


def as_lora(model: Model, *edits: Edit, folder: str | Path) -> Path:
    """Writes the edits as a LoRA adapter that `peft.PeftModel.from_pretrained` puts onto the untouched model;
    its logits are those of `edited(model, *edits)`.

    For a map y = W x the change y + (y U) V is exactly the adapter B = V', A = U' W of rank k with scaling 1.
    It can act where `bake` can, shifts excepted: a LoRA adapter adds a linear map of what comes in. Where a
    projected map has a bias, the projection of that goes into the adapter's `lora_bias`, which PEFT reads and
    other engines may not. An adapter on an embedding that is tied to the head leaves the head alone, so do
    not merge that one. Returns the folder, which appears once it is complete and was held against the hooked
    model. Raises ImportError without peft, and ValueError saying why an edit cannot be an adapter and what to
    do instead. Source: Hu et al., arXiv 2106.09685.
    """
    peft = _peft()
    target = empty_folder(folder)
    writes = linear_writes(model, edits)
    _refuse_shifts(writes)
    tensors, settings = _adapter(model, plan(model, writes, untie=True))
    config = peft.LoraConfig(
        **settings,
        task_type="CAUSAL_LM",
        inference_mode=True,
        base_model_name_or_path=getattr(model.config, "_name_or_path", "") or None,
    )
    with complete(target) as part:
        part.mkdir()
        save_file(tensors, part / "adapter_model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(str(part))
        on = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(on):  # PEFT draws weights, which those of the file replace
            adapted = peft.PeftModel.from_pretrained(_beside(model.hf), str(part))
        check_equal(
            replace(model, writes=writes),
            Model(adapted, model.tokenizer, model.name, Hooks(adapted, model.backend.blocks)),
            "an adapter",
        )
    return target


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ImportError('writing a LoRA adapter needs peft 0.18: pip install "hookprobe[peft]"') from error
    return peft


def _refuse_shifts(writes: Sequence[Write]) -> None:
    for w in writes:
        if linear(w).c.any():
            why = (
                "it shifts the hidden state, and a LoRA adapter is a linear map of what a module takes in,"
                " which has no constant part"
            )
            raise ValueError(f"{w!r} cannot be an adapter: {why}; use bake(model, ...), or {HOOKS}")


def _adapter(model: Model, parts: Sequence[Part]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All modules' tensors under the names of an adapter file, and what PEFT's config says of them."""
    modules = {part.name: model.hf.get_submodule(part.name) for part in parts}
    found = {part.name: factors(modules[part.name], part) for part in parts}
    biased = any(bool(b.any()) for _, _, b in found.values())
    if biased and any(isinstance(m, nn.Embedding) for m in modules.values()):
        raise ValueError(
            f"the edit changes embeddings and also biases of {type(model.hf).__name__}, and PEFT has no"
            " lora_bias beside an adapter on an embedding; use bake(model, ..., untie=True), leave"
            f" resid_pre.0 out, or {HOOKS}"
        )
    rank = max(A.shape[0] for _, A, _ in found.values())
    tensors = {
        f"base_model.model.{name}.{key}": t.float().cpu().contiguous().clone()
        for name, (B, A, b) in found.items()
        for key, t in _tensors(modules[name], B, A, b if biased else None, rank).items()
    }
    return tensors, {
        "r": rank,
        "lora_alpha": rank,  # scaling is lora_alpha / r
        "target_modules": sorted(modules),
        "lora_bias": biased,
        "fan_in_fan_out": any(transposed(m) for m in modules.values()),
    }


def _tensors(module: nn.Module, B: Tensor, A: Tensor, b: Tensor | None, rank: int) -> Mapping[str, Tensor]:
    """One module's adapter under PEFT's names. All have the same rank, so zeros fill up the smaller ones."""
    more = rank - A.shape[0]
    A, B = nn.functional.pad(A, (0, 0, 0, more)), nn.functional.pad(B, (0, more))
    if isinstance(module, nn.Embedding):
        return {"lora_embedding_A": A, "lora_embedding_B": B}
    return {"lora_A.weight": A, "lora_B.weight": B} | ({} if b is None else {"lora_B.bias": b})


def _beside(hf: nn.Module) -> nn.Module:
    """Another model object on the same memory. Its parameters are objects of their own, because PEFT
    switches their gradients off.
    """
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in hf.parameters()}
    return copy.deepcopy(hf, memo | {id(b): b for b in hf.buffers()})
