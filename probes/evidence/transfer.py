"""Does a probe hold where it was not trained: categories left out one at a time, and from one dataset
to another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from probes.checks.settings import check_level
from probes.data.activations import Activations, PairActivations
from probes.data.rows import Rows
from probes.data.sites import Site, SiteLike
from probes.data.tables import filled
from probes.evidence.apart import among
from probes.evidence.readout import asked, line_at, scored
from probes.fitting.recipe import Recipe
from probes.markup.progress import progress_bar
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, auroc


@dataclass(frozen=True, eq=False)
class Transfer(Displayed):
    """AUROC of the probe trained on one part and scored on another, every site: `values[train][test]` has one
    value a site ("all sites" for a probe on all together).

    The diagonal is scored on groups of the part that were not trained on; nowhere do train and test rows
    share a group, a pair or a text.
    """

    parts: tuple[str, ...]
    sites: tuple[Site | str, ...]
    values: dict[str, dict[str, Estimate]]

    def table(self, site: SiteLike) -> pd.DataFrame:
        """Rows are what was trained on, columns what was scored, at one site; raises ValueError for a
        site that is not there.
        """
        k = line_at(self.sites, site)
        numbers = [[float(self.values[a][b].value[k]) for b in self.parts] for a in self.parts]
        return pd.DataFrame(
            numbers,
            index=pd.Index(self.parts, name="trained on"),
            columns=pd.Index(self.parts, name="scored on"),
        )

    def __repr__(self) -> str:
        return terminal(
            f"Transfer({len(self.parts)} parts: {', '.join(self.parts)}; {len(self.sites)} sites)"
        )


@dataclass(frozen=True, eq=False)
class LeftOut:
    """AUROC on every value of a column by the probe that was trained on all other values, one value a site
    ("all sites" for a probe on all together).

    `skipped` names the values whose rows have one class only.
    """

    by: str
    sites: tuple[Site | str, ...]
    values: dict[str, Estimate]
    skipped: tuple[str, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row a left-out value, one column a site."""
        return pd.DataFrame(
            {k: e.value for k, e in self.values.items()}, index=pd.Index(map(str, self.sites), name="site")
        ).T.rename_axis(self.by)

    def worst(self, site: SiteLike) -> tuple[str, Estimate]:
        """The value with the lowest AUROC at a site; raises ValueError for a site that is not there."""
        k = line_at(self.sites, site)
        name = min(self.values, key=lambda v: self.values[v].value[k])
        return name, self.values[name][k]

    def __repr__(self) -> str:
        return (
            f"LeftOut({len(self.values)} values of {self.by!r}, {len(self.sites)}"
            f" sites)\n{self.table.round(3).to_string()}"
        )


def leave_one_out(
    recipe: Recipe, acts: Activations | PairActivations, by: str, progress: bool = True
) -> LeftOut:
    """Trains without each value of a column (a category, a template, a topic) in turn and scores the rows of
    that value.

    Rows that share a group, a pair or a text with the left-out value are not trained on either. Raises
    ValueError for fewer than two values, or where one class is left to train on.
    """
    asked(recipe, acts)
    column = filled(acts.column(by), by, "leaving its values out").astype(str)
    names = np.unique(column)
    if len(names) < 2:
        raise ValueError(f"column {by!r} has one value only ({names[0]!r}), so nothing is left to train on")
    found, skipped, lines = {}, [], ()
    for name in progress_bar(f"without each {by}", progress, names):
        out = column == name
        test, train = acts.rows(out), acts.rows(~out & ~_shares_with(acts, acts.rows(out)))
        if len(np.unique(np.asarray(test.y))) < 2:
            skipped.append(str(name))
            continue
        if not len(train):
            raise ValueError(
                f"without {by}={str(name)!r} no rows are left: every group has rows of it; choose groups that"
                f" lie within the values of {by!r}"
            )
        if len(np.unique(np.asarray(train.y))) < 2:
            raise ValueError(
                f"without {by}={str(name)!r} {len(train)} rows of one class are left to train on; leave out"
                " values of a column that both classes share"
            )
        scores, lines = scored(recipe.fit(train), test)
        found[str(name)] = auroc(scores, test.y, test.groups)
    if not found:
        raise ValueError(f"every value of {by!r} has rows of one class only, so no AUROC can be taken on any")
    return LeftOut(by, lines, found, tuple(skipped))


def transfer_matrix(
    recipe: Recipe,
    parts: Mapping[str, Activations | PairActivations],
    share: float = 0.7,
    seed: int = 0,
    progress: bool = True,
) -> Transfer:
    """Trains on each part (a dataset, a format, a polarity) and scores all parts; one fit a part.

    `share` of the groups of a part are trained on and the rest are its diagonal entry. Parts that were made
    from the same rows may share groups: rows whose group, pair or text was trained on are left out of every
    test (`n` of the estimates says how many are left). Raises ValueError when sites differ or one class is
    left.
    """
    if not isinstance(parts, Mapping):
        raise TypeError(f"parts are given by name, {{'A': acts, 'B': acts}}, got a {type(parts).__name__}")
    asked(recipe, *parts.values())
    check_level("share (of the groups that train)", share)
    names = tuple(parts)
    _same_sites(list(parts.values()))
    lines: tuple[Site | str, ...] = ()
    split = {name: acts.split((share, 1 - share), seed=seed) for name, acts in parts.items()}
    values: dict[str, dict[str, Estimate]] = {}
    for a in progress_bar("transfer", progress, names):
        train = split[a][0]
        probe = recipe.fit(train)
        values[a] = {}
        for b in names:
            test = split[a][1] if a == b else parts[b]
            test = test.rows(~_shares_with(test, train))
            if len(np.unique(np.asarray(test.y))) < 2:
                left = (
                    f"{len(test)} of {len(parts[b])} rows of {b!r} are left to score a probe of {a!r} on, and"
                    " not of both classes"
                )
                raise ValueError(
                    f"{left}; rows whose group was trained on are left out, so give the parts groups of their"
                    " own where they are not the same rows"
                )
            scores, lines = scored(probe, test)
            values[a][b] = auroc(scores, test.y, test.groups)
    return Transfer(names, lines, values)


def _shares_with(rows: Rows, others: Rows) -> np.ndarray:
    """Which rows have a group, a pair or a text in common with other rows, or are these rows."""
    shared = np.isin(rows.groups, others.groups) | among(rows, others)
    if "pair_id" in rows.columns and "pair_id" in others.columns:
        shared |= np.isin(rows.columns["pair_id"], others.columns["pair_id"])
    return shared


def _same_sites(parts: Sequence[Activations | PairActivations]) -> None:
    if len(parts) < 2 or len({p.sites for p in parts}) > 1:
        raise ValueError(
            "transfer needs at least two parts with the same sites, got"
            f" {[', '.join(map(str, p.sites)) for p in parts]}"
        )
