"""A model whose adapters are all switched off is the base model, and is known by its names."""

from collections.abc import Callable
from typing import Any

from torch import nn

from probes.data.fingerprint import COMPILED
from probes.models.compiled import original
from probes.models.unwrap import inner_model

Called = Callable[[str], str | None]
_LORA, _SAVED = "peft.tuners.lora.", "ModulesToSaveWrapper"


def plain_name(name: str) -> str:
    """The name of a module or tensor, compiled or not."""
    return name.replace(COMPILED, "")


def acting_part(hf: nn.Module) -> tuple[nn.Module, Called]:
    """The model that passes go through and what its modules and tensors are called in it, None for what no
    pass meets: of one whose adapters are all switched off, or were unloaded, the base model, else the model
    as it is.

    Only of LoRA, and of layers saved whole beside it, is it known that a switched off one hands over to what
    it wraps; merged ones act, and every other adapter counts as it stands there.
    """
    inside = switched_off(hf)
    if not inside:
        return inner_model(hf) if _unloaded(hf) else hf, plain_name

    def called(name: str) -> str | None:
        name = plain_name(name)
        path = next((p for p in inside if name == p or name.startswith(f"{p}.")), None)
        if path is None:
            return name
        behind = f"{path}.{inside[path]}"
        return path + name[len(behind) :] if name == behind or name.startswith(f"{behind}.") else None

    return inner_model(hf), called


def switched_off(hf: nn.Module) -> dict[str, str]:
    """Where adapters are that are switched off, and what each calls the layer it wraps; empty where there are
    none, or where one may act.
    """
    if not _only_lora(hf):
        return {}
    found: dict[str, str] = {}
    for name, module in inner_model(hf).named_modules():
        kind = type(module)
        if not kind.__module__.startswith("peft."):
            continue
        path = plain_name(name)
        if any(path.startswith(f"{p}.") for p in found):
            continue
        saved = kind.__name__ == _SAVED
        lora = kind.__module__.startswith(_LORA) and hasattr(module, "base_layer")
        off: Any = getattr(module, "disable_adapters", None)
        if not (saved or lora) or off is not True or getattr(module, "merged_adapters", None):
            return {}
        found[path] = "original_module" if saved else "base_layer"
    return found


def _only_lora(hf: nn.Module) -> bool:
    """Whether there are no adapters of other kinds; other kinds may act outside of the layers."""
    configs: Any = getattr(original(hf), "peft_config", None) or {}
    return all(getattr(c.peft_type, "value", c.peft_type) == "LORA" for c in configs.values())


def _unloaded(hf: nn.Module) -> bool:
    """Whether nothing is left of adapters but what wrapped the whole."""
    wrapped = inner_model(hf) is not original(hf) and _only_lora(hf)
    return wrapped and not any(type(m).__module__.startswith("peft.") for m in inner_model(hf).modules())
