"""Categories of rows, and a property that some of them have as wholes: whether a probe tells the categories
apart, and whether it reads the property in categories that it has never seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from jaxtyping import Bool, Float

from probes.checks.settings import check_count
from probes.data.activations import Activations
from probes.data.rows import Rows
from probes.data.shuffling import shuffled
from probes.evidence.permutation import Null, scores_under
from probes.fitting.recipe import Recipe
from probes.markup.progress import progress_bar
from probes.metrics.estimates import Estimate, auroc, aurocs
from probes.recipes.one_vs_rest import one_vs_rest

FEWEST = 2
"""Categories of either kind that it takes to leave one of each out."""


@dataclass(frozen=True, eq=False)
class Categories:
    """The categories of some rows by name, and which of them are positive: y is 1 on all of their rows."""

    names: np.ndarray
    positive: Bool[np.ndarray, " c"]

    @classmethod
    def of(cls, rows: Rows, column: str = "category", label: str = "y") -> "Categories":
        """Raises ValueError for a label that varies within a category or has fewer than two categories of
        either kind.
        """
        names, number = np.unique(rows.column(column), return_inverse=True)
        y = np.asarray(rows.column(label))
        each = [np.unique(y[number == k]) for k in range(len(names))]
        mixed = [name for name, values in zip(names, each, strict=True) if len(values) > 1]
        if mixed or not np.isin(y, [0, 1]).all():
            such = f"{str(mixed[0])!r} has both" if mixed else f"got {sorted(set(y.tolist()))[:5]}"
            raise ValueError(f"{label} must be 0 or 1, the same for all prompts of a {column}; {such}")
        positive = np.array([values[0] == 1 for values in each])
        if min(positive.sum(), (~positive).sum()) < FEWEST:
            got = f"{positive.sum()} with {label} 1 and {(~positive).sum()} with 0"
            raise ValueError(
                f"leaving one out of each kind needs at least two {column} values of either; got {got}"
            )
        return cls(names, positive)

    @property
    def pairs(self) -> int:
        """How many pairs of a positive and a negative category there are."""
        return int(self.positive.sum()) * int((~self.positive).sum())

    def calling(self, chosen: Sequence[int]) -> "Categories":
        """The same names with other categories called positive."""
        return Categories(self.names, np.isin(np.arange(len(self.names)), chosen))

    def others(self, most: int, seed: int = 0) -> list["Categories"]:
        """All other choices of as many positive categories, or `most` of them, drawn without repeats."""
        own = tuple(np.flatnonzero(self.positive))
        found = [c for c in combinations(range(len(self.names)), len(own)) if c != own]
        if len(found) > most:
            picked = np.random.default_rng(seed).choice(len(found), most, replace=False)
            found = [found[i] for i in sorted(picked)]
        return [self.calling(c) for c in found]


@dataclass(frozen=True, eq=False)
class CategoriesRead:
    """AUROC by site on rows that took no part in fitting.

    Of the categories (mean and worst of one against the rest), of each negative category against each other
    (mean; the property is the same in both), and of each two-valued column that means nothing.
    """

    categories: Float[np.ndarray, " site"]
    worst: Float[np.ndarray, " site"]
    among_negative: Float[np.ndarray, " site"]
    nulls: dict[str, Estimate]


def categories_read(
    recipe: Recipe,
    train: Activations,
    test: Activations,
    nulls: Sequence[str] = (),
    column: str = "category",
) -> CategoriesRead:
    """Whether categories can be told apart at each site, whatever they have in common.

    `nulls` are two-valued columns that the property does not depend on. Split `train` and `test` by what
    must not be remembered, such as the entity that a request is about.
    """
    numbers, held = _numbers(train, test, column)
    found = one_vs_rest(recipe).fit(train.with_y(numbers.astype(float)))
    each = np.stack([np.asarray(e.value) for e in found.auroc(test.with_y(held.astype(float))).values()])
    without = {name: _null_column(recipe, train, test, name) for name in nulls}
    return CategoriesRead(each.mean(0), each.min(0), _among_negative(recipe, train, test, column), without)


def read_null(
    recipe: Recipe,
    train: Activations,
    test: Activations,
    n: int = 99,
    seed: int = 0,
    column: str = "category",
) -> Null:
    """How well categories that mean nothing are told apart: the mean AUROC of one against the rest by site,
    with the names exchanged between groups (within them, where a group holds several), in train and test.
    """
    check_count("n (how many exchanges)", n)
    rng, own = np.random.default_rng(seed), _numbers(train, test, column)
    y, z = (
        np.stack([numbers, *(shuffled(numbers, part.groups, rng) for _ in range(n))])
        for numbers, part in zip(own, (train, test), strict=True)
    )
    there = [c for c in np.unique(own[0]) if 0 < (own[1] == c).sum() < len(test)]
    each = [
        aurocs(scores_under(recipe, train, test, y == c, progress=False), (z == c).astype(int)[:, None])
        for c in progress_bar("exchanged categories", True, there)
    ]
    means = np.mean(each, axis=0)
    return Null(means[1:], means[0])


def _numbers(train: Activations, test: Activations, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The categories of both as whole numbers, in the order of the names in train."""
    names, numbers = np.unique(train.column(column), return_inverse=True)
    return numbers, np.searchsorted(names, test.column(column))


def _null_column(recipe: Recipe, train: Activations, test: Activations, name: str) -> Estimate:
    first = np.unique(train.column(name))[0]
    fitted = recipe.fit(train.with_y((train.column(name) != first).astype(int)))
    return auroc(fitted.score(test), (test.column(name) != first).astype(int), test.groups)


def _among_negative(
    recipe: Recipe, train: Activations, test: Activations, column: str
) -> Float[np.ndarray, " site"]:
    """AUROC between two categories without the property, mean over all pairs."""
    found = []
    for pair in combinations(np.unique(train.column(column)[train.y == 0]), 2):
        parts = [acts.rows(np.isin(acts.column(column), pair)) for acts in (train, test)]
        labels = [(part.column(column) == pair[1]).astype(int) for part in parts]
        found.append(aurocs(recipe.fit(parts[0].with_y(labels[0])).score(parts[1]), labels[1]))
    return np.mean(found, axis=0)


def across_categories(
    recipe: Recipe, acts: Activations, kinds: Categories, column: str = "category"
) -> Float[np.ndarray, " site"]:
    """AUROC by site between a positive and a negative category that the probe has never seen, mean over all
    such pairs.

    A probe that reads the category has nothing to go by here; one that reads what the positive categories
    share has. The labels are those of `kinds`, whatever y is.
    """
    category, found = acts.column(column), []
    y = np.isin(category, kinds.names[kinds.positive]).astype(int)
    for one, other in product(kinds.names[kinds.positive], kinds.names[~kinds.positive]):
        held = (category == one) | (category == other)
        probe = recipe.fit(acts.rows(~held).with_y(y[~held]))
        found.append(aurocs(probe.score(acts.rows(held)), y[held]))
    return np.mean(found, axis=0)


def categories_null(
    recipe: Recipe,
    acts: Activations,
    kinds: Categories,
    most: int = 199,
    seed: int = 0,
    column: str = "category",
) -> Null:
    """The same with other categories called positive, as many of them: all such choices, or `most` drawn
    ones.

    Whole categories are what is exchanged, since the property goes with them.
    """
    observed = across_categories(recipe, acts, kinds, column)
    others = progress_bar("other choices", True, kinds.others(most, seed))
    return Null(np.stack([across_categories(recipe, acts, other, column) for other in others]), observed)
