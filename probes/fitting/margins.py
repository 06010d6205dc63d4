"""Penalised logistic problems on shared rows, minimised by conjugate gradients on the margins.

A margin is linear in the weights. The margins of a direction, one product with the rows, therefore tell the
loss at every point along it: each step goes to the lowest one, and no product is spent on trying lengths.
Products are taken in the precision of the rows; weights, margins and values are kept in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.linalg import vecdot
from torch.nn.functional import softplus

from probes.checks.saying import warn

CONSTANT = 2.0  # beside rows of unit spread: the loss then bends along the bias as along a weight, or more
GAP = 1e-7  # a settled problem lies at most this share of its value above the least one
ROUNDS, STEPS, HALVINGS = 20, 50, 40
# Gradients over the curvature; takes gradients and which of the problems they belong to.
Inverse = Callable[[Float[Tensor, "site p k"], Int[Tensor, " p"]], Float[Tensor, "site p k"]]


@dataclass(frozen=True, eq=False)
class Problems:
    """p problems at every site: minimise sum of share x log-loss + l2/2 |w|^2 with a free bias.

    Rows are about their mean; `y` is 1 or 0, and the bias, which stands behind the d weights in units of
    CONSTANT, bears no penalty. A margin is positive on the side of 1.
    """

    rows: Float[Tensor, "site n d"]
    y: Float[Tensor, "p n"]
    share: Float[Tensor, "p n"]
    l2: Float[Tensor, " p"]
    penalty: Float[Tensor, "p k"]

    @classmethod
    def of_rows(
        cls, rows: Float[Tensor, "site n d"], y: Bool[Tensor, "p n"], share: Tensor, l2: Tensor
    ) -> "Problems":
        penalty = l2[:, None].repeat(1, rows.shape[2] + 1)
        penalty[:, -1] = 0
        return cls(rows, y.double(), share.double(), l2, penalty)

    def of(self, some: Int[Tensor, " q"]) -> "Problems":
        return Problems(self.rows, self.y[some], self.share[some], self.l2[some], self.penalty[some])

    def margins(self, w: Float[Tensor, "site p k"]) -> Float[Tensor, "site p n"]:
        weight = w[..., :-1].to(self.rows.dtype)
        return torch.bmm(weight, self.rows.transpose(1, 2)).double().add_(w[..., -1:], alpha=CONSTANT)

    def slope(self, w: Float[Tensor, "site p k"], pull: Float[Tensor, "site p n"]) -> Tensor:
        found = self.penalty * w
        found[..., :-1] -= torch.bmm(pull.to(self.rows.dtype), self.rows)
        found[..., -1] -= CONSTANT * pull.sum(2)
        return found

    def value(self, w: Tensor, margins: Float[Tensor, "site p n"]) -> Float[Tensor, "site p"]:
        loss = softplus(margins) - self.y * margins
        return vecdot(self.share, loss) + vecdot(self.penalty * w, w) / 2

    def gap(self, slope: Float[Tensor, "site p k"]) -> Float[Tensor, "site p"]:
        """At most so far above its least value a problem stands: the loss bends by l2 or more along every
        weight, and by more than that along the bias.
        """
        return vecdot(slope, slope) / (2 * self.l2)


@dataclass(frozen=True, eq=False)
class Search:
    """Where problems stand: weights, margins, the loss's slope in each margin and how that bends; and how
    they came there: the last direction, uphill, gradient, and gradient times gradient over curvature.
    """

    w: Float[Tensor, "site p k"]
    margins: Float[Tensor, "site p n"]
    pull: Float[Tensor, "site p n"]
    bend: Float[Tensor, "site p n"]
    uphill: Float[Tensor, "site p k"]
    slope: Float[Tensor, "site p k"]
    fell: Float[Tensor, "site p"]

    @classmethod
    def begun(cls, problems: Problems, w: Float[Tensor, "site p k"]) -> "Search":
        margins = problems.margins(w) if w.any() else problems.y.new_zeros(len(w), *problems.y.shape)
        none, far = torch.zeros_like(w), torch.full_like(w[..., 0], torch.inf)
        return cls(w, margins, *_pulled(problems, margins), none, none, far)

    def of(self, some: Int[Tensor, " q"]) -> "Search":
        return Search(*(getattr(self, name)[:, some] for name in self.__dataclass_fields__))


def minimised(
    problems: Problems,
) -> tuple[Float[Tensor, "site p d"], Float[Tensor, "site p"], Float[Tensor, "site p"]]:
    """Weights and biases at which every problem settled, and values; warns of problems that did not settle.

    Plain steps first, for about as long as a factorisation of the curvature takes; what is still open then
    goes on in units of its own curvature, which is taken anew every so often.
    """
    sites, n, d = problems.rows.shape
    p = len(problems.l2)
    w = torch.zeros(sites, p, d + 1, dtype=torch.float64, device=problems.rows.device)
    w, value, left = descended(problems, w, min(n, d) // (p + 7))
    for _ in range(ROUNDS):
        if not len(left):
            break
        some = problems.of(left)
        inverse = curvature(some, w[:, left])
        w[:, left], value[:, left], still = descended(some, w[:, left], STEPS, inverse)
        left = left[still]
    if len(left):
        warn(
            f"{len(left)} of {p} logistic fits did not settle after {ROUNDS * STEPS} steps; raise l2, or give"
            " rows without coordinates of very different size (prepare='zscore')"
        )
    return w[..., :-1], CONSTANT * w[..., -1], value


def descended(
    problems: Problems, w: Float[Tensor, "site p k"], steps: int, inverse: Inverse | None = None
) -> tuple[Float[Tensor, "site p k"], Float[Tensor, "site p"], Int[Tensor, " q"]]:
    """Weights and values after so many steps, or up to twice as many where half of the way, in orders of
    magnitude, is behind them by then; and which problems have not settled at every site. Those that settled
    are left out of the steps that follow.
    """
    at, left = Search.begun(problems, w), torch.arange(len(problems.l2), device=w.device)
    found, value = w.clone(), problems.value(w, at.margins)
    least = value.clone()
    start = torch.zeros(())
    for step in range(2 * steps + 1):
        slope = problems.slope(at.w, at.pull)
        gap = problems.gap(slope)
        start = start if step else gap.max()
        open_ = gap > GAP * value
        last = step == 2 * steps or (step == steps and bool((gap.square() > start * GAP * value).any()))
        if last or not open_.all():
            value = problems.value(at.w, at.margins)
            open_ = gap > GAP * value
            rest = open_.any(0)
            found[:, left], least[:, left] = at.w, value
            if last or not rest.any():
                return found, least, left[rest]
            if not rest.all():
                kept = rest.nonzero()[:, 0]
                left, problems, at = left[kept], problems.of(kept), at.of(kept)
                slope, value, open_ = slope[:, kept], value[:, kept], open_[:, kept]
        over = slope if inverse is None else inverse(slope, left)
        at = _stepped(problems, at, slope, over, open_)
    raise AssertionError("the last step returns")


def _stepped(problems: Problems, at: Search, slope: Tensor, over: Tensor, open_: Tensor) -> Search:
    """The lowest point against the next conjugate direction (Polak and Ribiere's), which points uphill."""
    fell = vecdot(slope, over)
    turn = ((fell - vecdot(at.slope, over)) / at.fell).clamp_min(0)
    uphill = torch.addcmul(over, turn[..., None], at.uphill)
    rise = vecdot(slope, uphill)
    if (astray := ~(rise > 0)).any():  # not a number where a site settled at once
        uphill, rise = torch.where(astray[..., None], over, uphill), torch.where(astray, fell, rise)
    along = problems.margins(uphill)
    penalised = problems.penalty * uphill
    owed, stiff = vecdot(penalised, at.w), vecdot(penalised, uphill)
    curved = vecdot(at.bend * along, along) + stiff
    length = torch.where(open_, rise / curved.clamp_min(1e-300), 0)
    halved = 0
    while True:
        margins = torch.addcmul(at.margins, length[..., None], along, value=-1)
        pull, bend = _pulled(problems, margins)
        # Newton's step along the line went too far where the loss rises again steeply.
        past = length * stiff - owed + vecdot(pull, along) > rise / 2
        if halved == HALVINGS or not past.any():
            break
        length, halved = torch.where(past, length / 2, length), halved + 1
    w = torch.addcmul(at.w, length[..., None], uphill, value=-1)
    return Search(w, margins, pull, bend, uphill, slope, fell)


def _pulled(problems: Problems, margins: Float[Tensor, "site p n"]) -> tuple[Tensor, Tensor]:
    said = torch.sigmoid(margins)
    bend = problems.share * said
    return problems.share * problems.y - bend, bend * (1 - said)


def curvature(problems: Problems, w: Float[Tensor, "site p k"]) -> Inverse:
    """Division by the Hessian of each penalty, in which rows weigh as on average over the problems."""
    rows = torch.nn.functional.pad(problems.rows, (0, 1), value=CONSTANT)
    n, k = rows.shape[1:]
    rows = rows * Search.begun(problems, w).bend.mean(1).sqrt().to(rows)[..., None]
    # Woodbury's form takes one large number from another, which single precision does not bear.
    rows = rows if k <= n else rows.double()
    gram = rows.transpose(1, 2) @ rows if k <= n else rows @ rows.transpose(1, 2)
    # Products that were rounded may leave the sum of squares with eigenvalues a little below 0.
    rounded = 4 * torch.finfo(gram.dtype).eps * gram.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)
    penalties, own = problems.l2.unique(return_inverse=True)
    roots = []
    for l2 in penalties:
        whole = gram.clone()
        whole.diagonal(dim1=1, dim2=2).add_(l2 + rounded)
        roots.append(torch.linalg.cholesky(whole))

    def inverse(slope: Tensor, which: Tensor) -> Tensor:
        over = torch.empty_like(slope)
        for l2, root, theirs in zip(
            penalties, roots, own == torch.arange(len(roots)).to(own)[:, None], strict=True
        ):
            some = theirs[which]
            g = slope[:, some].to(rows).transpose(1, 2)
            if k <= n:
                found = torch.cholesky_solve(g, root)
            else:
                found = (g - rows.transpose(1, 2) @ torch.cholesky_solve(rows @ g, root)) / l2
            over[:, some] = found.transpose(1, 2).double()
        return over

    return inverse
