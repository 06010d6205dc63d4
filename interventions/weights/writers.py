"""Which weight takes on which linear edit: what writes to the residual stream is found out on the
model, by what it gives on a few tokens.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from interventions.weights.holdable import HOOKS, linear, refused
from interventions.weights.parts import Part, check_tokens, composed, fan_out, shared, transposed, widened
from probes.data.lowrank import LowRank
from probes.data.sites import Site
from probes.models.backends.hooking import hooked
from probes.models.backends.hooks import Hooks
from probes.models.backends.points import Layout, Point, whole
from probes.models.model import Model
from probes.models.unwrap import evaluating, fan_in, without_head
from probes.models.writes import Write

EMBEDDED = Site("resid_pre", 0)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What modules and sites of a model gave on a few tokens: `linears` and `tables` (embeddings) are
    those that give the model's width, `given` what they gave, `states` what the sites held.
    """

    plain: Hooks
    linears: Sequence[str]
    tables: Sequence[str]
    given: Mapping[str, list[Tensor]]
    states: Mapping[Site, Tensor]

    def block(self, site: Site) -> str:
        return f"{self.plain.blocks}.{site.block}."


def plan(model: Model, writes: Sequence[Write], untie: bool) -> list[Part]:
    """Which module takes on which change; raises ValueError naming the write that has no place.
    Nothing is changed here.
    """
    homes = [(w, _home(w)) for w in writes]
    seen = _seen(model, {home for _, home in homes if home.kind in ("attn_out", "mlp_out")})
    inside = [(w, home) for w, home in homes if home.kind != "resid_pre"]
    stream = [w for w, home in homes if home.kind == "resid_pre"]
    parts = _sublayers(model, inside, seen)
    return parts + (_embeddings(model, stream, seen, untie) if stream else [])


def _home(w: Write) -> Site:
    """The site whose weights take on a write: its own, or for a shift of the stream the MLP before it."""
    if w.site.kind not in ("resid_pre", "resid_post") or w.site == EMBEDDED:
        return w.site
    if linear(w).U.shape[1]:
        why = (
            "it projects the residual stream, and what goes past a block on the skip path meets no weight"
            " (and the norm behind it is none that could project)"
        )
        raise refused(
            w, why, f"project everything that writes to the stream instead, sites=WRITERS, or {HOOKS}"
        )
    return Site("mlp_out", w.site.block - (w.site.kind == "resid_pre"))


def _seen(model: Model, outputs: set[Site]) -> _Seen:
    """Runs the model on a few tokens and keeps what the sublayers' maps and the embeddings give."""
    plain = Hooks(model.hf, model.backend.blocks)
    inside = tuple({f"{plain.blocks}.{site.block}." for site in outputs})
    linears = [
        name
        for name, module in model.hf.named_modules()
        if name.startswith(inside)
        and (isinstance(module, nn.Linear) or transposed(module))
        and fan_out(module) == model.width
    ]
    tables = [
        name
        for name, module in model.hf.named_modules()
        if isinstance(module, nn.Embedding)
        and module.embedding_dim == model.width
        and not name.startswith(f"{plain.blocks}.")
    ]
    given: dict[str, list[Tensor]] = defaultdict(list)
    states: dict[Site, Tensor] = {}
    reads: list[Any] = [(Point(n), lambda h, n=n: given[n].append(whole(h))) for n in (*tables, *linears)]
    reads += [(plain.point(s), lambda h, s=s: states.__setitem__(s, whole(h))) for s in (*outputs, EMBEDDED)]
    with evaluating(model.hf), hooked(plain.inner, reads, optional=[point for point, _ in reads]):
        without_head(model.hf)(input_ids=check_tokens(model), use_cache=False)
    return _Seen(plain, linears, tables, given, states)


def _sublayers(model: Model, homes: Sequence[tuple[Write, Site]], seen: _Seen) -> list[Part]:
    """The changes of the maps inside blocks: of what the heads' projection takes, and of what the
    last map of a sublayer gives.
    """
    takes, gives, shifts = defaultdict(list), defaultdict(list), defaultdict(list)
    for w, home in homes:
        heads = home.kind == "z"
        name = f"{seen.block(home)}{seen.plain.layout().z}" if heads else _linear_map(w, home, seen)
        _require_room(w, name, model.hf)
        if heads:
            width = fan_in(model.hf.get_submodule(name))
            takes[name].append(widened(linear(w), home, width, model.n_heads))
        elif home == w.site:
            gives[name].append(linear(w))
        else:
            # A shift of the stream comes after whatever is done to the sublayer's own output, so it is
            # kept apart.
            shifts[name].append(linear(w))
    found = []
    for name in dict.fromkeys((*takes, *gives, *shifts)):
        into = composed(takes[name], fan_in(model.hf.get_submodule(name)))
        found.append(Part(name, into, composed([*gives[name], *shifts[name]], model.width)))
    return found


