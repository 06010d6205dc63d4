"""Which keys of a config say something about hidden states, and what makes two configs differ."""

import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

from torch import nn

from probes.data.code_names import beneath_models, loaded_beside, words_in

# What a head calls its numbers, and the form in which they come back.
_BESIDE = ("return_dict", "problem_type", "id2label", "label2id", "task_specific_params", "finetuning_task")
_TOKENS = {  # by what modules call the token where they compute with it
    "pad_token_id": re.compile(r"pad(ding)?_(idx|index|id|token_id|token)\b"),
    "bos_token_id": re.compile(r"bos_(index|id|token_id|token)\b"),
    "eos_token_id": re.compile(r"eos_(index|id|token_id|token)\b"),
}
# They name the tokens to write, to start weights and to resize tables; no pass goes through that.
_BASES = ("torch.", "peft.", "transformers.modeling_utils", "transformers.generation")
_NO_PASS = ("__init__", "_init_weights", "prepare_inputs_for_generation")
_KEPT = 16  # configs and settings of models
_NAMED, _SHOWN = 4, 60  # keys, and characters of a value
_seen: dict[str, dict[str, Any]] = {}


def told_by(hf: nn.Module, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without the keys that change no hidden state; of tokens those are left out that no module of
    this model computes with (RoBERTa counts positions from the pad token), and notes that nothing reads.
    """
    idle = {*_BESIDE, *(key for key in _TOKENS if not computes_with(hf, key))}
    idle |= {key for key in config if not reads(hf, key)}
    found: dict[str, Any] = {}
    for key, value in config.items():
        if key not in idle:
            nested = key.endswith("_config") and isinstance(value, Mapping)
            found[key] = {k: v for k, v in value.items() if k not in idle} if nested else value
    return found


def computes_with(hf: nn.Module, key: str) -> bool:
    """Whether the code of any module names the token, other than where models are made and texts written."""
    return any(_names(kind, key) for kind in {type(module) for module in hf.modules()})


def reads(hf: nn.Module, key: str) -> bool:
    """Whether a key is one that the config's class knows, or that the code of a module names."""
    kind = type(hf.config)
    if _known(kind, key):
        return True
    kinds = {type(module) for module in hf.modules()}
    return any(key in _words(kind) for kind in kinds) or key in loaded_beside("config")


@functools.cache
def _words(kind: type) -> frozenset[str]:
    return frozenset().union(*(words_in(base) for base in kind.__mro__ if not beneath_models(base)))


@functools.cache
def _known(kind: type, key: str) -> bool:
    if hasattr(kind, key):
        return True
    made = (base for base in kind.__mro__ if base is not object)
    return any(
        key in vars(b).get("__annotations__", {}) or key in inspect.signature(b.__init__).parameters
        for b in made
    )


@functools.cache
def _names(kind: type, key: str) -> bool:
    named = (name for own in kind.__mro__ for name in _names_of(own))
    return any(_TOKENS[key].fullmatch(name) for name in named)


def _names_of(kind: type) -> Iterator[str]:
    if kind.__module__.startswith(_BASES) or kind.__module__ in ("builtins", "torch"):
        return
    for name, fn in vars(kind).items():
        fn = getattr(fn, "__func__", fn)
        while hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        if name not in _NO_PASS and isinstance(fn, FunctionType):
            yield from (*fn.__code__.co_names, *fn.__code__.co_varnames)


def remember(name: str, told: dict[str, Any]) -> None:
    """Keeps what was met in this process under its hash, to say what another model has otherwise."""
    _seen.pop(name, None)
    _seen[name] = told
    while len(_seen) > _KEPT:
        del _seen[next(iter(_seen))]


def differing(first: str, second: str) -> str:
    """The keys in which two things named by their hashes differ, with their values; empty where either was
    not met lately in this process.
    """
    if first not in _seen or second not in _seen:
        return ""
    one, other = _seen[first], _seen[second]
    keys = [k for k in {**one, **other} if one.get(k) != other.get(k)]
    said = [f"{k} {one.get(k)!r:.{_SHOWN}}, now {other.get(k)!r:.{_SHOWN}}" for k in keys[:_NAMED]]
    return "; ".join([*said, *([f"{len(keys) - _NAMED} more"] if len(keys) > _NAMED else [])])
