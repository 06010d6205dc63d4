"""Reading and writing hidden states with plain PyTorch forward hooks: the reference backend.

Two symmetric operations, read and write, at the input (`resid_pre`) or output (`resid_post`) of a block. Writes
act before reads, so reading at an edited site gives the value after the edit. Hooks live only as long as one forward
pass and the model object is never changed.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from probes.sites import Site

Read = Callable[[Tensor], None]
Write = Callable[[Tensor], Tensor]


class _Enough(Exception):
    """Raised by a hook when nothing after this block is needed."""


def inner_model(hf: nn.Module) -> nn.Module:
    """The Hugging Face model itself, out of a PEFT wrapper (whose adapters act from inside its modules)."""
    if hasattr(hf, "get_base_model") and hasattr(hf, "peft_config"):
        if any(c.is_prompt_learning for c in hf.peft_config.values()):  # pyright: ignore
            raise ValueError("prompt-tuning adapters add virtual tokens, so token positions would be off; merge or remove the adapter")
        return hf.get_base_model()  # pyright: ignore
    return hf


def find_blocks(hf: nn.Module, path: str | None = None) -> nn.ModuleList:
    """The list of transformer blocks; `path` names it for architectures where the search finds none or several."""
    inner = inner_model(hf)
    if path is not None:
        found = inner.get_submodule(path)
        if not isinstance(found, nn.ModuleList):
            raise ValueError(f"blocks={path!r} is a {type(found).__name__}, expected the ModuleList of transformer blocks")
        return found
    config: Any = inner.config
    # The flag stays set on a lone encoder that was taken out of its model; that one is its own encoder.
    if getattr(config, "is_encoder_decoder", False) and inner.get_encoder() is not inner:  # pyright: ignore
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
    return next(iter(lists.values()))


def hidden(output: Any) -> Tensor:
    """The hidden state in a block's output: a bare tensor in transformers 5, the first of a tuple before it."""
    return output if isinstance(output, Tensor) else output[0]


def _replaced(output: Any, h: Tensor) -> Any:
    return h if isinstance(output, Tensor) else (h, *output[1:])


@contextmanager
def hooked(blocks: nn.ModuleList, reads: Mapping[Site, Read], writes: Iterable[tuple[Site, Write]] = (), stop: bool = False) -> Generator[None]:
    """Within the block, forward passes are edited by `writes` (in order) and shown to `reads`.

    With `stop`, the pass ends after the last site read; `forward_until_enough` swallows that ending.
    """
    at: dict[tuple[str, int], tuple[list[Write], list[Read]]] = {}
    for site, write in writes:
        at.setdefault((site.kind, site.block), ([], []))[0].append(write)
    for site, read in reads.items():
        at.setdefault((site.kind, site.block), ([], []))[1].append(read)
    order = [(block, kind == "resid_post") for (kind, block), (_, readers) in at.items() if readers]
    last = max(order, default=None) if stop else None

    def visit(h: Tensor, kind: str, block: int) -> Tensor:
        writers, readers = at[kind, block]
        for write in writers:
            h = write(h)
        for read in readers:
            read(h)
        if last == (block, kind == "resid_post"):
            raise _Enough
        return h

    def before(block: int) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (visit(args[0], "resid_pre", block), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": visit(kwargs["hidden_states"], "resid_pre", block)}

        return hook

    def after(block: int) -> Callable[..., Any]:
        return lambda module, args, output: _replaced(output, visit(hidden(output), "resid_post", block))

    handles = []
    try:
        for (kind, block), (writers, _) in at.items():
            first = bool(writers)  # in front of a recording's hooks, which then see the edited value
            if kind == "resid_pre":
                handles.append(blocks[block].register_forward_pre_hook(before(block), with_kwargs=True, prepend=first))
            else:
                handles.append(blocks[block].register_forward_hook(after(block), prepend=first))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(hf: nn.Module) -> Generator[None]:
    """Dropout off and no gradients; every module's training flag is put back as it was."""
    training = [m for m in hf.modules() if m.training]
    try:
        for m in training:
            m.training = False
        with torch.no_grad():
            yield
    finally:
        for m in training:
            m.training = True


def forward_until_enough(run: Callable[[], Any]) -> Any:
    """Calls `run` and returns its output, or None when a hook ended the pass early."""
    try:
        return run()
    except _Enough:
        return None
