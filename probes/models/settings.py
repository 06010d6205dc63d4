"""What decides what modules and functions compute besides weights: kinds of modules, plain attributes,
functions put in place of others with what they hold, small buffers that are not saved.
"""

import dis
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.data.config_keys import computes_with, remember
from probes.data.digest import values_of
from probes.data.fingerprint import COMPILED
from probes.models.attributes import OF_EVERY_MODULE, Put, counting
from probes.models.foreign import PART_OF_THE_MODEL, foreign
from probes.models.reached import library, reached, used
from probes.models.switched_off import Called

# Modes, where a model came from and lies, and what grows with the texts that were read.
PASSING = ("training", "gradient_checkpointing", "max_seq_len_cached", "name_or_path", "hf_device_map")
PASSING += ("warnings_issued",)
# Libraries put methods in their own place again: wrappers `forward`, PEFT the other whenever it has written.
_PUT_BACK = ("forward", "prepare_inputs_for_generation")
_PAD = ("padding_idx=", "pad_token_id=")
CHANGES_WITH_TEXTS = ("dynamic", "longrope")
Counts = Callable[[str, Any], bool]
_BUFFER = 2**16  # larger ones are masks
_DEEP = 4  # functions within functions that are looked into


def settings_of(hf: nn.Module, called: Called) -> str:
    """A hash of what every module is and does besides its weights, the same wherever the model lies, and one
    without the pad token where no module computes with it.

    Notes that no code reads count as nothing, nor does what passes write themselves. Of modules whose class
    is nobody's library's, private attributes, lists, tables, tensors and objects count too.

    Not seen: other objects that modules of libraries hold, methods exchanged on a class, masks and tables of
    more than 65,536 numbers that are no part of the state dict, and rotary frequencies that change with the
    length of texts.
    """
    saved = set(hf.state_dict(keep_vars=True))
    whole, core, seen = hashlib.sha256(), hashlib.sha256(), {}
    idle = () if computes_with(hf, "pad_token_id") else _PAD
    put, by_kind = Put.on(list(hf.modules())), {}
    for name, module in hf.named_modules():
        path = called(name)
        if path is None or COMPILED[:-1] in module._modules:
            continue
        path = path.removesuffix(COMPILED[:-1]).removesuffix(".")
        kind = f"{path} {type(module).__module__}.{type(module).__qualname__}\n".encode()
        whole.update(kind)
        core.update(kind)
        seen[path or "the model"] = type(module).__qualname__
        if any(t in str(getattr(module, "rope_type", "")) for t in CHANGES_WITH_TEXTS):
            continue
        if (counts := by_kind.get(type(module))) is None:
            counts = by_kind[type(module)] = counting(type(module), put)
        for line in (
            *_attributes(module, counts),
            *_buffers(module, f"{name}." if name else "", saved, counts),
        ):
            whole.update(line.encode())
            if not line.startswith(idle):
                core.update(line.encode())
                what, _, value = line.strip().partition(": " if ": [" in line else "=")
                seen[f"{path}.{what}".removeprefix(".")] = value
    remember(core.hexdigest()[:16], seen)
    return (
        f"{whole.hexdigest()[:16]}/{core.hexdigest()[:16]}@{_version(type(hf).__module__.partition('.')[0])}"
    )


@functools.cache
def _version(library: str) -> str:
    known = library if library in PART_OF_THE_MODEL else "transformers"
    return f"{known} {version(known)}"


def _attributes(module: nn.Module, counts: Counts) -> Iterator[str]:
    """Plain attributes of a module that decide what it computes, and functions of other people's code put
    onto it.
    """
    own = nobodys(type(module))
    for name, value in module.__dict__.items():
        if name in OF_EVERY_MODULE:
            continue
        private = name.startswith("_")
        put = isinstance(value, FunctionType | MethodType | functools.partial)
        if (private and not own and not put) or name.endswith(PASSING):
            continue
        if (name == "is_quantized" and not value) or not counts(name, value):
            continue
        if put:
            theirs = foreign(value) is None
            told = None if theirs and (private or name in _PUT_BACK) else held(value)
        else:
            if name == "active_adapter" and isinstance(value, list) and len(value) == 1:
                value = value[0]  # PEFT says it in either way
            told = _plain(value)
            told = _deep(value) if told is None and own else told
        if told is not None:
            yield f"{name}={told}\n"


@functools.cache
def nobodys(kind: type) -> bool:
    """Whether a class is neither a library's nor code that came with a model."""
    root = kind.__module__.partition(".")[0]
    return root not in (*PART_OF_THE_MODEL, "transformers_modules") and not library(kind.__module__)


def _deep(value: Any) -> str | None:
    """A hash of containers, arrays, tensors and objects of one's own; None for those of libraries."""
    root = type(value).__module__.partition(".")[0]
    plain = isinstance(value, list | tuple | set | frozenset | Mapping | np.ndarray | Tensor)
    if isinstance(value, nn.Module | nn.Parameter) or not (plain or root == "types" or nobodys(type(value))):
        return None
    met = reached(value, lasting=True)
    return None if met.bound or met.shared or not met.told else met.told[:16]


