"""The search of contrast-consistent methods: from directions that flip most between the two texts of a pair,
down a path of penalties, to the penalty whose probe has the lowest loss on held-out pairs.

A loss of this family has many minima, most of them fitted to the noise of single pairs. Three things make
the one that is returned a matter of the rows and not of rounding: starts are eigenvectors and not draws, a
strong penalty, under which few minima exist, decides among them before a weaker one refines, and the last
steps, after which the leading ones are compared, are in double precision.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probes.fitting.lbfgs import minimise
from probes.fitting.pair_rows import Rows, coordinates, dealt, drawn, placed, starting

PairLoss = Callable[[Tensor, Tensor], Tensor]
"""From p_yes and p_no [..., n] to what every pair adds [..., n]; the loss is the mean."""

CHUNK = 2**23  # bytes of rows that are searched together: more would fall out of the cache
SCREEN = 12  # steps after which the leading starts go on alone
LEADING, LEADING_OF_FOLD = 4, 2
STARTS_OF_FOLD = 4
MEMORY = 10
ON_THE_WAY, LAST_DIGITS = 1e-4, 1e-9  # share of the loss that a step must gain


@dataclass(frozen=True, eq=False)
class Flip:
    """The direction found at every site, on prepared rows, and what decided: the penalty taken, the mean loss
    on held-out pairs by penalty (NaN where it was not needed), and the loss of every start under the first.
    """

    weight: Float[Tensor, "site d"]
    bias: Float[Tensor, " site"]
    l2: Float[Tensor, " site"]
    held_out: Float[Tensor, "site q"]
    starts: Float[Tensor, "site r"]


def flips(
    yes: Float[Tensor, "site n d"],
    no: Float[Tensor, "site n d"],
    loss: PairLoss,
    units: Int[Tensor, " n"],
    penalties: Sequence[float],
    *,
    folds: int,
    starts: int,
    steps: int,
    seed: int,
) -> Flip:
    """Searches every site by itself, a few at a time.

    `penalties` fall. With `folds` the search is repeated without each fold of `units` (whole groups of pairs)
    and goes on to smaller penalties for as long as the held-out loss falls; without, it ends at the last one.
    """
    cpu = yes.device.type == "cpu"
    draws = drawn((starts + 1) // 2, yes.shape[2], seed)
    step = max(1, (CHUNK if cpu else 64 * CHUNK) // (16 * yes[0].numel()))

    def searched(first: int) -> Flip:
        rows = coordinates(yes[first : first + step], no[first : first + step])
        quick = rows.to(torch.float32)
        begin = placed(rows, draws)
        shares = dealt(rows, units, begin, folds).float()
        columns, theta = _started(quick, shares, loss, starting(quick, shares, begin.float(), starts))
        return _down(columns, theta, penalties, steps, rows)

    firsts = range(0, len(yes), step)
    parts = [searched(first) for first in firsts]
    return Flip(*(torch.cat([getattr(part, name) for part in parts]) for name in Flip.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class Columns:
    """Problems on the same rows, side by side: the set each one is fitted on, 0 being all pairs."""

    rows: Rows
    shares: Float[Tensor, "site set n"]
    loss: PairLoss
    sets: Int[Tensor, " c"]

    def margins(
        self, weight: Float[Tensor, "site c k"], bias: Float[Tensor, "site c 1"]
    ) -> tuple[Float[Tensor, "site c n"], Float[Tensor, "site c n"]]:
        return torch.baddbmm(bias, weight, self.rows.yes.mT), torch.baddbmm(bias, weight, self.rows.no.mT)

    def minimised(
        self, theta: Float[Tensor, "site c k1"], l2: Float[Tensor, " site"], steps: int, settled: float
    ) -> tuple[Float[Tensor, "site c k1"], Float[Tensor, "site c"]]:
        """Coordinates and bias, and the penalised loss, where each problem settled."""
        rows, weigh, penalty = self.rows, self.shares[:, self.sets], l2[:, None, None]

        def objective(flat: Tensor) -> tuple[Tensor, Tensor]:
            own = flat.reshape(theta.shape)
            weight = own[..., :-1] @ rows.back
            with torch.enable_grad():
                leaves = [m.requires_grad_() for m in self.margins(weight, own[..., -1:])]
                value = (self.loss(*map(torch.sigmoid, leaves)) * weigh).sum(2)
                yes, no = torch.autograd.grad(value.sum(), leaves)
            pull = (yes @ rows.yes + no @ rows.no + penalty * weight) @ rows.back.mT
            slope = torch.cat([pull, (yes.sum(2) + no.sum(2))[..., None]], dim=2)
            value = value.detach() + (penalty / 2 * weight.pow(2)).sum(2)
            return value.flatten(), slope.reshape(flat.shape)

        found, value = minimise(
            objective, theta.flatten(0, 1), steps, memory=MEMORY, tolerance=settled / 10, settled=settled
        )
        return found.reshape(theta.shape), value.reshape(theta.shape[:2])

    def leading(
        self, theta: Float[Tensor, "site c k1"], value: Float[Tensor, "site c"]
    ) -> "tuple[Columns, Float[Tensor, 'site c2 k1']]":
        """The lowest few of every set, the lowest first."""
        taken, sets = [], []
        for each in self.sets.unique().tolist():
            mine = (self.sets == each).nonzero()[:, 0]
            order = value[:, mine].argsort(1)[:, : LEADING_OF_FOLD if each else LEADING]
            taken.append(mine[order])
            sets += [each] * order.shape[1]
        index = torch.cat(taken, dim=1)[..., None].expand(-1, -1, theta.shape[2])
        columns = Columns(self.rows, self.shares, self.loss, torch.tensor(sets, device=self.sets.device))
        return columns, theta.gather(1, index)

    def held_out(self, theta: Float[Tensor, "site c k1"]) -> Float[Tensor, " site"]:
        """The mean loss of the pairs, each under the best problem that was fitted without it."""
        sets = self.sets.tolist()
        theta = theta[:, [sets.index(each) for each in range(1, self.shares.shape[1])]]
        margins = self.margins(theta[..., :-1] @ self.rows.back, theta[..., -1:])
        own = self.loss(*map(torch.sigmoid, margins))
        return (own * (self.shares[:, 1:] == 0)).sum(1).mean(1)


def _started(
    rows: Rows, shares: Float[Tensor, "site set n"], loss: PairLoss, begin: Float[Tensor, "site set r k"]
) -> tuple[Columns, Float[Tensor, "site c k1"]]:
    """All problems at their starts: those of all pairs first, fewer of every fold."""
    sets, each = begin.shape[1:3]
    few = min(each, STARTS_OF_FOLD)
    theta = torch.cat([begin[:, 0], begin[:, 1:, :few].flatten(1, 2)], dim=1)
    of_set = [0] * each + [j for j in range(1, sets) for _ in range(few)]
    theta = torch.nn.functional.pad(theta, (0, 1))
    return Columns(rows, shares, loss, torch.tensor(of_set, device=theta.device)), theta


def _down(
    columns: Columns, theta: Float[Tensor, "site c k1"], penalties: Sequence[float], steps: int, rows: Rows
) -> Flip:
    """The path of a few sites, whose problems share products of matrices and nothing else. `rows` are those
    of the columns in double precision, for the last steps.
    """
    held, path = theta.new_full((len(theta), len(penalties)), torch.nan), []
    chooses, starts = columns.shares.shape[1] > 1, theta
    for i, l2 in enumerate(penalties):
        level = theta.new_full((len(theta),), l2)
        if not path:
            theta, value = columns.minimised(theta, level, min(SCREEN, steps), ON_THE_WAY)
            starts = value[:, columns.sets == 0]
            columns, theta = columns.leading(theta, value)
        theta, value = columns.minimised(theta, level, steps, ON_THE_WAY)
        columns, theta = columns.leading(theta, value)
        path.append(theta[:, columns.sets == 0].double())
        if chooses:
            held[:, i] = columns.held_out(theta)
            if bool(risen(held[:, : i + 1]).any(1).all()):
                break
    taken = before_rise(held[:, : len(path)]) if chooses else torch.tensor(len(path) - 1)
    each = torch.arange(len(theta), device=theta.device)
    l2 = rows.yes.new_tensor(penalties)[taken].expand(len(theta))
    all_pairs = torch.zeros(path[0].shape[1], dtype=torch.long, device=theta.device)
    last = Columns(rows, columns.shares.double(), columns.loss, all_pairs)
    best, value = last.minimised(torch.stack(path)[taken, each], l2, steps, LAST_DIGITS)
    best = best[each, value.argmin(1)]
    weight = (best[:, None, :-1] @ rows.back)[:, 0]
    return Flip(rows.raw(weight), best[:, -1], l2, held, starts)


def risen(held: Float[Tensor, "site q"]) -> Bool[Tensor, "site q"]:
    """Where the held-out loss is higher than under the penalty before."""
    return torch.nn.functional.pad(held[:, 1:] > held[:, :-1], (1, 0))


def before_rise(held: Float[Tensor, "site q"]) -> Int[Tensor, " site"]:
    """The last penalty before the held-out loss first rises, or the last of all."""
    up = torch.nn.functional.pad(risen(held)[:, 1:], (0, 1), value=True)
    return up.int().argmax(1)
