"""A label that hidden states hold and the words do not give away is decodable; one that they do not hold, or
that the words give away, is not.
"""

from dataclasses import replace

import numpy as np
import pytest

from probes import CRC, Activations, Estimate, Examples, Logistic, MassMean, Pairs, capture, capture_pairs
from probes.evidence.decodable import SHARES, Decodable, Methods, better, decode
from probes.evidence.permutation import Null
from probes.evidence.rivals import best_item, best_of
from probes.evidence.site_reading import site_reading

WORDS = ("house", "tree", "stone", "river")
FILLERS = ("old", "tall", "small", "near", "alpha", "beta", "gamma", "delta", "was", "lives")
METHODS = Methods({"MassMean": MassMean(), "Logistic": Logistic()}, {"CRC": CRC()})


def questions(label: str, n: int = 96, seed: int = 0) -> tuple[Examples, Pairs]:
    """Sentences about two things whose label is whether their order, which single words do not show, is one
    way round ("order"), or a word ("word"), or drawn ("nothing").
    """
    draw = np.random.default_rng(seed)
    texts, nouns, y = [], [], []
    for _ in range(n):
        turned, of_word, drawn = draw.integers(0, 2, 3)
        filler = " ".join(draw.choice(FILLERS, 4))
        nouns.append(draw.choice(WORDS))
        pair = ("red", "blue") if turned else ("blue", "red")
        texts.append(f"{filler} {nouns[-1]} {pair[0]} {pair[1]} {'yes' if of_word else 'no'}")
        y.append({"order": turned, "word": of_word, "nothing": drawn}[label])
    groups = np.arange(n) // 2
    rows = Examples(texts, y=y, groups=groups, columns={"plain": nouns})
    pairs = Pairs([f"{t} true" for t in texts], [f"{t} false" for t in texts], y, groups=groups)
    return rows, pairs


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("llama")


def read(model, label: str, **how) -> Decodable:
    return decode(model, *questions(label), methods=METHODS, shuffles=40, seed=0, **how)


def test_a_label_in_the_states_is_decodable_and_a_drawn_one_is_not(model):
    held, drawn = (read(model, label, text="plain") for label in ("word", "nothing"))
    assert held.beyond_text and held.first.at_site.value > 0.95 and held.null.p_value < 0.05
    assert not drawn.beyond_text and drawn.null.p_value > 0.05
    assert held.first is held.by_recipe["MassMean"] and list(held.by_recipe) == [
        "MassMean",
        "Logistic",
        "CRC",
    ]
    assert len(held.null.by_site) == 40
    as_good = Null(np.ones_like(held.null.by_site), held.null.observed)
    assert not replace(held, null=as_good).beyond_text, "shuffled labels read as much"


def test_what_the_bare_text_gives_away_is_no_finding_about_the_model(model):
    found = read(model, "word")
    name, best = found.best_text
    assert best.value > 0.95 and best is found.surface[name]
    assert found.null.p_value < 0.05 and not found.beyond_text, "the prompts themselves say it"


def test_the_standing_of_a_reading_follows_null_interval_and_text(model):
    held, given_away = read(model, "word", text="plain"), read(model, "word")
    assert held.standing == "beyond the text" and given_away.standing == "told apart"
    few = Null(held.null.by_site[:3], held.null.observed)
    assert replace(held, null=few).standing == "cannot tell"
    best = Null(np.ones_like(held.null.by_site), held.null.observed)
    assert replace(given_away, null=best).standing == "chance"
    first = given_away.first
    wide = replace(first, curve=replace(first.curve, low=np.full_like(first.curve.low, 0.44)))
    unsure = replace(given_away, by_recipe={**given_away.by_recipe, given_away.chosen: wide})
    assert unsure.standing == "chance", "its interval holds .5"


def test_parts_are_split_by_group_and_alike_for_texts_and_pairs(model):
    rows, pairs = questions("word")
    found = decode(model, rows, pairs, methods=METHODS, at="mean", pairs_at="last", shuffles=20, seed=3)
    split = rows.split(SHARES, seed=3)
    for part, acts, two in zip(split, found.parts, found.pairs, strict=True):
        assert acts.ids.tolist() == part.ids.tolist()
        assert set(two.groups) == set(part.groups) and len(two) == len(part)
    train, validation, test = (capture(model, part, "resid_post", "mean") for part in split)
    own = site_reading(MassMean(), train, validation, test)
    assert found.first.site == own.site and (found.first.curve.value == own.curve.value).all()
    both = capture_pairs(model, pairs, "resid_post", "last")
    of_pairs = site_reading(CRC(), *(both.rows(np.isin(both.groups, part.groups)) for part in split))
    assert (found.by_recipe["CRC"].curve.value == of_pairs.curve.value).all()
    alone = decode(model, rows, methods=METHODS, at="mean", shuffles=20, seed=3)
    assert alone.pairs is None and set(alone.by_recipe) == set(METHODS.texts)
    assert (alone.first.curve.value == found.first.curve.value).all()


@pytest.mark.parametrize("loud, chosen", [(0.1, "MassMean"), (8.0, "Logistic")])
def test_another_recipe_is_taken_where_validation_shows_it_to_be_better(loud, chosen):
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    x = rng.normal(size=(300, 40)) * loud  # beside which the mean of the label's own coordinate is lost
    x[:, 0] = y + 0.3 * rng.normal(size=300)
    parts = Activations.from_arrays(x.astype("float32"), y).split(SHARES, seed=0)
    found = {"MassMean": site_reading(MassMean(), *parts), "Logistic": site_reading(Logistic(), *parts)}
    assert better(found, parts[1]) == chosen
    assert better(found | {"again": found["Logistic"]}, parts[1]) == chosen


def test_the_best_of_several_is_the_first_of_equals_and_none_is_an_error():
    low, high = Estimate(0.4, 0.3, 0.5, 10, 10), Estimate(0.7, 0.6, 0.8, 10, 10)
    values = {"a": low, "b": high, "c": high}
    assert best_item(values) == ("b", high) and best_of(values) == "b"
    with pytest.raises(ValueError, match="nothing to choose from"):
        best_item({})
