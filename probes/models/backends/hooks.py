"""Reading and writing hidden states with plain PyTorch forward hooks on the model as it is: the
reference backend.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from probes.data.sites import Site
from probes.models.backends.around import carried, outside
from probes.models.backends.foreign_hooks import makes_states
from probes.models.backends.hooking import Read, forward_until_enough, hooked
from probes.models.backends.points import (
    MODULES,
    Change,
    Layout,
    Passed,
    Point,
    Select,
    due,
    head_columns,
    proven,
)
from probes.models.compiled import eagerly, original
from probes.models.unwrap import (
    evaluating,
    fan_in,
    find_blocks,
    inner_model,
    offloaded,
    text_config,
)


class ModuleTree:
    """What backends share that address a model by the names of its Hugging Face modules."""

    def __init__(self, hf: nn.Module, blocks: str | None = None) -> None:
        self.hf = original(hf)
        self.inner = inner_model(hf)
        self.blocks = find_blocks(hf, blocks)
        self._layout: Layout | None = None

    def layout(self) -> Layout:
        """The proven names inside a block; found out once, by a small forward pass."""
        if self._layout is not None:
            return self._layout
        blocks = self.inner.get_submodule(self.blocks)
        names = {n for n, _ in blocks[0].named_modules()}  # pyright: ignore
        fitting = [c for c in MODULES if {c.attn_out, c.mlp_out, c.z, *(c.norms or ())} <= names]
        with outside():
            self._layout = proven(self, fitting, list(blocks))  # pyright: ignore
        return self._layout

    def point(self, site: Site, layout: Layout | None = None) -> Point:
        """Where a site lies; raises ValueError where that is not proven for this architecture."""
        block = f"{self.blocks}.{site.block}"
        if site.kind in ("resid_pre", "resid_post"):
            return Point(block, "in" if site.kind == "resid_pre" else "out", site=site)
        layout = layout or self.layout()
        if site.kind == "z":
            name = f"{block}.{layout.z}"
            n_heads = int(text_config(self.inner).num_attention_heads)  # pyright: ignore
            columns = head_columns(site, fan_in(self.inner.get_submodule(name)), n_heads)
            return Point(name, "in", columns, site=site)
        shaped_by = block if layout.flat and site.kind == "mlp_out" else None
        return Point(f"{block}.{getattr(layout, site.kind)}", shaped_by=shaped_by, site=site)


class Hooks(ModuleTree):
    """Plain PyTorch hooks on the model as it is: nothing is copied, wrapped or switched off."""

    name = "hooks"

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
        states: dict[Site, Tensor] = {}
        writes = [*carried(self.inner), *writes]

        def reader(site: Site) -> Read:
            return lambda h: states.__setitem__(site, select(h))

        reads = [(self.point(site, layout), reader(site)) for site in sites]
        changes = [(self.point(site), write) for site, write in writes]
        body = self.hf if logits else makes_states(self.hf)
        stop = not logits and not offloaded(self.hf)
        needed = due([site for site, _ in writes], sites, to_the_end=not stop)
        optional = [point for point, _ in changes if point.site not in needed]
        hooks = hooked(self.inner, reads, changes, stop=stop, optional=optional, carries=True)
        with evaluating(self.hf), hooks:
            out = forward_until_enough(lambda: body(**inputs, **{"use_cache": False, **options}))
        return Passed(states, out.logits if logits else None)

    def generate(
        self, inputs: Mapping[str, Tensor], writes: Sequence[tuple[Site, Change]], options: Mapping[str, Any]
    ) -> Tensor:
        changes = [(self.point(site), write) for site, write in (*carried(self.inner), *writes)]
        # Some caches have transformers compile the model as it goes.
        with evaluating(self.hf), eagerly(), hooked(self.inner, [], changes, carries=True):
            return self.hf.generate(**inputs, **options)  # pyright: ignore
