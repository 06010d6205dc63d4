"""What a forward pass is given: the tokens of a batch with the mask and position ids that padding needs."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from probes.data.tokens import Batch

COUNTS_BEHIND_PADDING = ("camembert", "xmod", "mpnet", "longformer")
"""RoBERTa's relatives, besides those that have its name in theirs."""
SPARE = 8  # positions that a table may hold beyond those for tokens, such as OPT's first two


def takes(module: nn.Module, name: str) -> bool:
    """Whether the module's forward pass has this keyword."""
    return name in inspect.signature(module.forward).parameters


def position_offset(config: Any) -> int:
    """The first position of a text: behind the padding index in RoBERTa's family, 0 for everyone else."""
    family = str(getattr(config, "model_type", ""))
    return int(config.pad_token_id) + 1 if "roberta" in family or family in COUNTS_BEHIND_PADDING else 0


def longest_text(config: Any) -> int | None:
    """How many tokens a text may have; None where the config sets no limit."""
    limits = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions")]
    found = next((n for n in limits if n), None)
    return None if found is None else found - position_offset(config)


def forward_inputs(module: nn.Module, config: Any, batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """Keyword inputs of the forward pass. Padded batches carry mask and position ids, without which left
    padding goes wrong.
    """
    inputs = {"input_ids": batch.ids.to(device)}
    if batch.padded:
        inputs["attention_mask"] = batch.mask.to(device)
        if takes(module, "position_ids"):
            offset = position_offset(config)
            positions = torch.where(batch.mask == 1, batch.mask.cumsum(1) - 1 + offset, max(0, offset - 1))
            inputs["position_ids"] = positions.to(device)
    return inputs


def refuse_overlong(module: nn.Module, config: Any, batch: Batch, new: int) -> None:
    """Raises ValueError where a text could grow beyond positions that were learned one by one: behind the
    last there is none. Rotary positions go on.
    """
    limit, longest = longest_text(config), int(batch.mask.sum(1).max())
    if limit is None or longest + new <= limit:
        return
    tokens: Any = module.get_input_embeddings()  # pyright: ignore
    tables = [m for m in module.modules() if isinstance(m, nn.Embedding) and m is not tokens]
    if any(limit <= m.num_embeddings <= limit + SPARE for m in tables):
        raise ValueError(
            f"a prompt of {longest} tokens and {new} new ones come to {longest + new}, but the model has"
            f" {limit} positions; lower max_new_tokens or shorten the prompts"
        )
