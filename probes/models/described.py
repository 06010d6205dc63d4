"""What a model is: weights, tokenizer and edits, and what can be told of them without a pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from probes.data.begun import TOLD, say_begun_otherwise, set_to
from probes.data.fingerprint import Fingerprint, fingerprint, made_by
from probes.data.sites import Site, SitesLike, expand_sites
from probes.models.backends.around import in_force
from probes.models.backends.points import Backend
from probes.models.inputs import longest_text
from probes.models.state import state_of
from probes.models.switched_off import acting_part
from probes.models.unwrap import fan_in, inner_model, input_device, known_tokens, text_config
from probes.models.writes import Write


@dataclass(frozen=True, eq=False)
class Described:
    """Weights with a tokenizer and edits: who they are, how wide, where their sites lie."""

    hf: nn.Module
    tokenizer: Any
    name: str
    backend: Backend
    writes: tuple[Write, ...] = field(default=())
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    edited_as_base: bool = False  # edits were made while its adapters were switched off
    meant: tuple[Callable[[], None], ...] = ()  # each raises where an edit belongs to other weights

    @property
    def blocks(self) -> nn.ModuleList:
        return inner_model(self.hf).get_submodule(self.backend.blocks)  # pyright: ignore

    @property
    def config(self) -> Any:
        return text_config(inner_model(self.hf))

    @property
    def n_blocks(self) -> int:
        return len(self.blocks)

    @property
    def width(self) -> int:
        return int(self.config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where tokens go in; the CPU for a model whose weights are on a server."""
        return input_device(self.hf)

    @property
    def dtype(self) -> torch.dtype:
        return next(p.dtype for p in self.hf.parameters() if p.is_floating_point())

    @property
    def fingerprint(self) -> Fingerprint:
        """Who the model is as it is now; weights may change in place, adapters be switched off."""
        return self.fingerprinted()

    def fingerprinted(self, whole: bool = False) -> Fingerprint:
        """Who the model is; with `whole` every weight is read again, also where nothing says it changed."""
        acting, called = acting_part(self.hf)
        return fingerprint(acting, self.tokenizer, self.name, state_of(self.hf), whole, called)

    @property
    def acting(self) -> tuple[Write, ...]:
        """The edits that act on its passes now: of every `applied` around the call, and its own."""
        return (*in_force(inner_model(self.hf)), *self.writes)

    @property
    def begins(self) -> dict[str, str]:
        """How its tokenizer begins and ends texts and renders chats now (`probes.data.begun`)."""
        return set_to(self.tokenizer, self.chat_template_kwargs)

    def refuse_foreign(
        self,
        receipt: Mapping[str, Any],
        what: str,
        remedy: str | None = None,
        begun: Mapping[str, str] | None = None,
        any_chat: bool = False,
    ) -> None:
        """Raises ValueError, naming the field that differs and a remedy, where an artefact belongs to another
        model; warns of one made of texts or chats that this tokenizer would begin otherwise, or other than
        those that `begun` tells of, where these are known. With `any_chat` it may be used on chats of every
        form.

        One whose receipt names no model passes.
        """
        own = made_by(receipt)
        if own is not None:
            own.check(self.fingerprint, what, remedy)
            made = {k: v for k, v in receipt.items() if k in TOLD} if any_chat else receipt
            say_begun_otherwise(what, made, self.begins if begun is None else begun)

    @property
    def generates(self) -> bool:
        has_head = self.hf.get_output_embeddings() is not None  # pyright: ignore
        return has_head and inner_model(self.hf).can_generate()  # pyright: ignore

    def require_generation(self, wish: str) -> None:
        if not self.generates:
            raise ValueError(
                f"{wish} needs a causal language model, but {self.name!r} is a"
                f" {type(inner_model(self.hf)).__name__} without a language-model head (an encoder, for"
                " example): it can be read (capture, probes) but not asked"
            )

    @property
    def n_heads(self) -> int:
        return int(getattr(self.config, "num_attention_heads", 0))

    def sites(self, sites: SitesLike) -> tuple[Site, ...]:
        return expand_sites(sites, self.n_blocks, self.n_heads)

    def width_at(self, site: Site) -> int:
        """Coordinates of the hidden state at a site: the model's width, or a head's."""
        if site.kind != "z":
            return self.width
        whole = fan_in(
            inner_model(self.hf).get_submodule(
                f"{self.backend.blocks}.{site.block}.{self.backend.layout().z}"
            )
        )
        return whole if site.head is None else whole // self.n_heads

    @property
    def max_length(self) -> int | None:
        return longest_text(self.config)

    @property
    def pad_id(self) -> int:
        """What fills padded places; the mask hides it, so any token does where the tokenizer has none, or one
        that the model has no embedding for.
        """
        known = known_tokens(self.hf)
        own = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        return next((i for i in own if i is not None and i < known), 0)
