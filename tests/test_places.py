"""The place where behaviour lies along a direction is found, and what the direction does there stands out of
random edits, while one that behaviour does not pass does nothing.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from interventions import Ablate, edited
from interventions.behaviours.in_chat import InChat
from interventions.behaviours.records import Records
from interventions.searching.places import ALL, changes, farthest, mean_directions, removals, removed, used
from probes import Direction, Examples, Site, capture

SITES = ("resid_post.0", "resid_post.1", "resid_post.2")
WORDS = ("red", "blue", "old", "tall", "small", "river", "house", "stone", "tree", "near")
PROMPTS = Examples(
    [f"the {WORDS[i % 10]} {WORDS[i // 10 % 10]} {'yes' if i % 2 else 'no'}" for i in range(80)],
    y=np.arange(80) % 2,
    groups=np.arange(80) // 2,
)


@dataclass(frozen=True)
class Along:
    """How far the state at the end of a prompt lies along a direction, at one site."""

    direction: Direction

    def __call__(self, model, prompts):
        acts = capture(model, prompts, self.direction.site, "last", progress=False)
        return Records.of(prompts, "along", "length", acts.x[0].double() @ self.direction.unit.double())


@dataclass(frozen=True)
class Lengths:
    """How many messages a prompt has, 0 for a plain text."""

    def __call__(self, model, prompts):
        counts = [0 if isinstance(text, str) else len(text) for text in prompts.texts]
        return Records.of(prompts, "messages", "messages", counts)


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("llama")


@pytest.fixture(scope="module")
def directions(model):
    return mean_directions(capture(model, PROMPTS, "resid_post", "last"))


def test_directions_are_those_of_the_class_means(model, directions):
    acts = capture(model, PROMPTS, "resid_post", "last")
    assert list(map(str, directions)) == list(SITES)
    for site, d in directions.items():
        x = acts[site].x[0]
        apart = x[PROMPTS.y == 1].mean(0) - x[PROMPTS.y == 0].mean(0)
        assert d.gap == pytest.approx(float(apart.norm()), rel=1e-4)
        assert float(d.unit @ apart / apart.norm()) == pytest.approx(1, abs=1e-5)


def test_every_place_is_the_edit_it_says_and_its_change_is_that_of_the_mean(model, directions):
    behaviour = Along(directions[Site.parse("resid_post.2")])
    places = removals(model, directions, behaviour, PROMPTS, "last")
    assert places.names == (*SITES, ALL)
    assert [len(removed(directions, place, "last")) for place in places.names] == [1, 1, 1, 3]
    before = behaviour(model, PROMPTS).values.mean()
    for site, d in directions.items():
        now = behaviour(edited(model, Ablate(d, at="last")), PROMPTS).values.mean()
        assert changes(places)[str(site)] == pytest.approx(now - before, abs=1e-5)


def test_behaviour_that_passes_a_site_is_moved_there_and_elsewhere_by_nothing(model, directions):
    known, having, lacking = (
        PROMPTS.rows(rows)
        for rows in (np.arange(80) < 40, (np.arange(80) >= 40) & (PROMPTS.y == 1), PROMPTS.y == 0)
    )
    first, middle, _ = directions
    later = {site: d for site, d in directions.items() if site != first}
    found = used(model, later, Along(directions[middle]), known.rows(known.y == 1), having, lacking)
    # All blocks take the middle one out as well: of places that are equal one site is preferred.
    assert str(found.out_at.name) == str(found.added_at.name) == "resid_post.1"
    assert changes(found.places)["resid_post.2"] == 0
    assert np.allclose(found.out.after, 0, atol=1e-5)
    assert found.added.change().value == pytest.approx(directions[middle].gap, rel=1e-4)
    assert found.moves and found.out.verdict().moves and len(found.out.random) == 20
    assert found.out.before.ids.tolist() == having.ids.tolist() and found.out.cost is None
    assert found.added.before.ids.tolist() == lacking.ids.tolist()

    nothing = used(model, later, Along(directions[first]), known, having, lacking)
    assert set(changes(nothing.places).values()) == {0.0} and not nothing.moves


def test_one_site_alone_may_be_asked_for(model, directions):
    _, middle, last = directions
    both = {site: directions[site] for site in (middle, last)}
    places = removals(model, both, Along(directions[middle]), PROMPTS, "last").only([ALL, str(last)])
    assert farthest(places).name == ALL and farthest(places, alone=True).name == str(last)


def test_a_behaviour_in_chat_is_asked_by_messages_and_stays_about_the_same_prompts(model):
    plain, chat = Lengths()(model, PROMPTS), InChat(Lengths())(model, PROMPTS)
    assert set(plain.values) == {0} and set(chat.values) == {1}
    assert chat.ids.tolist() == PROMPTS.ids.tolist() and chat.groups.tolist() == PROMPTS.groups.tolist()
