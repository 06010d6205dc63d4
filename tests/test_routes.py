"""Directions taken out at every place and dose, and the place where a policy comes out: the planted ones are
found, random ones do nothing.
"""

import numpy as np
import pytest

from experiments.detect_route_data import embedded_kinds, embedded_requests
from experiments.statements import model_path
from interventions import Ablate, edited
from interventions.behaviours.kinds import KINDS
from interventions.effects.unlocked import ruled, unlocked
from interventions.searching.dosing import by_dose, differences, doses_out, mean_shares, random_spans
from interventions.searching.places import ALL
from interventions.searching.routes import CONCEPT, POLICY, RANDOM, RANDOM_DRAWS, SAME_SHARE, Route, route
from probes import Activations, MassMean, Site, capture, load_model
from tests.test_places import PROMPTS, Along


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("llama")


@pytest.fixture(scope="module")
def directions(model):
    probe = MassMean().fit(capture(model, PROMPTS, "resid_post", "last"))
    return {site: probe.direction(site) for site in probe.sites}


def test_every_family_is_taken_out_at_every_place_and_dose_by_the_edit_it_says(model, directions):
    last = list(directions)[-1]
    random = random_spans(directions, 2)
    families = {"own": [directions], "random": random}
    swept = doses_out(model, families, Along(directions[last]), PROMPTS.rows(np.arange(8)), (1, 0.5))
    places = [*map(str, directions), ALL]
    own, drawn = (
        [(name, place, dose, k) for place in places for dose in (1.0, 0.5) for k in range(n)]
        for name, n in (("own", 1), ("random", 2))
    )
    assert list(swept.names) == [*own, *drawn]

    found, behaviour = by_dose(swept), Along(directions[last])
    assert len(found["own", ALL, 0.5]) == 1 and len(found["random", str(last), 1.0]) == 2
    half = edited(model, Ablate(directions[last], strength=0.5))
    expected = behaviour(half, PROMPTS.rows(np.arange(8))).values
    assert np.allclose(found["own", str(last), 0.5][0].values, expected, atol=1e-5)
    assert np.allclose(expected, swept.before.values / 2, atol=1e-4)
    one, other = (r.values for r in found["random", str(last), 1.0])
    assert not np.allclose(one, other) and not np.allclose(one, 0, atol=1e-2)
    assert np.allclose(found["own", ALL, 1.0][0].values, 0, atol=1e-4)


def test_random_spans_are_other_directions_at_the_same_sites_with_the_same_gaps(directions):
    first, second = random_spans(directions, 2)
    again, _ = random_spans(directions, 2)
    for site, d in directions.items():
        assert first[site].gap == d.gap and first[site].site == site
        assert bool((first[site].unit == again[site].unit).all())
        assert abs(float(first[site].unit @ second[site].unit)) < 0.7
        assert abs(float(first[site].unit @ d.unit)) < 0.7


def test_differences_of_consecutive_values_span_those_of_all_values_whatever_y_is():
    draw = np.random.default_rng(0)
    topic = np.repeat([0, 1, 2], 40)
    means = draw.normal(size=(3, 8)) * 5
    x = means[topic] + draw.normal(size=(120, 8)) * 0.01
    acts = Activations.from_arrays(
        x, y=(topic == 0).astype(int), sites=["resid_post.0"], columns={"topic": topic}
    )
    (found,) = differences(acts, "topic").values()
    assert len(found) == 2
    span = np.linalg.qr(np.stack([d.unit.numpy() for d in found]).T)[0]
    for a, b in ((0, 1), (1, 2), (0, 2)):
        apart = means[b] - means[a]
        assert np.linalg.norm(apart - span @ (span.T @ apart)) < 0.01 * np.linalg.norm(apart)
    for k, d in enumerate(found):
        apart = means[k + 1] - means[k]
        assert d.unit.numpy() @ apart > 0.99 * np.linalg.norm(apart)


def test_shares_are_the_mean_over_runs_in_the_order_of_the_kinds(model):
    prompts, kinds = PROMPTS.rows(np.arange(4)), embedded_kinds()
    known = prompts.__class__(prompts.texts, columns={"answer": ["copper"] * 4, "entity": ["tavox"] * 4})
    runs = [
        kinds(model, known, given=given)
        for given in (["copper ."] * 4, ["copper .", "copper .", "i will not say .", "x"])
    ]
    assert mean_shares(runs).tolist() == [0.125, 0, 0.75, 0, 0.125]
    assert mean_shares(runs[1:]).tolist() == [0.25, 0, 0.5, 0, 0.25]
    assert len(mean_shares(runs)) == len(KINDS)


def routed(name: str) -> Route:
    known, test = embedded_requests(160, 0)
    loaded = load_model(model_path(f"embedded:{name}"))
    return route(loaded, known, test.rows(test.y == 1), embedded_kinds(), neutral=["red house ."] * 3)


@pytest.mark.parametrize(
    ("name", "word"),
    [("route", "routes"), ("route_entangled", "confabulates"), ("route_control", "no policy")],
)
def test_what_is_planted_comes_out_when_the_policy_is_taken_out(name, word):
    found = routed(name)
    assert ruled(unlocked(found.effect)).word == word
    assert found.effect.cost is not None and len(found.effect.random) == 20
    assert found.place in found.places and (found.site == Site.parse(found.place) or found.place == ALL)
    assert {key[0] for key in found.doses} == {POLICY, CONCEPT, RANDOM}
    assert len(found.doses[RANDOM, ALL, 1.0]) == RANDOM_DRAWS
    right = {
        place: mean_shares(found.doses[POLICY, place, 1.0])[KINDS.index("factual")] for place in found.places
    }
    assert right[found.place] >= max(right.values()) - SAME_SHARE
    before = mean_shares([found.swept.before])
    assert np.allclose(mean_shares(found.doses[RANDOM, found.place, 1.0]), before, atol=0.05)
    assert (found.most_wrong > 0.3) == (word == "confabulates")
