"""Who a model is: config, tokenizer and sampled weights, so that a direction is never used on a
foreign model.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

_VOLATILE = (
    "_name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "use_cache",
    "architectures",
    "_attn_implementation",
)
_MATRICES = 512  # more than this and only some are sampled
_SAMPLES = 4  # values read per sampled weight matrix


@dataclass(frozen=True)
class Fingerprint:
    """Hashes of config and tokenizer, a few weights of the model, and its precision. Names are for
    display only.
    """

    name: str
    config: str
    tokenizer: str
    dtype: str
    weights: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"weights": list(self.weights)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Fingerprint":
        fields: dict[str, Any] = values | {"weights": tuple(values["weights"])}
        return cls(**fields)

    def check(self, other: "Fingerprint", what: str) -> None:
        """Raises ValueError naming the field that differs; a precision variant of the same weights only
        warns.
        """
        field = self._differing(other)
        if field is None:
            return
        if field == "weights" and self._rounded(other):
            made = f"{what} was made in {self.dtype}"
            warnings.warn(f"{made} and the model {other.name!r} runs in {other.dtype}", stacklevel=3)
            return
        belongs = f"{what} belongs to model {self.name!r} but was used on {other.name!r}"
        differs = f"their {field} {'differ' if field == 'weights' else 'differs'}"
        remedy = "transfer on purpose with direction.on(other_model, reason=...)"
        raise ValueError(f"{belongs}: {differs}. Use it on its own model, or {remedy}")

    def _differing(self, other: "Fingerprint") -> str | None:
        """The first field in which two models differ."""
        if self.config != other.config:
            return "config"
        # A bare Hugging Face model comes without a tokenizer.
        if self.tokenizer and other.tokenizer and self.tokenizer != other.tokenizer:
            return "tokenizer"
        return "weights" if self.weights != other.weights else None

    def _rounded(self, other: "Fingerprint") -> bool:
        """Whether the weights are the same but for the rounding of another precision."""
        if self.dtype == other.dtype or len(self.weights) != len(other.weights):
            return False
        mine, theirs = torch.tensor(self.weights), torch.tensor(other.weights)
        # Rounding to bfloat16 moves a value by at most 2^-8 of itself; other weights differ by order 1.
        allowed = 2**-7 * mine.abs() + 1e-3 * mine.abs().mean()
        return bool(((mine - theirs).abs() <= allowed).all())


def made_by(receipt: Mapping[str, Any]) -> Fingerprint | None:
    """The model that an artefact with this receipt belongs to; None where it does not say."""
    return Fingerprint.from_dict(receipt["model"]) if "model" in receipt else None


def fingerprint(hf: nn.Module, tokenizer: Any, name: str) -> Fingerprint:
    config = {k: v for k, v in hf.config.to_dict().items() if k not in _VOLATILE}  # pyright: ignore
    words = "" if tokenizer is None else _hash(sorted(tokenizer.get_vocab().items()))
    # Every matrix: an even stride over sorted names can fall on one kind only, and edits often touch one kind
    # only.
    matrices = sorted(
        (n, p)
        for n, p in hf.named_parameters()
        if p.ndim >= 2 and p.is_floating_point() and p.device.type != "meta"
    )
    if (
        len(matrices) > _MATRICES
    ):  # mixtures of experts have thousands; a hash of the name picks without favouring a kind
        matrices = sorted(matrices, key=lambda item: _hash(item[0]))[:_MATRICES]
    values: list[float] = []
    for _, p in matrices:
        flat = p.detach().flatten()
        # In whole numbers: float32 steps past the end of a matrix of more than 2^24 values.
        at = torch.tensor(
            [i * (flat.numel() - 1) // (_SAMPLES - 1) for i in range(_SAMPLES)], device=flat.device
        )
        values += flat[at].float().cpu().tolist()
    dtype = str(next(p.dtype for p in hf.parameters() if p.is_floating_point())).removeprefix("torch.")
    return Fingerprint(name, _hash(config), words, dtype, tuple(values))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
