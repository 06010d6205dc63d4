"""Reading and writing hidden states with plain PyTorch forward hooks: the reference backend.

Two symmetric operations, read and write, at a point: the input or output of a module. Changes act before reads, so
reading at a changed point gives the value after the change. Hooks live only as long as one pass and the model object is never changed.
"""

import copy
import threading
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from probes.data.sites import Site
from probes.models.backends.points import MODULES, Change, Layout, Passed, Point, Select, head_columns, proven

Read = Callable[[Tensor], None]


_entered = threading.local()
_evaluating: Counter[int] = Counter()
_switching = threading.Lock()


class _Enough(Exception):
    """Raised by a hook when everything wanted was seen."""


def inner_model(hf: nn.Module) -> nn.Module:
    """The Hugging Face model itself, out of a PEFT wrapper (whose adapters act from inside its modules)."""
    if hasattr(hf, "get_base_model") and hasattr(hf, "peft_config"):
        if any(c.is_prompt_learning for c in hf.peft_config.values()):  # pyright: ignore
            raise ValueError("prompt-tuning adapters add virtual tokens, so token positions would be off; merge or remove the adapter")
        return hf.get_base_model()  # pyright: ignore
    return hf


def find_blocks(hf: nn.Module, path: str | None = None) -> str:
    """Where the list of transformer blocks is; `path` names it for architectures where the search finds none or several."""
    inner = inner_model(hf)
    if path is not None:
        found = inner.get_submodule(path)
        if not isinstance(found, nn.ModuleList):
            raise ValueError(f"blocks={path!r} is a {type(found).__name__}, expected the ModuleList of transformer blocks")
        return path
    config: Any = inner.config
    # The flag stays set on a lone encoder that was taken out of its model; that one is its own encoder.
    if getattr(config, "is_encoder_decoder", False) and inner.get_encoder() is not inner and hasattr(inner, "get_decoder"):  # pyright: ignore
        raise ValueError(f"{type(inner).__name__} is an encoder-decoder, which has two stacks; pass its encoder (model.get_encoder()) instead")
    n = getattr(config, "num_hidden_layers", None)
    lists = {name: m for name, m in inner.named_modules() if isinstance(m, nn.ModuleList) and len(m) == n}
    # A block list holds modules of one class that contain attention; nested lists (experts) lie deeper.
    lists = {name: m for name, m in lists.items() if len({type(b) for b in m}) == 1 and any("att" in s.lower() for s, _ in m[0].named_modules())}
    shallow = min((name.count(".") for name in lists), default=0)
    lists = {name: m for name, m in lists.items() if name.count(".") == shallow}
    if len(lists) != 1:
        raise ValueError(
            f"cannot tell which modules of {type(inner).__name__} are its {n} blocks (candidates: {sorted(lists) or 'none'}); "
            "name them with load_model(..., blocks='path.to.layers')"
        )
    return next(iter(lists))


def hidden(output: Any) -> Tensor:
    """The hidden state in a module's output: a bare tensor in transformers 5, the first of a tuple before it."""
    return output if isinstance(output, Tensor) else output[0]


def _replaced(output: Any, h: Tensor) -> Any:
    return h if isinstance(output, Tensor) else (h, *output[1:])


def changed(h: Tensor, changes: Sequence[tuple[Point, Change]]) -> Tensor:
    """The tensor after changes of the whole or of some of its columns, in order."""
    for point, change in changes:
        if point.columns is None:
            h = change(h)
        else:
            first, last = point.columns
            h = torch.cat([h[..., :first], change(h[..., first:last]), h[..., last:]], dim=-1)
    return h


def columns_of(h: Tensor, point: Point) -> Tensor:
    return h if point.columns is None else h[..., slice(*point.columns)]