def _plain(value: Any) -> str | None:
    """Numbers, words and tables of these; None for anything else."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple) and all(_plain(v) is not None for v in value):
        return repr(value)
    if isinstance(value, Mapping) and all(_plain(v) is not None for v in value.values()):
        return json.dumps({str(k): _plain(v) for k, v in value.items()}, sort_keys=True)
    return None


def _buffers(module: nn.Module, prefix: str, saved: set[str], counts: Counts) -> Iterator[str]:
    """Small tables of numbers that are no part of the state dict, in four digits, since devices round
    differently.
    """
    for name, t in module._buffers.items():
        if t is None or f"{prefix}{name}" in saved or not t.is_floating_point() or t.numel() > _BUFFER:
            continue
        if t.device.type == "meta" or not t.numel() or not counts(name, t):
            continue
        x = t.detach().double().flatten()
        told = torch.stack(
            [x.mean(), x.square().mean().sqrt(), (x * torch.linspace(0, 1, len(x)).to(x)).mean()]
        )
        yield f"{name}: {[f'{v:.3e}' for v in told.tolist()]}\n"


def held(fn: Any) -> str:
    """A hash of what a function does as far as its name and what it holds tell: numbers, words and tensors it
    closes over, is bound to, has as defaults or reads of its module.

    Names, tables and objects that it writes to itself (a hook that counts, or keeps what it saw) count as
    nothing, as do lists and other objects.
    """
    return hashlib.sha256("\n".join(_parts(fn, 0)).encode()).hexdigest()[:8]


def _parts(fn: Any, depth: int) -> Iterator[str]:
    if depth > _DEEP:
        return
    if isinstance(fn, functools.partial):
        yield from _said({"args": fn.args, **fn.keywords}, depth)
        yield from _parts(fn.func, depth + 1)
    elif isinstance(fn, MethodType):
        yield from () if _writes(fn.__func__, "STORE_ATTR") else _parts(fn.__self__, depth + 1)
        yield from _parts(fn.__func__, depth + 1)
    elif isinstance(fn, FunctionType):
        yield from _function(fn, depth)
    else:
        yield f"{type(fn).__module__}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
        own = isinstance(fn, nn.Module | ModuleType | type)
        own |= _writes(vars(type(fn)).get("__call__"), "STORE_ATTR")  # it counts, or keeps what it saw
        attributes = {} if own else getattr(fn, "__dict__", {})
        yield from _said({k: v for k, v in attributes.items() if not callable(v)}, depth)


def _function(fn: FunctionType, depth: int) -> Iterator[str]:
    code = fn.__code__
    yield f"{fn.__module__}.{fn.__qualname__}"
    if foreign(fn) is None:
        return
    yield repr([c for c in code.co_consts if isinstance(c, int | float | str)])
    writes = {i.argval for i in dis.get_instructions(fn) if i.opname in ("STORE_DEREF", "STORE_GLOBAL")}
    cells = dict(zip(code.co_freevars, fn.__closure__ or (), strict=True))
    found = {name: c.cell_contents for name, c in cells.items() if name not in writes and _filled(c)}
    put = {i.argval for i in dis.get_instructions(fn) if i.opname == "STORE_ATTR"}
    found |= {n: v for n, v in used(fn).items() if not writes & {n} and n.rpartition(".")[2] not in put}
    found |= {"defaults": fn.__defaults__ or (), **(fn.__kwdefaults__ or {})}
    if _writes(fn, "STORE_SUBSCR"):
        found = {name: value for name, value in found.items() if not isinstance(value, Mapping)}
    yield from _said(found, depth)


def _writes(fn: Any, how: str) -> bool:
    """Whether a function writes into tables (STORE_SUBSCR) or objects (STORE_ATTR), perhaps its own."""
    return isinstance(fn, FunctionType) and any(i.opname == how for i in dis.get_instructions(fn))


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises for a name that was never bound
    except ValueError:
        return False
    return True


def _said(values: Mapping[str, Any], depth: int) -> Iterator[str]:
    """What can be said of values, by name."""
    for name, value in values.items():
        if isinstance(value, Tensor):
            yield f"{name}: {tuple(value.shape)} {values_of(value.detach()).hex()}"
        elif isinstance(value, np.ndarray):
            yield f"{name}: {value.dtype} {hashlib.sha256(value.tobytes()).hexdigest()}"
        elif isinstance(value, FunctionType | MethodType | functools.partial):
            yield from _parts(value, depth + 1)
        elif isinstance(value, tuple):
            yield from _said({f"{name}.{i}": v for i, v in enumerate(value)}, depth)
        elif (plain := _plain(value)) is not None:
            yield f"{name}={plain}"
