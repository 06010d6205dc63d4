"""A model as it stands, told in well under a millisecond: which parts it has, what they are set to and where
their numbers lie. What holds on to a model as it was asks at every pass whether that is still so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, ref

from torch import Tensor, nn
from torch.nn.modules import module as torch_modules

from probes.models.compiled import original
from probes.models.settings import CHANGES_WITH_TEXTS, PASSING, foreign
from probes.models.unwrap import inner_model, text_config

_PLAIN = (bool, int, float, str, type(None))
_OF_ADAPTERS = ("_active_adapter", "_disable_adapters", "merged_adapters")
_NOTHING_COMPUTED = ("use_cache", "return_dict", "output_", "dtype", "torch_dtype", "architectures", "_")
_NOTHING_COMPUTED += ("pad_token_id", "bos_token_id", "eos_token_id")
Places = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Part:
    """One module: itself, the `forward` put over its own, hooks of other code, plain attributes, how many
    attributes there are in all, and its weights and buffers by place and number of writes.
    """

    module: "ReferenceType[nn.Module]"
    kind: type
    forward: int
    hooks: tuple[int, ...]
    plain: Mapping[str, Any]
    attributes: int
    places: Places
    grows: bool  # its buffers grow with the length of texts

    @classmethod
    def of(cls, module: nn.Module) -> "_Part":
        grows = any(t in str(getattr(module, "rope_type", "")) for t in CHANGES_WITH_TEXTS)
        plain = dict(_settings(module))
        n, places = len(vars(module)), _places(module, grows)
        return cls(ref(module), type(module), _forward(module), _hooks(module), plain, n, places, grows)

    def changed(self, module: nn.Module, written: bool) -> str:
        """What is another, in a word; empty for nothing."""
        if self.module() is not module:
            return "module"
        own = vars(module)
        if self.kind is not type(module):
            return "class"
        if self.forward != _forward(module):
            return "forward"
        if (module._forward_hooks or module._forward_pre_hooks or self.hooks) and self.hooks != _hooks(
            module
        ):
            return "hooks"
        if not self.plain.items() <= own.items() or (
            self.attributes != len(own) and self.plain.keys() != dict(_settings(module)).keys()
        ):
            now = dict(_settings(module))
            names = {k for k in {*self.plain, *now} if self.plain.get(k) != now.get(k)}
            return ", ".join(sorted(names)) or "attributes"
        places = _places(module, self.grows)
        if places != self.places and (written or [p for p, _ in places] != [p for p, _ in self.places]):
            return "weights or buffers"
        return ""


@dataclass(frozen=True)
class Stamp:
    """All parts of a model in their order, and the plain values of its config."""

    parts: tuple[_Part, ...]
    config: tuple[Mapping[str, Any], ...]
    attention: str
    everywhere: tuple[int, ...]  # hooks of other code on all modules

    @classmethod
    def of(cls, hf: nn.Module) -> "Stamp":
        told = tuple(
            {k: v for k, v in _plain(c) if not k.startswith(_NOTHING_COMPUTED)} for c in _configs(hf)
        )
        parts = tuple(map(_Part.of, original(hf).modules()))
        return cls(parts, told, _attention(hf), _global_hooks())

    def changed(self, hf: nn.Module, written: bool = True, attention: bool = True) -> str:
        """What is not as it was, by the name of the first module where something is; empty for nothing.
        Without `written`, writes into weights do not count, which whatever shares them sees.
        """
        modules = list(original(hf).modules())
        for part, module in zip(self.parts, modules, strict=False):
            if what := part.changed(module, written):
                name = next((n for n, m in original(hf).named_modules() if m is module), "")
                return f"{name or 'the model'}: {what}"
        if len(modules) != len(self.parts):
            return "the number of modules"
        configs = _configs(hf)
        if len(configs) != len(self.config) or any(
            not was.items() <= vars(c).items() for was, c in zip(self.config, configs, strict=True)
        ):
            return "config"
        if attention and self.attention != _attention(hf):
            return "attention"
        return "hooks on all modules" if self.everywhere != _global_hooks() else ""


def _configs(hf: nn.Module) -> list[Any]:
    inner: Any = inner_model(hf)
    inside = text_config(inner)
    return [inner.config] if inside is inner.config else [inner.config, inside]


def _attention(hf: nn.Module) -> str:
    config: Any = inner_model(hf).config
    return str(getattr(config, "_attn_implementation", ""))


def _settings(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Plain attributes that decide what a module computes, and the names of functions put onto it."""
    of_adapters = type(module).__module__.startswith("peft.")
    for name, value in _plain(module):
        if not name.startswith("_") and not name.endswith(PASSING):
            yield name, value
    for name, value in vars(module).items():
        if of_adapters and name in _OF_ADAPTERS:
            yield name, list(value) if isinstance(value, list) else value


def _plain(thing: Any) -> Iterator[tuple[str, Any]]:
    """Numbers, words and tables of these, copied."""
    for name, value in vars(thing).items():
        if isinstance(value, _PLAIN):
            yield name, value
        elif isinstance(value, dict) and all(isinstance(v, _PLAIN) for v in value.values()):
            yield name, dict(value)
        elif isinstance(value, tuple) and all(isinstance(v, _PLAIN) for v in value):
            yield name, value


def _forward(module: nn.Module) -> int:
    """A `forward` put over that of the class; one that was compiled does what it did before."""
    own = vars(module).get("forward")
    return 0 if own is None or hasattr(own, "_torchdynamo_orig_callable") else id(own)


def _hooks(module: nn.Module) -> tuple[int, ...]:
    tables = (module._forward_pre_hooks, module._forward_hooks)
    return tuple(key for table in tables for key, fn in table.items() if foreign(fn) is not None)


def _global_hooks() -> tuple[int, ...]:
    tables = (torch_modules._global_forward_pre_hooks, torch_modules._global_forward_hooks)
    return tuple(key for table in tables for key, fn in table.items() if foreign(fn) is not None)


def _places(module: nn.Module, grows: bool) -> Places:
    own: list[Tensor | None] = list(module._parameters.values())
    if module._buffers and not grows:
        own += module._buffers.values()
    return tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in own if t is not None)
