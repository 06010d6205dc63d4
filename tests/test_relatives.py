"""Rows that belong together: found in their words, kept on one side of a split, left out of claims, and known
to the probes that were fitted on them. What is found somewhere is also shown not to be found elsewhere.
"""

import base64
import hashlib
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from interventions import Ablate, edited
from probes import CCS, Activations, Examples, Logistic, MassMean, PairActivations, capture
from probes.controls import calibrate, claim
from probes.data.relatives import related
from probes.data.row_names import own_groups
from probes.fitting.rows_of_fit import KEPT, require_fit_of, was_fitted_on

TOWNS = [
    a + b
    for a in ("Bel", "Cor", "Dun", "Far", "Gil", "Hol")
    for b in ("mora", "wick", "stadt", "ville", "gorod")
]
LANDS = ["Arvia", "Borland", "Cestria", "Dovania"]


def located(towns=TOWNS):
    """One statement a town, all from one template."""
    return [f"The town of {town} lies in {LANDS[k % 4]}." for k, town in enumerate(towns)]


def firms():
    """Three statements a firm, whose name is of two common words."""
    goods = ["timber", "copper", "salt", "wool", "tea"]
    first = ("Elm", "Granite", "Harbour", "Ivory", "Juniper", "Kite")
    names = [f"{a} {b}" for a in first for b in ("Bank", "Works", "Group", "Mills", "Trade")]
    kinds = ("has its seat in {}", "trades in {}", "sells {} to households")
    drawn = np.random.default_rng(0).integers(0, 5, (30, 3))
    towns = ["Arvia", "Borland", "Cestria", "Dovania", "Essex"]
    filled = [towns, goods, ["loans", "stoves", "maps", "bricks", "bread"]]
    rows = [(i, j) for i in range(30) for j in range(3)]
    return [f"{names[i]} {kinds[j].format(filled[j][drawn[i, j]])}." for i, j in rows]


def pairs_of(texts):
    found = related(texts)
    assert (found.wording == np.unique(found.wording, return_inverse=True)[1]).all()
    groups = found.groups
    return {(i, j) for i in range(len(texts)) for j in range(i) if groups[i] == groups[j]}


def test_rewordings_belong_together_and_a_template_does_not_make_relatives():
    assert not pairs_of(located()), "thirty towns in one sentence are thirty rows"
    again = [
        f"the town of {TOWNS[0]} lies in Arvia!",
        f"The town of {TOWNS[1]}  lies in Dovania.",
        *located()[:2],
    ]
    assert pairs_of([*again, *located()[2:]]) == {(2, 0), (3, 1)}
    words = np.array(
        [
            "red",
            "cat",
            "tall",
            "runs",
            "the",
            "a",
            "of",
            "big",
            "sea",
            "old",
            "king",
            "saw",
            "two",
            "far",
            "tree",
        ]
    )
    drawn = [" ".join(np.random.default_rng(k).choice(words, 8)) for k in range(60)]
    assert not pairs_of(drawn), "few words to choose from make no relatives"
    marked = [text + mark for text in drawn for mark in ("", "!", " .")]
    assert pairs_of(marked) == {(3 * k + i, 3 * k + j) for k in range(60) for i in range(3) for j in range(i)}
    ends = [f"{text} {end}" for text in drawn for end in ("near the hill", "by the river bank")]
    assert {(2 * k + 1, 2 * k) for k in range(60)} <= pairs_of(ends)


def test_texts_about_one_thing_belong_together_whatever_they_say_of_it():
    own = {(3 * k + i, 3 * k + j) for k in range(30) for i in range(3) for j in range(i)}
    found = pairs_of(firms())
    assert own <= found and len(found - own) <= 0.3 * len(own), "few of those that trade in the same"
    asked = [f"{text} {answer}" for text in located() for answer in ("Yes.", "No.")]
    assert pairs_of(asked) == {(2 * k + 1, 2 * k) for k in range(30)}, "an answer joins no two questions"
    unspaced = [
        "東京は日本の首都です",
        "水は百度で沸騰する",
        "猫は魚を食べる",
        "山に雪が降った",
        "母が手紙を書いた",
    ]
    assert not pairs_of(unspaced) and pairs_of([*unspaced, "東京は日本の首都ですか"]) == {(5, 0)}


