"""A model to read: weights, tokenizer and any edits, behind one value. `probes.load_model` makes it."""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from probes.checks.devices import new_on_cpu
from probes.data.examples import Examples, Text
from probes.data.sites import Site
from probes.data.thoughts import decoded
from probes.data.tokenised import Tokenised
from probes.data.tokenising import Prompts, Tokenising
from probes.data.tokens import Batch, Encoded, Side, batches, check_vocabulary, pad
from probes.markup.names import called
from probes.markup.values import Displayed
from probes.models.backends.hooks import Hooks
from probes.models.backends.points import Passed, Select
from probes.models.compiled import original
from probes.models.decoding import Decoding
from probes.models.described import Described
from probes.models.generating import check_options, check_rows
from probes.models.inputs import forward_inputs, refuse_overlong, takes
from probes.models.looking import looks_at_prompts, of_batch
from probes.models.outputs import endless, refuse_endless_logits
from probes.models.padding import require_harmless_padding
from probes.models.padding_written import require_harmless_when_written
from probes.models.state import acting_adapters
from probes.models.unwrap import inner_model, known_tokens
from probes.models.writes import Bound, Chosen

CPU_TOKENS, GPU_TOKENS = 2048, 16384
"""Padded tokens a batch where no batch size is given; a batch that does not fit is halved
(`probes.reading`).
"""

SHORTER: ContextVar[Callable[["Model", Batch, Tokenised, int], Tensor | None] | None]
"""What may answer `last_logits` by less than a whole pass (`probes.models.prefixes`)."""
SHORTER = ContextVar("SHORTER", default=None)


