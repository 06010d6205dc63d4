"""A model as it stands, told in well under a millisecond: which parts it has, what they are set to and where
their numbers lie. What holds on to a model as it was asks at every pass whether that is still so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, ref

from torch import Tensor, nn
from torch.nn.modules import module as torch_modules

from probes.data.config_keys import reads
from probes.models.attributes import OF_EVERY_MODULE, Counts, Put
from probes.models.compiled import original
from probes.models.foreign import foreign
from probes.models.looked_at import PLAIN, look
from probes.models.own_classes import Classes
from probes.models.settings import CHANGES_WITH_TEXTS, PASSING
from probes.models.unwrap import inner_model, text_config

_NOTHING_COMPUTED = ("use_cache", "return_dict", "output_", "dtype", "torch_dtype", "architectures", "_")
_NOTHING_COMPUTED += ("pad_token_id", "bos_token_id", "eos_token_id")
# Libraries put them in their own place again; a `forward` is looked at by itself.
_PUT_BACK = ("forward", "prepare_inputs_for_generation")
Places = tuple[tuple[int, int], ...]
_GONE = object()


@dataclass(eq=False)
class _Values:
    """Attributes that count, as they were: plain ones, others with a picture of each where that can change,
    and how many there are in all. New ones are looked at once.
    """

    counts: Counts
    plain: Mapping[str, Any]
    others: tuple[tuple[str, Any, Any], ...]
    attributes: int

    @classmethod
    def of(cls, own: Mapping[str, Any], counts: Counts) -> "_Values":
        kept = {k: v for k, v in own.items() if k not in OF_EVERY_MODULE and counts(k, v)}
        plain = {k: v for k, v in kept.items() if isinstance(v, PLAIN)}
        pictures = ((k, v, look(v)) for k, v in kept.items() if k not in plain)
        others = tuple((k, v, seen if isinstance(seen, tuple) else None) for k, v, seen in pictures)
        return cls(counts, plain, others, len(own))

    def changed(self, own: Mapping[str, Any]) -> str:
        """The names of those that are others now; empty for none."""
        if not self.plain.items() <= own.items():
            return ", ".join(sorted(k for k, v in self.plain.items() if own.get(k, _GONE) != v))
        for name, value, seen in self.others:
            if own.get(name, _GONE) is not value or (seen is not None and look(value) != seen):
                return name
        if self.attributes != len(own):
            known = {*self.plain, *(name for name, _, _ in self.others)}
            if new := sorted(k for k, v in own.items() if k not in known and self.counts(k, v)):
                return ", ".join(new)
            self.attributes = len(own)
        return ""


@dataclass(frozen=True)
class _Part:
    """One module: itself, those within it, the `forward` put over its own, hooks of other code, what else it
    holds, and its weights and buffers by place and number of writes.
    """

    module: "ReferenceType[nn.Module]"
    kind: type
    within: tuple[int, ...]
    forward: int
    hooks: tuple[int, ...]
    values: _Values
    places: Places
    buffers: tuple[str, ...]  # those that count, and do not grow with the length of texts
    registered: int

    @classmethod
    def of(cls, module: nn.Module, counts: Counts) -> "_Part":
        grows = any(t in str(vars(module).get("rope_type", "")) for t in CHANGES_WITH_TEXTS)
        within = tuple(map(id, module._modules.values()))
        values = _Values.of(vars(module), counts)
        buffers = () if grows else tuple(_counted(module, counts))
        own = within, _forward(module), _hooks(module), values, _places(module, buffers), buffers
        return cls(ref(module), type(module), *own, -1 if grows else len(module._buffers))

    def changed(self, written: bool) -> str:
        """What is another, in a word; empty for nothing."""
        if (module := self.module()) is None:
            return "module"
        own = module.__dict__
        if self.kind is not type(module):
            return "class"
        inside = own["_modules"]
        if (inside or self.within) and self.within != tuple(map(id, inside.values())):
            return "modules within"
        if ("forward" in own or self.forward) and self.forward != _forward(module):
            return "forward"
        hooked = own["_forward_hooks"] or own["_forward_pre_hooks"] or self.hooks
        if hooked and self.hooks != _hooks(module):
            return "hooks"
        if what := self.values.changed(own):
            return what
        if self.registered not in (-1, len(own["_buffers"])) and (
            self.buffers != tuple(_counted(module, self.values.counts))
        ):
            return "weights or buffers"
        places = _places(module, self.buffers)
        if places != self.places and (written or [p for p, _ in places] != [p for p, _ in self.places]):
            return "weights or buffers"
        return ""


@dataclass(frozen=True)
class Stamp:
    """All parts of a model in their order, with their names, and its config."""

    names: tuple[str, ...]
    parts: tuple[_Part, ...]
    config: tuple[_Values, ...]
    attention: str
    everywhere: tuple[int, ...]  # hooks of other code on all modules
    classes: Classes

    @classmethod
    def of(cls, hf: nn.Module) -> "Stamp":
        inner = inner_model(hf)
        names, modules = zip(*original(hf).named_modules(), strict=True)
        put = Put.on(modules)

        def counts(key: str, value: Any) -> bool:
            return not key.startswith(_NOTHING_COMPUTED) and reads(inner, key)

        told = tuple(_Values.of(vars(c), counts) for c in _configs(hf))
        parts = tuple(_Part.of(module, _counting(module, put)) for module in modules)
        return cls(names, parts, told, _attention(hf), _global_hooks(), Classes(modules))

    def changed(self, hf: nn.Module, written: bool = True, attention: bool = True) -> str:
        """What is not as it was, by the name of the first module where something is; empty for nothing.
        Without `written`, writes into weights do not count, which whatever shares them sees.
        """
        top = original(hf)
        if self.parts[0].module() is not top:
            return "the model"
        # As long as every module has those within that it had, there are no others.
        for i, part in enumerate(self.parts):
            if what := part.changed(written):
                module = part.module()
                name = next((n for n, m in top.named_modules() if m is module), self.names[i])
                return f"{name or 'the model'}: {what}"
        configs = _configs(hf)
        if len(configs) != len(self.config):
            return "config"
        for was, config in zip(self.config, configs, strict=True):
            if what := was.changed(vars(config)):
                return f"config: {what}"
        if attention and self.attention != _attention(hf):
            return "attention"
        if self.everywhere != _global_hooks():
            return "hooks on all modules"
        return f"the class {what}" if (what := self.classes.changed()) else ""


def _configs(hf: nn.Module) -> list[Any]:
    inner: Any = inner_model(hf)
    inside = text_config(inner)
    return [inner.config] if inside is inner.config else [inner.config, inside]


def _attention(hf: nn.Module) -> str:
    config: Any = inner_model(hf).config
    return str(getattr(config, "_attn_implementation", ""))


def _counting(module: nn.Module, put: Put) -> Counts:
    """Which attributes of a module are looked at."""
    decides = put.counting(module, whole=True)

    def counts(name: str, value: Any) -> bool:
        if name.endswith(PASSING) or (name in _PUT_BACK and (name == "forward" or foreign(value) is None)):
            return False
        return decides(name, value)

    return counts


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


def _counted(module: nn.Module, counts: Counts) -> Iterator[str]:
    """Names of the buffers that are saved or decide what a module computes."""
    for name, t in module._buffers.items():
        if name not in module._non_persistent_buffers_set or counts(name, t):
            yield name


def _places(module: nn.Module, buffers: tuple[str, ...]) -> Places:
    own: list[Tensor | None] = [*module._parameters.values()]
    if buffers:
        own += [module._buffers.get(name) for name in buffers]
    if not own:
        return ()
    return tuple([(t.data_ptr(), 0 if t.is_inference() else t._version) for t in own if t is not None])
