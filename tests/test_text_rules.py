"""A label that somebody made from the words is found in the words; a toss of a coin is not."""

import numpy as np
import pytest

from probes import Activations, MassMean
from probes.controls import claim, surface_scores
from probes.evidence.text_rules import best_order, best_pair, best_word, ends
from probes.metrics.estimates import aurocs

WORDS = np.array([f"w{i}" for i in range(400)])
SHARE = 1 / np.arange(1, 401) / (1 / np.arange(1, 401)).sum()
N = 240


def texts_of(r, n=N, length=40):
    return [list(r.choice(WORDS[20:], length, p=SHARE[20:] / SHARE[20:].sum())) for _ in range(n)]


def with_words(text, r, *words):
    places = np.sort(r.choice(np.arange(1, len(text) - 1), len(words), replace=False))
    for place, word in zip(places, words, strict=True):
        text[place] = word
    return text


def one_word(r):
    y = r.integers(0, 2, N)
    return [with_words(t, r, "w3") if v else t for t, v in zip(texts_of(r), y, strict=True)], y


def both(r):
    a, b = r.integers(0, 2, (2, N))
    texts = [
        with_words(t, r, *[w for w, held in (("w3", i), ("w5", j)) if held])
        for t, i, j in zip(texts_of(r), a, b, strict=True)
    ]
    return texts, a & b


def one_but_not_both(r):
    texts, _ = both(r)
    return texts, np.array([("w3" in t) != ("w5" in t) for t in texts]).astype(int)


def order(r):
    y = r.integers(0, 2, N)
    pairs = [("w3", "w5") if v else ("w5", "w3") for v in y]
    return [with_words(t, r, *p) for t, p in zip(texts_of(r), pairs, strict=True)], y


def last_word(r):
    y = r.integers(0, 2, N)
    return [
        [*with_words(t, r, "w3", "w5")[:-1], "w3" if v else "w5"] for t, v in zip(texts_of(r), y, strict=True)
    ], y


def middle_length(r):
    lengths = r.integers(10, 60, N)
    return [texts_of(r, 1, k)[0] for k in lengths], ((lengths > 22) & (lengths < 47)).astype(int)


def tossed(r):
    return texts_of(r), r.integers(0, 2, N)


def reached(line, y):
    return float(aurocs(line[None], y)[0])


RULES = {
    one_word: "one word",
    both: "two words",
    one_but_not_both: "two words",
    order: "order of words",
    last_word: "first and last words",
    middle_length: "length",
}


@pytest.mark.parametrize("made", RULES, ids=lambda made: made.__name__)
def test_each_rule_finds_the_labels_made_by_it_on_texts_it_has_not_seen(made):
    texts, y = made(np.random.default_rng(0))
    said = [" ".join(t) for t in texts]
    found = surface_scores(said[:170], y[:170], said[170:])
    assert reached(found[RULES[made]], y[170:]) > 0.97, made.__name__
    # The same texts under tossed labels hold nothing to find.
    coin = np.random.default_rng(1).integers(0, 2, N)
    nothing = surface_scores(said[:170], coin[:170], said[170:])
    assert 0.3 < reached(nothing[RULES[made]], coin[170:]) < 0.7


def with_word(text, label, r, yes, no):
    """One of two words at some place."""
    text[r.integers(len(text))] = yes if label else no
    return " ".join(text)


def layout(mark):
    """A mark of white space somewhere, against none."""
    return lambda text, label, r: " ".join(text).replace(" ", mark, int(label))


def letter_of_many(text, label, r):
    letters = [chr(0x4E10 + k) for k in r.integers(0, 300, 60)]
    letters[r.integers(60)] = "\u4e03" if label else "\u4e05"
    return "".join(letters)


def half(text, label, r):
    middle = len(text) // 2
    text[r.integers(middle) if label else r.integers(middle, len(text))] = "marker"
    return " ".join(text)


def again(text, label, r):
    own = [f"w{k}" for k in r.permutation(2000)[:30]]
    own[7] = own[20] if label else own[7]
    return " ".join(own)


