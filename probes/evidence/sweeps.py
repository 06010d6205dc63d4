"""Many recipes at all sites over several splits, with the choice of the site inside the train groups
and the null beside every number.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from probes.checks.settings import check_count, check_level
from probes.data.activations import Activations, PairActivations
from probes.data.sites import Site
from probes.evidence.apart import require_apart
from probes.evidence.choose import BestSite, best_site
from probes.evidence.permutation import Null, shuffled_null
from probes.evidence.readout import asked, halves, scored
from probes.fitting.recipe import Recipe, Seeded
from probes.markup.progress import progress_bar
from probes.markup.terminal import terminal
from probes.markup.values import Displayed
from probes.metrics.estimates import Estimate, auroc


@dataclass(frozen=True, eq=False)
class Sweep(Displayed):
    """What `sweep` found: a tidy `table`, and for pictures the null of every recipe on the first split and
    its test scores at the chosen site.

    Table columns: recipe, seed, site, block, auroc, low, high, n, n_groups, inner (AUROC on train groups held
    out for choosing), chosen, null_mean (all sites under shuffled labels), null_95 (that the best site under
    them exceeds once in twenty), p (of the site, the best of all sites paid for), p_sweep (the best of all
    sites and recipes paid for). The null is taken on the first split.
    """

    table: pd.DataFrame
    sites: tuple[Site, ...]
    nulls: dict[str, Null]
    scores: dict[str, tuple[np.ndarray, np.ndarray]]

    @property
    def recipes(self) -> tuple[str, ...]:
        return tuple(self.table.recipe.unique())

    @property
    def chosen(self) -> pd.DataFrame:
        """One row a recipe and split: the test result at the site that was chosen on train groups."""
        return self.table.loc[self.table.chosen].reset_index(drop=True)

    @property
    def summary(self) -> pd.DataFrame:
        """One row a recipe: AUROC at the chosen site, mean and spread over splits, which sites were
        chosen, the null and its p-value.
        """
        grouped = self.chosen.groupby("recipe", sort=False)
        found = grouped.agg(
            auroc=("auroc", "mean"),
            lowest=("auroc", "min"),
            highest=("auroc", "max"),
            splits=("seed", "nunique"),
        )
        found["sites"] = grouped.site.agg(lambda s: ", ".join(dict.fromkeys(s)))
        first = self.table[self.table.seed == self.table.seed.iloc[0]].groupby("recipe", sort=False)
        return found.assign(
            null_95=first.null_95.first(),
            p=self.chosen.groupby("recipe", sort=False).p.first(),
            p_sweep=first.p_sweep.first(),
        )

    def curve(self, recipe: str) -> Estimate:
        """Test AUROC by site: the mean over splits, and the widest interval of a single split."""
        rows = self.table[self.table.recipe == recipe]
        wide = rows.pivot_table(index="site", columns="seed", values=["auroc", "low", "high"], sort=False)
        at = [str(s) for s in self.sites if str(s) in wide.index]
        value, low, high = (wide[name].loc[at] for name in ("auroc", "low", "high"))
        return Estimate(
            value.mean(axis=1).to_numpy(),
            low.min(axis=1).to_numpy(),
            high.max(axis=1).to_numpy(),
            int(rows.n.iloc[0]),
            int(rows.n_groups.iloc[0]),
        ).over(at)

    def together(self, recipe: str) -> Estimate:
        """Test AUROC of a recipe that reads all sites together, as `curve` is by site."""
        rows = self.table[(self.table.recipe == recipe) & (self.table.site == "all sites")]
        if not len(rows):
            raise ValueError(f"{recipe!r} reads each site by itself; see curve({recipe!r})")
        return Estimate(
            float(rows.auroc.mean()),
            float(rows.low.min()),
            float(rows.high.max()),
            int(rows.n.iloc[0]),
            int(rows.n_groups.iloc[0]),
        )

    def __repr__(self) -> str:
        splits = self.table.seed.nunique()
        head = f"Sweep({len(self.recipes)} recipes, {len(self.sites)} sites, {splits} splits)"
        return terminal(f"{head}\n{self.summary.round(3).to_string()}")


def sweep(
    recipes: Recipe | Mapping[str, Recipe] | Sequence[Recipe],
    acts: Activations | PairActivations,
    *,
    seeds: Sequence[int] | int = 3,
    share: float = 0.7,
    shuffles: int = 99,
    unit: str | None = None,
    progress: bool = True,
) -> Sweep:
    """Fits every recipe at every site on several splits by group, chooses a site within the train groups, and
    tests once.

    `seeds` are the splits (a number means that many); a recipe with a seed of its own gets the same one.
    `share` of the groups train. The site is chosen by fitting on 70% of the train groups and scoring the
    rest. `shuffles` labellings give the null on the first split; all recipes see the same ones, so that the
    best of all recipes can be paid for too (`p_sweep`); `unit` is as in `shuffled_null`. Each recipe is
    fitted twice a split for all sites together. Raises TypeError when a recipe needs the other kind of
    activations.
    """
    named = _named(recipes)
    for recipe in named.values():
        asked(recipe, acts)
    shuffles = check_count("shuffles", shuffles, 0)
    check_level("share (of the groups that train)", share)
    if not isinstance(seeds, Iterable):
        seeds = range(check_count("seeds", seeds))
    seeds = [check_count("each of seeds", s, 0) for s in seeds]
    if not len(seeds):
        raise ValueError("sweep needs at least one seed, got none")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds names a split twice, got {seeds}; give each once")
    rows, nulls, scores = [], {}, {}
    with progress_bar("sweep", progress, total=len(seeds) * len(named)) as bar:
        for seed in seeds:
            train, test = halves(acts, share, seed)
            require_apart(train, test, "a sweep")
            choosing = halves(train, 0.7, seed)
            for name, given in named.items():
                bar.set_postfix_str(f"{name}, split {seed}")
                recipe = replace(given, seed=seed) if isinstance(given, Seeded) else given
                chosen = _site_within(recipe, *choosing, seed)
                probe = recipe.fit(train)
                score, names = scored(probe, test)
                found = auroc(score, test.y, test.groups)
                rows += _rows(name, seed, names, found, chosen)
                if seed == seeds[0]:
                    scores[name] = (score[chosen.index], np.asarray(test.y))
                    if shuffles:
                        nulls[name] = shuffled_null(recipe, train, test, shuffles, seed, False, probe, unit)
                bar.update()
    return Sweep(_with_nulls(pd.DataFrame(rows), nulls), acts.sites, nulls, scores)


def _site_within(
    recipe: Recipe,
    inner: Activations | PairActivations,
    held: Activations | PairActivations,
    seed: int,
) -> BestSite:
    """The site chosen on rows of the train groups alone: fitted on some, scored on the others."""
    lines, places = scored(recipe.fit(inner), held)
    return best_site(lines, np.asarray(held.y), places, held.groups, seed=seed)


def _named(recipes: Recipe | Mapping[str, Recipe] | Sequence[Recipe]) -> dict[str, Recipe]:
    """Recipes by name; raises ValueError where there are none."""
    listed: Any = recipes if isinstance(recipes, Mapping | list | tuple) else [recipes]
    named = dict(listed) if isinstance(listed, Mapping) else {_name(r, listed): r for r in listed}
    if not named:
        raise ValueError("sweep needs at least one recipe, got none")
    return named


def _name(recipe: Recipe, among: Sequence[Any]) -> str:
    """The class alone where that tells recipes apart, else everything about it."""
    alike = [r for r in among if type(r) is type(recipe)]
    return type(recipe).__name__ if len(alike) == 1 else repr(recipe)


def _rows(
    name: str, seed: int, sites: Sequence[Site | str], found: Estimate, chosen: BestSite
) -> list[dict[str, Any]]:
    return [
        {
            "recipe": name,
            "seed": seed,
            "site": str(site),
            "block": site.block if isinstance(site, Site) else -1,
            "auroc": e.value,
            "low": e.low,
            "high": e.high,
            "n": e.n,
            "n_groups": e.n_groups,
            "inner": float(chosen.values[i]),
            "chosen": i == chosen.index,
        }
        for i, site in enumerate(sites)
        for e in (found[i],)
    ]


def _with_nulls(table: pd.DataFrame, nulls: Mapping[str, Null]) -> pd.DataFrame:
    table = table.assign(null_mean=np.nan, null_95=np.nan, p=np.nan, p_sweep=np.nan)
    if not nulls:
        return table
    best_of_all = np.max([null.best for null in nulls.values()], axis=0)
    first = table.seed == table.seed.iloc[0]
    for name, null in nulls.items():
        own = table.recipe == name
        table.loc[own, ["null_mean", "null_95"]] = null.by_site.mean(), null.level()
        table.loc[own & first, "p"] = null.p_by_site
        table.loc[own, "p_sweep"] = float(
            (1 + (best_of_all >= null.observed.max()).sum()) / (1 + len(best_of_all))
        )
    return table
