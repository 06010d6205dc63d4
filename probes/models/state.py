"""What acts on a model's passes besides its weights: adapters that are switched on, hooks of other people's
code, autocast, the way attention is computed.
"""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules import module as torch_modules

from probes.checks.casting import autocast_on
from probes.data.fingerprint import State
from probes.models.foreign import foreign
from probes.models.held import held
from probes.models.settings import settings_of
from probes.models.switched_off import Called, acting_part, plain_name


def state_of(hf: nn.Module) -> State:
    """Everything that acts on the passes of a model as it is now."""
    hf, called = acting_part(hf)
    device = next((p.device.type for p in hf.parameters()), "cpu")
    cast = autocast_on(device)
    attention = str(getattr(hf.config, "_attn_implementation", None) or "")
    return State(
        tuple(_adapters(hf, called)), tuple(_hooks(hf, called)), cast, attention, settings_of(hf, called)
    )


def acting_adapters(hf: nn.Module) -> tuple[str, ...]:
    """Adapters that may act on passes, by what is said of them."""
    return tuple(_adapters(*acting_part(hf)))


def _adapters(hf: nn.Module, called: Called) -> Iterator[str]:
    """Adapters of every layer that has some, and whether they act."""
    seen = set()
    for name, layer in hf.named_modules():
        if called(name) is None:
            continue
        active, off = (getattr(layer, name, None) for name in ("active_adapters", "disable_adapters"))
        if not isinstance(active, list) or not isinstance(off, bool):
            continue
        merged = sorted(getattr(layer, "merged_adapters", []))
        said = f"{', '.join(sorted(active))}{' (switched off)' if off else ''}"
        said += f" (merged: {', '.join(merged)})" if merged else ""
        if said not in seen:
            seen.add(said)
            yield said


def _hooks(hf: nn.Module, called: Called) -> Iterator[str]:
    """Where other people's hooks are, and what they are called."""
    for name, module in hf.named_modules():
        for fn in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            if (what := _foreign(fn)) is not None:
                yield f"{(called(name) or plain_name(name)) or 'the model'}: {what}"
    everywhere = (torch_modules._global_forward_pre_hooks, torch_modules._global_forward_hooks)
    for hooks in everywhere:
        yield from (f"every module: {what}" for fn in hooks.values() if (what := _foreign(fn)))


def _foreign(fn: Any) -> str | None:
    """The name of a hook that is neither ours nor a library's that runs the model, and a hash of what it
    holds.
    """
    called = foreign(fn)
    return None if called is None else f"{called} ({held(fn)})"