def test_suggested_groups_keep_what_is_given_and_say_why():
    examples = Examples(firms(), y=np.arange(90) % 2)
    found = examples.suggest_groups()
    assert found.found and 25 <= len(np.unique(found.groups)) <= 30 and found.before == 90
    assert "groups of 90 rows (largest 6), from 90" in repr(
        found
    ) and "examples.with_groups(found.groups)" in repr(found)
    train, test = examples.with_groups(found.groups).split((0.5, 0.5))
    assert not {t.split()[0] + t.split()[1] for t in train.texts} & {
        t.split()[0] + t.split()[1] for t in test.texts
    }
    quiet = Examples(located()).suggest_groups()
    assert not quiet.found and "nothing to be joined" in repr(quiet)
    half = np.unique(found.groups, return_inverse=True)[1] % 2
    halves = examples.with_groups(half).suggest_groups()
    assert not halves.found and set(halves.groups) == {0, 1}
    chat = Examples(examples.texts).as_chat().suggest_groups()
    assert len(np.unique(chat.groups)) <= 30


def test_no_split_parts_a_text_from_its_copy():
    texts = [f"the {a} saw the {b}" for a in ("cat", "dog", "king", "boy") for b in ("sea", "tree")]
    for seed in range(5):
        first, second = Examples([*texts, *(t.upper() for t in texts)], y=[0, 1] * 8).split(seed=seed)
        assert not {t.lower() for t in first.texts} & {t.lower() for t in second.texts} and len(first) == 8
    with pytest.warns(UserWarning, match=r"16 groups became 8: a text \(such as 'the cat saw the sea'\)"):
        joined = Examples(texts * 2, groups=np.arange(16))
    assert len(np.unique(joined.groups)) == 8 and joined.groups[0] == joined.groups[8]
    copies = Activations.from_arrays(
        np.zeros((16, 3)), ids=Examples(texts * 2).ids, columns={"row": np.arange(16)}
    )
    first, second = copies.split((0.5, 0.5), groups="row", seed=1)
    assert not {i[:12] for i in first.ids} & {i[:12] for i in second.ids}
    with pytest.raises(ValueError, match=r"1 groups \(3 more hold a text"):
        Activations.from_arrays(np.zeros((4, 3)), ids=Examples(["a b"] * 4).ids).split()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(np.unique(Examples(texts, groups=np.arange(8)).groups)) == 8


