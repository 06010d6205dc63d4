"""Of the ways to take a direction out, the one that leaves least of behaviour is found; and what that says of
its use follows from the numbers.
"""

import numpy as np
import pytest

from interventions import Ablate, Answers, Erase, edited
from interventions.effects.removal import removal_word
from interventions.effects.verdict import Verdict
from interventions.searching.goals import distance_from_chance
from interventions.searching.ways import ways_out
from probes import Estimate, MassMean, Site, capture
from tests.test_places import PROMPTS

SIDES = Answers(" yes", " no")


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("llama")


@pytest.fixture(scope="module")
def train(model):
    return capture(model, PROMPTS, ["resid_pre.0", "resid_post"], "last")


@pytest.fixture(scope="module")
def ways(model, train):
    return ways_out(model, MassMean().fit(train), train, SIDES, PROMPTS, distance_from_chance, at="last")


def test_all_ways_are_tried_at_every_block_and_the_best_site_of_each_is_taken(model, train, ways):
    assert list(ways.by_site) == list(ways.sites) == ["Ablate", "Erase"]
    for name, searched in ways.by_site.items():
        left = searched.values(distance_from_chance)
        assert list(left) == ["resid_post.0", "resid_post.1", "resid_post.2"]
        assert left[str(ways.sites[name])] == min(left.values())
    names = ("Ablate one site", "Erase one site", "Ablate all sites", "Erase all sites")
    assert ways.found.names == names
    every = ways.found.values(distance_from_chance)
    assert ways.best.value == every[ways.best.name] == min(every.values())


def test_every_option_is_the_edit_it_says(model, train, ways):
    probe, options = MassMean().fit(train), ways.found
    ablated = Ablate(probe.direction(ways.sites["Ablate"]), sites="resid_post", at="last")
    blocks = [Site("resid_post", i) for i in range(3)]
    erased = Erase.fit(train[blocks], at="last")
    for name, edit in (
        ("Ablate one site", Ablate(probe.direction(ways.sites["Ablate"]), at="last")),
        ("Ablate all sites", ablated),
        ("Erase one site", erased.only([ways.sites["Erase"]], model)),
        ("Erase all sites", erased),
    ):
        expected = SIDES(edited(model, edit), PROMPTS).values
        assert np.allclose(options[name].now.values, expected, atol=1e-5), name


def of(value: float) -> Estimate:
    return Estimate(value, value - 0.05, value + 0.05, 100, 50)


@pytest.mark.parametrize(
    ("base", "after", "said", "word"),
    [
        (0.9, 0.5, "moves behaviour", "used"),
        (0.9, 0.5, "moves behaviour, at a cost", "used"),
        (0.9, 0.5, "not told apart from random edits", "not shown to be used"),
        (0.9, 0.5, "no effect shown", "not shown to be used"),
        (0.9, 0.82, "moves behaviour", "not shown to be used"),
        (0.59, 0.5, "moves behaviour", "no behaviour to remove"),
    ],
)
def test_a_direction_is_used_when_taking_it_out_moves_behaviour_and_the_right_answers_go(
    base, after, said, word
):
    assert removal_word(of(base), of(after), Verdict(said, "", (), {})) == word


def test_of_ways_that_do_as_well_the_cheapest_is_taken_where_the_cost_is_known(model, train, ways):
    neutral = ["the red house is old", "a small stone", "beta is not tall ."]
    probe = MassMean().fit(train)
    priced = ways_out(model, probe, train, SIDES, PROMPTS, distance_from_chance, at="last", neutral=neutral)
    assert priced.found.names == ways.found.names and priced.sites == ways.sites
    as_good = [priced.found[name] for name in priced.best.equal]
    assert priced.best.name in priced.best.equal and len(as_good) > 1
    assert float(priced.best.option.kl.value) <= min(float(o.kl.high) for o in as_good)