def _require_room(w: Write, name: str, hf: nn.Module) -> None:
    """Raises ValueError where a module cannot take on a change without another one changing too."""
    module: Any = hf.get_submodule(name)
    if linear(w).c.any() and module.bias is None:
        raise refused(
            w, f"it shifts the hidden state, and {name} of {type(hf).__name__} has no bias to hold that"
        )
    if other := shared(hf, name):
        raise refused(w, f"{name} shares its weight with {', '.join(other)}, which must not change")


def _linear_map(w: Write, home: Site, seen: _Seen) -> str:
    """The map whose output is what the sublayer adds, element by element."""
    layout, block, model = seen.plain.layout(), seen.block(home), type(seen.plain.hf).__name__
    if _normed(layout):
        raise refused(
            w,
            f"{model} norms what a sublayer gives before it enters the stream (post-norm), and a norm is no"
            " linear map",
        )
    state = seen.states[home]
    for name in reversed(seen.linears):
        given = seen.given[name]
        # Some blocks show their maps [batch * pos, d].
        if name.startswith(block) and len(given) == 1 and torch.equal(given[0].reshape(state.shape), state):
            return name
    sublayer = seen.plain.inner.get_submodule(
        block + (layout.mlp_out if home.kind == "mlp_out" else layout.attn_out)
    )
    if any("expert" in n for n, _ in sublayer.named_parameters()):
        raise refused(
            w, f"{home} of {model} is a mixture of experts, whose output no single linear map gives"
        )
    raise refused(w, f"no linear map of {model} gives {home} as it is")


def _normed(layout: Layout) -> bool:
    """Whether a norm stands between a sublayer's last linear map and the stream."""
    return layout.norms is not None or not f"{layout.z}.".startswith(f"{layout.attn_out}.")


def _embeddings(model: Model, stream: Sequence[Write], seen: _Seen, untie: bool) -> list[Part]:
    """The changes of the embeddings whose sum enters the first block: a projection goes into each of
    them, a shift into one.
    """
    hf: Any = model.hf
    used = {n: seen.given[n][0] for n in seen.tables if len(seen.given[n]) == 1}
    _require_sum(used, seen.states[EMBEDDED], stream[0])
    change = composed([linear(w) for w in stream], model.width)
    # The first whose change touches nothing else, such as learnt positions beside a token embedding that is
    # tied to the head.
    holder = next((n for n in used if not shared(hf, n)), next(iter(used), None))
    parts = []
    for name, output in used.items():
        shift = change.c if name == holder else torch.zeros_like(change.c)
        if not change.U.shape[1] and not shift.any():
            continue
        table: Any = hf.get_submodule(name)
        tied = table.weight is hf.get_output_embeddings().weight
        if tied and not untie:
            why = f"it changes {name}, whose weight is also the output head's (tied embeddings)"
            raise refused(stream[0], why, f"pass untie=True to give the head a copy of its own, or {HOOKS}")
        if not tied and (other := shared(hf, name)):
            raise refused(
                stream[0], f"{name} shares its weight with {', '.join(other)}, which must not change"
            )
        nothing = LowRank.shift(torch.zeros(table.num_embeddings).double())
        parts.append(Part(name, nothing, LowRank(change.U, change.V, shift), _scale(model, table, output)))
    return parts


def _require_sum(used: Mapping[str, Tensor], state: Tensor, w: Write) -> None:
    """Raises ValueError where embeddings do not add up to what enters the first block."""
    total = sum((h.double().expand_as(state) for h in used.values()), torch.zeros_like(state).double())
    allowed = 8 * torch.finfo(state.dtype).eps * float(state.abs().max())
    if float((total - state.double()).abs().max()) > allowed:
        why = (
            f"what enters the first block is not the sum of embeddings ({', '.join(used) or 'none'}); a norm,"
            " another map or fixed positions take part"
        )
        raise refused(w, why)


def _scale(model: Model, table: Any, output: Tensor) -> float:
    """How many times its weight a token embedding gives (Gemma's give more than once); 1 for positions."""
    if table is not model.hf.get_input_embeddings():  # pyright: ignore
        return 1.0
    plain = nn.functional.embedding(check_tokens(model), table.weight.detach()).double()
    return float((output.double() * plain).sum() / plain.square().sum())