def test_a_text_with_both_labels_is_said_once():
    with pytest.warns(UserWarning, match="1 texts have both labels.*'a cat'"):
        examples = Examples(["a cat", "a dog", "a cat"], y=[0, 1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(examples.rows([0, 2])) == 2
        Examples(["a cat", "a dog", "a cat"], y=[0, 1, 0])
        Examples(["a cat", "a cat"], y=[0.5, 0.7])
    with pytest.warns(UserWarning, match="both labels"):
        Examples(["a cat", "a cat"]).with_y([0, 1])


def test_labels_of_sampled_answers_are_sent_to_where_they_can_be_read(make_model):
    model = make_model()
    with pytest.warns(UserWarning, match=r"text alone .* sampled behind it, .*followed_by.* else drop them"):
        asked = Examples(["a red tree"] * 4, y=[0, 1, 1, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answered = model.tokenise(asked).followed_by([[5, 6], [7], [8, 9], [10]])
        assert len(capture(model, answered, "resid_post.1", "generated", progress=False)) == 6
    with pytest.warns(UserWarning, match="both labels"):  # one answer, said twice
        model.tokenise(asked).followed_by([[5, 6], [5, 6], [8, 9], [10]])


def test_groups_say_something_when_they_hold_several_texts():
    assert own_groups(np.arange(6), np.arange(6)) and not own_groups(np.arange(6), np.arange(6) // 2)
    ids = Examples(["a b", "a b", "c d"]).ids
    assert own_groups(ids, ids[[0, 0, 2]])


def memories(texts, unit, y, seed, signal=0.0):
    """Hidden states by which a unit is known, and along one axis the label."""
    rng = np.random.default_rng(seed)
    known = rng.normal(size=(unit.max() + 1, 48))[unit] + 0.3 * rng.normal(size=(len(texts), 48))
    known[:, 0] += signal * (2 * y - 1)
    return Activations.from_arrays(
        known.astype("float32"), y=y, columns={"text": np.array(texts, dtype=object)}
    )


def told_of(said, unit, seed, signal=0.0, by_unit=True, groups=None, **options):
    """What a claim says of labels tossed for each unit (or row); None where it is refused."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, unit.max() + 1)[unit] if by_unit else rng.integers(0, 2, len(unit))
    rows = memories(said, unit, y, seed, signal)
    train, test = (rows if groups is None else rows.with_groups(groups)).split((0.6, 0.4), seed=seed)
    try:
        return claim(MassMean(), train, test, n=39, seed=seed, progress=False, **options)
    except ValueError as error:
        assert "resemble train rows" in str(error) and "suggest_groups" in str(error)
        return None


def test_memory_of_what_belongs_together_is_no_claim_and_a_signal_in_independent_rows_is():
    three = np.repeat(np.arange(30), 3)
    for seed in range(4):
        for given in ({}, {"texts": "text"}):
            found = told_of(firms(), three, seed, **given)
            assert found is None or not found.made
    told = told_of(firms(), np.arange(90), 0, signal=2.0, by_unit=False)
    assert told is None or told.why_not_more, "firms stand on both sides whatever their labels are"
    grouped = told_of(firms(), three, 0, signal=2.0, groups=three, texts="text")
    assert grouped.made and not any("left out" in why for why in grouped.why_not_more)
    more = [TOWNS, [town[::-1].capitalize() for town in TOWNS], [f"{town}burg" for town in TOWNS]]
    alone = [text for towns in more for text in located(towns)]
    for seed in range(3):
        found = told_of(alone, np.arange(90), seed, signal=2.0, texts="text")
        assert found.level == "decodable beyond the text" and found.auroc.n == 36, (
            "no row is lost to the template"
        )
        assert not told_of(alone, np.arange(90), seed, texts="text").made


def test_near_duplicates_count_across_given_groups_and_mere_subjects_do_not():
    marked = [text + mark for text in firms() for mark in ("", "!", " ...")]
    statement, rng = np.repeat(np.arange(90), 3), np.random.default_rng(0)
    scattered = rng.permutation(270) // 3
    made = [told_of(marked, statement, seed, groups=scattered) for seed in range(4)]
    assert not any(found is not None and found.made for found in made)
    found = told_of(firms(), np.repeat(np.arange(30), 3), 0, groups=np.repeat(np.arange(45), 2), signal=2.0)
    assert found.made and not any("left out" in why for why in found.why_not_more)


def test_a_claim_says_how_many_rows_it_left_out_and_which():
    texts = [*located(), *(t[::-1] for t in located(TOWNS[:12])), *(t.lower() for t in located()[:6])]
    y = np.arange(48) % 2
    y[42:] = y[:6]
    rows = memories(texts, np.arange(48), y, 0, 2.0)
    train, test = rows.rows(np.arange(48) < 24), rows.rows(np.arange(48) >= 24)
    found = claim(MassMean(), train, test, n=19, progress=False)
    (why,) = [w for w in found.why_not_more if "left out" in w]
    assert "6 of 24 test rows resemble" in why and "the town of belmora" in why and found.auroc.n == 18
    opposite = claim(MassMean(), train, test.with_y(np.where(np.arange(24) >= 18, 1 - test.y, test.y)), n=19)
    assert opposite.auroc.n == 24, "the same said with the other label helps no memory"


# ---- the rows of a fit


def two_classes(n, seed, **given):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return Activations.from_arrays(
        (rng.normal(size=(2, n, 20)) + 0.2 * y[:, None]).astype("float32"), y, **given
    )


@pytest.mark.parametrize("recipe", [MassMean(), Logistic()], ids=repr)
def test_a_probe_knows_the_rows_it_was_fitted_on(recipe, tmp_path):
    rows = two_classes(60, 0, ids=[f"row {k}" for k in range(60)])
    train, rest = rows.split((0.5, 0.5))
    probe = recipe.fit(train)
    loaded = type(probe).load(probe.save(tmp_path / "probe.safetensors"))
    for one in (probe, loaded, probe["array.1"]):
        assert one.was_fitted_on(rows).sum() == 30 and one.was_fitted_on(train).all()
        assert not one.was_fitted_on(rest).any()
    with pytest.raises(ValueError, match=r"30 of 60 rows .* fitted on"):
        calibrate(probe, rows)
    assert calibrate(probe, rest).probability(rest).shape == (2, 30)
    assert probe.score(train).shape == (2, 30), "scoring them is nobody's business"


def test_nameless_rows_are_known_by_their_numbers_and_groups_by_their_names():
    train, other = two_classes(40, 0), two_classes(40, 1)
    probe = MassMean().fit(train)
    assert probe.was_fitted_on(train.rows([3, 5])).all() and not probe.was_fitted_on(other).any()
    grouped = two_classes(40, 0, groups=[f"g{k // 2}" for k in range(40)])
    probe = MassMean().fit(grouped)
    assert (
        probe.was_fitted_on(two_classes(8, 2, groups=[f"g{18 + k // 2}" for k in range(8)])).tolist()
        == [True] * 4 + [False] * 4
    )
    assert not was_fitted_on({}, train).any()
    many = MassMean().fit(two_classes(2 * KEPT, 3))
    seen = many.was_fitted_on(two_classes(2 * KEPT, 3))
    assert seen.sum() == KEPT and len(many.receipt["fitted_on"]["hashes"]) == KEPT * 8


def test_rows_of_a_text_are_known_at_another_token_and_the_other_place_is_said(make_model):
    model = make_model()
    texts = [
        f"{a} {b} {c}" for a in ("red", "tall") for b in ("tree", "house", "river") for c in ("yes", "no")
    ]
    examples = Examples(texts, y=[0, 1] * 6)
    last, early = (capture(model, examples, "resid_post.1", at, progress=False) for at in ("last", 1))
    everywhere = capture(model, examples, "resid_post.1", "all", progress=False)
    probe = MassMean().fit(last.rows(np.arange(12) < 8))
    assert probe.was_fitted_on(early).sum() == 8 and probe.was_fitted_on(examples).sum() == 8
    assert probe.was_fitted_on(everywhere).sum() == 8 * 4
    with pytest.warns(UserWarning, match="read at last and scores rows read at 1"):
        probe.score(early)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.isfinite(probe.score(last)).all() and torch.isfinite(probe.score(everywhere)).all()
    with pytest.raises(ValueError, match=r"read at different places.*last.*and 1"):
        Activations.concat([last.rows([0, 1]), early.rows([2, 3])])
    whole = Activations.concat([last.rows([0, 1]), last.rows([2, 3])])
    assert whole.receipt["at"] == "last" and whole.receipt["dtype"] == last.receipt["dtype"]


@pytest.mark.parametrize(("word", "number"), [("last", -1), ("first", 0)])
def test_the_last_token_by_its_number_is_no_other_place(make_model, word, number):
    model = make_model()
    examples = Examples(["red tree yes", "red tree no", "tall house yes", "old river no"], y=[1, 0, 1, 0])
    by_word, by_number = (
        capture(model, examples, "resid_post.1", at, progress=False) for at in (word, number)
    )
    probe = MassMean().fit(by_word)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(probe.score(by_number), probe.score(by_word))
        MassMean().fit(by_number).score(by_word)
    whole = Activations.concat([by_word.rows([0, 1]), by_number.rows([2, 3])])
    assert whole.receipt["at"] == word


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_the_last_token_is_no_other_place_where_it_is_content_in_every_row(make_model, family):
    model = make_model(family)
    examples = Examples(["red tree yes", "red tree no", "tall house yes", "old river no"], y=[1, 0, 1, 0])
    last, content = (
        capture(model, examples, "resid_post.1", at, progress=False) for at in ("last", "last_content")
    )
    if family == "bert":  # texts end with a special token
        assert "also_at" not in last.receipt and "also_at" not in content.receipt
        for fitted, rows in ((last, content), (content, last)):
            with pytest.warns(UserWarning, match="rows read at last_content|rows read at last;"):
                MassMean().fit(fitted).score(rows)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = [MassMean().fit(a).score(b) for a, b in ((last, last), (last, content), (content, last))]
        edited(model, Ablate(MassMean().fit(last).direction(), mean_of=content, at="last"))
        first = capture(model, examples, "resid_post.1", "first", progress=False)
    assert torch.equal(scores[0], scores[1]) and torch.equal(scores[0], scores[2])
    with pytest.warns(UserWarning, match="fitted on rows read at last and scores rows read at first"):
        MassMean().fit(last).score(first)


def test_ids_numbered_from_0_in_two_sets_are_no_names(make_model):
    model = make_model()
    texts = [f"{a} {b} {c}" for a in ("red", "tall", "old") for b in ("tree", "house") for c in ("yes", "no")]

    def numbered(texts, at="last", y=None, start=0):
        y = [1, 0] * (len(texts) // 2) if y is None else y
        rows = Examples(texts, y=y, ids=list(range(start, start + len(texts))))
        return capture(model, rows, "resid_post.1", at, progress=False)

    probe = MassMean().fit(numbered(texts[:6]))
    other = numbered(texts[6:])
    assert not was_fitted_on(probe.receipt, other).any()
    calibrate(probe, other)
    mixed = numbered([*texts[6:10], texts[0], texts[3]])
    assert was_fitted_on(probe.receipt, mixed).tolist() == [False] * 4 + [True] * 2  # by their numbers
    with pytest.raises(ValueError, match="2 of 6 rows"):
        calibrate(probe, mixed)
    assert was_fitted_on(probe.receipt, numbered(texts[:6], at="first")).all()  # the very same Examples
    # Ids that are more than a count are names, as are those of rows whose numbers cannot tell.
    named = MassMean().fit(numbered(texts[:6], start=7))
    assert was_fitted_on(named.receipt, numbered(texts[6:], start=7)).all()
    with pytest.raises(ValueError, match="6 of 6 rows"):
        calibrate(MassMean().fit(numbered([*texts[:3]] * 2, y=[0, 1, 0] * 2)), other)


def test_rows_of_the_fit_are_known_under_other_names_and_in_other_precision(make_model):
    model = make_model()
    texts = [f"{a} {b} {c}" for a in ["red", "tall", "old"] for b in ("tree", "house") for c in ("yes", "no")]
    labels = [0, 1] * 6

    def read(named, at="last", site="resid_post.1", **more):
        return capture(model, Examples(named, y=labels, **more), site, at, progress=False)

    own = read(texts)
    probe = MassMean().fit(own)
    arrays = Activations.from_arrays(own.x, own.y, sites=["resid_post.1"])
    same = {
        "own ids": read(texts, ids=[f"x{k}" for k in range(12)]),
        "a blank behind": read([f" {t} " for t in texts]),
        "arrays": arrays,
        "half precision": arrays.to(dtype=torch.float16),
        "the other half": replace(own, ids=np.array([f"x{k}" for k in range(12)])).to(dtype=torch.bfloat16),
        "texts": Examples([f" {t.upper()}" for t in texts], y=labels),
    }
    for name, rows in same.items():
        assert probe.was_fitted_on(rows).all(), name
    with pytest.raises(ValueError, match=r"12 of 12 rows .* fitted on"):
        calibrate(probe, same["own ids"])
    # Nothing is taken for what it is not: other texts, and tokens that stand in every text.
    others = [
        f"small {b} {a} {c}" for a in ["red", "tall", "old"] for b in ("tree", "house") for c in ("yes", "no")
    ]
    assert not probe.was_fitted_on(read(others, ids=np.arange(12))).any()
    for at in ("first", "all"):
        whole = MassMean().fit(read(texts, at, "resid_post.1"))
        assert not whole.was_fitted_on(read(others, at)).any()
        assert "numbers_at" not in whole.receipt["fitted_on"]
    # By arrays first, then by names.
    assert MassMean().fit(arrays).was_fitted_on(same["own ids"]).all()
    half = MassMean().fit(same["half precision"])
    assert half.was_fitted_on(arrays).all() and half.was_fitted_on(own).all()
    pairs = PairActivations.from_arrays(own.x, -own.x, y=labels)
    again = replace(pairs, ids=np.array([f"x{k}" for k in range(12)]))
    assert CCS(restarts=1).fit(pairs).was_fitted_on(again).all()


def test_receipts_of_earlier_files_are_read_as_before():
    """Their numbers stand as digests of the bytes, in the usual alphabet of base64."""
    random = np.random.default_rng(0)
    x = random.normal(size=(1, 400, 5)).astype(np.float32)
    acts = Activations.from_arrays(x, np.arange(400) % 2)
    probe = MassMean().fit(acts)

    def digests(rows: np.ndarray) -> str:
        found = (hashlib.blake2b(row.tobytes(), digest_size=6).digest() for row in rows)
        return base64.b64encode(b"".join(sorted(found, key=lambda d: d[::-1]))).decode()

    halves = torch.from_numpy(x[0]).half().float().numpy()
    told = {"n": 400, "site": "array.0", "hashes": digests(x[0])}
    assert set(told["hashes"]) & set("+/"), "the two alphabets differ in these"
    rounded = {"numbers_at": "array.0", "numbers_float16": digests(halves), "numbers_bfloat16": ""}
    old = replace(probe, receipt={"fitted_on": told | rounded})
    assert old.was_fitted_on(acts).all()
    assert not old.was_fitted_on(Activations.from_arrays(x + 1)).any()
    half = replace(acts, x=acts.x.half(), ids=np.array([f"x{k}" for k in range(400)]))
    assert old.was_fitted_on(half).all() and probe.was_fitted_on(half).all()
    for one in (old, probe):
        require_fit_of(one, MassMean(), acts)
        with pytest.raises(ValueError, match=r"and not .* fitted on these 399 train rows"):
            require_fit_of(one, MassMean(), acts.rows(range(399)))
        with pytest.raises(ValueError, match=r"and not .* fitted on these 400 train rows"):
            require_fit_of(one, MassMean(), replace(acts, x=acts.x + 1))
