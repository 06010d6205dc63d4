"""Labels exchanged between rows, as a permutation test asks for."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Shaped

AT_ONCE = 20  # exchanges, which bounds the memory


@dataclass(frozen=True, eq=False)
class Exchanges:
    """What may be exchanged: units of one label each, which trade it within their pool.

    `rows` stand unit after unit, `sizes` says how many rows a unit has, and units stand pool after pool.
    """

    y: Shaped[np.ndarray, " n"]
    rows: Int[np.ndarray, " n"]
    sizes: Int[np.ndarray, " u"]
    pool: Int[np.ndarray, " u"]

    @property
    def values(self) -> Shaped[np.ndarray, " u"]:
        """The label of each unit."""
        return self.y[self.rows[np.cumsum(self.sizes) - self.sizes]]

    def drawn(self, rng: np.random.Generator, n: int) -> Shaped[np.ndarray, "b n"]:
        """Labels of the rows under n exchanges."""
        values, out = self.values, np.empty((n, len(self.rows)), dtype=self.y.dtype)
        for some in np.split(out, range(AT_ONCE, n, AT_ONCE)):
            # Whole numbers keep the pools apart; what stands behind the point shuffles the units of each.
            order = np.argsort(self.pool + rng.random((len(some), len(self.pool))), axis=1)
            some[:, self.rows] = np.repeat(values[order], self.sizes, axis=1)
        return out

    def labellings(self) -> float:
        """How many labellings these exchanges can give; infinite where they are too many to count."""
        of_pool, of_both = np.bincount(self.pool), np.bincount(_both(self.pool, _codes(self.values)))
        ways = _log_factorials(of_pool) - _log_factorials(of_both)
        return math.exp(ways) if ways < 700 else math.inf


def exchangeable(
    y: Shaped[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"], unit: Shaped[np.ndarray, " n"] | None
) -> Exchanges:
    """Which rows may exchange labels with which: rows of a group that holds several labels among themselves,
    and groups that hold one with each other, as wholes.

    Rows of a `unit` (wordings of one statement, a statement with its opposite) keep together: units of one
    label exchange it as wholes within their group, units of several labels permute them among their own rows.
    """
    y, row = np.asarray(y), np.arange(len(y))
    label, group = _codes(y), _codes(groups)
    units = row if unit is None else _both(group, _codes(unit))
    plain, whole = _of_one_label(label, group), _of_one_label(label, units)
    # Pool 0 is that of whole groups; behind it come those of groups and those of units.
    pool = np.select([plain, whole], [np.zeros_like(row), 1 + group], 1 + len(y) + units)
    traded = _both(pool, np.select([plain, whole], [group, units], row))
    order = np.argsort(traded, kind="stable")
    sizes = np.bincount(traded)
    return Exchanges(y, order, sizes, _codes(pool[order])[np.cumsum(sizes) - sizes])


def shuffled(
    y: Shaped[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    rng: np.random.Generator,
    unit: Shaped[np.ndarray, " n"] | None = None,
) -> Shaped[np.ndarray, " n"]:
    """Labels exchanged once where that is fair, see `exchangeable`."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng is np.random.default_rng(seed), got a {type(rng).__name__}, {rng!r:.40}")
    return exchangeable(y, groups, unit).drawn(rng, 1)[0]


def _codes(names: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Whole numbers in place of names, in the order of the names."""
    return np.unique(names, return_inverse=True)[1]


def _both(major: Int[np.ndarray, " n"], minor: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Codes of pairs of whole numbers."""
    return _codes(major * (minor.max() + 1) + minor)


def _of_one_label(label: Int[np.ndarray, " n"], member: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Whether all the rows a row is together with have its label."""
    first, one = np.zeros(member.max() + 1, dtype=int), np.ones(member.max() + 1, dtype=bool)
    first[member] = label
    one[member[label != first[member]]] = False
    return one[member]


def _log_factorials(counts: Int[np.ndarray, " k"]) -> float:
    return sum(math.lgamma(int(k) + 1) for k in counts)
