"""Labels exchanged between rows, as a permutation test asks for."""

import math

import numpy as np


def shuffled(
    y: np.ndarray, groups: np.ndarray, rng: np.random.Generator, unit: np.ndarray | None = None
) -> np.ndarray:
    """Labels exchanged where that is fair: within a group that holds several labels, and between whole groups
    that hold one.

    Rows of a `unit` (wordings of one statement, a statement with its opposite) keep together: units of one
    label exchange it as wholes within their group, units of several labels permute them among their own rows.
    """
    return exchanged(y, exchangeable(y, groups, unit), rng)


def exchangeable(
    y: np.ndarray, groups: np.ndarray, unit: np.ndarray | None
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What may be exchanged: rows, unit after unit, the label of each unit, and how many rows it has."""
    found, constant = [], []
    for rows in _members(groups):
        if (y[rows] == y[rows[0]]).all():
            constant.append(rows)
            continue
        units = [rows[k] for k in _members(rows if unit is None else unit[rows])]
        same = [bool((y[u] == y[u[0]]).all()) for u in units]
        found.append(_wholes(y, [u for u, whole in zip(units, same, strict=True) if whole]))
        found += [(u, y[u], np.ones(len(u), int)) for u, whole in zip(units, same, strict=True) if not whole]
    return [each for each in (*found, _wholes(y, constant)) if len(each[0])]


def _wholes(y: np.ndarray, units: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Units of one label each, which exchange it as wholes."""
    rows = np.concatenate(units) if units else np.empty(0, int)
    return rows, np.array([y[u[0]] for u in units]), np.array([len(u) for u in units], int)


def exchanged(
    y: np.ndarray, exchanges: list[tuple[np.ndarray, np.ndarray, np.ndarray]], rng: np.random.Generator
) -> np.ndarray:
    out = np.array(y, copy=True)
    for rows, values, sizes in exchanges:
        out[rows] = np.repeat(rng.permutation(values), sizes)
    return out


def labellings(exchanges: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
    """How many labellings these exchanges can give; infinite where they are too many to count."""
    ways = 0.0
    for _, values, _ in exchanges:
        counts = np.unique(values, return_counts=True)[1]
        ways += math.lgamma(len(values) + 1) - sum(math.lgamma(int(k) + 1) for k in counts)
    return math.exp(ways) if ways < 700 else math.inf


def _members(names: np.ndarray) -> list[np.ndarray]:
    member = np.unique(names, return_inverse=True)[1]
    return np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])
