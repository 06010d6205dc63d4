"""Which weight takes on which linear edit: what writes to the residual stream is found out on the
model, by what it gives on a few tokens.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from interventions.writes.lowrank import Edit
from probes.data.lowrank import LowRank
from probes.data.sites import Site
from probes.models.backends.hooking import hooked
from probes.models.backends.hooks import Hooks
from probes.models.backends.points import Layout, Point, head_columns, whole
from probes.models.model import Model
from probes.models.unwrap import evaluating, fan_in, without_head
from probes.models.writes import Write

WRITERS = ("resid_pre.0", "attn_out", "mlp_out")
"""Everything that is ever added to the residual stream: `Ablate(d, sites=WRITERS)` is weight
orthogonalisation (arXiv 2406.11717).
"""

HOOKS = "keep the edit in hooks: edited(model, ...)"

_PLAIN = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


@dataclass(frozen=True, eq=False)
class Part:
    """What becomes of one module with a weight: the change of what it takes and of what it gives,
    which is `scale` times its weight's product.
    """

    name: str
    takes: LowRank
    gives: LowRank
    scale: float = 1.0


def linear_writes(model: Model, edits: Sequence[Edit]) -> tuple[Write, ...]:
    """All changes the model would hold, its own first; raises ValueError where the model or an edit
    is not one that weights can hold.
    """
    writes = (*model.writes, *(w for edit in edits for w in edit.compile(model)))
    if not writes:
        raise ValueError("no edits given; pass at least one, such as Ablate(direction, sites=WRITERS)")
    _refuse_model(model)
    for w in writes:
        linear(w)
        if w.needs_prompts:
            raise _refused(
                w, "it acts at single tokens, and weights act at all of them", f"use at='all', or {HOOKS}"
            )
    return writes


def linear(w: Write) -> LowRank:
    """The linear form of a write; raises ValueError where it has none."""
    data = w.as_data()
    if data is None:
        raise _refused(w, "it is not a linear change h + (h U) V + c, and weights hold nothing else")
    return data


def plan(model: Model, writes: Sequence[Write], untie: bool) -> list[Part]:
    """Which module takes on which change; raises ValueError naming the write that has no place.
    Nothing is changed here.
    """
    hf, plain = model.hf, Hooks(model.hf, model.backend.blocks)
    homes = [(w, _home(w)) for w in writes]
    outputs = {h for _, h in homes if h.kind in ("attn_out", "mlp_out")}
    inside = tuple({f"{plain.blocks}.{h.block}." for h in outputs})
    linears = [
        n
        for n, m in hf.named_modules()
        if n.startswith(inside) and (isinstance(m, nn.Linear) or transposed(m)) and _fan_out(m) == model.width
    ]
    tables = [
        n
        for n, m in hf.named_modules()
        if isinstance(m, nn.Embedding)
        and m.embedding_dim == model.width
        and not n.startswith(f"{plain.blocks}.")
    ]
    seen, states = _seen(model, plain, [*tables, *linears], outputs)

    takes, gives, shifts, stream = defaultdict(list), defaultdict(list), defaultdict(list), []
    for w, home in homes:
        if home.kind == "resid_pre":
            stream.append(w)
            continue
        name = (
            f"{plain.blocks}.{home.block}.{plain.layout().z}"
            if home.kind == "z"
            else _linear_map(w, home, plain, linears, seen, states[home])
        )
        module: Any = hf.get_submodule(name)
        if linear(w).c.any() and module.bias is None:
            raise _refused(
                w, f"it shifts the hidden state, and {name} of {type(hf).__name__} has no bias to hold that"
            )
        if other := _shared(hf, name):
            raise _refused(w, f"{name} shares its weight with {', '.join(other)}, which must not change")
        # A shift of the stream comes after whatever is done to the sublayer's own output, so it is kept
        # apart.
        into = takes if home.kind == "z" else gives if home == w.site else shifts
        into[name].append(
            _widened(linear(w), home, fan_in(module), model.n_heads) if home.kind == "z" else linear(w)
        )
    found = []
    for name in dict.fromkeys((*takes, *gives, *shifts)):
        width = fan_in(hf.get_submodule(name))
        found.append(
            Part(name, composed(takes[name], width), composed([*gives[name], *shifts[name]], model.width))
        )
    return found + (
        _embeddings(model, stream, tables, seen, states[Site("resid_pre", 0)], untie) if stream else []
    )


def composed(changes: Sequence[LowRank], width: int) -> LowRank:
    """One change, in float64, that does what all of them do one after the other."""
    U, V, c = torch.zeros(width, 0).double(), torch.zeros(0, width).double(), torch.zeros(width).double()
    for step in changes:
        u, v, shift = (t.detach().cpu().double() for t in (step.U, step.V, step.c))
        # A step reads what the ones before have made: h (I + U V) u.
        U, V, c = torch.cat([U, u + U @ (V @ u)], dim=1), torch.cat([V, v]), c + (c @ u) @ v + shift
    return LowRank(U, V, c)


def check_tokens(model: Model) -> Tensor:
    """A few fixed token sequences [3, pos] from all over the vocabulary."""
    draw = torch.Generator().manual_seed(0)
    return torch.randint(
        int(model.config.vocab_size), (3, min(12, model.max_length or 12)), generator=draw
    ).to(model.device)


def _refused(w: Any, why: str, instead: str = HOOKS) -> ValueError:
    return ValueError(f"{w!r} cannot go into weights: {why}; {instead}")


def _refuse_model(model: Model) -> None:
    hf, name = model.hf, model.name
    if not model.generates:
        raise ValueError(
            f"{name!r} ({type(hf).__name__}) has no language-model head, and changed weights are proven on"
            f" logits; {HOOKS}"
        )
    if hasattr(hf, "peft_config"):
        raise ValueError(
            f"{name!r} carries an adapter, which acts beside the weights; merge it first (merge_and_unload)"
            " and load the result"
        )
    dtypes = {p.dtype for p in hf.parameters()}
    if getattr(model.config, "quantization_config", None) is not None or not dtypes <= _PLAIN:
        raise ValueError(
            f"{name!r} is quantised ({', '.join(sorted(map(str, dtypes)))}); load it unquantised, and"
            " quantise what comes out"
        )
    planned, devices = (
        {str(d) for d in found}
        for found in (getattr(hf, "hf_device_map", {}).values(), {p.device for p in hf.parameters()})
    )
    if (
        max(len(planned), len(devices)) > 1
        or "disk" in planned
        or "meta" in devices
        or any(hasattr(p, "device_mesh") for p in hf.parameters())
    ):
        raise ValueError(
            f"{name!r} is sharded or not in memory ({', '.join(sorted(planned | devices))}); load it whole on"
            " one device, the CPU for example"
        )


def _home(w: Write) -> Site:
    """The site whose weights take on a write: its own, or for a shift of the stream the MLP before it."""
    if w.site.kind not in ("resid_pre", "resid_post") or w.site == Site("resid_pre", 0):
        return w.site
    if linear(w).U.shape[1]:
        why = (
            "it projects the residual stream, and what goes past a block on the skip path meets no weight"
            " (and the norm behind it is none that could project)"
        )
        raise _refused(
            w, why, f"project everything that writes to the stream instead, sites=WRITERS, or {HOOKS}"
        )
    return Site("mlp_out", w.site.block - (w.site.kind == "resid_pre"))


def _seen(
    model: Model, plain: Hooks, names: Sequence[str], outputs: set[Site]
) -> tuple[Mapping[str, list[Tensor]], Mapping[Site, Tensor]]:
    """What the named modules and the sites give on a few tokens."""
    seen: dict[str, list[Tensor]] = defaultdict(list)
    states: dict[Site, Tensor] = {}
    reads: list[Any] = [(Point(n), lambda h, n=n: seen[n].append(whole(h))) for n in names]
    reads += [
        (plain.point(s), lambda h, s=s: states.__setitem__(s, whole(h)))
        for s in (*outputs, Site("resid_pre", 0))
    ]
    with evaluating(model.hf), hooked(plain.inner, reads, optional=[point for point, _ in reads]):
        without_head(model.hf)(input_ids=check_tokens(model), use_cache=False)
    return seen, states


def _linear_map(
    w: Write,
    home: Site,
    plain: Hooks,
    linears: Sequence[str],
    seen: Mapping[str, list[Tensor]],
    state: Tensor,
) -> str:
    """The map whose output is what the sublayer adds, element by element."""
    layout, block, model = plain.layout(), f"{plain.blocks}.{home.block}.", type(plain.hf).__name__
    if _normed(layout):
        raise _refused(
            w,
            f"{model} norms what a sublayer gives before it enters the stream (post-norm), and a norm is no"
            " linear map",
        )
    for name in reversed(linears):
        # Some blocks show their maps [batch * pos, d].
        if (
            name.startswith(block)
            and len(seen[name]) == 1
            and torch.equal(seen[name][0].reshape(state.shape), state)
        ):
            return name
    sublayer = plain.inner.get_submodule(
        block + (layout.mlp_out if home.kind == "mlp_out" else layout.attn_out)
    )
    if any("expert" in n for n, _ in sublayer.named_parameters()):
        raise _refused(
            w, f"{home} of {model} is a mixture of experts, whose output no single linear map gives"
        )
    raise _refused(w, f"no linear map of {model} gives {home} as it is")


def _normed(layout: Layout) -> bool:
    """Whether a norm stands between a sublayer's last linear map and the stream."""
    return layout.norms is not None or not f"{layout.z}.".startswith(f"{layout.attn_out}.")


