"""Polarity metrics on exact vectors and on synthetic data whose truth, negation and distractors are known."""

import dataclasses

import numpy as np
import pytest
import torch

from probes import CCS, CRC, TTPD, ContrastEigen, Estimate, PairActivations, PolarityAwareCCS, auroc
from probes.evidence.markers import marked_twins
from probes.evidence.polarity_rule import PolarityNumbers, ruled, sentence
from probes.fitting.transforms import Transform
from probes.polarity import (
    contradiction_index,
    ideal_distance,
    polar_consistency,
    polarity_report,
    published_metrics,
    truth_cosines,
)
from probes.testing import planted

GOLDEN = [
    ((1, 0, 0, 1), 0, 0, 0, 0),
    ((0, 1, 1, 0), 0, 0, 1, 0),
    ((0.4, 0.4, 0.4, 0.4), 0, 0.32, 0.5099, 0.52),
    ((0.5, 0.5, 0.5, 0.5), 0, 0.5, 0.5, 0.5),
    ((0.9, 0.1, 0.2, 0.8), 0.01, 0.26, 0.1581, 0.26),
    ((0.9, 0.1, 0.8, 0.2), 0.49, 0.74, 0.5701, 0.74),
    ((0.6, 0.5, 0.5, 0.4), -0.02, 0.5, 0.505, 0.5),
    ((1, 0, 0.999, 0.001), 0.998, 0.999, 0.7064, 0.999),
    ((0, 0, 0, 0), 0, 0, 0.7071, 1),
    ((1, 1, 0, 0), -1, 0, 0.7071, 0),
]


@pytest.mark.parametrize(("four", "pc", "ci", "distance", "symmetric"), GOLDEN)
def test_golden_vectors(four, pc, ci, distance, symmetric):
    assert polar_consistency(*four) == pytest.approx(pc, abs=1e-3)
    assert contradiction_index(*four) == pytest.approx(ci, abs=1e-3)
    assert ideal_distance(*four) == pytest.approx(distance, abs=1e-4)
    assert contradiction_index(*four, symmetric=True) == pytest.approx(symmetric, abs=1e-3)


def test_metrics_work_elementwise_on_arrays_and_tensors_and_refuse_logits():
    four = np.array([g[0] for g in GOLDEN]).T
    for given in (four, torch.from_numpy(four)):
        assert np.allclose(polar_consistency(*given), [g[1] for g in GOLDEN], atol=1e-3)
    with pytest.raises(
        ValueError, match=r"n0 must hold probabilities between 0 and 1, got values from 1 to 3"
    ):
        contradiction_index(0.1, 0.2, 0.3, [1, 3])


