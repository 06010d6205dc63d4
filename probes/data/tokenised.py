"""Prompts as a model's tokens: made once, passed along like any other value, with what was found in
them kept.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool

from probes.data.cells import beside
from probes.data.examples import Examples
from probes.data.picking import say_within_words, tokens_at
from probes.data.positions import Position
from probes.data.tokens import Batch, Encoded, encoded_ids, refuse_padding, text_behind

T = TypeVar("T")


class Tokenised(Examples):
    """Examples together with their tokens under one tokenizer; `model.tokenise(examples)` makes it.

    It goes wherever Examples go. Places of a position are looked up in each text once, however many edited
    models are run on it, and what a behaviour makes of the prompts is kept under a name (`derived`). Rows,
    parts, other labels and groups of it keep their tokens.
    """

    encoded: tuple[Encoded, ...]
    tokenizer: Any
    _places: dict[Position, tuple[np.ndarray, ...]]
    _made: dict[Hashable, Any]

    def __init__(self, examples: Examples, encoded: Sequence[Encoded], tokenizer: Any) -> None:
        if len(encoded) != len(examples):
            raise ValueError(f"{len(encoded)} tokenised texts do not belong to {len(examples)} examples")
        own = {"texts": examples.texts, "y": examples.y, "groups": examples.groups, "ids": examples.ids}
        own |= {"text_keys": examples.text_keys, "columns": examples.columns}
        own |= {"encoded": tuple(encoded), "tokenizer": tokenizer}
        for name, value in (own | {"_places": {}, "_made": {}}).items():
            object.__setattr__(self, name, value)

    @classmethod
    def of_tokens(
        cls, encoded: Sequence[Encoded], tokenizer: Any, columns: Mapping[str, np.ndarray] | None = None
    ) -> "Tokenised":
        """Texts that exist as tokens only, numbered in their order."""
        numbers = np.arange(len(encoded))
        texts = [e.text if e.text.strip() else str(e.ids) for e in encoded]
        return cls(Examples(texts, columns=dict(columns or {}), ids=numbers), encoded, tokenizer)

    @classmethod
    def of_ids(cls, ids: Sequence[Sequence[int]], tokenizer: Any) -> "Tokenised":
        """Texts given as token ids, taken as they are; raises ValueError for padded ones."""
        refuse_padding(tokenizer, ids)
        return cls.of_tokens([encoded_ids(tokenizer, each) for each in ids], tokenizer)

    def _take(self, index: np.ndarray) -> "Tokenised":
        return Tokenised(super()._take(index), [self.encoded[i] for i in index], self.tokenizer)

    def with_y(self, label: Any) -> "Tokenised":
        return Tokenised(super().with_y(label), self.encoded, self.tokenizer)

    def with_groups(self, groups: Any) -> "Tokenised":
        return Tokenised(super().with_groups(groups), self.encoded, self.tokenizer)

    def _joined(self, parts: Sequence[Examples], whole: Examples) -> Examples:
        """With the tokens where all parts have them; texts alone are tokenised again, so token ids that were
        given do not go with them.
        """
        kept = [p for p in parts if isinstance(p, Tokenised) and p.tokenizer is self.tokenizer]
        if len(kept) == len(parts):
            return Tokenised(whole, [e for p in kept for e in p.encoded], self.tokenizer)
        if any(e.given for p in kept for e in p.encoded):
            raise ValueError(
                "some of the parts are token ids and some are texts; tokenise them all before they are joined"
            )
        return whole

    def followed_by(self, answers: Sequence[Sequence[int]]) -> "Tokenised":
        """These prompts with the token ids of an answer behind each, as `generate(..., return_ids=True)`
        gives them: read at "generated", "from_last" or "all", they are the very tokens that were written.

        Columns gain `answer` (its text) and `prompt_tokens`. Raises ValueError for another number of answers.
        """
        if len(answers) != len(self):
            raise ValueError(f"{len(answers)} answers for {len(self)} prompts; give one each, in their order")
        wholes = [
            encoded_ids(self.tokenizer, (*prompt.ids, *new))
            for prompt, new in zip(self.encoded, answers, strict=True)
        ]
        own = {
            "answer": np.array(
                [text_behind(self.tokenizer, p.ids, a) for p, a in zip(self.encoded, answers, strict=True)]
            ),
            "prompt_tokens": np.array([len(prompt) for prompt in self.encoded]),
        }
        texts = [e.text if e.text.strip() else str(e.ids) for e in wholes]
        rows = Examples(
            texts, self.y, self.groups, beside(own, self.columns, "what followed_by gives"), self.ids
        )
        return Tokenised(rows, wholes, self.tokenizer)

    def places(self, at: Position) -> tuple[np.ndarray, ...]:
        """The token numbers that a position picks in each text; raises ValueError where it picks none."""
        if at not in self._places:
            if at.kind == "generated":
                self._refuse_empty_answers()
            if at.kind in ("answer", "prompt") and "answer" in self.columns:
                say_within_words(self.encoded, self.columns["answer"])
            columns = {k: c for k, c in self.columns.items() if k == at.column} or self.columns
            self._places[at] = tuple(
                tokens_at(at, e, {k: c[i] for k, c in columns.items()}) for i, e in enumerate(self.encoded)
            )
        return self._places[at]

    def _refuse_empty_answers(self) -> None:
        if "answer" not in self.columns or "prompt_tokens" not in self.columns:
            return
        lengths = np.array([len(e) for e in self.encoded])
        empty = np.flatnonzero(lengths == np.asarray(self.columns["prompt_tokens"]))
        if len(empty):
            raise ValueError(
                f"{len(empty)} of {len(self)} answers are empty, such as that behind prompt {empty[0]}"
                f" ({self.texts[empty[0]]!r:.60}), where the model ended at once, so 'generated' picks"
                " none of their tokens; leave those prompts out: asked.rows([i for i, new in"
                " enumerate(ids) if new]), or read at 'from_last', which begins with the prompt's last token"
            )

    def chosen(self, at: Position, batch: Batch) -> Bool[torch.Tensor, "batch pos"]:
        """Which places of a padded batch of these texts, or of these with more tokens behind, a position
        picks.
        """
        chosen = torch.zeros(batch.ids.shape, dtype=torch.bool)
        found = self.places(at)
        for i, row in enumerate(batch.rows):
            chosen[i, torch.from_numpy(found[row] + batch.start[i])] = True
            if at.onward:
                first = int(found[row][0] + batch.start[i])
                chosen[i, first:] = batch.mask[i, first:].bool()
        return chosen

    def derived(self, name: Hashable, make: Callable[[], T]) -> T:
        """What `make` makes of these prompts, made on the first call only; it must depend on the
        prompts and `name` alone.
        """
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def __repr__(self) -> str:
        return f"Tokenised({len(self)} texts, {sum(map(len, self.encoded))} tokens)"