@dataclass(frozen=True, eq=False)
class Model(Described, Displayed):
    """A language model as a value. `edited(model, ...)` gives another Model on the same weights; this one
    stays as it is.

    `n_blocks` and `width` describe the residual stream; `generates` says whether there is a language-model
    head.
    """

    @classmethod
    def of(
        cls, hf: nn.Module, tokenizer: Any = None, name: str | None = None, blocks: str | None = None
    ) -> "Model":
        """A Hugging Face model in memory, read through plain hooks."""
        hf = original(hf)
        return cls(hf, tokenizer, name or type(hf).__name__, Hooks(hf, blocks))

    @property
    def tokenising(self) -> Tokenising:
        """How texts become this model's tokens."""
        known = known_tokens(self.hf)
        return Tokenising(self.tokenizer, self.name, self.max_length, self.chat_template_kwargs, known)

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        return self.tokenising.encode(texts)

    def tokenise(self, prompts: Prompts) -> Tokenised:
        """The prompts with their tokens, made once and passed along: what is tokenised already comes
        back as it is. Token ids are taken as they are.
        """
        return self.tokenising.tokenise(prompts)

    def batches(
        self,
        encoded: Sequence[Encoded],
        batch_size: int | None = None,
        side: Side | None = None,
        check: bool = True,
        decoding: Decoding | None = None,
    ) -> list[Batch]:
        """Texts of similar length together, padded; of one length, where the prompts are looked at in
        `decoding`. Raises ValueError, unless `check` is False, where padding changes what the model computes
        (`probes.models.padding`).
        """
        to: Side = side or self.tokenizer.padding_side
        check_vocabulary(encoded, self.tokenizer, self.tokenising.embeddings, self.name)
        unpadded = decoding is not None and looks_at_prompts(decoding)
        found = list(batches(encoded, self.pad_id, to, batch_size, self.token_budget, unpadded))
        on_a_server = next(self.hf.parameters()).device.type == "meta"
        padded = not on_a_server and any(batch.padded for batch in found)
        if padded and decoding is not None:
            require_harmless_when_written(self.hf, encoded, self.pad_id, self.dtype, self.name)
        if check and padded:
            last = self.sites("resid_post")[-1]

            def last_states(rows: Sequence[Encoded]) -> Tensor:
                batch = pad(rows, self.pad_id, "left", np.arange(len(rows)))
                return self.run(batch, [last], lambda h: h[:, -1]).states[last]

            require_harmless_padding(self.backend, encoded, last_states, self.dtype, self.name)
        return found

    @property
    def token_budget(self) -> int:
        """Padded tokens a batch where no batch size is given."""
        return CPU_TOKENS if self.device.type == "cpu" else GPU_TOKENS

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        return forward_inputs(inner_model(self.hf), self.config, batch, self.device)

    @new_on_cpu()
    def run(
        self,
        batch: Batch,
        sites: Sequence[Site] = (),
        select: Select = lambda h: h,
        writes: Sequence[tuple[Site, Callable[[Tensor], Tensor]]] = (),
        logits: bool = False,
        **options: Any,
    ) -> Passed:
        """One forward pass over a batch. Without `logits` the output head is skipped and the pass
        ends after the last site read.
        """
        return self.backend.run(self.inputs(batch), sites, select, writes, logits, options)

    @new_on_cpu()
    def logits(
        self,
        texts: Examples | Sequence[Text] | Sequence[Encoded],
        batch_size: int | None = None,
        columns: Mapping[str, np.ndarray] | None = None,
    ) -> Float[Tensor, "n vocab"]:
        """Next-token logits after each text (or already encoded tokens), in float32 on the CPU.

        `columns` is only needed under edits at span positions, which read it; Examples bring their own.
        """
        self.require_generation("logits")
        asked = self.tokenising.with_columns(texts, columns)
        out: Tensor | None = None
        for batch in self.batches(asked.encoded, batch_size, side="left"):
            last = self.last_logits(batch, asked)[:, -1].float().cpu()
            refuse_endless_logits(endless(last), bool(self.writes))
            out = torch.empty(len(asked), last.shape[-1], dtype=torch.float32) if out is None else out
            out[torch.from_numpy(batch.rows)] = last
        assert out is not None
        return out

    def last_logits(self, batch: Batch, asked: Tokenised, keep: int = 1) -> Float[Tensor, "batch pos vocab"]:
        """Logits at the last `keep` columns, or more, of a left-padded batch of the prompts."""
        shorter = SHORTER.get()
        found = None if shorter is None else shorter(self, batch, asked, keep)
        return self.whole_logits(batch, asked, keep) if found is None else found

    def whole_logits(self, batch: Batch, asked: Tokenised, keep: int = 1) -> Float[Tensor, "batch pos vocab"]:
        """The same by one pass over all columns."""
        writes = self.bound_writes(batch, asked)
        found = self.run(batch, writes=writes, logits=True, **self.logits_kept(keep)).logits
        assert found is not None
        return found

    def logits_kept(self, keep: int) -> dict[str, Any]:
        """The option by which a model makes logits of its last columns alone, where it has one."""
        return {"logits_to_keep": keep} if self.takes("logits_to_keep") else {}

    def takes(self, name: str) -> bool:
        """Whether the model's forward pass has this keyword."""
        return takes(inner_model(self.hf), name)

    def bound_writes(
        self, batch: Batch, asked: Tokenised, cached: bool = False, seen: int = 0
    ) -> list[tuple[Site, Bound]]:
        """This model's edits as functions of the hidden states of one batch of the prompts, positions made
        absolute.

        With `cached`, later passes see only new tokens; columns are then counted on from the passes before,
        which have `seen` so many.
        """
        if self.edited_as_base and (acting := acting_adapters(self.hf)):
            raise ValueError(
                "the model was edited while its adapters were switched off, and now they act"
                f" ({'; '.join(acting)}), which makes another model; use it within disable_adapter(), or edit"
                " the model as it is now"
            )
        for still_meant in self.meant if self.writes else ():
            still_meant()
        bound = []
        for w in self.writes:
            chosen = None
            if w.needs_prompts:
                chosen = Chosen(batch.rows, len(asked), asked.chosen(w.at, batch).to(self.device))
            bound.append((w.site, Bound(w, chosen, cached, seen)))
        return bound

    def decoding(self, max_new_tokens: int, options: Mapping[str, Any], reader: str = "") -> Decoding:
        """How texts will be written under these options; raises ValueError for those that cannot be kept,
        also where `reader` (the name of a call) reads one new token of every prompt a pass.
        """
        found = Decoding.of(self.hf, self.tokenizer, self.pad_id, max_new_tokens, options)
        if reader:
            check_rows(found, reader)
        placed = any(w.needs_prompts for w in self.writes)
        check_options(self.hf, options, found, placed, max_new_tokens)
        return found

    @new_on_cpu()
    def generate_batch(
        self,
        batch: Batch,
        asked: Tokenised,
        decoding: Decoding,
        more_writes: Sequence[tuple[Site, Callable[[Tensor], Tensor]]] = (),
        stopping: Sequence[Any] = (),
    ) -> list[list[int]]:
        """The new tokens of every row of a left-padded batch of the prompts, each up to its own end."""
        refuse_overlong(inner_model(self.hf), self.config, batch, int(decoding.settings["max_new_tokens"]))
        cached = decoding.settings.get("use_cache") is not False
        writes = [*self.bound_writes(batch, asked, cached), *more_writes]
        inputs = {"input_ids": batch.ids.to(self.device), "attention_mask": batch.mask.to(self.device)}
        decoding = of_batch(decoding, batch.rows.tolist())
        said, ends = decoding.begun(len(batch.rows), batch.ids.shape[1], stopping)
        try:
            made = self.backend.generate(inputs, writes, said)
        finally:  # sampling fails of itself on such logits, and does not say of what
            refuse_endless_logits(ends.endless, bool(writes))
        return ends.cut(made, decoding.several_texts_or_tokens)

    @overload
    def generate(
        self, prompts: Prompts, max_new_tokens: int = ..., *, return_ids: Literal[True], **options: Any
    ) -> list[list[int]]: ...
    @overload
    def generate(
        self, prompts: Prompts, max_new_tokens: int = ..., batch_size: int | None = ..., **options: Any
    ) -> list[str]: ...
    @new_on_cpu()
    def generate(
        self,
        prompts: Prompts,
        max_new_tokens: int = 20,
        batch_size: int | None = None,
        use_cache: bool = True,
        return_ids: bool = False,
        **kwargs: Any,
    ) -> list[str] | list[list[int]]:
        """Continuations only, greedy unless asked (`do_sample=True, temperature=...`); other keywords go to
        Hugging Face `generate`.

        Greedy means the likeliest token each time: of the model's own generation config only where texts end
        counts, and a warning names what else it asks for. With `do_sample=True` it fills in what the call
        leaves open. With `return_ids` the token ids of each continuation, up to its end: decoding may drop a
        space, and `tokenise(prompts).followed_by(ids)` is read exactly. Edits at `all` act on prompt and new
        tokens, at `from_last` on the prompt's last and all new ones; at any other position on that token of
        the prompt (span positions read the columns of `Examples`). For several samples a prompt, give it
        several times. `prefix_allowed_tokens_fn` is told a prompt's place in the list; a `logits_processor`
        sees batches of prompts of one length, whose rows are in no order of the list, and every batch meets
        it as it was given: what it remembers of others decides nothing. Raises ValueError for
        options that cannot be kept (`probes.models.generating`).
        """
        self.require_generation("generate")
        if isinstance(prompts, str):
            raise TypeError("prompts is one string; give a list of prompts")
        decoding = self.decoding(max_new_tokens, {"use_cache": use_cache} | kwargs)
        asked = self.tokenise(prompts)
        ids: list[list[int]] = [[] for _ in asked.encoded]
        for batch in self.batches(asked.encoded, batch_size, side="left", decoding=decoding):
            made = self.generate_batch(batch, asked, decoding)
            for row, new in zip(batch.rows, made, strict=True):
                ids[row] = new
        return ids if return_ids else [decoded(self.tokenizer, new) for new in ids]

    def __repr__(self) -> str:
        edits = f", {len(self.writes)} edited sites" if self.writes else ""
        return (
            f"Model({called(self.name)!r}, {type(self.hf).__name__}, {self.n_blocks} blocks,"
            f" width {self.width}, {self.dtype}{edits})"
        )