def synthetic(
    n=400,
    d=24,
    truth=3.0,
    negation=0.0,
    negated_given_false=0.5,
    negated_given_true=None,
    distractor=0.0,
    seed=0,
    noise=0.3,
):
    """Pairs of opposites. Truth, negation and an XOR distractor flip with the answer, each along its own axis
    (0, 1, 2); a marker (3) shows the distractor.

    `negated_given_*` is how often a false or true statement is negated; by default exactly one of every pair
    is.
    """
    rng = np.random.default_rng(seed)
    pair = np.repeat(np.arange(n // 2), 2)
    y = np.tile([1, 0], n // 2)
    if negated_given_true is None:
        flip = rng.permutation(np.arange(n // 2) < negated_given_false * (n // 2))
        negated = np.where(np.repeat(flip, 2), 1 - y, y)
    else:
        negated = (rng.random(n) < np.where(y == 1, negated_given_true, negated_given_false)).astype(int)
    word = rng.integers(0, 2, n)
    shared = rng.normal(size=(n, d))
    answer = np.random.default_rng(99).normal(size=d)  # the same word in train and test
    sides = {}
    for sign in (1, -1):
        x = shared + sign * answer + noise * rng.normal(size=(n, d))
        x[:, 0] += sign * truth * (2 * y - 1) / 2
        x[:, 1] += sign * negation * (2 * negated - 1) / 2
        x[:, 2] += sign * distractor * (2 * word - 1) / 2
        x[:, 3] += 8 * (distractor > 0) * (2 * word - 1)
        sides[sign] = x
    return PairActivations.from_arrays(
        sides[1], sides[-1], y=y, pair_id=pair, negated=negated, columns={"word": word}
    )


UNSUPERVISED = [CCS(restarts=3), CRC(), ContrastEigen(), ContrastEigen(form="covariance")]


@pytest.mark.parametrize("recipe", UNSUPERVISED, ids=lambda r: r.__class__.__name__)
def test_a_perfect_model_contradicts_nothing_and_a_blind_one_everything(recipe):
    probe = recipe.fit(synthetic(truth=6.0, noise=0.1))
    report = polarity_report(probe, synthetic(seed=1, truth=6.0, noise=0.1))
    assert report["accuracy"].value[0] > 0.99 and report["auroc"].value[0] > 0.99
    assert report["correct_flip"].value[0] > 0.99 and report["reversed_flip"].value[0] < 0.01
    assert report["contradiction"].value[0] < (0.05 if isinstance(recipe, CCS) else 0.3)
    assert (
        report["contradiction_kappa"].value[0] > (0.9 if isinstance(recipe, CCS) else 0.4)
        and abs(report["bias"].value[0]) < 0.05
    )
    assert not report.degenerate[0]

    # Blind to polarity: what flips with the answer is a property that both statements of a pair share.
    shared = synthetic(truth=0.0, distractor=6.0, noise=0.1)
    word = np.repeat(shared.columns["word"][::2], 2)
    change = 6.0 * torch.from_numpy(word - shared.columns["word"]).float()
    yes, no = shared.yes.clone(), shared.no.clone()
    yes[0, :, 2] += change
    no[0, :, 2] -= change
    blind = PairActivations.from_arrays(
        yes, no, y=shared.y, pair_id=shared.columns["pair_id"], negated=shared.columns["negated"]
    )
    report = polarity_report(recipe.fit(blind), blind)
    assert report["contradiction"].value[0] > (0.9 if isinstance(recipe, CCS) else 0.7)
    assert report["both_true"].value[0] + report["both_false"].value[0] > 0.98
    assert abs(report["auroc"].value[0] - 0.5) < 0.1 and report["accuracy_worst_cell"].value[0] < 0.65


def test_the_published_centring_hides_what_the_train_centring_shows():
    train, test = synthetic(truth=6.0, noise=0.1), synthetic(seed=1, truth=6.0, noise=0.1)
    probe = CCS(restarts=3, prepare="l2+mean").fit(train)
    assert published_metrics(probe, test)["ci_mean"].iloc[0] > 0.35
    assert polarity_report(probe, test)["contradiction"].value[0] < 0.05
    with pytest.raises(ValueError, match=r'CCS\(prepare="l2\+mean"\)'):
        published_metrics(CCS(restarts=2, steps=50).fit(train), test)


def test_a_constant_probe_is_flagged_and_has_the_known_numbers():
    x = torch.ones(1, 40, 8)
    pairs = PairActivations.from_arrays(x, x, y=np.tile([1, 0], 20), pair_id=np.repeat(np.arange(20), 2))
    with pytest.warns(UserWarning, match="have the same states"):
        probe = CCS(restarts=2).fit(pairs)
    report = polarity_report(probe, pairs)
    assert report["ccs_loss"].value[0] == pytest.approx(0.2, abs=1e-3)
    assert report["contradiction_index"].value[0] == pytest.approx(0.32, abs=2e-3)
    assert report["contradiction_symmetric"].value[0] == pytest.approx(0.52, abs=2e-3)
    assert report["polar_consistency"].value[0] == 0 and report.degenerate[0]
    assert report["contradiction_kappa"].value[0] == pytest.approx(0, abs=1e-3), (
        "a constant probe is no better than two statements drawn at random"
    )


@pytest.mark.parametrize("recipe", UNSUPERVISED, ids=lambda r: r.__class__.__name__)
def test_a_stronger_distractor_is_taken_for_truth_until_clusters_are_centred(recipe):
    import dataclasses

    train, test = synthetic(truth=2.0, distractor=5.0), synthetic(seed=1, truth=2.0, distractor=5.0)

    def reads(probe):
        scores = probe.score(test)
        return [max(a, 1 - a) for a in (float(auroc(scores, test.column(c)).value[0]) for c in ("y", "word"))]

    plain = reads(recipe.fit(train))
    assert plain[0] < 0.65 and plain[1] > 0.95
    clustered = reads(
        dataclasses.replace(recipe, prepare=Transform(centre="mean", scale="rms", clusters=2)).fit(train)
    )
    assert clustered[0] > 0.95 and clustered[1] < 0.65


@pytest.mark.parametrize(
    "transform",
    [
        Transform(centre="mean", scale="rms", by="negated"),
        Transform(centre="mean", scale="rms", erase=("negated",)),
    ],
    ids=str,
)
@pytest.mark.parametrize("recipe", UNSUPERVISED, ids=lambda r: r.__class__.__name__)
def test_harm_is_recovered_from_negation_by_centring_or_erasing_its_cells(recipe, transform):
    import dataclasses

    train, test = (synthetic(truth=3.0, negation=6.0, seed=s) for s in (0, 1))
    plain = polarity_report(recipe.fit(train), test)
    assert (
        plain["accuracy"].value[0] < 0.65
        and max(plain["auroc_negated"].value[0], 1 - plain["auroc_negated"].value[0]) > 0.95
    )
    assert plain["accuracy_worst_cell"].value[0] < 0.2
    mended = polarity_report(dataclasses.replace(recipe, prepare=transform).fit(train), test)
    assert mended["accuracy"].value[0] >= 0.95 and abs(mended["auroc_negated"].value[0] - 0.5) < 0.1
    assert mended["accuracy_worst_cell"].value[0] > 0.9


def test_polarity_aware_ccs_prefers_truth_over_what_opposites_share():
    # A shared property flips with the answer three times as strongly as truth; only the demand on opposites
    # tells them apart.
    def data(seed):
        base = synthetic(truth=2.0, distractor=0.0, seed=seed)
        word = np.repeat(np.random.default_rng(seed).permutation(np.arange(len(base) // 2) % 2), 2)
        push = 3.0 * torch.from_numpy(2 * word - 1).float()
        yes, no = base.yes.clone(), base.no.clone()
        yes[0, :, 2] += push
        no[0, :, 2] -= push
        return PairActivations.from_arrays(
            yes,
            no,
            y=base.y,
            pair_id=base.columns["pair_id"],
            negated=base.columns["negated"],
            columns={"word": word},
        )

    train, test = data(0), data(1)
    assert auroc(CCS(restarts=5).fit(train).score(test), test.y).value[0] < 0.8
    aware = PolarityAwareCCS(restarts=5).fit(train)
    assert auroc(aware.score(test), test.y).value[0] > 0.95
    assert abs(auroc(aware.score(test), test.column("word")).value[0] - 0.5) < 0.1


def test_bad_pairs_are_refused_with_what_is_wrong():
    good = synthetic(n=20)
    probe = CCS(restarts=1, steps=20).fit(good)
    with pytest.raises(ValueError, match="1 have another number of rows"):
        polarity_report(probe, good.rows(np.arange(19)))
    with pytest.raises(ValueError, match="one must be true"):
        polarity_report(probe, good.with_y(np.repeat([0, 1], 10)))
    report = polarity_report(probe, good)
    with pytest.raises(KeyError, match="no measure 'nothing'"):
        report["nothing"]
    assert "auroc_negated" in report._repr_html_() and "10 pairs of opposites" in repr(report)


def test_marker_replaces_whole_negation_words_and_its_twin_holds_it_at_the_same_word():
    statements = [
        "The home is red",
        "The home is not red",
        "cats fly",
        "cats don't fly",
        "nothing is fine",
        "all is fine",
        "No dog barks",
        "a dog barks",
        "not a",
        "never b",
    ]
    twins = marked_twins(statements, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    assert twins.plain.tolist() == [0, 2, 7] and twins.negated.tolist() == [
        1,
        3,
        6,
    ], "pairs with no negation word, or two, are left out"
    assert twins.marked == ("The home is ttt red", "cats do ttt fly", "ttt dog barks")
    assert twins.noop == (
        "The home is ttt red",
        "cats ttt fly",
        "a ttt dog barks",
    ) and twins.exact.tolist() == [True, False, False]
    with pytest.raises(ValueError, match="hold the marker 'red' already"):
        marked_twins(statements, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4], marker="red")
    with pytest.raises(ValueError, match="no pair has exactly one"):
        marked_twins(["a", "b"], [0, 0])
    with pytest.raises(ValueError, match="3 statements have 2 pair_ids"):
        marked_twins(["a", "not a", "b"], [0, 0])


@pytest.mark.parametrize(
    ("negated", "plain", "marked", "noop"),
    [
        ("I can't eat.", "I can eat.", "I can ttt eat.", "I can ttt eat."),
        ("I cannot eat.", "I can eat.", "I can ttt eat.", "I can ttt eat."),
        ("Won’t it rain?", "Will it rain?", "Will ttt it rain?", "Will ttt it rain?"),
        ("It isn't so.", "It is so.", "It is ttt so.", "It is ttt so."),
        ("I do not eat.", "I eat.", "I do ttt eat.", "I ttt eat."),
        ("He said no.", "He said yes.", "He said ttt.", "He said yes ttt."),
        ("He said no .", "He said yes .", "He said ttt .", "He said yes ttt ."),
        ("rome is not blue .", "rome is blue .", "rome is ttt blue .", "rome is ttt blue ."),
        (
            "Nothing is not here, my cant.",
            "Nothing is here, my cant.",
            "Nothing is ttt here, my cant.",
            "Nothing is ttt here, my cant.",
        ),
    ],
)
def test_the_marker_is_a_word_of_its_own_at_the_same_place(negated, plain, marked, noop):
    twins = marked_twins([negated, plain], [0, 0])
    assert (twins.marked, twins.noop) == ((marked,), (noop,)) and twins.exact.tolist() == [marked == noop]


def test_the_report_takes_flags_as_words_and_has_cosines_with_train_rows():
    acts, _ = planted(paired=True)
    flags = acts.columns["negated"]
    named = dataclasses.replace(
        acts, columns=acts.columns | {"negated": np.where(flags == 1, "True", "False")}
    )
    probe = CRC().fit(acts)
    train = named.rows(slice(0, 120))
    plain, words = polarity_report(probe, acts), polarity_report(probe, named, train=train)
    assert (
        words["auroc_negated"].value.tolist() == plain["auroc_negated"].value.tolist()
        and "cosine_truth" not in plain.measures
    )
    assert words.table["cosine_truth"].min() > 0.9 > 0.4 > words.table["cosine_polarity"].abs().max()
    on_train, on_all = (truth_cosines(probe, rows)["truth"].to_numpy() for rows in (train, acts))
    assert np.allclose(words.table["cosine_truth"], on_train, atol=1e-9) and not np.allclose(
        on_train, on_all, atol=1e-4
    )
    assert TTPD().fit(named.side("yes")).weight.equal(TTPD().fit(acts.side("yes")).weight)
    with pytest.raises(ValueError, match=r"must hold 0 \(affirmative\) or 1 \(negated\), got \['maybe'"):
        polarity_report(
            probe,
            dataclasses.replace(
                acts, columns=acts.columns | {"negated": np.where(flags == 1, "yes", "maybe")}
            ),
        )


def test_cosines_tell_a_truth_direction_from_one_that_turns_with_polarity():
    draw = torch.Generator().manual_seed(0)
    n, d = 400, 20
    y, negated = np.arange(n) % 2, np.arange(n) // 2 % 2
    truth, turning = torch.linalg.qr(torch.randn(d, 2, generator=draw)).Q.T
    signs = (
        torch.from_numpy(2.0 * y - 1).float(),
        torch.from_numpy((2.0 * y - 1) * (1 - 2.0 * negated)).float(),
    )
    moved = signs[0][:, None] * truth + 2 * signs[1][:, None] * turning
    base = torch.randn(n, d, generator=draw)
    pairs = PairActivations.from_arrays(base + moved, base - moved, y=y, negated=negated)
    found = truth_cosines(CRC().fit(pairs), pairs)
    assert found.polarity.abs().iloc[0] > 0.95 and found.truth.abs().iloc[0] < 0.2, (
        "the stronger one turns with polarity"
    )
    moved = 2 * signs[0][:, None] * truth + signs[1][:, None] * turning
    found = truth_cosines(
        CRC().fit(plain := PairActivations.from_arrays(base + moved, base - moved, y=y, negated=negated)),
        plain,
    )
    assert found.truth.iloc[0] > 0.95 and found.polarity.abs().iloc[0] < 0.2


def numbers(**given):
    """Numbers of a probe that reads truth, with changes."""

    def estimate(value, around=0.02):
        return Estimate(value, value - around, value + around, 200, 100)

    usual = {
        "auroc": 0.95,
        "auroc_negated": 0.5,
        "worst_cell": 0.9,
        "contradiction": 0.1,
        "kappa": 0.8,
        "loss": 0.05,
    } | {k: v for k, v in given.items() if k not in ("degenerate", "flagged")}
    made = {name: None if value is None else estimate(value) for name, value in usual.items()}
    rest = {"degenerate": False, "flagged": True} | {
        k: v for k, v in given.items() if k in ("degenerate", "flagged")
    }
    return PolarityNumbers(**made, **rest)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "reads truth"),
        ({"auroc_negated": None}, "reads truth"),
        ({"auroc_negated": None, "flagged": False}, "reads truth or negation"),
        ({"auroc": 0.05, "contradiction": 0.1}, "reads truth upside down"),
        ({"auroc": 0.5, "auroc_negated": 0.97, "worst_cell": 0.02}, "reads negation"),
        ({"auroc": 0.7, "auroc_negated": 0.05, "worst_cell": 0.1}, "reads negation"),
        ({"auroc": 0.9, "auroc_negated": 0.3}, "reads truth and negation"),
        ({"auroc": 0.6, "worst_cell": 0.2}, "reads truth and negation"),
        ({"auroc": 0.51, "contradiction": 0.95, "kappa": -0.9}, "reads what opposites share"),
        ({"auroc": 0.51, "contradiction": 0.4, "kappa": 0.2}, "reads nothing"),
        ({"auroc": 0.5, "contradiction": 0.5, "kappa": 0.0, "loss": 0.2}, "reads nothing"),
        # The numbers of a constant probe: the order of scores that hardly differ is no verdict.
        ({"contradiction": 0.43, "kappa": 0.13, "loss": 0.2}, "reads nothing"),
        ({"contradiction": 0.43, "kappa": 0.13, "loss": 0.08}, "reads truth"),
        ({"degenerate": True}, "reads nothing"),
    ],
)
def test_the_report_answers_truth_or_negation_before_anything_else(changes, word):
    found = ruled(numbers(**changes))
    assert found.word == word
    said = sentence(found)
    if not found.checks["says different things of statements"]:
        assert "nearly the same of every statement" in said and "AUROC" in said
    else:
        assert "nearly the same" not in said


def test_truth_negation_and_nothing_are_told_apart_on_planted_pairs():
    for size, word in (({"truth": 4.0}, "reads truth"), ({"truth": 0.0, "negation": 6.0}, "reads negation")):
        probe = CCS(restarts=3).fit(synthetic(**size))
        report = polarity_report(probe, synthetic(**size, seed=1))
        assert report.findings[0].word == word and report.table["reads"].iloc[0] == word
        assert report.answer.startswith(f"{word} at array.0: ")
        assert repr(report).splitlines()[1].startswith(word)
    x = torch.ones(1, 40, 8)
    still = PairActivations.from_arrays(x, x, y=np.tile([1, 0], 20), pair_id=np.repeat(np.arange(20), 2))
    with pytest.warns(UserWarning, match="have the same states"):
        constant = CCS(restarts=2).fit(still)
    report = polarity_report(constant, still)
    assert report.findings[0].word == "reads nothing" and "as a constant probe" in report.answer
    assert "<b>reads nothing" in report._repr_html_()
