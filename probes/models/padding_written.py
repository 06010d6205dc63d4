"""Whether padding changes what a model writes: some models whose layers keep a state instead of keys take the
mask in the first pass and not in those behind it.
"""

import warnings
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from probes.data.tokens import Encoded, pad
from probes.models.backends.around import outside
from probes.models.padding import FAR, farthest, prefixes
from probes.models.unwrap import evaluating, inner_model, text_config

STEPS = 4
_ATTENTION = ("full_attention", "sliding_attention", "chunked_attention", "attention")

_harmless: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def keeps_states(hf: nn.Module) -> bool:
    """Whether some layers are of a kind that is no attention over keys, as far as the settings say."""
    config = text_config(hf)
    named = (
        getattr(config, name, None) or () for name in ("layer_types", "layers_block_type", "block_types")
    )
    return any(kind not in _ATTENTION for kinds in named for kind in kinds)


def require_harmless_when_written(
    hf: nn.Module, encoded: Sequence[Encoded], pad_id: int, dtype: torch.dtype, name: str
) -> None:
    """Raises ValueError where the tokens of a padded batch are written otherwise than alone; found out once
    a model, on the first passes behind the prompts.
    """
    inner: Any = inner_model(hf)
    if inner in _harmless or not keeps_states(inner) or not inner.can_generate():
        return
    rows = prefixes(encoded)
    with outside(), evaluating(inner):
        said = rows[0].ids
        together = _logits(inner, rows, pad_id, said)
        alone = torch.cat([_logits(inner, [row], pad_id, said) for row in rows], dim=1)
    off = farthest(together, alone)
    limit = FAR.get(dtype, 1e-4)
    if off > limit:
        raise ValueError(
            f"{name!r} writes texts in a padded batch otherwise than alone (off by {off:.1e} within {STEPS}"
            f" tokens, rounding is {limit:.0e} at most): its cached passes take no attention mask. Ask one"
            " text at a time (batch_size=1), or texts of the same number of tokens"
        )
    _harmless[inner] = True


def _logits(hf: Any, rows: Sequence[Encoded], pad_id: int, said: Sequence[int]) -> Tensor:
    """Of passes behind rows, [pass, row, token], that all go on with the same tokens."""
    batch = pad(rows, pad_id, "left", np.arange(len(rows)))
    place = next(hf.parameters()).device
    step = iter(range(STEPS))

    def told(ids: Tensor, scores: Tensor) -> Tensor:
        found = torch.full_like(scores, -torch.inf)
        found[:, said[next(step) % len(said)]] = 0
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that do not act
        made = hf.generate(
            input_ids=batch.ids.to(place),
            attention_mask=batch.mask.to(place),
            logits_processor=[told],
            do_sample=False,
            num_beams=1,
            max_new_tokens=STEPS,
            eos_token_id=None,
            pad_token_id=pad_id,
            output_logits=True,
            return_dict_in_generate=True,
            disable_compile=True,
        )
    return torch.stack(made.logits).float()
