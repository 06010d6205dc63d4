"""Matched random edits: what a change of the same size does when its direction means nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from interventions.writes.changes import turned
from interventions.writes.lowrank import Edit, Fixed, LowRank, SiteEdit
from probes.data.examples import Examples, Text
from probes.data.positions import Position
from probes.data.sites import Site
from probes.models.model import Model
from probes.models.writes import Act, Chosen, Identity, SiteFunction, Write

CALIBRATION_TEXTS = 64


@dataclass(frozen=True, eq=False)
class RandomShift:
    """Moves every token exactly as far as another edit would, but along one random direction; keeps
    the length of h where that edit keeps it.
    """

    of: Write
    unit: Tensor

    @property
    def site(self) -> Site:
        return self.of.site

    @property
    def at(self) -> Position:
        return self.of.at

    @property
    def label(self) -> str:
        return f"random shift as large as {self.of!r}"

    @property
    def needs_prompts(self) -> bool:
        return self.of.needs_prompts

    @property
    def width(self) -> int:
        return self.of.width

    @property
    def keeps_norm(self) -> bool:
        return self.of.keeps_norm

    def on(self, batch: Chosen | None) -> Act:
        act = self.of.on(batch)
        return lambda h, first: self._moved(h, act(h, first))

    def as_data(self) -> LowRank | None:
        return None

    def identity(self) -> Identity | None:
        return None

    def _moved(self, h: Tensor, after: Tensor) -> Tensor:
        unit = self.unit.to(h.device)
        if self.keeps_norm:
            return turned(h.float(), after.float(), unit).to(h.dtype)
        return h + ((after - h).float().norm(dim=-1, keepdim=True) * unit).to(h.dtype)

    def __repr__(self) -> str:
        return self.label


def matched_random(
    model: Model, edit: Edit, texts: Examples | Sequence[Text], n: int = 20, seed: int = 0
) -> list[Fixed]:
    """`n` random edits of the same kind as `edit`, each changing h by the same mean length per token at every
    site.

    A shift becomes a shift along a random unit vector; a projection becomes a projection along random
    orthonormal vectors, scaled. Sizes are matched on up to 64 texts, evenly spaced, site by site in forward
    order while the earlier sites are already edited. An edit that is not linear (gated, patched,
    norm-keeping) becomes, token by token, a shift of the same length along a random unit vector.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    changes = edit.compile(model)
    linear = [_Linear(c.site, c.at, data) for c in changes if (data := c.as_data()) is not None]
    if len(linear) < len(changes):
        return [_shifts(changes, k, seed) for k in range(n)]
    return _linear(model, linear, texts, n, seed)


@dataclass(frozen=True, eq=False)
class _Linear:
    """A change known to be linear, and where it acts."""

    site: Site
    at: Position
    change: LowRank


def _shifts(changes: Sequence[Write], k: int, seed: int) -> Fixed:
    widths = sorted({c.width for c in changes})
    generator = torch.Generator().manual_seed(seed * 100_003 + k)
    units = {w: _orthonormal(w, 1, generator)[:, 0] for w in widths}
    return Fixed(tuple(RandomShift(c, units[c.width]) for c in changes), f"matched random {k} (seed {seed})")


def _linear(
    model: Model, changes: Sequence[_Linear], texts: Examples | Sequence[Text], n: int, seed: int
) -> list[Fixed]:
    examples = texts if isinstance(texts, Examples) else Examples(texts)
    examples = examples.rows(
        np.unique(np.linspace(0, len(examples) - 1, min(CALIBRATION_TEXTS, len(examples))).astype(int))
    )
    asked = model.tokenise(examples)
    (batch,) = model.batches(asked.encoded, batch_size=len(asked))
    real = batch.mask.bool()
    touched = [real & asked.chosen(c.at, batch) for c in changes]

    def size(delta: Tensor, i: int) -> Tensor:
        return delta.float().norm(dim=-1)[touched[i].to(delta.device)].mean()

    def run(act: Callable[[int, _Linear, Tensor], Tensor]) -> None:
        # Model-held edits come first, as they will when the control is used.
        spies = tuple(
            SiteFunction(c.site, c.at, lambda h, i=i, c=c: act(i, c, h), c.change.width)
            for i, c in enumerate(changes)
        )
        spied = replace(model, writes=(*model.writes, *spies))
        last = max(changes, key=lambda c: c.site.order).site
        spied.run(batch, [last], lambda h: h[:0], spied.bound_writes(batch, asked))

    targets: dict[int, Tensor] = {}
    means: dict[int, Tensor] = {}
    met: list[Tensor] = []

    def measure(i: int, change: _Linear, h: Tensor) -> Tensor:
        if len(changes) == 1:
            met.append(h.clone())
        delta = change.change.delta(h)
        targets[i], means[i] = size(delta, i), h[touched[i].to(h.device)].float().mean(0)
        return h + delta

    run(measure)
    # Before an only change nothing acts, so every control meets what was met just now and needs no pass.
    meet = partial(_again, changes[0], met[0]) if met else run
    return [_calibrated(k, seed, changes, targets, means, size, meet) for k in range(n)]


def _again(change: _Linear, h: Tensor, act: Callable[[int, _Linear, Tensor], Tensor]) -> None:
    """What a pass would do that comes by the one change with this hidden state."""
    act(0, change, h)


def _calibrated(
    k: int,
    seed: int,
    changes: Sequence[_Linear],
    targets: dict[int, Tensor],
    means: dict[int, Tensor],
    size: Callable[[Tensor, int], Tensor],
    run: Callable[[Callable[[int, _Linear, Tensor], Tensor]], None],
) -> Fixed:
    """One random edit, scaled site by site during a single pass."""
    generator = torch.Generator().manual_seed(seed * 100_003 + k)
    # One draw for all sites of equal width and rank, as the edit itself repeats its direction over sites.
    shapes = sorted({(c.change.U.shape[0], c.change.U.shape[1]) for c in changes})
    draws = {(d, r): _orthonormal(d, max(1, r), generator) for d, r in shapes}
    made: dict[int, SiteEdit] = {}

    def calibrate(i: int, change: _Linear, h: Tensor) -> Tensor:
        unit = _random_form(
            change.change, draws[change.change.U.shape[0], change.change.U.shape[1]], means[i].cpu()
        )
        delta = unit.delta(h)
        now = size(delta, i)
        factor = float(targets[i] / now) if now > 0 else 0.0
        made[i] = SiteEdit(change.site, change.at, unit.scaled(factor), f"matched random {k}")
        return h + delta * factor

    run(calibrate)
    return Fixed(tuple(made[i] for i in range(len(changes))), f"matched random {k} (seed {seed})")


def _orthonormal(width: int, rank: int, generator: torch.Generator) -> Tensor:
    q, _ = torch.linalg.qr(torch.randn(width, rank, generator=generator))
    return q


def _random_form(change: LowRank, directions: Tensor, mean: Tensor) -> LowRank:
    """A random change of the same kind: shift, projection to zero, or projection to the mean."""
    if change.U.shape[1] == 0:
        return LowRank.shift(directions[:, 0])
    centre = mean if change.c.abs().max() > 0 else torch.zeros_like(mean)
    return LowRank(directions, -directions.T.contiguous(), (centre @ directions) @ directions.T)
