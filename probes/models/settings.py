"""What decides what modules and functions compute besides weights: kinds of modules, plain attributes,
functions put in place of others with what they hold, small buffers that are not saved.
"""

import functools
import hashlib
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.data.config_keys import computes_with, remember
from probes.data.digest import values_of
from probes.data.fingerprint import COMPILED
from probes.models.attributes import OF_EVERY_MODULE, Counts, Put
from probes.models.foreign import PART_OF_THE_MODEL, foreign, nobodys
from probes.models.held import held, plain
from probes.models.own_classes import told
from probes.models.reached import reached
from probes.models.switched_off import Called

# Modes, where a model came from and lies, and what grows with the texts that were read.
PASSING = ("training", "gradient_checkpointing", "max_seq_len_cached", "name_or_path", "hf_device_map")
PASSING += ("warnings_issued", "_gradient_checkpointing_func", "_compiled_call_impl")
# Libraries put methods in their own place again: wrappers `forward`, PEFT the other whenever it has written.
_PUT_BACK = ("forward", "prepare_inputs_for_generation")
_PAD = ("padding_idx=", "pad_token_id=")
CHANGES_WITH_TEXTS = ("dynamic", "longrope")
_BUFFER, _OWN = 2**16, 2**22  # larger ones of libraries are masks


def settings_of(hf: nn.Module, called: Called) -> str:
    """A hash of what every module is and does besides its weights, the same wherever the model lies, and one
    without the pad token where no module computes with it.

    Notes that no code reads count as nothing, nor does what passes write themselves. Of modules whose class
    is nobody's library's, private attributes, lists, tables, tensors and objects count too, and the class:
    its plain attributes and the code that its passes run.

    Not seen: other objects that modules of libraries hold, methods exchanged on classes of libraries, their
    masks and tables of more than 65,536 numbers that are no part of the state dict, rotary frequencies that
    change with the length of texts, and what passes fill in once where it was None.
    """
    saved = set(hf.state_dict(keep_vars=True))
    whole, core, seen = hashlib.sha256(), hashlib.sha256(), {}
    idle = () if computes_with(hf, "pad_token_id") else _PAD
    put, classes = Put.on(list(hf.modules())), {}
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
        counts, own = put.counting(module), nobodys(type(module))
        if own and type(module) not in classes:
            classes[type(module)] = f"the class={told(type(module))}\n"
        for line in (
            *((classes[type(module)],) if own else ()),
            *_attributes(module, counts),
            *_buffers(module, f"{name}." if name else "", saved, counts),
        ):
            whole.update(line.encode())
            if not line.startswith(idle):
                core.update(line.encode())
                what, _, value = line.strip().partition(": " if ": [" in line else "=")
                seen[f"{path}.{what}".removeprefix(".")] = value
    remember(core.hexdigest()[:16], seen)
    under = _version(type(hf).__module__.partition(".")[0])
    under += f", Python {sys.version_info.major}.{sys.version_info.minor}" if classes else ""
    return f"{whole.hexdigest()[:16]}/{core.hexdigest()[:16]}@{under}"


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
            told = plain(value)
            told = _deep(value) if told is None and own else told
        if told is not None:
            yield f"{name}={told}\n"


def _deep(value: Any) -> str | None:
    """A hash of containers, arrays, tensors and objects of one's own; None for those of libraries."""
    root = type(value).__module__.partition(".")[0]
    plain = isinstance(value, list | tuple | set | frozenset | Mapping | np.ndarray | Tensor)
    if isinstance(value, nn.Module | nn.Parameter) or not (plain or root == "types" or nobodys(type(value))):
        return None
    met = reached(value, lasting=True)
    return None if met.bound or met.shared or not met.told else met.told[:16]


def _buffers(module: nn.Module, prefix: str, saved: set[str], counts: Counts) -> Iterator[str]:
    """Small tables of numbers that are no part of the state dict, in four digits, since devices round
    differently; whole numbers where the class is nobody's.
    """
    own = nobodys(type(module))
    for name, t in module._buffers.items():
        if t is None or f"{prefix}{name}" in saved or t.numel() > (_OWN if own else _BUFFER):
            continue
        if t.device.type == "meta" or not t.numel() or not counts(name, t):
            continue
        if not t.is_floating_point():
            if own:
                yield f"{name}: [{t.dtype} {values_of(t.detach()).hex()[:16]}]\n"
            continue
        x = t.detach().double().flatten()
        told = torch.stack(
            [x.mean(), x.square().mean().sqrt(), (x * torch.linspace(0, 1, len(x)).to(x)).mean()]
        )
        yield f"{name}: {[f'{v:.3e}' for v in told.tolist()]}\n"
