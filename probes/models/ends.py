"""Where each generated text ends: at an end token, a stop string, or a criterion of the user's own."""

from collections.abc import Sequence, Set
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from probes.models.outputs import endless


def until_end(tokens: list[int], ends: Set[int]) -> list[int]:
    """The tokens before the first that ends the text; what a batch was padded with lies behind it."""
    length = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[:length]


class Ends:
    """A stopping criterion that stands for all of them, and remembers at which length each row ended.

    A row that has ended is padded, or goes on being written, until the longest has; only here is it known
    where. `criteria` are called as Hugging Face `generate` calls them. One batch of prompts, once. With
    `late` a row that a criterion ends is stopped a token later, so that its last token is read as well.
    """

    def __init__(
        self, tokens: Set[int], criteria: Sequence[Any], rows: int, width: int, late: bool = False
    ) -> None:
        self.tokens, self.criteria, self.width, self.late = tokens, tuple(criteria), width, late
        self.lengths: list[int | None] = [None] * rows
        self.endless: Tensor | bool = False

    def __call__(self, input_ids: Int[Tensor, "row pos"], scores: Any, **kwargs: Any) -> Bool[Tensor, " row"]:
        ended = torch.isin(input_ids[:, -1], torch.tensor(sorted(self.tokens), device=input_ids.device))
        by_token, over = ended, [n is not None for n in self.lengths]
        for criterion in self.criteria:
            ended = ended | torch.as_tensor(criterion(input_ids, scores, **kwargs), device=input_ids.device)
        # Beams are more rows than prompts, in changing order; where these end is found afterwards.
        if len(ended) == len(self.lengths):
            for row in ended.nonzero()[:, 0].tolist():
                if self.lengths[row] is None:
                    self.lengths[row] = input_ids.shape[1] - self.width
        return by_token | torch.tensor(over, device=ended.device) if self.late else ended

    def looked_at(self, input_ids: Int[Tensor, "row pos"], scores: Tensor) -> Tensor:
        """A logits processor that changes nothing, and remembers whether any logits were NaN or infinite."""
        self.endless = self.endless | endless(scores)
        return scores

    def cut(self, made: Int[Tensor, "row pos"], again: bool) -> list[list[int]]:
        """The new tokens of every row up to its end; a token that ends the text is left out, a stop string
        is kept.

        With `again` the criteria are asked anew at every length: for ways of decoding that write several
        tokens a pass or keep several texts a prompt.
        """
        found = []
        for row, ids in enumerate(made):
            length = self._length(ids) if again else self.lengths[row]
            found.append(until_end(ids[self.width :].tolist()[:length], self.tokens))
        return found

    def _length(self, ids: Int[Tensor, " pos"]) -> int | None:
        return next(
            (n - self.width for n in range(self.width + 1, len(ids) + 1) if self._ended(ids[None, :n])), None
        )

    def _ended(self, ids: Int[Tensor, "1 pos"]) -> bool:
        own = int(ids[0, -1]) in self.tokens
        return own or any(bool(torch.as_tensor(c(ids, None)).all()) for c in self.criteria)
