"""Reading and writing hidden states at TransformerLens' own hook points, on a bridge beside the Hugging Face
model.

The bridge replaces modules of the model it is given, so it gets a copy of the module tree on the same
weights. What it shows is never trusted by name: at every site it must equal plain hooks on the original
model, on a few tokens, or the site is refused.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from probes.data.fingerprint import walk
from probes.data.sites import Site
from probes.models.backends.around import carried, outside
from probes.models.backends.bridge import INSTEAD, TOLERANCE, boot, refuse
from probes.models.backends.foreign_hooks import refuse_hooked
from probes.models.backends.hooking import changed, columns_of
from probes.models.backends.hooks import Hooks
from probes.models.backends.points import (
    Change,
    Layout,
    Passed,
    Point,
    Select,
    Unvisited,
    due,
    head_columns,
    proven,
    require_met,
    whole,
)
from probes.models.backends.turn import Turn
from probes.models.stamp import Stamp
from probes.models.unwrap import evaluating, text_config

RESIDUAL = {"resid_pre": "hook_in", "resid_post": "hook_out"}
LAYOUTS = (
    Layout(
        "ln1_post.hook_out", "ln2_post.hook_out", "attn.o.hook_in"
    ),  # Gemma-2 and 3, OLMo-2: normed before it is added
    Layout("attn.hook_out", "mlp.hook_out", "attn.o.hook_in"),
    Layout("attn.o.hook_out", "mlp.out.hook_out", "attn.o.hook_in"),  # BLOOM, whose sublayers return the sum
    Layout("attn.o.hook_out", "mlp.out.hook_out", "attn.o.hook_in", ("ln1", "ln2")),  # BERT
)
"""Hook points inside a block, in TransformerLens' names and tried in this order."""


class _Enough(Exception):
    """Raised by a hook when everything wanted was seen."""


