"""Where each site lies inside a model: layouts of the known block types, and the check that picks the right
one.

A layout is never trusted by name. On the loaded model the sublayer outputs must account for what the block
does to the residual stream, element by element within rounding; otherwise the sites inside blocks are
refused.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn

from probes.data.sites import Site
from probes.models.unwrap import input_device, text_config

Select = Callable[[Tensor], Tensor]
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Point:
    """A tensor on its way through a model: what enters or leaves a named module, or some columns of it (one
    head).

    `shaped_by` names a module whose input has the batch shape, for modules that see [batch * pos, d].
    """

    name: str
    side: Literal["in", "out"] = "out"
    columns: tuple[int, int] | None = None
    shaped_by: str | None = None
    site: Site | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Where hooks go: several points may be parts of one tensor."""
        return self.name, self.side

    def __str__(self) -> str:
        where = f"the {self.side}put of {self.name}"
        return where if self.site is None else f"{self.site} ({where})"


class Unvisited(ValueError):
    """A forward pass did not meet a place that was to be read or changed, so its numbers are not what
    they are called.
    """

    @classmethod
    def at(cls, missed: Iterable[Any]) -> "Unvisited":
        return cls(
            f"the forward pass never met {', '.join(map(str, missed))}, so nothing was read or changed there."
            " The model skips that module or runs code that its modules' hooks do not see (torch.compile"
            " does so); use the uncompiled model, or other sites"
        )


@dataclass(frozen=True)
class Layout:
    """Names inside a block: the output of `attn_out` and `mlp_out` is what each sublayer adds, the input of
    `z` the concatenated heads.

    `norms` are the two LayerNorms of post-norm encoders, which stand between the sum and the residual stream.
    """

    attn_out: str
    mlp_out: str
    z: str
    norms: tuple[str, str] | None = None
    flat: bool = False


MODULES = (
    Layout(
        "post_attention_layernorm", "post_feedforward_layernorm", "self_attn.o_proj"
    ),  # Gemma-2 and 3, OLMo-2: normed before it is added
    *(
        Layout("self_attn", mlp, f"self_attn.{z}")
        for mlp in ("mlp", "block_sparse_moe", "feed_forward")
        for z in ("o_proj", "dense", "out_proj")
    ),
    Layout("attn", "mlp", "attn.c_proj"),  # GPT-2
    Layout("attn", "mlp", "attn.out_proj"),  # GPT-J
    Layout("attn.attention", "mlp", "attn.attention.out_proj"),  # GPT-Neo
    Layout("attention", "mlp", "attention.dense"),  # GPT-NeoX
    Layout("self_attention", "mlp", "self_attention.dense"),  # Falcon
    Layout(
        "self_attention.dense", "mlp.dense_4h_to_h", "self_attention.dense"
    ),  # BLOOM, whose sublayers return the sum
    Layout("self_attn", "fc2", "self_attn.out_proj", flat=True),  # OPT
    Layout("layer.0.SelfAttention", "layer.1.DenseReluDense", "layer.0.SelfAttention.o"),  # T5's encoder
    Layout(
        "attention.output.dense",
        "output.dense",
        "attention.output.dense",
        ("attention.output.LayerNorm", "output.LayerNorm"),
    ),  # BERT
)
"""Block types of Hugging Face models, tried in this order."""


ROUNDING = 4.0
"""How many units of rounding the identity may miss by; a wrong sublayer misses by thousands."""