FORMS = {
    "two spaces": (layout("  "), "a few characters"),
    "tab": (layout("\t"), "a few characters"),
    "space at the end": (lambda text, label, r: " ".join(text) + " " * label, "a few characters"),
    "inside a word": (lambda *made: with_word(*made, "exqzit", "exzqit"), "a few characters"),
    "all capitals": (lambda *made: with_word(*made, "SHOUT", "Shout"), "a few characters"),
    "one letter": (letter_of_many, "a few characters"),
    "first half": (half, "place of a word"),
    "number": (
        lambda t, y, r: with_word(t, y, r, str(r.integers(500, 1000)), str(r.integers(100, 500))),
        "numbers and repetitions",
    ),
    "even number": (
        lambda t, y, r: with_word(t, y, r, str(2 * r.integers(50, 500)), str(2 * r.integers(50, 500) + 1)),
        "numbers and repetitions",
    ),
    "a word again": (again, "numbers and repetitions"),
    "odd length": (lambda text, label, r: " ".join(text[: 40 + label]), "numbers and repetitions"),
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_made_by_layout_characters_places_and_numbers_are_found(form):
    make, name = FORMS[form]
    r = np.random.default_rng(2)
    y = r.integers(0, 2, N)
    plain = [[w.replace("w", "v") for w in text] for text in texts_of(r, N, 41)]
    if name == "numbers and repetitions":  # no other numbers
        plain = [["".join(chr(97 + int(c)) for c in w if c.isdigit()) + "e" for w in t] for t in plain]
    said = [make(list(t), int(label), r) for t, label in zip(plain, y, strict=True)]
    found = surface_scores(said[:170], y[:170], said[170:])
    assert reached(found[name], y[170:]) > 0.95, {k: reached(v, y[170:]) for k, v in found.items()}
    coin = np.random.default_rng(1).integers(0, 2, N)
    nothing = surface_scores(said[:170], coin[:170], said[170:])
    assert 0.3 < reached(nothing[name], coin[170:]) < 0.7


def test_nearest_texts_and_trees_find_what_no_single_rule_does():
    r = np.random.default_rng(0)
    seeds = texts_of(r, 40, 12)
    which = np.repeat(np.arange(40), 6)
    y = r.integers(0, 2, 40)[which]
    texts = [" ".join([*seeds[k][:-1], str(r.choice(WORDS))]) for k in which]
    turn = r.permutation(len(y))
    train, test = turn[:180], turn[180:]
    found = surface_scores([texts[i] for i in train], y[train], [texts[i] for i in test])
    assert reached(found["nearest texts"], y[test]) > 0.97
    a, b = r.normal(size=(2, N)) > 0
    some = [("up " * (3 if i else 1) + "down " * (3 if j else 1)).split() for i, j in zip(a, b, strict=True)]
    said = [" ".join(t + s) for t, s in zip(texts_of(r), some, strict=True)]
    counted = (a ^ b).astype(int)
    found = surface_scores(said[:170], counted[:170], said[170:])
    assert reached(found["trees"], counted[170:]) > 0.9


@pytest.mark.parametrize("made", [*RULES, tossed], ids=lambda made: made.__name__)
def test_what_stands_in_the_words_is_not_beyond_the_text_and_what_does_not_is(made):
    r = np.random.default_rng(2)
    texts, y = made(r)
    x = (2.0 * y - 1)[:, None] * r.normal(size=16) / 4 + 0.3 * r.normal(size=(N, 16))
    said = np.array([" ".join(t) for t in texts], dtype=object)
    acts = Activations.from_arrays(x.astype("float32"), y=y, columns={"text": said})
    train, test = acts.split((0.7, 0.3), seed=0)
    found = claim(MassMean(), train, test, texts="text", n=39, progress=False)
    assert found.level == ("decodable beyond the text" if made is tossed else "decodable")


def test_texts_without_a_word_in_common_give_no_rule():
    texts, y = [f"only{i}" for i in range(12)], np.arange(12) % 2
    for rule in (best_word, best_pair, best_order):
        assert not rule(texts, y, ["only1", ""]).any()
    assert ends([" a b. ", ""]) == [
        {
            "first word": "a",
            "last word": "b.",
            "first character": "a",
            "last character": ".",
            "last two characters": "b.",
        },
        {
            "first word": "",
            "last word": "",
            "first character": " ",
            "last character": " ",
            "last two characters": " ",
        },
    ]
