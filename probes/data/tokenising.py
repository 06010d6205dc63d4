"""How one model's texts become its tokens: whatever is given (texts, chats, Examples, token ids, tokens made
before), tokenised once and checked against the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probes.data.examples import Examples, Text
from probes.data.texts import listed_texts
from probes.data.tokenised import Tokenised
from probes.data.tokens import Encoded, are_ids, check_vocabulary, encode, refuse_beyond

Prompts = Examples | Sequence[Text] | Sequence[Sequence[int]]
"""What a model may be asked: texts or chats, with or without columns, or token ids."""


@dataclass(frozen=True, eq=False)
class Tokenising:
    """A tokenizer with what its model says of texts: how long one may be, what the chat template is told, and
    for how many tokens there is an embedding. `name` is the model's, for messages.
    """

    tokenizer: Any
    name: str
    max_length: int | None
    arguments: Mapping[str, Any]
    embeddings: int

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        found = encode(self.tokenizer, texts, self.max_length, self.arguments)
        refuse_beyond(
            found,
            self.embeddings,
            "give the tokenizer it was trained with, or one embedding a token:"
            " hf.resize_token_embeddings(len(tokenizer))",
        )
        return found

    def tokenise(self, prompts: Prompts) -> Tokenised:
        """The prompts with their tokens; what these settings tokenised already comes back as it is."""
        if isinstance(prompts, Tokenised) and prompts.tokenizer is self.tokenizer:
            chats = [e.chat for e in prompts.encoded if e.chat is not None]
            if all(chat.arguments == dict(self.arguments) for chat in chats):
                self._check(prompts.encoded)  # the tokenizer may be that of a smaller model too
                return prompts
        if not isinstance(prompts, Examples):
            prompts = listed_texts(prompts, "texts")  # pyright: ignore[reportAssignmentType]
        if not isinstance(prompts, Examples) and are_ids(prompts):
            found = Tokenised.of_ids(prompts, self.tokenizer)  # pyright: ignore[reportArgumentType]
            self._check(found.encoded)
            return found
        examples = prompts if isinstance(prompts, Examples) else Examples(prompts)  # pyright: ignore
        return Tokenised(examples, self.encode(examples.texts), self.tokenizer)

    def with_columns(
        self, texts: Examples | Sequence[Text] | Sequence[Encoded], columns: Mapping[str, np.ndarray] | None
    ) -> Tokenised:
        """Texts, or tokens made before, with columns for edits that read them."""
        if isinstance(texts, Examples | str):  # Examples refuse one string for many texts
            return self.tokenise(texts)
        texts = listed_texts(texts, "texts")
        if not texts:
            raise ValueError("no texts given")
        encoded = [t for t in texts if isinstance(t, Encoded)]
        if encoded and len(encoded) != len(texts):
            raise TypeError("give either texts or encoded tokens, not a mixture")
        if not encoded:
            encoded = self.encode([t for t in texts if not isinstance(t, Encoded)])
        self._check(encoded)
        return Tokenised.of_tokens(encoded, self.tokenizer, columns)

    def _check(self, encoded: Sequence[Encoded]) -> None:
        check_vocabulary(encoded, self.tokenizer, self.embeddings, self.name)
        for i, e in enumerate(encoded):
            if self.max_length is not None and len(e) > self.max_length:
                raise ValueError(
                    f"text {i} has {len(e)} tokens but the model reads at most {self.max_length}; shorten it"
                )
