"""Whether padding changes what a model computes, found out before the first padded batch.

Some recurrent models take no mask: what fills a row up enters their state, and the same prompt gets another
answer beside another neighbour.
"""

from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from probes.data.tokens import Encoded
from probes.models.backends.around import outside
from probes.models.backends.points import Backend

LONGEST = 24  # tokens of the longest row that is tried
FAR = {torch.float16: 2e-2, torch.bfloat16: 0.2}
"""Relative difference that is no rounding, by precision; 1e-4 where nothing is said."""

_harmless: WeakKeyDictionary[Backend, bool] = WeakKeyDictionary()


def prefixes(encoded: Sequence[Encoded]) -> list[Encoded]:
    """Rows of different lengths made of the longest text's own tokens, so that padding happens
    whatever the texts are.
    """
    ids = max(encoded, key=len).ids[:LONGEST]
    ids = ids if len(ids) > 3 else (ids * 4)[:4]
    lengths = sorted({len(ids), max(1, len(ids) // 2), max(1, len(ids) // 4)}, reverse=True)
    return [Encoded(ids[:n], (False,) * n, None, "") for n in lengths]


def farthest(together: Tensor, alone: Tensor) -> float:
    """The largest distance of a row from what it is alone, as a share of that."""
    return float(((together - alone).norm(dim=-1) / alone.norm(dim=-1).clamp_min(1e-30)).max())


def require_harmless_padding(
    backend: Backend,
    encoded: Sequence[Encoded],
    last_states: Callable[[Sequence[Encoded]], Tensor],
    dtype: torch.dtype,
    name: str,
) -> None:
    """Raises ValueError where texts in a padded batch are not read as alone; found out once a model.

    `last_states` reads the last token of rows in one batch, [row, d], behind the last block.
    """
    if backend in _harmless:
        return
    rows = prefixes(encoded)
    with outside():  # nobody's readings and edits are about these passes
        together = last_states(rows).float()
        alone = torch.cat([last_states([row]) for row in rows]).float()
    off = farthest(together, alone)
    limit = FAR.get(dtype, 1e-4)
    if off > limit:
        raise ValueError(
            f"{name!r} reads texts in a padded batch otherwise than alone (off by {off:.1e}, rounding is"
            f" {limit:.0e} at most): it takes no attention mask, or its padding goes wrong. Ask one text at a"
            " time (batch_size=1), or texts of the same number of tokens"
        )
    _harmless[backend] = True
