"""Topics are told apart with and without a policy, and only a policy carries over to topics that no probe has
seen.
"""

from itertools import combinations

import numpy as np
import pytest
import torch

from probes import Activations, Examples, Logistic, MassMean
from probes.evidence.categories import (
    Categories,
    across_categories,
    categories_null,
    categories_read,
    read_null,
)

NAMES = np.array([f"c{i}" for i in range(8)])


def planted(policy: bool, n=400, d=24, seed=0, alike=False) -> Activations:
    """Eight category directions, and with a policy one more that the refused categories share; a second site
    holds nothing. The column `shape` is in the states too. `alike`: refused categories have one direction.
    """
    draw = np.random.default_rng(seed)
    category = draw.integers(0, 8, n)
    shared = 6 * np.eye(d)[20] * (category < 3)[:, None] if policy else 0
    own = np.where(category < 3, 0, category) if alike else category
    shape = np.random.default_rng(seed + 1).choice(["round", "square"], n)
    x = (
        draw.normal(size=(n, d))
        + 6 * np.eye(d)[own]
        + shared
        + 6 * np.eye(d)[22] * (shape == "round")[:, None]
    )
    both = np.stack([x, draw.normal(size=(n, d))])
    columns = {"category": NAMES[category], "tag": draw.integers(0, 2, n), "shape": shape}
    return Activations.from_arrays(
        torch.from_numpy(both).float(),
        y=(category < 3).astype(int),
        groups=np.arange(n) % 40,
        sites=["resid_post.0", "resid_post.1"],
        columns=columns,
    )


@pytest.mark.parametrize("recipe", [MassMean(), Logistic(l2=0.1)], ids=["MassMean", "Logistic"])
def test_categories_are_told_apart_with_and_without_a_policy(recipe):
    for policy in (True, False):
        train, test = planted(policy).split((0.6, 0.4), seed=0)
        found = categories_read(recipe, train, test, ("tag", "shape"))
        assert found.worst[0] > 0.95 and found.among_negative[0] > 0.95
        assert found.categories[1] < 0.7 and found.among_negative[1] < 0.7, "nothing is there to read"
        assert 0.35 < float(found.nulls["tag"].value[0]) < 0.65
        assert found.nulls["shape"].value[0] > 0.95, "what means nothing may well be read"
    train, test = planted(True, alike=True).split((0.6, 0.4), seed=0)
    found = categories_read(recipe, train, test)
    assert found.among_negative[0] > 0.95 and found.worst[0] < 0.9, "refused ones are not among them"


def test_categories_that_mean_nothing_are_seldom_called_told_apart_and_real_ones_are():
    draw, called = np.random.default_rng(0), 0
    for seed in range(40):
        x = torch.from_numpy(draw.normal(size=(1, 60, 6))).float()
        columns = {"category": NAMES[draw.integers(0, 4, 60)]}
        acts = Activations.from_arrays(x, y=np.arange(60) % 2, groups=np.arange(60), columns=columns)
        null = read_null(MassMean(), *acts.split((0.6, 0.4), seed=seed), n=19, seed=seed)
        called += null.p_value <= 0.05
    assert called <= 6, called
    train, test = planted(False).split((0.6, 0.4), seed=0)
    null = read_null(MassMean(), train, test, n=19)
    assert null.p_value == 0.05 and null.p_by_site[1] > 0.05
    found = categories_read(MassMean(), train, test)
    np.testing.assert_allclose(null.observed, found.categories, atol=1e-6)


def test_only_a_policy_carries_over_to_categories_that_the_probe_has_not_seen():
    for policy in (True, False):
        acts = planted(policy, n=240)
        kinds = Categories.of(acts)
        null = categories_null(MassMean(), acts, kinds, 60, 0)
        assert len(null.by_site) == 55
        there = null.p_value < 0.02 and null.observed[0] > 0.95
        assert there if policy else (null.p_value > 0.02 and null.observed[0] < 0.85)
        assert across_categories(MassMean(), acts, kinds)[0] == null.observed[0]
        assert null.observed[1] < 0.7


def test_what_a_probe_of_categories_never_saw_is_what_it_is_scored_on():
    """A recipe that remembers its rows: leaving one category of each kind out is what it is given."""

    class Seen:
        def __init__(self):
            self.left_out = []

        def fit(self, acts):
            self.left_out.append(set(NAMES) - set(acts.column("category")))
            return MassMean().fit(acts)

    acts, recipe = planted(True), Seen()
    kinds = Categories.of(acts)
    across_categories(recipe, acts, kinds)
    assert len(recipe.left_out) == kinds.pairs == 15 and len(set(map(frozenset, recipe.left_out))) == 15
    assert all(len(pair) == 2 and len(pair & set(NAMES[:3])) == 1 for pair in recipe.left_out)


def test_other_choices_are_all_others_of_as_many_categories_or_some_of_them():
    kinds = Categories.of(planted(True))
    assert kinds.names.tolist() == NAMES.tolist() and kinds.positive.tolist() == [True] * 3 + [False] * 5
    every = {tuple(np.flatnonzero(other.positive)) for other in kinds.others(100)}
    assert every == set(combinations(range(8), 3)) - {(0, 1, 2)}
    some = [tuple(np.flatnonzero(other.positive)) for other in kinds.others(5, seed=1)]
    assert len(set(some)) == 5 and set(some) <= every
    assert some == [tuple(np.flatnonzero(other.positive)) for other in kinds.others(5, seed=1)]
    assert some != [tuple(np.flatnonzero(other.positive)) for other in kinds.others(5, seed=2)]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 0, 1, 1, 1], "the same for all prompts of a topic; 'a' has both"),
        ([0, 0, 2, 2, 1, 1], "refused must be 0 or 1"),
        ([0, 0, 0, 0, 1, 1], "at least two topic values of either; got 1 with refused 1 and 2 with 0"),
    ],
)
def test_labels_that_do_not_go_with_whole_categories_are_refused(y, message):
    rows = Examples(list("uvwxyz"), columns={"topic": list("aabbcc"), "refused": y})
    with pytest.raises(ValueError, match=message):
        Categories.of(rows, "topic", "refused")
