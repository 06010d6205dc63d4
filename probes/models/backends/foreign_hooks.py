"""Hooks on a copy of a model's modules: other people's act there as on the model, ours do not. And hooks of
others in front of the whole model, which what is run for its states must meet too.
"""

import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from probes.models.backends import hooking
from probes.models.backends.alike import Alike
from probes.models.backends.points import Point
from probes.models.compiled import original
from probes.models.foreign import foreign
from probes.models.unwrap import inner_model, without_head


def makes_states(hf: nn.Module, copied: nn.Module | None = None) -> nn.Module:
    """What to run for hidden states alone: the part without the head, or the whole where code of others
    stands in front of it (a hook, a `forward` put onto it, a class of one's own); of a copy, where one is
    given.
    """
    body = without_head(hf)
    around = (hf, original(hf), getattr(original(hf), "base_model", None), inner_model(hf))
    for module in around:
        if not isinstance(module, nn.Module) or module is body:
            continue
        runs = (type(module).__call__, type(module).forward, vars(module).get("forward"))
        if any(fn is not None and foreign(fn) for fn in (*runs, *module._forward_pre_hooks.values())):
            return hf if copied is None else copied
    return body if copied is None else without_head(copied)


def on_originals(copied: nn.Module, hf: nn.Module) -> Alike | None:
    """Has hooks of other code on the copy called as those of the model are: the very functions, with the
    model's own modules. What they set there the copy has too, and they find there what its passes keep, from
    `begin` of what comes back on; None where there are no such hooks.
    """
    alike: Alike | None = None
    for module, own in zip(copied.modules(), hf.modules(), strict=True):
        for name in ("_forward_pre_hooks", "_forward_hooks"):
            table, theirs = getattr(module, name), getattr(own, name)
            for key in table:
                if key in theirs and foreign(theirs[key]) is not None:
                    alike = alike or Alike(copied, hf)
                    table[key] = _called_with(theirs[key], own, alike)
    return alike


def _called_with(fn: Callable[..., Any], own: nn.Module, alike: Alike) -> Callable[..., Any]:
    def hook(of: nn.Module, *args: Any) -> Any:
        alike.to_the_model()
        try:
            return fn(own, *args)
        finally:
            alike.to_the_copy()

    # Known as that of others, whatever it is called.
    hook.__module__, hook.__qualname__ = (foreign(fn) or "").rpartition(".")[::2]
    return hook


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


def refuse_hooked(inner: nn.Module, point: Point, through: str) -> None:
    """Raises ValueError for a change at a place with hooks of other code: plain hooks change in front of
    them, and here a change would come behind.
    """
    module = inner.get_submodule(point.name)
    table = module._forward_hooks if point.side == "out" else module._forward_pre_hooks
    if there := [what for fn in table.values() if (what := foreign(fn))]:
        raise ValueError(
            f"{point} has hooks of other code ({', '.join(there)}), and through {through} an edit would act"
            " behind them, not in front; take them off, or use backend='hooks'"
        )
