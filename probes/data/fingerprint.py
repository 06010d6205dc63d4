"""Who a model is: config, tokenizer, weights and what else acts on its passes, so that a direction is never
used on a foreign model, and stored rows are never those of another.
"""

import functools
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from probes.checks.saying import warn
from probes.data.config_keys import differing, remember, told_by
from probes.data.digest import digest
from probes.data.stored import Stored, checked

_VOLATILE = (
    "_name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "use_cache",
    "architectures",
    "_attn_implementation",
)
_ONLY_RETURNED = ("output_hidden_states", "output_attentions")  # what passes give back besides
TRANSFER = "transfer on purpose with direction.on(other_model, reason=...)"
ANEW = "make it anew from this one: capture (and fit) with this model"
COMPILED = "_orig_mod."  # torch.compile puts it into names
_MATRICES = 512  # more than this and only some are sampled
_SAMPLES = 4  # values read of a tensor
_SMALL = 4096  # values of a tensor all of which are read each time
_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_known: "WeakKeyDictionary[nn.Module, tuple[Any, tuple[float, ...], str]]" = WeakKeyDictionary()
_vocabularies: "WeakKeyDictionary[Any, tuple[int, str]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class State:
    """What acts on a model's passes besides its weights: adapters and whether they are on, hooks of other
    people's code, the precision of autocast ("" without), the way attention is computed, and hashes of
    what modules do besides their weights (`probes.models.settings`), with and without what changes no hidden
    state, and the version of their library.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    adapters: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    autocast: str = ""
    attention: str = ""
    settings: str = ""

    def set_otherwise(self, other: "State") -> bool:
        """Whether modules do something else, as far as both tell: under one library, and one Python where
        both have classes of one's own, whose code is told.
        """
        (mine, under), (theirs, now) = (
            s.settings.split("@") if s.settings else ("", "") for s in (self, other)
        )
        (library, _, python), (there, _, then) = (s.partition(", ") for s in (under, now))
        known = bool(mine and theirs) and library == there and (not (python and then) or python == then)
        return known and not set(mine.split("/")) & set(theirs.split("/"))


@dataclass(frozen=True)
class Fingerprint:
    """Hashes of config, tokenizer and all weights and buffers (`tensors`), some values of the matrices, by
    which a copy in another precision is known (`weights`), and what else acts on passes. Names are for
    display only. `core` is a hash of the config without what changes no hidden state, such as the pad token;
    configs are the same where either hash is.

    Files from before `tensors`, `core`, `state` or its `settings` lack them, and then they are not compared;
    nor are settings under two versions of their library, which name things anew.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    config: str
    tokenizer: str
    dtype: str
    weights: tuple[float, ...]
    tensors: str = ""
    state: State = State()
    core: str = ""

    def as_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    @property
    def key(self) -> dict[str, Any]:
        """What stores and ledgers are found by, which is as they were told before `core`."""
        told = self.as_dict()
        told["state"]["settings"] = re.sub("/[^@]*", "", told["state"]["settings"])
        return {name: value for name, value in told.items() if name not in ("name", "core")}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Fingerprint":
        """What `as_dict` gave; raises pydantic's ValidationError, a ValueError, for anything else."""
        return checked(cls, values)

    def check(self, other: "Fingerprint", what: str, remedy: str | None = None) -> None:
        """Raises ValueError naming the field that differs, and a `remedy` beside using `what` on its own
        model (by default that directions can be transferred, and all else is made anew); another precision of
        the same weights, or other people's hooks, only warn.
        """
        if not (field := self.foreign(other)):
            self._warn(other, what)
            return
        belongs = f"{what} belongs to model {self.name!r} but was used on {other.name!r}"
        differs = f"their {field} {'differ' if field.endswith('s') else 'differs'}"
        if field == "config" and (keys := differing(self.core, other.core)):
            differs += f" ({keys})"
        if field == "adapters":
            mine, theirs = ("; ".join(f.state.adapters) or "none" for f in (self, other))
            merged = ", which merging or unloading them brings about" if theirs == "none" else ""
            differs += f" ({mine}, now {theirs}{merged})"
        if field == "settings":
            keys = differing(*(f.state.settings.split("@")[0].partition("/")[2] for f in (self, other)))
            differs += (
                " (what modules are and do besides their weights: "
                f"{keys or 'attributes, functions, buffers, scaling'})"
            )
        remedy = remedy or (TRANSFER if what.startswith("the direction") else ANEW)
        raise ValueError(f"{belongs}: {differs}. Use it on its own model, or {remedy}")

    def foreign(self, other: "Fingerprint") -> str:
        """The field by which `check` would refuse; empty where it would not."""
        field = self._differing(other)
        return "" if field is None or (field == "weights" and self._rounded(other)) else field

    def _warn(self, other: "Fingerprint", what: str) -> None:
        """Says what may make small differences."""
        mine, theirs = (f.state.autocast or f.dtype for f in (self, other))
        if mine != theirs:
            said = f"{what} was made in {mine} and the model {other.name!r} runs in {theirs}"
            warn(said)
        if self.tensors and self.state.hooks != other.state.hooks:
            was, now = (", ".join(f.state.hooks) or "none" for f in (self, other))
            hooks = (
                f"{what} was made with these hooks of other code on the model: {was}; now there are: {now}"
            )
            warn(hooks)

    def _differing(self, other: "Fingerprint") -> str | None:
        """The first field in which two models differ."""
        if self.config != other.config and not (self.core and self.core == other.core):
            return "config"
        # A bare Hugging Face model comes without a tokenizer.
        if self.tokenizer and other.tokenizer and self.tokenizer != other.tokenizer:
            return "tokenizer"
        known = bool(self.tensors and other.tensors)
        if known and self.state.adapters != other.state.adapters:
            return "adapters"
        if self.weights != other.weights or (known and self.tensors != other.tensors):
            return "weights"
        return "settings" if self.dtype == other.dtype and self.state.set_otherwise(other.state) else None

    def apart(self, other: "Fingerprint") -> str:
        """The first thing, of all that acts on passes, in which two differ; empty where nothing does."""
        if self._rounded(other):
            return f"one in {self.dtype}, one in {other.dtype}"
        if (field := self._differing(other)) is None:
            mine, theirs = (asdict(f.state) | {"precision": f.dtype, "settings": ""} for f in (self, other))
            field = next((name for name in mine if mine[name] != theirs[name]), None)
        return "" if field is None else f"their {field} {'differ' if field.endswith('s') else 'differs'}"

    def _rounded(self, other: "Fingerprint") -> bool:
        """Whether the weights are the same but for the rounding of another precision."""
        if self.dtype == other.dtype or len(self.weights) != len(other.weights):
            return False
        mine, theirs = torch.tensor(self.weights), torch.tensor(other.weights)
        # Rounding to bfloat16 moves a value by at most 2^-8 of itself; other weights differ by order 1.
        allowed = 2**-7 * mine.abs() + 1e-3 * mine.abs().mean()
        return bool(((mine - theirs).abs() <= allowed).all())