class TransformerLens:
    """A Hugging Face model read through TransformerLens. `bridge` is the TransformerBridge, for
    TransformerLens' own tools.

    The bridge shares the model's weights; only a fused query-key-value weight whose heads are interleaved is
    copied once (GPT-NeoX, BLOOM, Falcon: at most a quarter of a block's weights where the MLP is four times
    as wide as the model, and nothing in the other families measured). Changing the model's weights later
    raises, since those copies would be out of date. Attention is computed without fused kernels, so long
    texts take more memory than with plain hooks. Making one costs a few passes over 12 tokens.
    """

    name = "transformer_lens"

    def __init__(self, hf: nn.Module, tokenizer: Any = None, blocks: str | None = None) -> None:
        refuse(hf)
        self.hf = hf
        self._plain = Hooks(hf, blocks)
        self.blocks = self._plain.blocks
        self._n_blocks = len(self._plain.inner.get_submodule(self.blocks))  # pyright: ignore
        self.bridge, self._alike = boot(hf, tokenizer)
        there = {t.data_ptr() for t in (*hf.parameters(), *hf.buffers())}
        self._copies = any(p.data_ptr() not in there for p in self.bridge.original_model.parameters())
        self._weights = self._state_of_weights()
        self._made_of: Stamp | None = None
        self._inside: Layout | None = None
        self._generates = False
        self._turn = Turn()
        missing = [
            n
            for kind in RESIDUAL
            for b in range(self._n_blocks)
            if (n := self._hook_name(Site(kind, b), None)) not in self.bridge.hook_dict
        ]
        if missing:
            raise ValueError(f"the bridge of {type(hf).__name__} has no {missing[0]}; {INSTEAD}")
        self._compare(tuple(RESIDUAL), None)
        # Behind these passes: modules may fill in at the first one what then stays, in the copy as here.
        self._made_of = Stamp.of(hf)

    def layout(self) -> Layout:
        """The proven names inside a block, in the words of the Hugging Face model, as every backend
        gives them.
        """
        return self._plain.layout()

    def point(self, site: Site) -> Point:
        """Where a site lies in the Hugging Face model."""
        return self._plain.point(site)

    def lens_layout(self) -> Layout:
        """The proven hook points inside a block, in TransformerLens' words; raises ValueError where
        none are.
        """
        if self._inside is None:
            self.layout()
            there = {n.removeprefix("blocks.0.") for n in self.bridge.hook_dict}
            try:
                fitting = [c for c in LAYOUTS if {c.attn_out, c.mlp_out, c.z} <= there]
                with outside():
                    layout = proven(self, fitting, list(self.bridge.blocks))
            except ValueError as error:
                raise ValueError(f"TransformerLens: {error}; {INSTEAD}") from error
            self._compare(("attn_out", "mlp_out", "z"), layout)
            self._inside = layout
        return self._inside

    def run(
        self,
        inputs: Mapping[str, Tensor],
        sites: Sequence[Site],
        select: Select,
        writes: Sequence[tuple[Site, Change]],
        logits: bool,
        options: Mapping[str, Any],
        layout: Layout | None = None,
    ) -> Passed:
        self._refuse_changed()
        with self._turn.taken() as ours:
            if not ours:
                return self._plain.run(inputs, sites, select, writes, logits, options)
            return self._run(inputs, sites, select, writes, logits, options, layout)

    def _run(
        self,
        inputs: Mapping[str, Tensor],
        sites: Sequence[Site],
        select: Select,
        writes: Sequence[tuple[Site, Change]],
        logits: bool,
        options: Mapping[str, Any],
        layout: Layout | None,
    ) -> Passed:
        states: dict[Site, Tensor] = {}
        met: set[Site] = set()
        writes = [*carried(self._plain.inner), *writes]

        def reader(site: Site) -> Callable[..., None]:
            def read(h: Tensor, hook: Any) -> None:
                states[site] = select(columns_of(h.flatten(2), self._columns(site, h)))
                if not logits and len(states) == len(sites):
                    raise _Enough

            return read

        reads = [(self._hook_name(s, layout), reader(s)) for s in sites]
        out = None
        with suppress(_Enough), self._hooked([*self._writers(writes, met), *reads]) as model:
            # Not bridge.forward, which makes position ids of its own where none are given.
            out = model(**inputs, use_cache=False, **options)
        require_met(states, sites)
        require_met(met, due([site for site, _ in writes], sites, to_the_end=logits))
        return Passed(states, out.logits if logits and out is not None else None)

    def generate(
        self, inputs: Mapping[str, Tensor], writes: Sequence[tuple[Site, Change]], options: Mapping[str, Any]
    ) -> Tensor:
        self._refuse_changed()
        met: set[Site] = set()
        with self._turn.taken() as ours:
            if not ours:
                return self._plain.generate(inputs, writes, options)
            self._compare_cached_passes()
            writes = [*carried(self._plain.inner), *writes]
            with self._hooked(self._writers(writes, met)) as model:
                tokens = model.generate(**inputs, **options)
        require_met(met, [site for site, _ in writes])
        return tokens

    @contextmanager
    def _hooked(self, hooks: Sequence[tuple[str, Callable[..., Any]]]) -> Generator[Any]:
        """Within the `with`, passes of the bridged model meet these hooks, in order; gone afterwards,
        also after an exception.
        """
        self._refuse_changed()
        # One thread at a time: leaving the bridge's own `hooks` takes away other threads' hooks too.
        with self._turn.passing(), torch.no_grad(), self.bridge.hooks(fwd_hooks=list(hooks)):
            yield self.bridge.original_model

    def _refuse_changed(self) -> None:
        if self._alike is not None:
            self._alike.to_the_copy()
        if self._state_of_weights() != self._weights:
            raise ValueError(
                "the model's weights were moved or changed after its bridge was made; load it again with this"
                " backend"
            )
        what = self._made_of and self._made_of.changed(self.hf, written=False, attention=False)
        if what:
            raise ValueError(
                f"{type(self.hf).__name__} was changed after its bridge was made ({what}), and the bridge"
                f" computes as it was then; load it again with this backend, or {INSTEAD}"
            )

    def _writers(
        self, writes: Sequence[tuple[Site, Change]], met: set[Site]
    ) -> list[tuple[str, Callable[..., Any]]]:
        """Hooks that change, and note in `met` the sites they were called at."""

        for site, _ in writes:
            refuse_hooked(self._plain.inner, self._plain.point(site), "TransformerLens")

        def writer(site: Site, change: Change) -> Callable[..., Tensor]:
            def write(h: Tensor, hook: Any) -> Tensor:
                met.add(site)
                return changed(h.flatten(2), [(self._columns(site, h), change)]).reshape(h.shape)

            return write

        return [(self._hook_name(site, None), writer(site, change)) for site, change in writes]

    def _hook_name(self, site: Site, layout: Layout | None) -> str:
        inside = RESIDUAL.get(site.kind) or getattr(layout or self.lens_layout(), site.kind)
        return f"blocks.{site.block}.{inside}"

    def _columns(self, site: Site, h: Tensor) -> Point:
        """The part of a hook point that a site is; heads may come as an axis of their own."""
        width = h.flatten(2).shape[-1]
        n_heads = int(getattr(self.hf.config, "num_attention_heads", 0))  # recurrent models have none
        return Point(str(site), columns=head_columns(site, width, n_heads))

    def _state_of_weights(self) -> list[Any]:
        """Where the weights lie and how often they were written to; where the bridge has copies of some,
        which would stay behind, numbers too, since what goes through `.data` counts as no write.
        """
        own = list(self.hf.parameters())
        told: list[Any] = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in own]
        return [*told, walk(own)] if self._copies else told

    def _probe(self) -> list[dict[str, Tensor]]:
        """Two rows of six tokens, and the same with padding in front of one."""
        vocabulary = int(text_config(self.hf).vocab_size)  # pyright: ignore
        tokens = torch.linspace(0, vocabulary - 1, 12).long().view(2, 6)
        tokens = tokens.to(next(self.hf.parameters()).device)
        mask = torch.ones_like(tokens)
        mask[0, :2] = 0
        return [{"input_ids": tokens}, {"input_ids": tokens, "attention_mask": mask}]

    def _compare(self, kinds: Sequence[str], layout: Layout | None) -> None:
        """Raises ValueError unless the bridge gives what plain hooks give at every site of these kinds."""
        sites = [Site(kind, b) for kind in kinds for b in range(self._n_blocks)]
        for inputs in self._probe():
            try:
                with outside():
                    plain = self._plain.run(inputs, sites, whole, (), False, {}).states
                    ours = self.run(inputs, sites, whole, (), False, {}, layout).states
            except Unvisited as error:
                raise ValueError(
                    f"the bridge of {type(self.hf).__name__} does not show what it should: {error}; {INSTEAD}"
                ) from error
            for site in sites:
                self._require_equal(str(site), ours[site], plain[site], inputs)

    def _compare_cached_passes(self) -> None:
        """Raises ValueError unless a pass that goes on from a cache gives the logits of the original;
        found out once.
        """
        if self._generates:
            return
        if not hasattr(self.bridge.original_model, "generate"):
            raise ValueError(
                f"{type(self.hf).__name__} has no language-model head to generate with; it can be read"
            )
        inputs = self._probe()[1]
        tokens, mask = inputs.values()

        def logits(model: Any) -> Tensor:
            first = model(input_ids=tokens[:, :4], attention_mask=mask[:, :4], use_cache=True)
            return model(
                input_ids=tokens[:, 4:],
                attention_mask=mask,
                past_key_values=first.past_key_values,
                use_cache=True,
            ).logits

        with outside(), evaluating(self.hf), self._hooked([]) as model:
            self._require_equal("a pass with a cache", logits(model), logits(self.hf), {})
        self._generates = True

    def _require_equal(self, what: str, ours: Tensor, plain: Tensor, inputs: Mapping[str, Tensor]) -> None:
        allowed = max(TOLERANCE[p.dtype] for p in self.hf.parameters())
        seen = inputs["attention_mask"].bool() if "attention_mask" in inputs else ...
        off = (
            float("inf")
            if ours.shape != plain.shape
            else float((ours - plain)[seen].double().norm() / plain[seen].double().norm())
        )
        if not off <= allowed:
            raise ValueError(
                f"{what} of the bridge differs from the original {type(self.hf).__name__} by {off:.1e} of its"
                f" size ({tuple(ours.shape)} and {tuple(plain.shape)}), allowed is {allowed:.0e}; {INSTEAD}"
            )