@contextmanager
def hooked(
    inner: nn.Module, reads: Sequence[tuple[Point, Read]], writes: Sequence[tuple[Point, Change]] = (), stop: bool = False, shared: bool = False
) -> Generator[None]:
    """Within the `with`, forward passes of `inner` are changed by `writes` (in order) and shown to `reads`.

    With `stop`, the pass ends once every read was served; `forward_until_enough` swallows that ending. Passes of other threads are left
    alone; with `shared` only those are that have hooks of their own on this model, so that a thread that was merely started inside
    (streaming generation) works under these.
    """
    owner = threading.get_ident()
    # How many of these each thread is inside of, by model.
    depths: Counter[int] = _entered.__dict__.setdefault("depths", Counter())

    def foreign() -> bool:
        here = threading.get_ident()
        return here != owner and (not shared or _entered.__dict__.get("depths", Counter())[id(inner)] > 0)

    places = {(p.name, p.side): p.shaped_by for p, _ in (*writes, *reads)}
    waiting = {(p.name, p.side) for p, _ in reads}
    shapes: dict[str, tuple[int, ...]] = {}

    def visit(h: Tensor, key: tuple[str, str]) -> Tensor:
        shaped_by = places[key]
        flat = h
        if shaped_by is not None:
            h = h.view(*shapes[shaped_by], h.shape[-1])
        h = changed(h, [(p, w) for p, w in writes if (p.name, p.side) == key])
        for point, read in reads:
            if (point.name, point.side) == key:
                read(columns_of(h, point))
        waiting.discard(key)
        if stop and not waiting:
            raise _Enough
        return h if shaped_by is None else h.reshape(flat.shape)

    def before(key: tuple[str, str]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if foreign():
                return None
            if args:
                return (visit(args[0], key), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": visit(kwargs["hidden_states"], key)}

        return hook

    def after(key: tuple[str, str]) -> Callable[..., Any]:
        return lambda module, args, output: None if foreign() else _replaced(output, visit(hidden(output), key))

    def shape_at(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not foreign():
                shapes[name] = tuple((args[0] if args else kwargs["hidden_states"]).shape[:-1])

        return hook

    handles = []
    depths[id(inner)] += 1
    try:
        for name in {s for s in places.values() if s is not None}:
            handles.append(inner.get_submodule(name).register_forward_pre_hook(shape_at(name), with_kwargs=True))
        for key in places:
            name, side = key
            module = inner.get_submodule(name)
            first = any((p.name, p.side) == key for p, _ in writes)  # in front of a recording's hooks, which then see the changed value
            if side == "in":
                handles.append(module.register_forward_pre_hook(before(key), with_kwargs=True, prepend=first))
            else:
                handles.append(module.register_forward_hook(after(key), prepend=first))
        yield
    finally:
        depths[id(inner)] -= 1
        if not depths[id(inner)]:
            del depths[id(inner)]
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(hf: nn.Module) -> Generator[None]:
    """Dropout off and no gradients; every module's training flag is put back as it was, by the last thread that needs them off."""
    with _switching:
        training = [m for m in hf.modules() if m.training or id(m) in _evaluating]
        for m in training:
            _evaluating[id(m)] += 1
            m.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        with _switching:
            for m in training:
                _evaluating[id(m)] -= 1
                if not _evaluating[id(m)]:
                    del _evaluating[id(m)]
                    m.training = True


def forward_until_enough(run: Callable[[], Any]) -> Any:
    """Calls `run` and returns its output, or None when a hook ended the pass early."""
    try:
        return run()
    except _Enough:
        return None


def sharing_copy(hf: nn.Module) -> nn.Module:
    """Another model object on the very same weights, for code that leaves traces on the modules it touches; costs no memory to speak of."""
    weights = (*hf.parameters(), *hf.buffers())
    return copy.deepcopy(hf, {id(t): t for t in weights})


def without_head(hf: nn.Module) -> nn.Module:
    """The part of a model that makes hidden states, where an output head follows it."""
    inner = inner_model(hf)
    if hf.get_output_embeddings() is None or not inner.can_generate():  # pyright: ignore
        return inner
    body = getattr(inner, inner.base_model_prefix, None)  # pyright: ignore
    return body if isinstance(body, nn.Module) else inner


class ModuleTree:
    """What backends share that address a model by the names of its Hugging Face modules."""

    def __init__(self, hf: nn.Module, blocks: str | None = None) -> None:
        self.hf = hf
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
        self._layout = proven(self, fitting, list(blocks))  # pyright: ignore
        return self._layout

    def point(self, site: Site, layout: Layout | None = None) -> Point:
        """Where a site lies; raises ValueError where that is not proven for this architecture."""
        block = f"{self.blocks}.{site.block}"
        if site.kind in ("resid_pre", "resid_post"):
            return Point(block, "in" if site.kind == "resid_pre" else "out")
        layout = layout or self.layout()
        if site.kind == "z":
            name = f"{block}.{layout.z}"
            return Point(name, "in", head_columns(site, fan_in(self.inner.get_submodule(name)), int(self.inner.config.num_attention_heads)))  # pyright: ignore
        return Point(f"{block}.{getattr(layout, site.kind)}", shaped_by=block if layout.flat and site.kind == "mlp_out" else None)


def fan_in(linear: nn.Module) -> int:
    """Width of what a linear map takes; GPT-2's keep their weight the other way round."""
    return int(getattr(linear, "in_features", None) or linear.weight.shape[0])  # pyright: ignore


class Hooks(ModuleTree):
    """Plain PyTorch hooks on the model as it is: nothing is copied, wrapped or switched off."""

    name = "hooks"

    def run(
        self, inputs: Mapping[str, Tensor], sites: Sequence[Site], select: Select, writes: Sequence[tuple[Site, Change]], logits: bool, options: Mapping[str, Any],
        layout: Layout | None = None,
    ) -> Passed:  # fmt: skip
        states: dict[Site, Tensor] = {}

        def reader(site: Site) -> Read:
            return lambda h: states.__setitem__(site, select(h))

        reads = [(self.point(site, layout), reader(site)) for site in sites]
        body = self.hf if logits else without_head(self.hf)
        stop = not logits and not offloaded(self.hf)
        with evaluating(self.hf), hooked(self.inner, reads, [(self.point(s), w) for s, w in writes], stop):
            out = forward_until_enough(lambda: body(**inputs, use_cache=False, **options))
        return Passed(states, out.logits if logits else None)

    def generate(self, inputs: Mapping[str, Tensor], writes: Sequence[tuple[Site, Change]], options: Mapping[str, Any]) -> Tensor:
        with evaluating(self.hf), hooked(self.inner, [], [(self.point(s), w) for s, w in writes]):
            return self.hf.generate(**inputs, **options)  # pyright: ignore


def offloaded(hf: nn.Module) -> bool:
    """Whether some weights come and go during a pass, which an early ending would leave in place."""
    return bool({"cpu", "disk"} & {str(d) for d in getattr(hf, "hf_device_map", {}).values()} and len(set(hf.hf_device_map.values())) > 1)  # pyright: ignore
