"""Directions that mean nothing but lie where hidden states lie: what a fitted direction has to beat.

A direction that was fitted lies where states vary, and a model reacts more to a change there than to one
along a random vector of the same length. So the null of an edit is made of directions of that kind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from interventions.edits import Ablate, Add, Affine, Clamp, Erase
from interventions.writes.lowrank import Edit, same_site
from probes.data.activations import Activations
from probes.data.examples import Examples
from probes.data.sites import Site
from probes.fitting.directions import Direction
from probes.fitting.exactly import made_exactly
from probes.fitting.meaningless import completed, exchanged_directions
from probes.models.model import Model
from probes.reading.capture import capture

ROWS = 256  # prompts whose states say where states lie
PARALLEL = 0.9  # |cosine| from which two directions do the same
HALF = 0.5**0.5  # |cosine| from which a vector lies along another for the larger part
FLAT = 1e-4  # share of their length below which what rows differ by is rounding


@dataclass(frozen=True, eq=False)
class Meaningless:
    """Frames of directions that mean nothing: `frames[k]` holds orthonormal columns.

    `source` says where they come from, `note` why not from a better place. `cosines` are those of each
    first column to the direction tested, where there is one.
    """

    frames: Float[Tensor, "n d r"]
    source: str
    note: str = ""
    cosines: Float[np.ndarray, " n"] | None = None


@dataclass(frozen=True, eq=False)
class _Rows:
    """Vectors to draw from: a combination of centred rows lies where rows differ from one another.
    `weigh` gives the k-th; `note` is what is to be said of them.
    """

    source: str
    x: Float[Tensor, "rows d"]
    weigh: Callable[[np.random.Generator, int], Shaped[np.ndarray, " rows"]]
    note: str = ""

    @property
    def varied(self) -> bool:
        return bool(self.x.norm() > 0)


def isotropic(width: int, n: int, rank: int, seed: int) -> Meaningless:
    """Random directions, every one as likely as any other."""
    frames = [_orthonormal(torch.randn(width, rank, generator=_generator(seed, k))) for k in range(n)]
    return Meaningless(torch.stack(frames), "isotropic")


def meaningless(
    model: Model,
    edit: Edit,
    prompts: Examples,
    train: Activations | None,
    n: int,
    rank: int,
    seed: int,
) -> Meaningless:
    """`n` frames of `rank` directions for the edit's home site.

    From exchanged labels where that can be: what labels exchanged as in `shuffled_null` would give if the
    true ones meant nothing. That is a difference of class means of rows less their class mean, and as much of
    the direction itself as these labels have in common with the true ones, so that few groups, whose labels
    can be exchanged in few ways, show nothing. The rows are `train`, or those the direction was fitted on, of
    which it remembers as much. Otherwise directions with
    the covariance of h at the last token of the prompts (within classes, where the direction is that between
    the classes of their y). Where rows differ in one way only, so that those are all (nearly) the direction
    tested, with the covariance of h over all tokens of the prompts.
    """
    site, tested = home(model, edit)
    sources: list[Callable[[], _Rows]] = []
    if train is not None:
        _check_train(model, train, site)
        own = exchanged_directions(train[site], n * rank, seed)[0].cpu()
        sources.append(lambda: _remembered([(own, tested)]))
    elif known := remembered(edit, site, tested):
        sources.append(lambda: _remembered(known))
    some = prompts
    if len(prompts) > ROWS:
        some = prompts.rows(np.unique(np.linspace(0, len(prompts) - 1, ROWS).astype(int)))
    sources.append(lambda: _last(model, some, site, tested))
    sources.append(lambda: _tokens(model, some, site))
    notes: list[str] = []
    for source in sources:
        rows = source()
        if not rows.varied:
            notes.append(
                "rows of one class do not differ, or labels can be exchanged in one way only, so"
                f" {rows.source} gives no direction"
            )
            continue
        notes += [rows.note] if rows.note else []
        found = _drawn(rows, n, rank, seed, tested, notes)
        if found.cosines is None or float(np.median(found.cosines)) < PARALLEL:
            return found
        notes.append(
            f"{rows.source} gives the same direction again (median |cosine| {np.median(found.cosines):.2f})"
        )
    last = isotropic(model.width_at(site), n, rank, seed)
    return Meaningless(last.frames, last.source, "; ".join(notes))


def _check_train(model: Model, train: Activations, site: Site) -> None:
    """Raises ValueError for rows that cannot be those an edit's direction was found on: of another model,
    read under other edits, without its site, without labels.
    """
    model.refuse_foreign(train.receipt, "train", "capture the rows of this one")
    now = [repr(w) for w in model.acting]
    read = train.receipt.get("edits", now)
    if list(read) != now:
        under, here = ("; ".join(map(str, each)) or "no edits" for each in (read, now))
        raise ValueError(
            f"train was read under {under} and the effect is measured on a model under {here}; capture train"
            " from the very model that is edited"
        )
    lacks = f"rows at {site}" if site not in train.sites else "labels y" if train.y is None else ""
    if lacks:
        raise ValueError(
            f"train has no {lacks} ({train!r}), so no control comes from exchanging labels there; give the"
            f" labelled rows at {site} on which the edit's direction was found, or leave train out"
        )


def home(model: Model, edit: Edit) -> tuple[Site, Float[Tensor, " d"] | None]:
    """The site an edit's direction was found at, and the direction where it is one, for an
    eraser that along which it moves h; the first site that it changes otherwise.
    """
    if isinstance(edit, Ablate | Add | Affine | Clamp):
        directions = same_site(edit.direction)
        return directions[0].site, directions[0].unit.cpu() if len(directions) == 1 else None
    if isinstance(edit, Erase):
        site = min(edit.changes, key=lambda s: s.order)
        moved = edit.changes[site].V.float().cpu()
        one = len(moved) == 1 and bool(moved.any())
        return site, torch.nn.functional.normalize(moved[0], dim=0) if one else None
    return min((write.site for write in edit.compile(model)), key=lambda site: site.order), None


def directions_of(edit: Edit) -> Sequence[Direction]:
    """Those that an edit goes along; none where it goes along none."""
    return same_site(edit.direction) if isinstance(edit, Ablate | Add | Affine | Clamp) else ()


def cosine_of(edit: Edit, direction: Direction) -> float | None:
    """|Cosine| of an edit's direction to another one at its site; None where the edit is not along a
    direction of that site.
    """
    own = [d for d in directions_of(edit) if d.site == direction.site]
    return max((abs(d.cosine_to(direction)) for d in own), default=None)


Remembered = tuple[Float[Tensor, "k d"], Float[Tensor, " d"] | None]


def remembered(edit: Edit, site: Site, tested: Float[Tensor, " d"] | None) -> Sequence[Remembered]:
    """What the directions of an edit remember of exchanged labels on their rows, each with the direction;
    nothing where one remembers nothing.
    """
    if isinstance(edit, Erase):
        return [(edit.exchanged[site].float().cpu(), tested)] if site in edit.exchanged else []
    if not isinstance(edit, Ablate | Add | Affine | Clamp):
        return []
    directions = same_site(edit.direction)
    known = [(d.exchanged.float().cpu(), d.unit.cpu()) for d in directions if d.exchanged is not None]
    return known if len(known) == len(directions) else []


def _remembered(known: Sequence[Remembered]) -> _Rows:
    """Directions from exchanged labels, each once, in turn; combinations of them where more are asked for."""
    source = "exchanging labels"
    drawn = torch.cat([own for own, _ in known])
    if not drawn.any():
        return _Rows(source, drawn, _normal(len(drawn)))
    x = torch.cat([own if unit is None else completed(own, unit) for own, unit in known])

    def weigh(rng: np.random.Generator, k: int) -> np.ndarray:
        return np.eye(len(x))[k] if k < len(x) else rng.normal(size=len(x))

    same = int((~drawn.any(1)).sum())
    few = f"{same} of {len(drawn)} exchanges give the true labels again, since few groups can exchange theirs"
    return _Rows(source, x, weigh, few if same else "")


def _last(model: Model, prompts: Examples, site: Site, tested: Tensor | None) -> _Rows:
    """The last tokens of the prompts; less their class mean where the direction tested tells the classes of
    their y apart, as it would be in the rows otherwise.
    """
    acts = capture(model, prompts, site, "last", progress=False, check=False)
    x, y = acts.x[0].float().cpu(), prompts.y
    label = None if y is None or tested is None or len(np.unique(y)) != 2 else y == y.max()
    if label is None or not _tells_apart(x, label, tested):
        return _Rows("the covariance of h", within(x, None), _normal(len(x)))
    return _Rows("the covariance of h within classes", within(x, label), _normal(len(x)))


def _tells_apart(
    x: Float[Tensor, "rows d"], label: Shaped[np.ndarray, " rows"], tested: Tensor | None
) -> bool:
    """Whether a direction is that between two classes, for the larger part."""
    first = torch.from_numpy(np.asarray(label, dtype=bool))
    between = x[first].mean(0) - x[~first].mean(0)
    if tested is None or len(tested) != len(between):
        return False
    return abs(float(between @ tested.float())) >= HALF * float(between.norm())


def _tokens(model: Model, prompts: Examples, site: Site) -> _Rows:
    """Every token of the prompts, each as long as any other, since first tokens are often far longer."""
    acts = capture(model, prompts, site, "all", progress=False, check=False)
    centred = acts.x[0].float().cpu() - acts.x[0].float().cpu().median(0).values
    x = centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-30)
    return _Rows("the covariance of h over all tokens", x, _normal(len(x)))


def _normal(n: int) -> Callable[[np.random.Generator, int], Shaped[np.ndarray, " rows"]]:
    return lambda rng, _: rng.normal(size=n)


def within(x: Float[Tensor, "rows d"], label: Shaped[np.ndarray, " rows"] | None) -> Float[Tensor, "rows d"]:
    """Rows without the mean of their class, so that what tells the classes apart is not in them; zero where
    only rounding is left.
    """
    size = x.norm()
    if label is None:
        left = x - x.mean(0)
    else:
        first = torch.from_numpy(np.asarray(label, dtype=bool))
        left = torch.where(first[:, None], x - x[first].mean(0), x - x[~first].mean(0))
    return left if left.norm() > FLAT * size else torch.zeros_like(left)


@made_exactly
def _drawn(rows: _Rows, n: int, rank: int, seed: int, tested: Tensor | None, notes: list[str]) -> Meaningless:
    frames = []
    for k in range(n):
        rng = np.random.default_rng([seed, k])
        weights = np.stack([rows.weigh(rng, k * rank + j) for j in range(rank)], 1)
        made = rows.x.T @ torch.from_numpy(weights).float()
        frames.append(_orthonormal(made, _generator(seed, k)))
    stacked = torch.stack(frames)
    cosines = None
    if tested is not None and len(tested) == stacked.shape[1]:
        cosines = (stacked[:, :, 0] @ tested.float()).abs().numpy()
    return Meaningless(stacked, rows.source, "; ".join(notes), cosines)


def _orthonormal(
    made: Float[Tensor, "d r"], generator: torch.Generator | None = None
) -> Float[Tensor, "d r"]:
    """Orthonormal columns whose leading ones span what the given leading ones do; columns that rows of few
    dimensions cannot fill are filled at random.
    """
    scaled = made / made.norm(dim=0, keepdim=True).clamp_min(1e-30)
    if generator is not None and torch.linalg.matrix_rank(scaled, rtol=1e-4) < scaled.shape[1]:
        scaled = scaled + 1e-3 * torch.randn(scaled.shape, generator=generator) / scaled.shape[0] ** 0.5
    q, r = torch.linalg.qr(scaled)
    return q * torch.sign(r.diagonal()).masked_fill(r.diagonal() == 0, 1)


def _generator(seed: int, k: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 100_003 + k)
