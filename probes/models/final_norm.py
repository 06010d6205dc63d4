"""The norm before a model's output head, as far as a direction has to pass it."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from probes.models.model import Model
from probes.models.unwrap import inner_model


def through_final_norm(model: Model, unit: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    """What the norm before the output head lets through of a push along a vector, up to its scaling.

    Measured and not read off names: pushes of the norm show its gain, and whether it takes the mean over
    coordinates off (a LayerNorm does; the head then never sees a push that is the same in all of them).
    """
    norm = final_norm(model)
    if norm is None:
        return unit

    def pushed(by: Tensor) -> Tensor:
        by = by.to(model.device, model.dtype)[None, None]
        with torch.no_grad():
            return ((norm(by) - norm(-by)) / 2)[0, 0].float().cpu()

    signs = torch.ones(model.width)
    signs[1::2] = -1  # balanced, so that centring changes nothing
    gain = pushed(signs) * signs
    everywhere = pushed(torch.ones(model.width))
    centres = everywhere.norm() < 0.1 * gain.norm()
    return gain * (unit - unit.mean() if centres else unit)


def final_norm(model: Model) -> Callable[[Tensor], Tensor] | None:
    """The norm beside the blocks: mostly behind them, in some models named before them, as the norm of the
    embeddings is.
    """
    inner = inner_model(model.hf)
    owner_path = model.backend.blocks.rpartition(".")[0]
    children = list(inner.get_submodule(owner_path).named_children())
    at = [m for _, m in children].index(model.blocks)
    norms = [(name, m) for name, m in children if "norm" in name.lower() or name.startswith("ln")]
    behind = [m for name, m in norms if (name, m) in children[at + 1 :]]
    before = [m for name, m in norms if "emb" not in name.lower()]
    return next(iter([*behind[::-1], *before[::-1]]), None)
