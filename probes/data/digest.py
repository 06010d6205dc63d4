"""A hash of every number of a model, at the speed of its memory."""

import hashlib
from collections.abc import Iterable

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

WIDTH = 512  # numbers of 8 bytes a row


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A hash of names, shapes, types and values, the same wherever the tensors lie.

    Tensors without values (on the meta device) count by name and shape. Not against somebody who looks for
    two models with one hash.
    """
    whole, known = hashlib.sha256(), {}
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        t = tensor.detach()
        place = (t.device, t.data_ptr(), tuple(t.shape), t.stride(), t.dtype)
        if place not in known or t.device.type == "meta":  # tied weights are read once
            known[place] = values_of(t)
        whole.update(f"{name} {tuple(t.shape)} {t.dtype}\0".encode() + known[place])
    return whole.hexdigest()[:32]


def values_of(tensor: Tensor) -> bytes:
    """What a tensor's bytes come to: whole-number sums, which wrap around, over the rows and over the columns
    of its bytes laid out in rows of `WIDTH` numbers, and the rest that fills no row.
    """
    if tensor.device.type == "meta":
        return b"no values"
    raw = tensor.reshape(-1).contiguous().view(torch.uint8)
    rest = raw.numel() % (8 * WIDTH)
    body, tail = raw[: raw.numel() - rest], raw[raw.numel() - rest :]
    if body.storage_offset() % 8:  # part of another tensor, which begins between two numbers
        body = body.clone()
    sums = _sums(body.view(torch.int64).view(-1, WIDTH)) if len(body) else raw.new_zeros(0, dtype=torch.int64)
    found = hashlib.sha256(sums.cpu().numpy().tobytes())
    found.update(tail.cpu().numpy().tobytes())
    return found.digest()


def _sums(rows: Shaped[Tensor, "n w"]) -> Int64[Tensor, " n+w"]:
    return torch.cat([rows.sum(1), rows.sum(0)])
