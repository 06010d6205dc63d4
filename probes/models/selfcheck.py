"""Every model is checked once, on first use: padding, hooks and templates must do what captures rely on.

Padding, indexing and template faults are the usual way in which hidden states go wrong without anybody
noticing; they change numbers by a good part of their size, while rounding stays orders of magnitude below the
thresholds here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from probes.data.sites import Site
from probes.data.tokens import Encoded, Side, encode, pad
from probes.models.backends.alike import one_for_both
from probes.models.backends.around import outside
from probes.models.backends.foreign_hooks import makes_states
from probes.models.backends.points import Backend, whole
from probes.models.final_norm import final_norm
from probes.models.model import Model
from probes.models.padding import prefixes
from probes.models.unwrap import evaluating, sharing_copy

THRESHOLDS = {torch.float16: 2e-3, torch.bfloat16: 2e-2}
"""Largest relative RMS difference by precision; 1e-5 where nothing is said."""

_done: WeakKeyDictionary[Backend, dict[str, Any]] = WeakKeyDictionary()


class SelfCheckError(ValueError):
    """A model does not compute what captures rely on."""


@dataclass(frozen=True)
class _Check:
    name: str
    difference: float
    where: str


def self_check(model: Model, encoded: Sequence[Encoded]) -> dict[str, Any]:
    """What was checked and how far off it was, as relative RMS differences; found out once a model, on a few
    of the given tokens.

    Checked are: a padded batch against single texts; left against right padding; hooks against Hugging Face's
    hidden_states (all but the last, which is normed); one beginning-of-text token at most; the chat
    template's text against its tokens. Raises SelfCheckError naming the check and the size of the difference.
    """
    if (found := _done.get(model.backend)) is None:
        with outside():  # nobody's readings and edits are about these passes
            found = _done[model.backend] = _check(replace(model, writes=()), encoded)
    return found


def _check(model: Model, encoded: Sequence[Encoded]) -> dict[str, Any]:
    limit = THRESHOLDS.get(model.dtype, 1e-5)
    rows = prefixes(encoded)
    sites = model.sites("resid_post")
    single = [_read(model, [r], sites, "right")[0] for r in rows]
    checks = [_compared("batched = single", _read(model, rows, sites, "right"), single, sites)]
    # Both against the single texts: right against left would miss a fault that both share.
    checks.append(_compared("left = right padding", _read(model, rows, sites, "left"), single, sites))
    if (states := _hidden_states(model, rows[0])) is not None:
        checks.append(_as_recorded(model, rows[0], states, limit))
    for check in checks:
        if not check.difference <= limit:
            raise SelfCheckError(
                f"the self-check {check.name!r} failed on {model.name!r} ({model.backend.name} backend,"
                f" {model.dtype}): {check.where} is off by {check.difference:.1e} relative RMS, at most"
                f" {limit:.0e} is rounding. Nothing was captured. Read the model one text at a time"
                " (batch_size=1) or in float32, or pass check=False to go on knowingly"
            )
    return {
        "differences": {c.name: c.difference for c in checks},
        "threshold": limit,
        "beginning-of-text tokens": _bos(model, encoded),
        "template round trip": _template(model),
    }


def _read(model: Model, rows: Sequence[Encoded], sites: tuple[Site, ...], side: Side) -> list[list[Tensor]]:
    """The states of every row [pos, d] at every site."""
    batch = pad(rows, model.pad_id, side, torch.arange(len(rows)).numpy())
    states = model.run(batch, sites, whole).states
    return [
        [
            states[s][i, int(batch.start[i]) : int(batch.start[i]) + len(r)].float()
            for s in sites
            if s in states
        ]
        for i, r in enumerate(rows)
    ]


def _compared(
    name: str, got: Sequence[Sequence[Tensor]], want: Sequence[Sequence[Tensor]], sites: Sequence[Site]
) -> _Check:
    """The largest relative RMS difference over rows and sites, and where it is. States that are not
    finite are the capture's business.
    """
    worst = _Check(name, 0.0, "nothing")
    for i, (row, oracle) in enumerate(zip(got, want, strict=True)):
        for site, h, reference in zip(sites, row, oracle, strict=False):
            reference = reference.to(h.device).float()
            if not torch.isfinite(reference).all():
                continue
            off = float((h - reference).norm() / reference.norm().clamp_min(1e-30))
            if not off <= worst.difference:
                worst = _Check(name, off, f"{site} of a text of {len(reference)} tokens (row {i})")
    return worst


def _as_recorded(model: Model, row: Encoded, states: list[Tensor], limit: float) -> _Check:
    """Hooks against Hugging Face's own record: of what goes into every block; of recurrent models (Mamba),
    which keep what comes out instead, of that.
    """
    name, pre = "hook = hidden_states", model.sites("resid_pre")
    found = _compared(name, _read(model, [row], pre, "right"), [states[:-1]], pre)
    if found.difference <= limit or not _outputs(model, states, limit):
        return found
    post = model.sites("resid_post")
    return _compared(name, _read(model, [row], post, "right"), [states[:-1]], post)


def _outputs(model: Model, states: list[Tensor], limit: float) -> bool:
    """Whether the record is of what comes out of the blocks: its last entry is then the normed one before it,
    which else is what goes into the last block. No hook of ours has a part in that.
    """
    if (norm := final_norm(model)) is None:
        return False
    with torch.no_grad():
        normed = norm(states[-2][None])[0].float()
    last = states[-1].float()
    return float((normed - last).norm() / last.norm().clamp_min(1e-30)) <= limit


def _hidden_states(model: Model, row: Encoded) -> list[Tensor] | None:
    """Hugging Face's own record of one text; None where a model keeps none."""
    if next(model.hf.parameters()).device.type == "meta":
        return None  # the weights are on a server, which gives what is read and nothing else
    ids = torch.tensor([row.ids], device=model.device)
    # transformers leaves hooks behind when it is asked for hidden_states, so not on the user's own object.
    copied = None if hasattr(model.hf, "hf_device_map") else sharing_copy(model.hf, one_for_both(model.hf))
    hf = makes_states(model.hf, copied)
    with evaluating(hf):
        states = getattr(hf(input_ids=ids, output_hidden_states=True), "hidden_states", None)
    return None if states is None or len(states) != model.n_blocks + 1 else [h[0] for h in states]


def _bos(model: Model, encoded: Sequence[Encoded]) -> int:
    """How many stand at the start of a text; more than one is refused when texts are encoded."""
    bos = model.tokenizer.bos_token_id
    return (
        max((next((i for i, t in enumerate(e.ids) if t != bos), len(e)) for e in encoded), default=0)
        if bos is not None
        else 0
    )


def _template(model: Model) -> str:
    """Whether the tokens of a rendered chat decode to what the template wrote; raises SelfCheckError
    where a word is lost.
    """
    if not getattr(model.tokenizer, "chat_template", None):
        return "no chat template"
    words = "yes"
    (chat,) = encode(model.tokenizer, [[{"role": "user", "content": words}]])
    if words not in chat.text:
        raise SelfCheckError(
            f"the chat template of {model.name!r} loses what the user says: {chat.text!r:.200} does not"
            f" contain {words!r}"
        )
    back = model.tokenizer.decode(chat.ids, clean_up_tokenization_spaces=False)
    return (
        "exact"
        if back == chat.text
        else "up to spaces"
        if "".join(back.split()) == "".join(chat.text.split())
        else "lossy"
    )
