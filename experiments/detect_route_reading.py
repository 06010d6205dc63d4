"""What probes read in models that route requests: topics with and without a policy, and the policy
across topics.
"""

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from jaxtyping import Bool, Float
from tqdm import tqdm

from probes import Activations, MassMean, one_vs_rest
from probes.controls import Null
from probes.metrics.estimates import Estimate, auroc, aurocs


@dataclass(frozen=True, eq=False)
class Detected:
    """AUROC by site, on entities that took no part in fitting.

    Of the categories (mean and worst of one against the rest), of each open category against each other open
    one (mean; nothing the model does depends on that), and of each two-valued column that means nothing.
    """

    categories: Float[np.ndarray, " site"]
    worst: Float[np.ndarray, " site"]
    open_topics: Float[np.ndarray, " site"]
    nulls: dict[str, Estimate]


def detect(train: Activations, test: Activations, nulls: tuple[str, ...]) -> Detected:
    """Whether topics can be told apart at each site; `nulls` are two-valued columns that no policy
    depends on.
    """
    names, numbers = np.unique(train.column("category"), return_inverse=True)
    found = one_vs_rest(MassMean()).fit(train.with_y(numbers.astype(float)))
    held = np.searchsorted(names, test.column("category")).astype(float)
    each = np.stack([np.asarray(e.value) for e in found.auroc(test.with_y(held)).values()])
    topics = {}
    for name in nulls:
        first = np.unique(train.column(name))[0]
        fitted = MassMean().fit(train.with_y((train.column(name) != first).astype(int)))
        topics[name] = auroc(fitted.score(test), (test.column(name) != first).astype(int), test.groups)
    return Detected(each.mean(0), each.min(0), _open_topics(train, test), topics)


def _open_topics(train: Activations, test: Activations) -> Float[np.ndarray, " site"]:
    """AUROC between two categories that are both answered, mean over all pairs: topics as different
    as any, and no policy between them.
    """
    found = []
    for pair in combinations(np.unique(train.column("category")[train.y == 0]), 2):
        parts = [acts.rows(np.isin(acts.column("category"), pair)) for acts in (train, test)]
        labels = [(part.column("category") == pair[1]).astype(int) for part in parts]
        found.append(aurocs(MassMean().fit(parts[0].with_y(labels[0])).score(parts[1]), labels[1]))
    return np.mean(found, axis=0)


def across_categories(
    acts: Activations, refused: Bool[np.ndarray, " c"], names: np.ndarray
) -> Float[np.ndarray, " site"]:
    """AUROC of the policy between a refused and an open category that the probe has never seen, mean over all
    such pairs: leave one category of each kind out.

    A probe that reads the topic has nothing to go by here; one that reads a policy common to the refused
    categories has.
    """
    category, found = acts.column("category"), []
    for c, o in product(names[refused], names[~refused]):
        held = (category == c) | (category == o)
        y = np.isin(category, names[refused]).astype(int)
        probe = MassMean().fit(acts.rows(~held).with_y(y[~held]))
        found.append(aurocs(probe.score(acts.rows(held)), y[held]))
    return np.mean(found, axis=0)


def policy_null(
    acts: Activations, refused: Bool[np.ndarray, " c"], names: np.ndarray, most: int, seed: int
) -> Null:
    """The same under other choices of as many categories to call refused: all of them, or `most`
    drawn ones. Categories are what is exchanged, since the policy goes with them.
    """
    own = tuple(np.flatnonzero(refused))
    others = [c for c in combinations(range(len(names)), int(refused.sum())) if c != own]
    if len(others) > most:
        picked = np.random.default_rng(seed).choice(len(others), most, replace=False)
        others = [others[i] for i in sorted(picked)]
    observed = across_categories(acts, refused, names)
    by_site = [
        across_categories(acts, np.isin(np.arange(len(names)), c), names)
        for c in tqdm(others, desc="other policies", delay=2, leave=False, disable=None)
    ]
    return Null(np.stack(by_site), observed)
