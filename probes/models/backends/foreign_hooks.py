"""Hooks on a copy of a model's modules: other people's act there as on the model, ours do not."""

import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from probes.models.backends import hooking
from probes.models.backends.points import Point
from probes.models.foreign import foreign


def without_ours(copy: nn.Module) -> nn.Module:
    """The copy, from which the hooks of edits and readings that are under way are taken."""
    for module in copy.modules():
        for table in (module._forward_pre_hooks, module._forward_hooks):
            for key in [k for k, fn in table.items() if getattr(fn, "__module__", "") == hooking.__name__]:
                del table[key]
    return copy


def hooks_within(copy: nn.Module) -> nn.Module:
    """The copy, with the forward hooks of a module as the end of its `forward`, where other people's are
    among them: what is shown as its output is then what goes on from it.
    """
    for module in copy.modules():
        if any(foreign(fn) for fn in module._forward_hooks.values()):
            module.forward = _with_hooks(module, module.forward)
            module._forward_hooks.clear()
    return copy


def _with_hooks(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    named = set(module._forward_hooks_with_kwargs)
    hooks = [(fn, key in named) for key, fn in module._forward_hooks.items()]

    @functools.wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        for fn, by_name in hooks:
            new = fn(module, args, kwargs, out) if by_name else fn(module, args, out)
            out = out if new is None else new
        return out

    return run


def refuse_hooked(inner: nn.Module, point: Point) -> None:
    """Raises ValueError for a change at a place with hooks of other code: plain hooks change in front of
    them, and here a change would come behind.
    """
    module = inner.get_submodule(point.name)
    table = module._forward_hooks if point.side == "out" else module._forward_pre_hooks
    if there := [what for fn in table.values() if (what := foreign(fn))]:
        raise ValueError(
            f"{point} has hooks of other code ({', '.join(there)}), and through nnsight an edit would act"
            " behind them, not in front; take them off, or use backend='hooks'"
        )