def _fan_out(linear: nn.Module) -> int:
    return int(linear.weight.shape[1 if transposed(linear) else 0])  # pyright: ignore


def _widened(change: LowRank, site: Site, width: int, n_heads: int) -> LowRank:
    """A change of one head as a change of all heads side by side."""
    first, last = head_columns(site, width, n_heads) or (0, width)
    pad, grow = (first, width - last), nn.functional.pad
    return LowRank(grow(change.U, (0, 0, *pad)), grow(change.V, pad), grow(change.c, pad))


def _shared(hf: nn.Module, name: str) -> list[str]:
    """Other names under which a module's weight is used."""
    weight = hf.get_submodule(name).weight
    return [
        n for n, p in hf.named_parameters(remove_duplicate=False) if p is weight and n != f"{name}.weight"
    ]


def _embeddings(
    model: Model,
    stream: Sequence[Write],
    tables: Sequence[str],
    seen: Mapping[str, list[Tensor]],
    state: Tensor,
    untie: bool,
) -> list[Part]:
    """The changes of the embeddings whose sum enters the first block: a projection goes into each of
    them, a shift into one.
    """
    hf: Any = model.hf
    used = {n: seen[n][0] for n in tables if len(seen[n]) == 1}
    total = sum((h.double().expand_as(state) for h in used.values()), torch.zeros_like(state).double())
    if float((total - state.double()).abs().max()) > 8 * torch.finfo(state.dtype).eps * float(
        state.abs().max()
    ):
        why = (
            f"what enters the first block is not the sum of embeddings ({', '.join(used) or 'none'}); a norm,"
            " another map or fixed positions take part"
        )
        raise _refused(stream[0], why)
    change = composed([linear(w) for w in stream], model.width)
    # The first whose change touches nothing else, such as learnt positions beside a token embedding that is
    # tied to the head.
    holder = next((n for n in used if not _shared(hf, n)), next(iter(used), None))
    parts = []
    for name, output in used.items():
        shift = change.c if name == holder else torch.zeros_like(change.c)
        if not change.U.shape[1] and not shift.any():
            continue
        table: Any = hf.get_submodule(name)
        tied = table.weight is hf.get_output_embeddings().weight
        if tied and not untie:
            why = f"it changes {name}, whose weight is also the output head's (tied embeddings)"
            raise _refused(stream[0], why, f"pass untie=True to give the head a copy of its own, or {HOOKS}")
        if not tied and (other := _shared(hf, name)):
            raise _refused(
                stream[0], f"{name} shares its weight with {', '.join(other)}, which must not change"
            )
        nothing = LowRank.shift(torch.zeros(table.num_embeddings).double())
        parts.append(Part(name, nothing, LowRank(change.U, change.V, shift), _scale(model, table, output)))
    return parts


def _scale(model: Model, table: Any, output: Tensor) -> float:
    """How many times its weight a token embedding gives (Gemma's give more than once); 1 for positions."""
    if table is not model.hf.get_input_embeddings():  # pyright: ignore
        return 1.0
    plain = nn.functional.embedding(check_tokens(model), table.weight.detach()).double()
    return float((output.double() * plain).sum() / plain.square().sum())


def transposed(module: nn.Module) -> bool:
    """Whether a linear map keeps its weight as [in, out], as GPT-2's Conv1D does; known by its name,
    so that importing this package does not load transformers.
    """
    return type(module).__name__ == "Conv1D"