@dataclass(frozen=True, eq=False)
class Passed:
    """What one forward pass gave: the picked hidden states of each site, and the logits if they were
    asked for.
    """

    states: dict[Site, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None


@runtime_checkable
class Backend(Protocol):
    """How a model is run, read and changed. `hf` is the Hugging Face model it stands for, never altered."""

    @property
    def name(self) -> str: ...
    @property
    def hf(self) -> nn.Module: ...
    @property
    def blocks(self) -> str: ...

    def layout(self) -> Layout:
        """The proven names inside a block; a method, because checking that an object is a Backend
        looks at every property.
        """
        ...

    def point(self, site: Site) -> Point:
        """Where a site lies; raises ValueError where that is not proven, saying what to use instead."""
        ...

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
        """One forward pass; changes act before reads, and without `logits` the pass ends after the last site
        read.

        `layout` stands in for the proven one, while that is being found out.
        """
        ...

    def generate(
        self, inputs: Mapping[str, Tensor], writes: Sequence[tuple[Site, Change]], options: Mapping[str, Any]
    ) -> Tensor:
        """Token ids [batch, pos] of prompts and continuations, every pass under the changes."""
        ...


def due(writes: Sequence[Site], reads: Sequence[Site], to_the_end: bool) -> list[Site]:
    """The written sites that a pass must meet: all, or those up to the last read where it ends."""
    last = max((s.order for s in reads), default=None)
    return [s for s in writes if to_the_end or (last is not None and s.order <= last)]


def require_met(met: Container[Site], wanted: Sequence[Site]) -> None:
    """Raises Unvisited, naming the sites that a pass was to meet and did not."""
    if missed := [s for s in wanted if s not in met]:
        raise Unvisited.at(missed)


def explained(layout: Layout, states: Mapping[str, Sequence[Tensor]], blocks: Sequence[nn.Module]) -> float:
    """How far, in units of rounding, the sublayers miss what each block adds to the residual stream; about 1
    or less is exact.

    `states` maps resid_pre, attn_out, mlp_out and resid_post to one tensor a block. Elementwise, because a
    wrong sublayer can be small beside the stream as a whole and still stands out in the coordinates where the
    stream is small.
    """
    worst = 0.0
    with torch.no_grad():
        for i, block in enumerate(blocks):
            pre, attn, mlp, post = (states[k][i] for k in ("resid_pre", "attn_out", "mlp_out", "resid_post"))
            eps = torch.finfo(post.dtype).eps
            if layout.norms is None:
                whole = pre.double() + attn.double() + mlp.double()
                scale = pre.abs().double() + attn.abs().double() + mlp.abs().double() + post.abs().double()
            else:
                first, second = (block.get_submodule(n) for n in layout.norms)
                whole = second(first((pre + attn).to(post.dtype)) + mlp).double()
                # A norm divides by a deviation that carries the rounding of the whole row.
                scale = 8 * (post.abs().double() + post.double().square().mean(-1, keepdim=True).sqrt())
            worst = max(worst, float(((post.double() - whole).abs() / (eps * scale + 1e-30)).max()))
    return worst


def proven(backend: Backend, candidates: Sequence[Layout], blocks: Sequence[nn.Module]) -> Layout:
    """The first layout whose sublayer outputs account for what the blocks do on a few tokens; raises
    ValueError where none does.
    """
    vocabulary = int(text_config(backend.hf).vocab_size)  # pyright: ignore
    tokens = torch.linspace(0, vocabulary - 1, 10).long().view(2, 5).to(input_device(backend.hf))
    missed = []
    for layout in candidates:
        sites = {
            k: [Site(k, b) for b in range(len(blocks))]
            for k in ("resid_pre", "attn_out", "mlp_out", "resid_post")
        }
        try:
            states = backend.run(
                {"input_ids": tokens}, [s for of in sites.values() for s in of], whole, (), False, {}, layout
            ).states
        except Unvisited:
            missed.append(f"{layout.attn_out} or {layout.mlp_out} is not run in every block")
            continue
        if (
            all(states[s].shape == states[of[0]].shape for of in sites.values() for s in of)
            and len({states[of[0]].shape for of in sites.values()}) == 1
        ):
            off = explained(layout, {k: [states[s] for s in of] for k, of in sites.items()}, blocks)
            if off <= ROUNDING:
                return layout
            missed.append(f"{layout.attn_out} and {layout.mlp_out} miss by {off:.0f} roundings")
    raise ValueError(
        f"attn_out, mlp_out and z are not proven for {type(backend.hf).__name__}: no known pair of sublayers"
        f" adds up to what its blocks do ({'; '.join(missed) or 'its modules have none of the known names'});"
        " resid_pre and resid_post can be read"
    )


@dataclass(frozen=True, eq=False)
class Pick:
    """Chosen tokens of a padded batch: [batch, pos, d] to [row, d], where the hidden state lies
    (blocks may lie on several devices).
    """

    row: Int[Tensor, " n"]
    column: Int[Tensor, " n"]

    def __call__(self, h: Tensor) -> Tensor:
        return h[self.row.to(h.device), self.column.to(h.device)]


@dataclass(frozen=True, eq=False)
class Average:
    """The mean over each text's own tokens, in float32; padded places never enter it, whatever stands
    there.
    """

    mask: Int[Tensor, "batch pos"]

    def __call__(self, h: Tensor) -> Tensor:
        here = self.mask.to(h.device)[..., None]
        return torch.where(here == 1, h.float(), 0).sum(1) / here.sum(1)


def whole(h: Tensor) -> Tensor:
    """Every token, as a copy: some blocks add in place to what they read."""
    return h.detach().clone()


def head_columns(site: Site, width: int, n_heads: int) -> tuple[int, int] | None:
    """The columns of one head in the concatenated heads; None for a site that names no head."""
    if site.head is None:
        return None
    if width % n_heads:
        raise ValueError(
            f"{site}: {width} columns do not divide into {n_heads} heads; read z.{site.block} as a whole"
        )
    size = width // n_heads
    return site.head * size, (site.head + 1) * size