def check_receipt(stored: Stored) -> None:
    """Raises ValueError for a file whose receipt does not say in the usual form which model it belongs to."""
    receipt = stored.plain("receipt", dict[str, Any])
    if "model" in receipt and receipt["model"] != _named_only(receipt):
        stored.plain("receipt.model", Fingerprint)


def made_by(receipt: Mapping[str, Any]) -> Fingerprint | None:
    """The model that an artefact with this receipt belongs to; None where it does not say, or only a name."""
    if "model" not in receipt or receipt["model"] == _named_only(receipt):
        return None
    return Fingerprint.from_dict(receipt["model"])


def refuse_other_model(mine: Mapping[str, Any], theirs: Mapping[str, Any], what: str) -> None:
    """Raises ValueError, naming the field that differs, where two artefacts belong to different models.

    One whose receipt names no model passes.
    """
    own, other = made_by(mine), made_by(theirs)
    if own is not None and other is not None:
        own.check(other, what)


def other_model(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """What tells the models of two receipts apart, names aside where they say more; empty for nothing."""
    if mine.get("model") == theirs.get("model"):
        return ""
    known = made_by(mine), made_by(theirs)
    if known[0] is not None and known[1] is not None:
        return known[0].apart(known[1])
    return "their names differ" if "model" in mine and "model" in theirs else "only some say which it was"


def _named_only(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """What the entry of a model is that has a name and nothing to know it by."""
    model = receipt["model"]
    return {"name": model.get("name")} if isinstance(model, dict) else {}


def fingerprint(
    hf: nn.Module,
    tokenizer: Any,
    name: str,
    state: State,
    whole: bool = False,
    called: Callable[[str], str | None] = lambda name: name.replace(COMPILED, ""),
) -> Fingerprint:
    """Who a model is, by its tensors as they are `called` (None leaves one out).

    All its weights are read again only where one of them has changed since, which memory, version, a few
    values of every tensor and a walk through its rows and columns tell (`walk`); with `whole` always, which
    also sees single numbers that were changed past the versions (through `.data` or numpy).
    """
    state_dict = hf.state_dict(keep_vars=True).items()
    tensors = [(n, t) for key, t in state_dict if isinstance(t, Tensor) and (n := called(key)) is not None]
    if any(t.is_inference() for _, t in tensors):  # such count no changes
        raise ValueError(
            f"the weights of {name!r} were made under torch.inference_mode(), where changes leave no trace;"
            " load the model outside of it (hidden states may be captured within)"
        )
    values = _samples([t for _, t in tensors]), walk([t for _, t in tensors])
    stamp = (tuple((n, t.data_ptr(), t._version, t.dtype) for n, t in tensors), values)
    known = _known.get(hf)
    if whole or known is None or known[0] != stamp:
        known = _known[hf] = (stamp, _matrices(hf, called), digest(tensors))
    config = {k: v for k, v in hf.config.to_dict().items() if k not in _VOLATILE}  # pyright: ignore
    config |= {k: False for k in _ONLY_RETURNED if k in config}
    words = "" if tokenizer is None else _words(tokenizer)
    dtype = str(next(p.dtype for p in hf.parameters() if p.is_floating_point())).removeprefix("torch.")
    core = _hash(told := told_by(hf, config))
    remember(core, told)
    return Fingerprint(name, _hash(config), words, dtype, known[1], known[2], state, core)


def _words(tokenizer: Any) -> str:
    """A hash of the vocabulary, taken again where its size has changed."""
    known = _vocabularies.get(tokenizer)
    if known is None or known[0] != len(tokenizer):
        known = _vocabularies[tokenizer] = (len(tokenizer), _hash(sorted(tokenizer.get_vocab().items())))
    return known[1]


def _matrices(hf: nn.Module, called: Callable[[str], str | None]) -> tuple[float, ...]:
    """A few values of every matrix: an even stride over sorted names can fall on one kind only, and edits
    often touch one kind only.
    """
    matrices = sorted(
        (n, p)
        for key, p in hf.named_parameters()
        if (n := called(key)) is not None
        and p.ndim >= 2
        and p.is_floating_point()
        and p.device.type != "meta"
    )
    # Mixtures of experts have thousands; a hash of the name picks without favouring a kind.
    if len(matrices) > _MATRICES:
        matrices = sorted(matrices, key=lambda item: _hash(item[0]))[:_MATRICES]
    return _samples([p for _, p in matrices])


def _samples(tensors: Sequence[Tensor]) -> tuple[float, ...]:
    """Some values of every tensor, from its first to its last."""
    found: list[Tensor] = []
    for t in tensors:
        if t.numel() and t.device.type != "meta":
            flat = t.detach().reshape(-1)
            # In whole numbers: float32 steps past the end of a tensor of more than 2^24 values.
            at = [i * (flat.numel() - 1) // (_SAMPLES - 1) for i in range(_SAMPLES)]
            found.append(flat[torch.tensor(at, device=flat.device)].double())
    if len({f.device for f in found}) > 1:  # blocks on several devices
        found = [f.cpu() for f in found]
    return tuple(torch.cat(found).cpu().tolist()) if found else ()


def walk(tensors: Sequence[Tensor]) -> tuple[int, ...]:
    """For every tensor the sum, as whole numbers, of values in even steps that meet every row and every
    column; of small ones of all values.

    A row, a column or a matrix that was written over past the version of its tensor is noticed, at a few
    percent of what reading everything costs.
    """
    sums: list[Tensor] = []
    for t in tensors:
        if not t.numel() or t.device.type == "meta" or t.element_size() not in _WHOLE or t.is_complex():
            continue
        flat = t.detach().reshape(-1)
        columns = t.shape[-1] if t.ndim > 1 else 1
        step = 1 if flat.numel() <= _SMALL else _step(flat.numel() // columns, columns)
        sums.append(flat.view(_WHOLE[t.element_size()])[::step].sum(dtype=torch.int64))
    if len({s.device for s in sums}) > 1:  # blocks on several devices
        sums = [s.cpu() for s in sums]
    return tuple(torch.stack(sums).tolist()) if sums else ()


@functools.cache
def _step(rows: int, columns: int) -> int:
    """The longest step that meets every row, and every column: shorter than a row, at least as many steps as
    columns, and without a divisor in common with a row's length.
    """
    longest = max(1, min(columns - 1, rows))
    return next(s for s in range(longest, 0, -1) if math.gcd(s, columns) == 1)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
