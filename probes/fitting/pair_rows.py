"""Contrast pairs made ready for a search: coordinates in which it is quick, sets of pairs it is repeated on,
and where it starts. None of it depends on the order of rows, on threads, or on other sites.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

STEEPNESS = 0.2  # curvature of the loss along a margin, roughly
MIDDLE = 0.03  # penalty for which the coordinates are round, and what starts pay for length
ROUNDS = 8  # of the power iteration that finds the starts
SPARE = 4  # vectors beyond those wanted, so that the wanted ones come out nearly settled


@dataclass(frozen=True, eq=False)
class Rows:
    """Both texts of every pair, and coordinates v of weights w = v @ `back` in which the loss is about
    equally curved in all directions; v = w @ `into`.
    """

    yes: Float[Tensor, "site n k"]
    no: Float[Tensor, "site n k"]
    back: Float[Tensor, "site k k"]
    into: Float[Tensor, "site k k"]
    basis: Float[Tensor, "site d k"] | None

    def to(self, dtype: torch.dtype) -> "Rows":
        yes, no, back, into = (t.to(dtype) for t in (self.yes, self.no, self.back, self.into))
        return Rows(yes, no, back, into, self.basis)

    def raw(self, weight: Float[Tensor, "site k"]) -> Float[Tensor, "site d"]:
        """Weights of the rows as they were given."""
        return weight if self.basis is None else (self.basis @ weight[..., None])[..., 0]


def coordinates(yes: Float[Tensor, "site n d"], no: Float[Tensor, "site n d"]) -> Rows:
    """One Cholesky factor a site; in the span of the rows where that is smaller.

    Hidden states vary a hundred times more along some directions than along others, where plain L-BFGS takes
    three to seven times as many steps.
    """
    both, basis = torch.cat([yes, no], dim=1), None
    pairs, width = yes.shape[1:]
    if width > 2 * pairs:
        basis = span(both)
        both = both.double() @ basis
    eye = torch.eye(both.shape[2], dtype=torch.float64, device=both.device)
    curvature = (both.mT @ both).double() * (STEEPNESS / both.shape[1]) + MIDDLE * eye
    factor = torch.linalg.cholesky(curvature)
    back = torch.linalg.solve_triangular(factor, eye.expand_as(curvature), upper=False)
    both = both.double()
    return Rows(both[:, :pairs].contiguous(), both[:, pairs:].contiguous(), back, factor, basis)


def span(rows: Float[Tensor, "site n d"]) -> Float[Tensor, "site d k"]:
    """An orthonormal basis of the rows, in double precision, for problems wider than they have rows; outside
    the span only a penalty acts, so nothing is there at the optimum.
    """
    rows = rows.double()
    # Through the Gram matrix, which is many times faster than a decomposition of the rows themselves.
    values, vectors = torch.linalg.eigh(rows @ rows.mT)
    real = values > 1e-10 * values.amax(1, keepdim=True)
    return rows.mT @ torch.where(real[:, None], vectors * values.clamp_min(1e-300).rsqrt()[:, None], 0)


def drawn(count: int, width: int, seed: int) -> Float[Tensor, "q d"]:
    """Random directions of the given rows, from which starts are grown."""
    return torch.randn(count + SPARE, width, generator=torch.Generator().manual_seed(seed)).double()


def placed(rows: Rows, draws: Float[Tensor, "q d"]) -> Float[Tensor, "site q k"]:
    """The draws in the coordinates: they are of the space and not of its basis, whose signs are arbitrary."""
    there = draws.to(rows.into)
    return (there if rows.basis is None else there @ rows.basis.to(there)) @ rows.into


def dealt(
    rows: Rows, units: Int[Tensor, " n"], begin: Float[Tensor, "site q k"], folds: int
) -> Float[Tensor, "site set n"]:
    """The weights of the pairs in every set that is fitted: all of them, then all but each fold.

    Units are dealt out along the first of the lines, so that folds depend on what the rows are and not on the
    order in which they come.
    """
    sites, pairs, _ = rows.yes.shape
    everything = torch.full((sites, 1, pairs), 1 / pairs, dtype=rows.yes.dtype, device=rows.yes.device)
    if not folds:
        return everything
    line = ((rows.yes - rows.no) @ (begin[:, :1] @ rows.back).mT)[..., 0]
    size = torch.bincount(units)
    along = torch.zeros(sites, len(size), dtype=line.dtype, device=line.device).index_add(1, units, line)
    fold = (along / size).argsort(1).argsort(1) % folds
    kept = fold[:, None, units] != torch.arange(folds, device=fold.device)[:, None]
    return torch.cat([everything, kept / kept.sum(2, keepdim=True).to(line)], dim=1)


def starting(
    rows: Rows, shares: Float[Tensor, "site set n"], begin: Float[Tensor, "site q k"], count: int
) -> Float[Tensor, "site set r k"]:
    """Directions along which the two texts of a pair differ most for what the loss would ask, each with its
    opposite, at margins of about 1.

    Eigenvectors by power iteration: it need not settle, but has to come out the same every time. Which of two
    opposites comes first, where there is no room for both, the first draw says.
    """
    differences = (rows.yes - rows.no) @ rows.back.mT
    differences = differences - differences.mean(1, keepdim=True)
    room = min(begin.shape[1], differences.shape[2])
    vectors = begin[:, None, :room].expand(-1, shares.shape[1], -1, -1)
    sites, sets, _, width = vectors.shape

    def margins(v: Tensor) -> Tensor:
        return (v.flatten(1, 2) @ differences.mT).unflatten(1, (sets, -1))

    for _ in range(ROUNDS):
        pulled = (margins(vectors) * shares[:, :, None]).flatten(1, 2) @ differences
        vectors = torch.linalg.qr(pulled.reshape(sites, sets, -1, width).mT)[0].mT
    read = margins(vectors)
    spread = (read * shares[:, :, None]) @ read.mT
    turned = (torch.linalg.eigh(spread)[1].flip(3).mT @ vectors)[:, :, : (count + 1) // 2]
    towards = torch.einsum("sjrk,sk->sjr", turned, begin[:, 0])
    turned = torch.where(towards < 0, -1.0, 1.0)[..., None] * turned
    weights = turned.flatten(1, 2) @ rows.back
    size = ((weights @ rows.yes.mT).pow(2).mean(2) + (weights @ rows.no.mT).pow(2).mean(2)) / 2
    turned = turned / torch.where(size > 0, size, 1.0).sqrt().unflatten(1, (sets, -1))[..., None]
    return torch.stack([turned, -turned], dim=3).flatten(2, 3)[:, :, :count]
