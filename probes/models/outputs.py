"""What a model gives back is numbers: NaN and infinity, which would read as an answer, are refused."""

import torch
from torch import Tensor

ADVICE = (
    "the model's logits are NaN or infinite, so they say nothing{under}; half precision overflows at 65,504:"
    " load the model in float32 or bfloat16, or make the edit smaller"
)


def endless(logits: Tensor) -> Tensor:
    """Whether any logit is NaN or infinite; minus infinity is how models rule tokens out."""
    return (torch.isnan(logits) | torch.isposinf(logits)).any()


def refuse_endless_logits(found: Tensor | bool, edited: bool) -> None:
    """Raises ValueError where `endless` logits were found."""
    if bool(found):
        raise ValueError(ADVICE.format(under=" under these edits" if edited else ""))
