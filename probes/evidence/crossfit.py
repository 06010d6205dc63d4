"""A score for every row from a probe (or a text classifier) that saw neither the row's group nor, if
asked, its cue vocabulary or format.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from probes.checks.settings import check_count
from probes.data.activations import Activations, PairActivations
from probes.data.examples import Examples, check_examples
from probes.data.rows import Rows
from probes.data.tables import filled
from probes.evidence.readout import asked, scored
from probes.evidence.surface import surface_scores
from probes.fitting.recipe import Recipe

Fold = tuple[np.ndarray, np.ndarray]


def held_out(
    recipe: Recipe,
    acts: Activations | PairActivations,
    *,
    by: str | None = None,
    trained_on: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> Float[np.ndarray, "site n"]:
    """Scores [site, n] of all rows, each by a probe fitted without the row's group.

    `by` names a column whose values are left out one at a time instead of random folds (the cue vocabulary:
    `by="fold"`); the groups of the rows left out are left out as well. `trained_on` restricts what probes are
    fitted on, for example to one format, and every row is scored all the same: what `two_by_two` takes as
    `crossed`. Margins of the folds' probes stand side by side, so use a recipe whose margins have a scale of
    their own. Folds share most of the rows that they are fitted on, so the usual intervals of these scores
    are somewhat too narrow; a claim needs rows that no fold was fitted on. Raises ValueError where a fold
    leaves one class to train on.
    """

    asked(recipe, acts)

    def of(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        return scored(recipe.fit(acts.rows(train)), acts.rows(test))[0]

    return _assembled(of, acts, by, trained_on, folds, seed)


def held_out_text(
    examples: Examples,
    texts: Sequence[str] | str | None = None,
    *,
    by: str | None = None,
    trained_on: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> dict[str, Float[np.ndarray, " n"]]:
    """The same for the classifiers of the bare text in `probes.controls.surface_scores`: what `two_by_two`
    takes as `surface`.

    `texts` is another wording of the rows (a column's name, or one text a row), such as the prompts without
    their cue. The same arguments give the same folds as `held_out`.
    """
    check_examples(examples, "held_out_text")
    said = (
        examples.column(texts).tolist()
        if isinstance(texts, str)
        else list(examples.texts if texts is None else texts)
    )
    if len(said) != len(examples) or not all(isinstance(t, str) for t in said):
        raise ValueError(
            f"text classifiers need one plain text for each of the {len(examples)} rows; render chats first"
        )
    y, names = np.asarray(examples.y), []

    def of(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        found = surface_scores([said[i] for i in train], y[train], [said[i] for i in test])
        names[:] = list(found)
        return np.stack(list(found.values()))

    scores = _assembled(of, examples, by, trained_on, folds, seed)
    return dict(zip(names, scores, strict=True))


def _assembled(
    of: Callable[[np.ndarray, np.ndarray], np.ndarray],
    rows: Rows,
    by: str | None,
    trained_on: np.ndarray | None,
    folds: int,
    seed: int,
) -> Float[np.ndarray, "k n"]:
    out: np.ndarray | None = None
    for train, test in _folds(rows, by, trained_on, folds, seed):
        part = of(train, test)
        out = np.full((len(part), len(rows)), np.nan) if out is None else out
        out[:, test] = part
    assert out is not None
    return out


def _folds(
    rows: Rows, by: str | None, trained_on: np.ndarray | None, folds: int, seed: int
) -> Iterator[Fold]:
    check_count("folds", folds, 2)
    rows.classes  # noqa: B018 - raises without two classes
    y, everything = np.asarray(rows.y), np.arange(len(rows))
    allowed = np.ones(len(rows), dtype=bool) if trained_on is None else np.asarray(trained_on)
    if allowed.shape != (len(rows),) or allowed.dtype != bool:
        raise ValueError(
            f"trained_on has shape {allowed.shape} and type {allowed.dtype}; give a boolean for each of the"
            f" {len(rows)} rows"
        )
    if by is None:
        # One name for a group's set of cells, so that groups of every kind are dealt out to all folds.
        design = [rows.columns[c].astype(str) for c in ("context", "format") if c in rows.columns] or [
            y.astype(str)
        ]
        tests = _dealt(
            np.array(["|".join(parts) for parts in zip(*design, strict=True)]), rows.groups, folds, seed
        )
    else:
        column = filled(rows.column(by), by, "leaving its values out").astype(str)
        tests = [everything[column == value] for value in np.unique(column)]
        if len(tests) < 2:
            raise ValueError(
                f"column {by!r} has one value only ({column[0]!r}), so nothing is left to train on"
            )
    for test in tests:
        train = everything[allowed & ~np.isin(rows.groups, rows.groups[test])]
        if by is not None:
            train = train[~np.isin(train, test)]
        if len(np.unique(y[train])) < 2:
            left = f"{len(train)} rows are left to train on, and not of both classes"
            raise ValueError(
                f"{left}: groups cross the values of {by!r}"
                if by
                else f"{left}; use fewer folds, or more groups that hold both classes"
            )
        yield train, test


def _dealt(strata: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    from sklearn.model_selection import StratifiedGroupKFold

    count = len(np.unique(groups))
    if count < folds:
        raise ValueError(f"{folds} folds need at least as many groups, got {count}; lower folds")
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(
        np.zeros(len(groups)), strata, groups
    )
    return [test for _, test in split]
