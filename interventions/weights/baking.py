"""Weight edits: a linear edit written into the weights of a copy, so that the model needs no hooks and runs
anywhere.

What writes to the residual stream (embeddings, and the last linear map of each sublayer) can give h + (h U) V
+ c itself; `interventions.weights.writers` finds out which weight that is. The result is held against the
hooked model before it is returned.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interventions.weights.holdable import HOOKS, linear_writes
from interventions.weights.parts import Part, check_tokens, transposed
from interventions.weights.writers import plan
from interventions.writes.lowrank import Edit
from probes.data.artefacts import complete
from probes.models.backends.hooks import Hooks
from probes.models.backends.points import whole
from probes.models.given import check_model
from probes.models.loading import load_model
from probes.models.model import Model
from probes.models.writes import everywhere

__all__ = ["bake", "save_baked"]

TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 0.2}
"""Largest difference of logits, relative to their root mean square, by precision; 1e-4 where nothing is said.

Rounding in half precision is coarse, so there the check sees gross faults only; bake in float32 and cast the
result where more is needed.
"""


def bake(model: Model, *edits: Edit, untie: bool = False) -> Model:
    """A copy of the model whose weights do what `edited(model, *edits)` does with hooks: the same logits,
    within 1e-4 of their size in float32.

    Edits at all tokens can be baked at attn_out, mlp_out, z and resid_pre.0; elsewhere in the residual stream
    only shifts can, through the bias of the MLP before. Edits that the model already holds are baked too.
    Where input and output embeddings are tied and the embedding must change, `untie=True` gives the head its
    own copy. The copy is another model to directions: take them along with `direction.on(baked, reason=...)`.
    Raises ValueError saying why an edit has no place in the weights and what to do instead, and when the copy
    does not give the hooked model's logits. Source: Arditi et al., arXiv 2406.11717.
    """
    writes = linear_writes(model, edits)
    parts = plan(model, writes, untie)
    hf = copy.deepcopy(model.hf)
    with torch.no_grad():
        for part in parts:
            _rewrite(hf, part)
    backend: Any = Hooks(hf, model.backend.blocks)
    if model.backend.name != backend.name:
        backend = load_model(
            hf, model.backend.name, tokenizer=model.tokenizer, blocks=model.backend.blocks
        ).backend
    labels = ", ".join(dict.fromkeys(w.label for w in writes))
    baked = Model(hf, model.tokenizer, f"{model.name} with {labels} in its weights", backend)
    check_equal(replace(model, writes=writes), baked, "the weights")
    return baked


def save_baked(model: Model, folder: str | Path) -> Path:
    """Writes an ordinary Hugging Face folder (weights, config, tokenizer), which appears once it is complete;
    returns it.

    Raises ValueError for a model whose edits are still hooks, which no folder can hold, and for a folder that
    has something in it.
    """
    check_model(model, "save_baked")
    if model.writes:
        raise ValueError(
            f"{model.name!r} has {len(model.writes)} edited sites in hooks, which are not saved with the"
            " weights; save_baked(bake(model), folder)"
        )
    target = empty_folder(folder)
    own = dict(vars(model.hf.config))
    with complete(target) as part:
        try:
            model.hf.save_pretrained(part)  # pyright: ignore
        finally:  # transformers writes into the config of the model that it saves
            vars(model.hf.config).clear()
            vars(model.hf.config).update(own)
        if model.tokenizer is not None:
            model.tokenizer.save_pretrained(part)
    return target


def empty_folder(folder: str | Path) -> Path:
    """A place for a new folder, its parent made; raises ValueError where something is already there."""
    target = Path(folder).expanduser()
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise ValueError(
            f"{target} already exists and is not empty; give a new folder, or remove that one first"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def factors(
    module: nn.Module, part: Part
) -> tuple[Float[Tensor, "out k"], Float[Tensor, "k in"], Float[Tensor, " out"]]:
    """B, A and b: the map with weight + B A (as an [out, in] matrix) and bias + b gives what the part asks
    for.

    An embedding has no bias; its shift is one more column of B beside a row of ones in A.
    """
    W = matrix(module)
    to = {"device": W.device, "dtype": W.dtype}
    (r, w, into), (R, V, c) = ([t.to(**to) for t in change.numbers()] for change in (part.takes, part.gives))
    bias: Any = getattr(module, "bias", None)
    # On x + (x r) w + into, W gives (W + (W w') r') x + W into; what comes out of that is changed next.
    B, A, b = W @ w.T, r.T, W @ into
    given = b if bias is None else b + bias.detach().to(**to)
    A, B, b = torch.cat([A, R.T @ W + (R.T @ B) @ A]), torch.cat([B, V.T], dim=1), b + V.T @ (R.T @ given) + c
    if isinstance(module, nn.Embedding) and b.any():
        B, A, b = (
            torch.cat([B, b[:, None] / part.scale], dim=1),
            torch.cat([A, torch.ones(1, W.shape[1], **to)]),
            torch.zeros_like(b),
        )
    return B, A, b


def matrix(module: nn.Module) -> Float[Tensor, "out in"]:
    """A module's weight as the matrix that multiplies a column, in float32 at least; GPT-2's maps and
    embeddings keep it the other way round.
    """
    weight: Tensor = module.weight.detach()  # pyright: ignore
    weight = weight if weight.dtype == torch.float64 else weight.float()
    return weight.T if isinstance(module, nn.Embedding) or transposed(module) else weight


def check_equal(hooked: Model, other: Model, what: str) -> None:
    """Holds another model against the hooked one on a few token sequences; raises ValueError with the
    size of the gap.
    """
    ids = check_tokens(hooked)
    want = hooked.backend.run(
        {"input_ids": ids}, (), whole, [(w.site, everywhere(w)) for w in hooked.writes], True, {}
    ).logits
    got = other.backend.run({"input_ids": ids}, (), whole, (), True, {}).logits
    assert want is not None and got is not None
    gap = float(
        (got.double() - want.double()).abs().max() / want.double().square().mean().sqrt().clamp_min(1e-30)
    )
    limit = TOLERANCE.get(hooked.dtype, 1e-4)
    if not gap <= limit:
        raise ValueError(
            f"the edit went into {what} of {hooked.name!r}, but its logits miss the hooked model's by"
            f" {gap:.1e} of their size (up to {limit:.0e} is rounding in {hooked.dtype}), so something else"
            f" stands between that place and the stream in {type(hooked.hf).__name__}; {HOOKS}"
        )


def _rewrite(hf: nn.Module, part: Part) -> None:
    """Changes one module of a copy; a head that shares its weight gets its own first."""
    model: Any = hf
    module, weight, head = (
        hf.get_submodule(part.name),
        hf.get_parameter(f"{part.name}.weight"),
        model.get_output_embeddings(),
    )
    if head.weight is weight:
        head.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
        model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = False
        # By this list transformers would tie them again.
        model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)
    B, A, b = factors(module, part)
    new = matrix(module) + B @ A
    weight.copy_(new.T if isinstance(module, nn.Embedding) or transposed(module) else new)
    if b.any():
        bias = hf.get_parameter(f"{part.name}.bias")
        bias.copy_(bias.to(b) + b)
