"""Matched edits: what a change of the same size does when its direction means nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interventions.effects.meaningless import Meaningless, isotropic
from interventions.effects.shifts import RandomShift
from interventions.writes.lowrank import Edit, Fixed, LowRank, SiteEdit, as_edit
from probes.checks.settings import check_count
from probes.data.examples import Examples, Text
from probes.data.positions import Position
from probes.data.sites import Site
from probes.fitting.exactly import made_exactly
from probes.models.given import check_model
from probes.models.model import Model
from probes.models.writes import SiteFunction, Write

CALIBRATION_TEXTS = 64
SMALL = 1e-5  # share of its length that a vector adds to a span below which it lies in it
LAST = Position.parse("last")


@dataclass(frozen=True, eq=False)
class Matched:
    """An edit of the size of another: how many times as long its changes of h are at the tokens where the
    answer is read, and on average over all tokens it touches, added up over sites.
    """

    edit: Fixed
    at_read: float
    on_average: float


def matched_random(
    model: Model,
    edit: Edit,
    texts: Examples | Sequence[Text],
    n: int = 20,
    seed: int = 0,
    linear: bool = False,
) -> list[Fixed]:
    """`n` random edits of the same kind as `edit`, each changing every token by the same length.

    The directions of the edit are turned to random ones: a shift becomes a shift along a random unit vector,
    a projection goes the way of one along random orthonormal vectors, about the mean of h. An edit of several
    sites is matched on up to 64 texts, evenly spaced, at their last token (over all tokens it touches, where
    it leaves the last alone), site by site in forward order while the earlier sites are already edited. An
    edit that is not linear (gated, patched, norm-keeping) becomes a shift along a random unit vector. With
    `linear` a linear edit stays one, which weights can hold; its size is then that of the edit at the last
    token on average, and elsewhere what it is. `effect` compares with directions that lie where h varies;
    these do not.
    """
    n = check_count("n", n)
    check_model(model, "matched_random")
    changes = as_edit(edit).compile(model)
    frames = isotropic(changes[0].width, n, rank_of(changes), seed)
    return [m.edit for m in matched(model, changes, texts, frames, seed, "matched random", linear)]


def rank_of(changes: Sequence[Write]) -> int:
    """How many directions the largest change is made of."""
    linear = [data for c in changes if (data := c.as_data()) is not None]
    return max((_basis(data).shape[1] for data in linear), default=1) or 1


def matched(
    model: Model,
    changes: Sequence[Write],
    texts: Examples | Sequence[Text],
    directions: Meaningless,
    seed: int,
    name: str,
    linear: bool = False,
) -> list[Matched]:
    """The compiled changes of an edit with its directions turned to given ones, matched in size.

    Sites of another width than the directions' get isotropic ones; `linear` is as in `matched_random`.
    """
    n = len(directions.frames)
    widths = sorted({c.width for c in changes})
    rank = rank_of(changes)
    by_width = {w: isotropic(w, n, rank, seed).frames for w in widths}
    by_width |= {directions.frames.shape[1]: directions.frames}
    known = [_Linear(c, data) for c in changes if (data := c.as_data()) is not None]
    if len(known) < len(changes):
        made = [
            [RandomShift(c, LowRank.shift(by_width[c.width][k][:, 0])) for c in changes] for k in range(n)
        ]
        return [Matched(Fixed(tuple(m), f"{name} {k} (seed {seed})"), 1.0, 1.0) for k, m in enumerate(made)]
    meeting = _Meeting.of(model, known, texts, linear)
    frames = [{w: of[k] for w, of in by_width.items()} for k in range(n)]
    return [meeting.calibrated(f, f"{name} {k}", seed) for k, f in enumerate(frames)]


@dataclass(frozen=True, eq=False)
class _Linear:
    """A change known to be linear, and the write it belongs to."""

    write: Write
    change: LowRank

    @property
    def site(self) -> Site:
        return self.write.site

    @property
    def at(self) -> Position:
        return self.write.at


@dataclass(frozen=True, eq=False)
class _Meeting:
    """The changes of an edit, and the hidden states and sizes that they have on some texts.

    `run` makes a pass in which a function of (number of the change, change, h) stands in for every change.
    """

    changes: Sequence[_Linear]
    run: Callable[[Callable[[int, _Linear, Tensor], Tensor]], None]
    read: list[Bool[Tensor, "batch pos"]]
    touched: list[Bool[Tensor, "batch pos"]]
    targets: dict[int, tuple[float, float]]
    means: dict[int, Tensor]
    linear: bool

    @classmethod
    def of(
        cls, model: Model, changes: Sequence[_Linear], texts: Examples | Sequence[Text], linear: bool
    ) -> "_Meeting":
        examples = texts if isinstance(texts, Examples) else Examples(texts)
        n = min(CALIBRATION_TEXTS, len(examples))
        some = examples.rows(np.unique(np.linspace(0, len(examples) - 1, n).astype(int)))
        asked = model.tokenise(some)
        (batch,) = model.batches(asked.encoded, batch_size=len(asked))
        last, real = asked.chosen(LAST, batch), batch.mask.bool()
        touched = [real & asked.chosen(c.at, batch) for c in changes]
        read = [t & last if (t & last).any() else t for t in touched]

        def run(act: Callable[[int, _Linear, Tensor], Tensor]) -> None:
            # Model-held edits come first, as they will when the control is used.
            spies = tuple(
                SiteFunction(c.site, c.at, lambda h, i=i, c=c: act(i, c, h), c.change.width)
                for i, c in enumerate(changes)
            )
            spied = replace(model, writes=(*model.writes, *spies))
            end = max(changes, key=lambda c: c.site.order).site
            spied.run(batch, [end], lambda h: h[:0], spied.bound_writes(batch, asked))

        targets: dict[int, tuple[float, float]] = {}
        means: dict[int, Tensor] = {}
        met: list[Tensor] = []

        def measure(i: int, change: _Linear, h: Tensor) -> Tensor:
            if len(changes) == 1:
                met.append(h.clone())
            delta = change.change.delta(h)
            targets[i] = size(delta, read[i]), size(delta, touched[i])
            means[i] = h[read[i].to(h.device)].float().mean(0).cpu()
            return h + delta

        run(measure)
        # Before an only change nothing acts, so every control meets what was met just now and needs no pass.
        meet = partial(_again, changes[0], met[0]) if met else run
        return cls(changes, meet, read, touched, targets, means, linear)

    def calibrated(self, frames: dict[int, Float[Tensor, "d r"]], name: str, seed: int) -> Matched:
        """The edit turned to these directions, scaled site by site during a single pass."""
        # What stays is made before the pass: small tensors among the large ones of a pass keep the allocator
        # from using the places of these again (20 controls of all writers of SmolLM2: 6.2 GB, and 1.1 so).
        forms = [
            turned_to(c.change, frames[c.change.width], self.means[i]) for i, c in enumerate(self.changes)
        ]
        factors: dict[int, float] = {}
        sizes: dict[int, tuple[float, float]] = {}

        def calibrate(i: int, change: _Linear, h: Tensor) -> Tensor:
            if self._stays_linear(forms[i]):
                delta = forms[i].delta(h)
            else:
                delta = RandomShift(change.write, forms[i]).moved(h, h + change.change.delta(h)) - h
            now = size(delta, self.read[i])
            factors[i] = self.targets[i][0] / now if now > 0 else 0.0
            sizes[i] = factors[i] * now, factors[i] * size(delta, self.touched[i])
            return h + delta * factors[i]

        self.run(calibrate)
        made = (self._made(i, form, factors[i], name) for i, form in enumerate(forms))
        numbers = range(len(self.changes))
        ratios = [
            _ratio([sizes[i][k] for i in numbers], [self.targets[i][k] for i in numbers]) for k in (0, 1)
        ]
        return Matched(Fixed(tuple(made), f"{name} (seed {seed})"), *ratios)

    def _stays_linear(self, form: LowRank) -> bool:
        """A shift is of one length everywhere, so it stays linear."""
        return self.linear or form.U.shape[1] == 0

    def _made(self, i: int, form: LowRank, factor: float, name: str) -> Write:
        change = self.changes[i]
        if self._stays_linear(form):
            return SiteEdit(change.site, change.at, form.scaled(factor), name)
        return RandomShift(change.write, form, times=factor)


def _ratio(sizes: Sequence[float], targets: Sequence[float]) -> float:
    return sum(sizes) / sum(targets) if sum(targets) > 0 else 1.0


def size(delta: Float[Tensor, "batch pos d"], where: Bool[Tensor, "batch pos"]) -> float:
    """Mean length of a change over some tokens."""
    return float(delta.float().norm(dim=-1)[where.to(delta.device)].mean())


def _again(change: _Linear, h: Tensor, act: Callable[[int, _Linear, Tensor], Tensor]) -> None:
    """What a pass would do that comes by the one change with this hidden state."""
    act(0, change, h)


@made_exactly
def turned_to(change: LowRank, frame: Float[Tensor, "d r"], mean: Float[Tensor, " d"]) -> LowRank:
    """The same change about the mean of h, with the directions it is made of turned to those of a frame."""
    own = _basis(change)
    turned = frame[:, : own.shape[1]] @ own.T
    c = turned @ change.c.cpu().float()
    if change.U.shape[1] == 0:
        return LowRank.shift(c)
    U, V = turned @ change.U.cpu().float(), change.V.cpu().float() @ turned.T
    centre = mean @ change.U.cpu().float() - mean @ U
    return LowRank(U, V, c + centre @ V)


def _basis(change: LowRank) -> Float[Tensor, "d r"]:
    """Orthonormal vectors that span all directions of a change, those it writes along first."""
    found: list[Tensor] = []
    for v in (*change.V, *change.U.T, change.c):
        v = v.detach().cpu().double()
        rest = v.clone()
        for _ in range(2):  # once more for what rounding left
            for q in found:
                rest = rest - (rest @ q) * q
        if rest.norm() > SMALL * v.norm() and len(found) < change.width:
            found.append(rest / rest.norm())
    return torch.stack(found, 1).float() if found else torch.zeros(change.width, 0)
