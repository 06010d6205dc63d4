"""Controls: each is shown on data where it must object and on data where it must not."""

import dataclasses
import unicodedata

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from probes import (
    CCS,
    CRC,
    LDA,
    MLP,
    Activations,
    AttentionPooled,
    Concatenated,
    Direction,
    Examples,
    Logistic,
    MassMean,
    Site,
    Transform,
    auroc,
    capture,
)
from probes.awareness import find_leaks, held_out
from probes.controls import (
    amnesic,
    brier,
    calibrate,
    calibration_error,
    claim,
    leave_one_out,
    online_codelength,
    random_weights,
    reliability,
    scores_under,
    seed_spread,
    selectivity,
    shuffled,
    shuffled_null,
    surface_baselines,
    transfer_matrix,
)
from probes.data.row_names import text_ids, text_keys
from probes.evidence.apart import among, copies_joined
from probes.evidence.claim_rule import ClaimNumbers, Use, reasons, ruled, sentence
from probes.evidence.rivals import Rivals
from probes.metrics.estimates import Estimate, auroc_difference, aurocs, delong
from probes.sweeps import sweep
from probes.testing import planted, planted_tokens


def world(signal=4.0, paired=False, seed=0):
    """Train and test rows of one planted world, no group in both."""
    train, _ = planted(seed, signal=signal, paired=paired)
    test, _ = planted(seed + 1, signal=signal, paired=paired)
    columns = test.columns | {"pair_id": test.columns["pair_id"] + 10_000}
    return train, dataclasses.replace(test, groups=test.groups + 10_000, columns=columns)


@pytest.mark.parametrize(
    "recipe", [MassMean(), MassMean(whiten=True), Logistic(), LDA(), Logistic(l2=(1e-3, 1e-1))], ids=repr
)
def test_shuffles_solved_together_equal_refits_one_by_one(recipe):
    train, test = world(1.0)
    rng = np.random.default_rng(0)
    labels = np.stack([shuffled(train.y, train.groups, rng) for _ in range(4)])
    found = scores_under(recipe, train, test, labels.astype(bool), progress=False)
    one_by_one = np.stack([recipe.fit(train.with_y(y)).score(test).numpy() for y in labels])
    # Fits stop within 1e-8 of the least loss, which leaves scores some 1e-4 of freedom where l2 is small.
    assert np.abs(found - one_by_one).max() < (5e-4 if isinstance(recipe, Logistic) else 1e-4)


@pytest.mark.parametrize("recipe", [CCS(restarts=2), CRC()], ids=repr)
def test_labels_that_only_give_the_sign_are_shuffled_without_refitting(recipe):
    train, test = world(paired=True)
    rng = np.random.default_rng(1)
    labels = np.stack([train.y, *(shuffled(train.y, train.groups, rng) for _ in range(6))])
    found = scores_under(recipe, train, test, labels.astype(bool))
    one_by_one = np.stack([recipe.fit(train.with_y(y)).score(test).numpy() for y in labels])
    assert np.abs(found - one_by_one).max() < 1e-5
    assert (np.sign(found[:, 0, 0]) != np.sign(found[0, 0, 0])).any(), (
        "some shuffle turns the probe round, or nothing was tested"
    )


def test_p_values_by_site_pay_for_looking_at_all_sites():
    train, test = world()
    null = shuffled_null(MassMean(), train, test, 40)
    assert (null.p_by_site == 1 / 41).all() and null.p_value == 1 / 41
    far = dataclasses.replace(null, observed=np.array([0.99, 0.5, 0.5]))
    assert far.p_by_site[0] == far.p_value == 1 / 41
    assert far.p_by_site[1] > 0.5, "the best of three shuffled sites mostly lies above .5"


def test_fast_aurocs_equal_the_estimate_with_ties_and_own_labels():
    rng = np.random.default_rng(0)
    scores, y = rng.integers(0, 5, (3, 4, 30)).astype(float), rng.permutation(np.arange(30) % 2)
    assert np.allclose(aurocs(scores, y), auroc(scores, y).value)
    own = np.stack([rng.permutation(y) for _ in range(3)])[:, None]
    assert np.allclose(aurocs(scores, own)[1], auroc(scores[1], own[1, 0]).value)


def test_difference_of_two_aurocs_is_paired():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    common = rng.normal(size=400) + y
    near, far = common + 0.05 * rng.normal(size=400), common - 1.5 * y
    assert auroc_difference(common, near, y).low < 0 < auroc_difference(common, near, y).high
    better = auroc_difference(common, far, y)
    assert better.low > 0.2 and better.value == pytest.approx(auroc(common, y).value - auroc(far, y).value)
    alone = auroc(common, y)
    paired = auroc_difference(common, near, y)
    assert paired.high - paired.low < (alone.high - alone.low) / 2, (
        "scores that agree differ with little error"
    )


def test_delong_agrees_with_the_definition_of_its_variance():
    rng = np.random.default_rng(1)
    y = np.arange(60) % 3 == 0
    a, b = rng.normal(size=60) + y, rng.normal(size=60) + 0.3 * y
    found, p = delong(a, b, y)
    # Structural components by their definition: every positive against every negative.
    wins = [(s[y][:, None] > s[~y][None]).astype(float) for s in (a, b)]
    v10, v01 = np.cov([w.mean(1) for w in wins]), np.cov([w.mean(0) for w in wins])
    var = v10 / y.sum() + v01 / (~y).sum()
    se = np.sqrt(var[0, 0] + var[1, 1] - 2 * var[0, 1])
    assert found.value == pytest.approx(wins[0].mean() - wins[1].mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * se, rel=1e-5)
    assert 0 < p < 1 and delong(a, a, y)[1] == 1.0


def test_claim_is_made_where_there_is_a_signal_and_not_where_there_is_none():
    for recipe, paired in ((MassMean(), False), (Logistic(), False), (CRC(), True)):
        made = claim(recipe, *world(paired=paired), what="truth", n=39, progress=False)
        assert made.level == "decodable" and made.sentence.startswith("truth is linearly decodable at array.")
        nothing = claim(recipe, *world(0.0, paired=paired), n=39, progress=False)
        assert nothing.level == "chance" and nothing.sentence.startswith("Nothing may be claimed")


def test_a_claim_beyond_the_text_needs_to_beat_the_text():
    train, test = world(2.0)
    rng = np.random.default_rng(0)
    empty = [[f"item {rng.integers(10**9)}" for _ in range(len(part))] for part in (train, test)]
    leaking = [
        [f"{t} {'yes' if label else 'no'}" for t, label in zip(texts, part.y, strict=True)]
        for texts, part in zip(empty, (train, test), strict=True)
    ]
    beyond = claim(MassMean(), train, test, texts=tuple(empty), n=39)
    assert beyond.level == "decodable beyond the text" and beyond.difference.low > 0
    same = claim(MassMean(), train, test, texts=tuple(leaking), n=39)
    assert same.level == "decodable" and any("reaches 1.00" in reason for reason in same.why_not_more)
    untexted = claim(MassMean(), train, test, baselines={"noise": rng.normal(size=len(test))}, n=39)
    assert (
        untexted.level == "decodable"
        and untexted.difference.low > 0
        and "no texts were given" in untexted.why_not_more[0]
    )
    oracle = claim(
        MassMean(), train, test, texts=tuple(empty), baselines={"random weights": test.y.astype(float)}, n=39
    )
    assert oracle.level == "decodable" and oracle.surface["random weights"].value == 1.0


@dataclasses.dataclass
class Edited:
    """An effect as a claim sees it: a word, and the direction that was edited."""

    moves: bool
    direction: Direction

    @property
    def sentence(self):
        return "Ablate(d) changes half of the answers" if self.moves else "No effect is shown: Ablate(d)."

    def verdict(self):
        return self

    def cosine_to(self, direction):
        return abs(self.direction.cosine_to(direction)) if self.direction.site == direction.site else None


def test_claim_of_use_rests_on_an_edit_of_this_direction_that_moves_behaviour():
    train, test = world()
    own = MassMean().fit(train).direction(train.sites[0])
    made, refused = (
        claim(MassMean(), train, test, effect=Edited(moves, own), n=39) for moves in (True, False)
    )
    assert made.used and "It is used: Ablate(d) changes half of the answers" in made.sentence
    assert refused.used is False and "No effect is shown" in refused.why_not_more[-1]
    assert claim(MassMean(), train, test, n=39).used is None
    for other in (own.random_like(0), dataclasses.replace(own, site=Site("resid_post", 99))):
        foreign = claim(MassMean(), train, test, effect=Edited(True, other), n=39)
        assert foreign.used is False and "not along this probe's direction" in foreign.why_not_more[-1]


def test_what_train_and_test_must_not_share():
    train, test = world()
    texts = ["a"] * len(train), ["a"] * len(test)
    with pytest.raises(ValueError, match="share 1 texts"):
        claim(MassMean(), train, test, texts=texts, n=5)
    with pytest.raises(ValueError, match="share 120 groups"):
        claim(MassMean(), train, train, n=5)
    pairs, other = world(paired=True)
    leaking = dataclasses.replace(other, columns=other.columns | {"pair_id": pairs.columns["pair_id"]})
    with pytest.raises(ValueError, match="share 120 pair_id"):
        claim(CRC(), pairs, leaking, n=5)
    with pytest.raises(ValueError, match="3 train texts were given for 240"):
        claim(MassMean(), train, test, texts=(["x"] * 3, texts[1]), n=5)


def test_arrays_wrapped_one_by_one_and_not_grouped_are_apart():
    train, test = world()
    ours, theirs = (Activations.from_arrays(part.x, part.y) for part in (train, test))
    grouped = [Activations.from_arrays(p.x, p.y, groups=[f"{n} {i}" for i in range(240)])
               for n, p in (("a", train), ("b", test))]  # fmt: skip
    made, same = (claim(MassMean(), *both, n=39, progress=False) for both in ((ours, theirs), grouped))
    assert made.sentence == same.sentence and made.made
    with pytest.raises(ValueError, match=r"100 of 240 test rows .*have the same numbers"):
        mixed = torch.cat([train.x[:, :100], test.x[:, 100:]], 1)
        claim(MassMean(), ours, Activations.from_arrays(mixed, test.y), n=9)
    with pytest.raises(ValueError, match="240 of 240 test rows"):
        claim(MassMean(), ours, ours, n=9)
    few = Activations.from_arrays(train.x[:, np.arange(240) % 8], train.y)  # rows that numbers tell little of
    with pytest.raises(ValueError, match="share 240 groups"):
        claim(MassMean(), few, theirs, n=9)


def test_groups_numbered_from_0_on_both_sides_are_said():
    train, test = world()
    numbers = np.arange(240) // 2
    train, test = (part.with_groups(numbers) for part in (train, test))
    with pytest.raises(ValueError, match=r"share 120 groups .*number theirs from 0 .*rows\.with_groups\("):
        claim(MassMean(), train, test, n=9)
    probe = MassMean().fit(train)
    with pytest.raises(ValueError, match=r"share a group .*number theirs from 0 .*rows\.with_groups\("):
        calibrate(probe, test)
    named = test.with_groups([f"cities {g}" for g in test.groups])
    assert claim(MassMean(), train, named, n=39, progress=False).made
    calibrate(probe, named)
    with pytest.raises(ValueError, match=r"of 240 rows .* share a group .* wrapped one by one$"):
        calibrate(MassMean().fit(named), named)


def twice(n=40, names=None):
    """The same rows of noise in two tables, with groups of their own and coin tosses for labels; ids are
    made from texts, or the user's own.
    """
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, n, 30)), rng.integers(0, 2, n)
    texts = [f"statement number {i} of {n}" for i in range(n)]
    return tuple(
        Activations.from_arrays(
            x,
            y,
            groups=[f"{side}{i}" for i in range(n)],
            ids=text_ids(texts) if names is None else [f"{side}{i}" for i in range(n)],
            columns={"key": [f"k{i % 5}" for i in range(n)]},
        )
        for side in "ab"
    )


ON_ROWS = {
    "claim": lambda a, b: claim(LDA(), a, b, n=9, progress=False),
    "null": lambda a, b: shuffled_null(LDA(), a, b, n=9, progress=False),
    "selectivity": lambda a, b: selectivity(LDA(), a, b, "key", seeds=1),
    "amnesic": lambda a, b: amnesic(MassMean(), a, b, remove=1),
    "spread": lambda a, b: seed_spread(MLP(steps=2, restarts=1), a, b, seeds=1),
}


@pytest.mark.parametrize("names", [None, "own"])
@pytest.mark.parametrize("ask", ON_ROWS.values(), ids=ON_ROWS)
def test_rows_that_were_trained_on_are_no_test_rows_whatever_their_groups_and_ids(ask, names):
    a, b = twice(names=names)
    with pytest.raises(ValueError, match=r"40 of 40 test rows .* are train rows too: they share a text"):
        ask(a, b)
    with pytest.raises(ValueError, match="10 of 20 test rows"):
        ask(a.rows(slice(0, 20)), b.rows(slice(10, 30)))
    ask(a.rows(slice(0, 20)), b.rows(slice(20, 40)))  # other rows of the same tables


def test_equal_numbers_mean_one_row_only_where_they_tell_rows_apart():
    a, b = twice(names="own")
    alike = a.x.clone()
    alike[:, 4:] = alike[:, :1]  # most texts begin with one word
    part = [dataclasses.replace(rows, x=alike) for rows in (a, b)]
    assert among(b, a).all() and not among(part[1], part[0]).any()
    embedded = [dataclasses.replace(rows, sites=(Site("resid_pre", 0),), x=rows.x[:1]) for rows in (a, b)]
    assert not among(embedded[1], embedded[0]).any(), "there all texts that end in one word are equal"
    tokens = [dataclasses.replace(rows, example=np.arange(40) // 2) for rows in (a, b)]
    shifted = tokens[1].x.clone()
    shifted[:, 1::2] += 1  # two tokens a text, of which the first is shared
    assert among(tokens[1], tokens[0]).all()
    assert not among(dataclasses.replace(tokens[1], x=shifted), tokens[0]).any()
    assert not among(dataclasses.replace(b, x=b.x[:, :, :10]), a).any(), "other widths are other rows"


def test_a_text_that_was_trained_on_is_left_out_of_every_transfer():
    a, b = twice(60)
    found = transfer_matrix(LDA(), {"a": a, "b": b}, progress=False)
    assert found.values["a"]["b"].n == found.values["a"]["a"].n == 18
    assert 0.2 < found.values["a"]["b"].value.max() < 0.8  # a coin toss, which a probe knows by heart at 1.0


def test_a_sweep_refuses_texts_on_both_sides_of_its_splits():
    a, b = twice(names="own")
    both = Activations.concat([a, b])
    with pytest.raises(ValueError, match="a sweep needs test rows of their own"):
        sweep(LDA(), both, seeds=1, shuffles=0, progress=False)
    whole = both.with_groups(np.arange(80) % 40)
    assert len(sweep(LDA(), whole, seeds=1, shuffles=0, progress=False).table)


def test_text_baselines_refuse_texts_that_they_were_fitted_on():
    texts = [f"the {word} number {i}" for i in range(12) for word in ("house", "river")]
    y = np.arange(24) % 2
    with pytest.raises(ValueError, match="24 of 24 test texts"):
        surface_baselines(texts, y, [text.upper() for text in texts], y)
    assert surface_baselines(texts[:12], y[:12], texts[12:], y[12:])["words"].value == 1.0


def test_groups_spelt_in_two_ways_are_one_group():
    train, test = world()
    cities = [f"Ville Élysée {i}" for i in range(120)]
    spelt = [unicodedata.normalize("NFD", c).lower() + " \u200b" for c in cities]
    ours, theirs = (np.repeat(names, 2) for names in (cities, spelt))
    with pytest.raises(ValueError, match=r"share 120 groups .such as 'Ville Élysée 0'"):
        claim(MassMean(), train.with_groups(ours), test.with_groups(theirs), n=9, progress=False)
    with pytest.raises(ValueError, match="share 120 groups"):
        claim(MassMean(), train.with_groups(np.arange(240) // 2 * 1.0), test.with_groups(
            [str(i // 2) for i in range(240)]), n=9)  # fmt: skip
    other = np.repeat([f"Ville Élisée {i}" for i in range(120)], 2)
    assert claim(MassMean(), train.with_groups(ours), test.with_groups(other), n=39, progress=False).made


def xor_categories():
    """Truth along one axis in three categories and reversed in the fourth."""
    acts, units = planted()
    kind = np.arange(len(acts)) // 2 % 4
    turned = acts.x.clone()
    centre = acts.x.mean(1, keepdim=True)
    along = torch.einsum("snd,sd->sn", acts.x - centre, units)
    flip = torch.from_numpy(kind == 3)
    turned -= 2 * (along * flip)[..., None] * units[:, None]
    return dataclasses.replace(acts, x=turned, columns=acts.columns | {"kind": np.array(list("abcd"))[kind]})


def test_a_category_where_truth_is_reversed_is_found_by_leaving_it_out():
    found = leave_one_out(MassMean(), xor_categories(), "kind", progress=False)
    name, worst = found.worst("array.0")
    assert name == "d" and worst.high < 0.1
    assert all(found.values[k].value.min() > 0.95 for k in "abc")
    assert found.table.shape == (4, 3) and found.skipped == ()
    with pytest.raises(ValueError, match="one value only"):
        leave_one_out(MassMean(), xor_categories().rows(np.arange(0, 240, 8)), "kind")


def test_what_is_left_out_is_not_trained_on_nor_is_its_group():
    acts = xor_categories().with_groups(np.arange(240) // 4)  # every group has rows of two kinds
    seen = []

    class Spy(MassMean):
        def fit(self, rows):
            seen.append(rows)
            return super().fit(rows)

    leave_one_out(Spy(), acts, "kind", progress=False)
    for name, rows in zip("abcd", seen, strict=True):
        out = acts.column("kind") == name
        assert (
            not np.isin(rows.ids, acts.ids[out]).any()
            and not np.isin(rows.groups, acts.groups[out]).any()
            and len(rows) == 120
        )


def test_transfer_matrix_keeps_groups_apart_and_shows_what_does_not_carry_over():
    acts = xor_categories()
    parts = {k: acts.rows(acts.column("kind") == k) for k in "ad"}
    table = transfer_matrix(MassMean(), parts, progress=False).table("array.1")
    assert table.loc["a", "a"] > 0.95 and table.loc["d", "d"] > 0.95
    assert table.loc["a", "d"] < 0.05 and table.loc["d", "a"] < 0.05
    twice = transfer_matrix(MassMean(), {"all": acts, "again": acts}, progress=False)
    assert twice.values["all"]["again"].n == twice.values["all"]["all"].n, (
        "rows whose group was trained on are not scored"
    )
    with pytest.raises(ValueError, match="0 of 168 rows of 'part' are left"):
        transfer_matrix(MassMean(), {"all": acts, "part": acts.split((0.7, 0.3), seed=0)[0]}, progress=False)
    with pytest.raises(ValueError, match="same sites"):
        transfer_matrix(MassMean(), {"a": acts, "b": acts[acts.sites[:1]]})


def keyed(memorable: bool):
    """Rows of 24 keys that occur in train and test; where `memorable`, hidden states hold which key it is."""
    rng = np.random.default_rng(0)
    keys, y = np.arange(480) % 24, rng.permutation(np.arange(480) % 2)
    x = rng.normal(size=(480, 40))
    x[:, 0] += 4 * y
    if memorable:
        x[:, 5:29] += 6 * np.eye(24)[keys]
    acts = Activations.from_arrays(x, y, columns={"key": keys})
    return acts.split((0.5, 0.5))


def test_selectivity_is_low_where_keys_can_be_memorised():
    plain, memorable = (selectivity(Logistic(l2=1e-3), *keyed(m), "key") for m in (False, True))
    assert plain.value[0] > 0.3 and memorable.value[0] < 0.2
    assert memorable.task.value[0] > 0.9, "the task itself is read well, which is why the control is needed"
    with pytest.raises(ValueError, match="share 0 values"):
        train, test = keyed(True)
        selectivity(
            Logistic(), train, dataclasses.replace(test, columns={"key": test.columns["key"] + 100}), "key"
        )


@pytest.mark.filterwarnings("ignore:MassMean at .* one coordinate drowns:probes.HookprobeWarning")
def test_labels_that_can_be_read_cost_fewer_bits_than_shuffled_ones():
    def code(signal):
        return online_codelength(MassMean(), world(signal)[0][["array.0"]], orderings=1, progress=False)

    found = code(4.0)
    assert found.compression[0] > 2 and found.control.mean() > 0.95 * found.uniform
    assert code(0.0).compression[0] < 1.1
    assert code(1.5).compression[0] < found.compression[0]
    # With more coordinates than rows a probe separates any labels it was fitted on, so rows that leaked into
    # the fit would cost next to nothing.
    wide = Activations.from_arrays(
        torch.randn(80, 200, generator=torch.Generator().manual_seed(0)), np.arange(80) % 2
    )
    assert online_codelength(Logistic(), wide, orderings=1, progress=False).compression[0] < 1.15


def test_one_direction_removed_ends_the_reading_and_random_ones_do_not():
    found = amnesic(MassMean(), *world(), remove=3)
    assert (found.by_site[0] > 0.95).all() and (found.by_site[-1] < 0.65).all()
    assert (found.random[-1] > 0.9).all() and (found.leace < 0.65).all()
    assert (found.removed_to_chance(0.65) > 0).all()


def test_calibrated_scores_are_probabilities_and_thresholds_hold():
    def rows(n, seed):
        rng = np.random.default_rng(seed)
        y = np.arange(n) % 2
        return Activations.from_arrays(rng.normal(size=(n, 3)) + 1.5 * y[:, None] * [1, 0, 0], y)

    probe = MassMean().fit(rows(400, 1))
    bad = torch.sigmoid(5 * probe.score(rows(4000, 3)))
    for method in ("platt", "isotonic"):
        good = calibrate(probe, rows(2000, 2), method).probability(rows(4000, 3))
        y = rows(4000, 3).y
        assert calibration_error(good, y).value[0] < 0.04 < 0.1 < calibration_error(bad, y).value[0]
        assert brier(good, y).value[0] < brier(bad, y).value[0]
    by_score = np.argsort(probe.score(rows(4000, 3))[0].numpy())
    assert (
        np.diff(calibrate(probe, rows(100, 2), "isotonic").probability(rows(4000, 3))[0][by_score]) >= 0
    ).all(), "rising, though few rows are not"
    calibrated = calibrate(probe, rows(2000, 2))
    threshold = calibrated.threshold(0.05)
    test = rows(4000, 4)
    alarms = (probe.score(test)[0].numpy() > threshold[0])[test.y == 0].mean()
    assert alarms == pytest.approx(0.05, abs=0.02)
    with pytest.raises(ValueError, match="at least 9999"):
        calibrated.threshold(1e-4)
    with pytest.raises(ValueError, match="between 0 and 1, got 0"):
        calibrated.threshold(0.0)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_calibration_against_the_scores_is_said_and_chance_is_not(method):
    def rows(seed, shift):
        rng, y = np.random.default_rng(seed), np.arange(200) % 2
        return Activations.from_arrays(rng.normal(size=(200, 3)) + shift * y[:, None] * [1, 0, 0], y)

    probe = MassMean().fit(rows(0, 1.5))
    with pytest.warns(UserWarning, match=r"array\.0, AUROC 0\.\d\d\) the scores are higher where y is 0"):
        calibrate(probe, rows(1, -1.5), method)
    for seed in range(2, 12):
        calibrate(probe, rows(seed, 0), method)


def test_platt_equals_logistic_regression_on_platts_targets():
    from probes.evidence.calibration import platt

    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    scores = torch.from_numpy(rng.normal(size=(2, 80)) + y)
    slope, offset = platt(scores, y)
    high, low = 41 / 42, 1 / 42
    target = np.where(y == 1, high, low)
    theirs = LogisticRegression(C=1e12, tol=1e-10).fit(
        np.tile(scores[1].numpy(), 2)[:, None], np.repeat([1, 0], 80), np.concatenate([target, 1 - target])
    )
    assert float(slope[1]) == pytest.approx(theirs.coef_[0, 0], rel=1e-3) and float(
        offset[1]
    ) == pytest.approx(theirs.intercept_[0], rel=1e-3)
    separable = platt(torch.tensor([[-1.0, -2.0, 1.0, 2.0]]), [0, 0, 1, 1])
    assert all(torch.isfinite(v).all() for v in separable)


def test_calibration_error_of_known_probabilities():
    y = np.array([0, 0, 1, 1] * 25)
    assert calibration_error(np.where(y == 1, 0.9, 0.1), y, bins=2).value == pytest.approx(0.1)
    assert calibration_error(np.full(100, 0.5), y, bins=1).value == pytest.approx(0)
    assert brier(np.full(100, 0.5), y).value == 0.25
    p, share, n = reliability(np.where(y == 1, 0.9, 0.1), y, bins=2)
    assert p.tolist() == pytest.approx([0.1, 0.9]) and share.tolist() == [0, 1] and n.tolist() == [50, 50]
    with pytest.raises(ValueError, match="between 0 and 1"):
        brier([1.2], [1])


def test_seed_spread_is_nil_where_the_optimum_is_one_and_refused_without_seeds():
    spread = seed_spread(CCS(restarts=4), *world(paired=True), seeds=3)
    assert spread.shape == (3, 3) and (spread > 0.95).all() and np.ptp(spread, axis=0).max() < 0.02
    with pytest.raises(ValueError, match="MassMean has no seed"):
        seed_spread(MassMean(), *world())


def test_style_counts_see_punctuation_that_words_do_not():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    texts = [
        "".join(rng.choice(list("abcdefgh "), 20)) + str(rng.integers(10**6)) + ("?!" if label else ".") * 1
        for label in y
    ]
    assert surface_baselines(texts[:100], y[:100], texts[100:], y[100:])["style"].value > 0.95


def test_random_weights_have_the_shape_and_nothing_of_the_training(make_model):
    llama = make_model()
    fresh = random_weights(llama, seed=1)
    assert (
        fresh.n_blocks == llama.n_blocks and fresh.width == llama.width and fresh.tokenizer is llama.tokenizer
    )
    ours, theirs = (dict(m.hf.named_parameters()) for m in (fresh, llama))
    assert ours.keys() == theirs.keys()
    assert not any(torch.equal(ours[k], theirs[k]) for k in ours if "proj" in k)
    again = dict(random_weights(llama, seed=1).hf.named_parameters())
    assert all(torch.equal(ours[k], again[k]) for k in ours)
    direction = Direction.from_vector(torch.ones(llama.width), "resid_post.0", llama)
    with pytest.raises(ValueError, match=r"but was used on '.*, untrained': their weights differ"):
        direction.check_model(fresh)


def test_labels_that_repeat_or_oppose_within_a_group_are_exchanged_as_units():
    """No truth in the data: wordings of one statement share a label, and rows of a statement resemble
    each other.
    """
    rng = np.random.default_rng(0)

    def rows(first):
        statement = np.repeat(np.arange(60), 6)
        x = rng.normal(size=(60, 8))[statement] + 0.3 * rng.normal(size=(360, 8))
        return Activations.from_arrays(
            x,
            rng.integers(0, 2, 60)[statement],
            groups=first + statement // 3,
            columns={"statement": first + statement},
        )

    draws = [(rows(0), rows(100)) for _ in range(60)]
    unit, row = (
        [shuffled_null(MassMean(), a, b, 39, progress=False, unit=u).p_value <= 0.05 for a, b in draws]
        for u in ("statement", None)
    )
    assert np.mean(unit) <= 0.12 < np.mean(row), "row by row the null is too narrow, by statement it holds"
    y, groups, pair = (
        np.array([1, 0, 0, 1, 1, 0, 1, 1, 0, 0]),
        np.repeat([0, 1], [6, 4]),
        np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
    )
    for seed in range(20):
        out = shuffled(y, groups, np.random.default_rng(seed), pair)
        assert (
            (out[:6].reshape(3, 2).sum(1) == 1).all()
            and out[6] == out[7]
            and out[8] == out[9]
            and out[6] != out[8]
        )
    with pytest.raises(ValueError, match="no column 'topic'"):
        shuffled_null(MassMean(), *draws[0], 5, unit="topic")


def between(low, high, n_groups=100):
    return Estimate((low + high) / 2, low, high, 240, n_groups)


def claim_numbers(**known):
    """What a probe gives that is decodable beyond the text."""
    rivals = Rivals({"words": between(0.5, 0.6)}, "words", between(0.1, 0.3))
    usual = {
        "what": "truth",
        "site": "array.0",
        "linear": True,
        "auroc": between(0.7, 0.9),
        "p": 0.025,
        "least_p": 0.025,
        "shuffles": 39,
        "n_sites": 3,
        "null_level": 0.6,
        "rivals": rivals,
        "with_texts": True,
        "with_baselines": True,
        "use": None,
        "alpha": 0.05,
        "margin": 0.05,
    }
    return ClaimNumbers(**usual | known)


BARE = {"rivals": Rivals({}), "with_texts": False, "with_baselines": False}


@pytest.mark.parametrize(
    ("known", "level"),
    [
        ({}, "decodable beyond the text"),
        (BARE, "decodable"),
        ({"with_texts": False}, "decodable"),
        ({"rivals": Rivals({"words": between(0.5, 0.6)}, "words", between(0.0, 0.3))}, "decodable"),
        ({"rivals": Rivals({"words": between(0.5, 0.6)}, "words", between(0.01, 0.08))}, "decodable"),
        ({"p": 0.051}, "chance"),
        ({"auroc": between(0.5, 0.9)}, "chance"),
        ({"auroc": Estimate(0.8, float("nan"), float("nan"), 240, 100)}, "chance"),
        ({"auroc": between(0.7, 0.9, n_groups=9)}, "chance"),
        ({"auroc": between(0.7, 0.9, n_groups=10)}, "decodable beyond the text"),
    ],
)
def test_a_claim_needs_both_the_permutation_and_the_interval_and_enough_groups(known, level):
    assert ruled(claim_numbers(**known)).word == level
    if level == "chance":  # however small the rivals are, and whatever an edit does
        used = ruled(claim_numbers(**known, use=Use("Add(d) changes answers.", True, 1.0)))
        assert (
            used.word == "chance"
            and ruled(claim_numbers(**known | BARE)).word == "chance"
            and "It is used" not in sentence(used)
        )
        assert sentence(used).startswith("Nothing may be claimed") and reasons(used)[-1].endswith(
            "nothing shows that what it changed is truth"
        )
    else:
        assert sentence(ruled(claim_numbers(**known))).startswith("truth is linearly decodable at array.0")


@pytest.mark.parametrize(
    ("use", "used", "why"),
    [
        (Use("Add(d) changes answers.", True, 0.95), True, ""),
        (Use("Add(d) changes answers.", True, 0.94), False, "not along this probe's direction"),
        (Use("Add(d) changes answers.", True, None), False, "not along this probe's direction"),
        (Use("No effect is shown.", False, 1.0), False, "No effect is shown."),
    ],
)
def test_use_is_claimed_of_an_edit_along_the_direction_that_moves_behaviour(use, used, why):
    found = ruled(claim_numbers(use=use))
    assert ("It is used" in sentence(found)) == used and why in " ".join(reasons(found))


def test_the_site_of_a_claim_is_chosen_on_train_groups_alone():
    train, test = world()
    dead = train.x.clone()
    dead[0] = torch.randn(train.x[0].shape, generator=torch.Generator().manual_seed(1))
    only_test = claim(MassMean(), dataclasses.replace(train, x=dead), test, n=19)
    assert str(only_test.site) != "array.0"
    # In the test rows only the first site holds the signal: a choice made there would take it.
    swapped = test.x.clone()
    swapped[1:] = torch.randn(swapped[1:].shape, generator=torch.Generator().manual_seed(2))
    dim = train.x.clone()
    dim[0] = 0.5 * dim[0] + 1.5 * torch.randn(dim[0].shape, generator=torch.Generator().manual_seed(3))
    assert (
        str(
            claim(
                MassMean(), dataclasses.replace(train, x=dim), dataclasses.replace(test, x=swapped), n=19
            ).site
        )
        != "array.0"
    )


def test_texts_in_another_order_than_the_rows_are_refused():
    train, test = world()
    texts = [[f"{name} {i}" for i in range(240)] for name in ("a", "b")]
    rows = [
        dataclasses.replace(part, ids=np.asarray(text_ids(t)))
        for part, t in zip((train, test), texts, strict=True)
    ]
    assert claim(MassMean(), *rows, texts=tuple(texts), n=19).made
    with pytest.raises(ValueError, match="the train texts are not in the order"):
        claim(MassMean(), *rows, texts=(texts[0][::-1], texts[1]), n=9)
    for foreign in (texts[::-1], (texts[0], [f"c {i}" for i in range(240)])):
        with pytest.raises(ValueError, match="240 of 240 are not the row's"):
            claim(MassMean(), *rows, texts=tuple(foreign), n=9)
    one = [*texts[0][:-1], "a text of nobody"]
    with pytest.raises(ValueError, match=r"1 of 240 are not the row's .row 239"):
        claim(MassMean(), *rows, texts=(one, texts[1]), n=9)
    # Ids of the user's own say nothing of texts; Examples bring theirs along.
    own = [dataclasses.replace(r, ids=np.array([f"{k}{i}" for i in range(240)])) for k, r in enumerate(rows)]
    examples = [Examples(t, ids=r.ids) for t, r in zip(texts, own, strict=True)]
    assert claim(MassMean(), *own, texts=tuple(examples), n=19).made
    for wrong in (examples[::-1], [e.rows(np.arange(240)[::-1]) for e in examples]):
        with pytest.raises(ValueError, match="the train texts are not in the order"):
            claim(MassMean(), *own, texts=tuple(wrong), n=9)
    # What was read is known by the keys of the texts, whatever the ids; texts in another form pass.
    read = [dataclasses.replace(r, text_keys=text_keys(t)) for t, r in zip(texts, own, strict=True)]
    assert claim(MassMean(), *read, texts=tuple(texts), n=19).made
    assert claim(MassMean(), *read, texts=([f"s {t}" for t in texts[0]], texts[1]), n=19).made
    for wrong in ((texts[0][::-1], texts[1]), texts[::-1], (one, texts[1])):
        with pytest.raises(ValueError, match="the train texts are not in the order"):
            claim(MassMean(), *read, texts=tuple(wrong), n=9)
    named = [
        dataclasses.replace(r, columns=r.columns | {"text": np.array(t)})
        for r, t in zip(rows, texts, strict=True)
    ]
    assert set(claim(MassMean(), *named, texts="text", n=9).surface) == {
        *("length", "style", "words", "characters", "first and last words"),
        *("one word", "two words", "order of words", "trees", "nearest texts"),
        *("a few characters", "place of a word", "numbers and repetitions"),
    }
    with pytest.raises(ValueError, match=r"shape \(3, 240\)"):
        claim(MassMean(), train, test, baselines={"all sites": MassMean().fit(train).score(test)}, n=9)


@pytest.mark.parametrize("recipe", [MassMean(), CRC()], ids=repr)
def test_the_same_rows_read_elsewhere_are_a_baseline(recipe):
    """What an untrained network tells as well is not the model's own; what it cannot tell is no hindrance."""
    train, test = world(6.0, paired=recipe == CRC())
    empty = [["first"] * len(train), ["second"] * len(test)]
    copies = {
        level: tuple(elsewhere(rows, level) for rows in (train, test)) for level in ("as much", "nothing")
    }
    found = {
        level: claim(
            recipe, train, test, texts=tuple(empty), baselines={"untrained": parts}, n=39, progress=False
        )
        for level, parts in copies.items()
    }
    assert found["as much"].level == "decodable" and found["nothing"].level == "decodable beyond the text"
    assert (
        found["as much"].surface["untrained"].value > 0.95
        and abs(found["nothing"].surface["untrained"].value - 0.5) < 0.15
    )
    assert "<td>untrained</td>" in found["nothing"]._repr_html_()
    # The site is chosen within the train rows, as the claim's own is: only one of the sites reads anything.
    one_site = {"untrained": tuple(elsewhere(rows, "one site") for rows in (train, test))}
    assert (
        claim(recipe, train, test, baselines=one_site, n=9, progress=False).surface["untrained"].value > 0.95
    )


def elsewhere(rows, level):
    """The same rows with other hidden states: the same again, noise (wide enough to be learnt by
    heart), or noise at all sites but the last.
    """
    random = torch.Generator().manual_seed(int(rows.groups[0]))

    def states(x):
        noise = torch.randn(x.shape, generator=random)
        return {
            "as much": x.clone(),
            "nothing": torch.randn(*x.shape[:2], 480, generator=random),
            "one site": torch.cat([noise[:-1], x[-1:]]),
        }[level]

    fields = ("yes", "no") if hasattr(rows, "yes") else ("x",)
    return dataclasses.replace(rows, **{name: states(getattr(rows, name)) for name in fields})


def test_a_baseline_of_other_rows_is_refused():
    train, test = world()
    backwards = train.rows(np.arange(len(train))[::-1])
    with pytest.raises(
        ValueError, match=r"the train rows of baseline 'untrained'.*are not those of the claim"
    ):
        claim(MassMean(), train, test, baselines={"untrained": (backwards, test)}, n=9)
    with pytest.raises(ValueError, match="the test rows of baseline 'untrained'"):
        claim(MassMean(), train, test, baselines={"untrained": (train, train)}, n=9)
    with pytest.raises(ValueError, match="give a tuple, the train rows and the test rows"):
        claim(MassMean(), train, test, baselines={"untrained": test}, n=9)


def test_a_baseline_that_ranks_upside_down_is_a_strong_baseline():
    train, test = world(2.0)
    found = claim(MassMean(), train, test, baselines={"reversed": -test.y.astype(float)}, n=19)
    assert found.surface["reversed"].value == 1.0 and found.level == "decodable"


def test_probes_with_one_score_for_all_sites_are_named_so_and_token_probes_refused():
    train, test = world()
    found = claim(Concatenated(), train, test, n=19)
    assert (
        found.site == "all sites"
        and "linearly decodable at all sites" in found.sentence
        and "best of 1 sites" in found.sentence
    )
    assert calibrate(Concatenated().fit(train), test).probability(test).shape == (1, 240)
    with pytest.raises(TypeError, match="AttentionProbe gives scores of shape"):
        calibrate(AttentionPooled().fit(planted_tokens()), planted_tokens(1))


def test_directions_that_are_not_orthogonal_are_removed_all_the_same():
    rng = np.random.default_rng(0)

    def rows():
        y = rng.integers(0, 2, 400)
        x = rng.normal(size=(400, 8)) * [1, 3, 1, 1, 1, 1, 1, 1]
        x[:, :2] += 2.0 * (2 * y - 1)[:, None]
        return Activations.from_arrays(x, y)

    found = amnesic(Logistic(), rows(), rows(), remove=7)
    # Seven of eight dimensions gone leave one; taken off one after the other they would come back.
    assert found.by_site[0, 0] > 0.9 and found.by_site[4:, 0].max() < 0.65
    with pytest.raises(TypeError, match="MLPProbe has none"):
        amnesic(MLP(hidden=2, restarts=1), rows(), rows())


def test_ties_in_probability_do_not_depend_on_the_order_of_rows():
    y = np.arange(100) % 2
    for label in (y, np.sort(y)):
        assert calibration_error(np.full(100, 0.5), label).value == pytest.approx(0)
        assert [len(v) for v in reliability(np.full(100, 0.5), label)] == [1, 1, 1]


def test_one_group_has_no_interval():
    e = auroc([0.1, 0.9, 0.4, 0.8], [0, 1, 0, 1], groups=["a"] * 4)
    assert e.value == 1.0 and np.isnan(e.low) and np.isnan(e.high)
    with pytest.raises(ValueError, match="no split of 2 groups"):
        claim(
            MassMean(),
            *(
                dataclasses.replace(a, groups=a.y + k, columns={})
                for k, a in zip((0, 10), world(), strict=True)
            ),
            n=9,
        )


def test_an_unbalanced_label_that_cannot_be_read_costs_its_entropy():
    rng = np.random.default_rng(0)
    acts = Activations.from_arrays(rng.normal(size=(400, 6)), np.arange(400) % 10 == 0)
    assert online_codelength(MassMean(), acts, orderings=1, progress=False).compression[0] == pytest.approx(
        1, abs=0.2
    )


def test_a_direction_at_one_large_coordinate_is_removed_whatever_the_scaling():
    """Hidden states have coordinates that dwarf the others; scaled anew after each removal, such a
    coordinate would never go.
    """
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    x = rng.normal(size=(600, 32))
    x[:, 0] = 100 * (2 * (2 * y - 1) + 0.5 * rng.normal(size=600))
    parts = Activations.from_arrays(x, y).split((0.7, 0.3), seed=0)
    for recipe in (MassMean(), Logistic(), LDA(prepare="zscore")):
        found = amnesic(recipe, *parts, remove=3)
        assert (
            found.by_site[0, 0] > 0.99
            and found.by_site[-1, 0] < 0.65
            and found.random[-1, 0] > 0.95
            and found.leace[0] < 0.65
        )


def test_when_all_directions_are_gone_nothing_is_read():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 400)
    parts = Activations.from_arrays(rng.normal(size=(400, 2)) + 2 * y[:, None] * [1, 0], y).split((0.5, 0.5))
    for recipe in (MassMean(), Logistic()):
        found = amnesic(recipe, *parts, remove=4)
        assert (
            found.by_site.shape == (3, 1)
            and found.by_site[0, 0] > 0.85
            and found.by_site[-1, 0] == 0.5 == found.random[-1, 0]
        )


def test_a_claim_says_which_of_its_conditions_failed():
    rng = np.random.default_rng(0)
    y, groups = rng.integers(0, 2, 120), np.arange(120) % 12
    x = rng.normal(size=(120, 5)) + 20 * y[:, None] * [1, 0, 0, 0, 0]
    few = claim(
        MassMean(), *Activations.from_arrays(x, y, groups=groups).split((0.5, 0.5)), n=99, progress=False
    )
    assert few.level == "chance" and "too few groups" in few.sentence and "as chance" not in few.sentence
    assert few.why_not_more == ("6 held-out groups cannot carry an interval; at least 10 are asked",)
    with pytest.raises(ValueError, match="n must be at least 1"):
        claim(MassMean(), *world(), n=0)


def test_an_edit_that_moved_behaviour_says_nothing_of_a_chance_reading():
    train, test = world(0.0)
    edit = Edited(True, MassMean().fit(train).direction(train.sites[0]))
    found = claim(MassMean(), train, test, effect=edit, n=39, what="truth")
    assert (
        found.level == "chance"
        and "It is used" not in found.sentence
        and "nothing shows that what it changed is truth" in found.why_not_more[-1]
    )


def test_a_pair_is_never_torn_by_a_split():
    acts, _ = planted(paired=True)
    torn = dataclasses.replace(acts, groups=np.arange(len(acts)))
    with pytest.raises(ValueError, match=r"groups tear \d+ pairs apart.*groups='pair_id'"):
        torn.split()
    a, b = torn.split(groups="pair_id")
    assert not np.intersect1d(a.columns["pair_id"], b.columns["pair_id"]).size
    # A statement and its opposite in different categories: the opposite is not trained on either.
    seen = []

    class Spy(CRC):
        def fit(self, train):
            seen.append(train.columns["pair_id"])
            return super().fit(train)

    mixed = dataclasses.replace(
        torn,
        columns=torn.columns
        | {"part": np.array(["a", "b", "b", "a", "c", "c", "c", "c"] * (len(acts) // 8))},
    )
    leave_one_out(Spy(), mixed, "part", progress=False)
    for part, trained in zip("abc", seen, strict=True):
        assert not np.isin(trained, mixed.columns["pair_id"][mixed.columns["part"] == part]).any()


def test_a_probe_on_all_sites_together_has_one_line_in_every_control():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    x = rng.normal(size=(3, 200, 10))
    x[:, :, 0] += 2 * y - 1
    acts = Activations.from_arrays(
        x, y, groups=np.arange(200) % 40, columns={"part": np.arange(200) % 40 // 10}
    )
    left = leave_one_out(Concatenated(), acts, "part", progress=False)
    assert list(left.table.columns) == ["all sites"] and left.worst("all sites")[0] in "0123"
    carried = transfer_matrix(Concatenated(), dict(zip("ab", acts.split(), strict=True)), progress=False)
    assert carried.table("all sites").to_numpy().min() > 0.7
    with pytest.raises(ValueError, match=r"no scores at array\.1; there are those at all sites"):
        carried.table("array.1")
    assert "at all sites" in repr(online_codelength(Concatenated(), acts, orderings=1, progress=False))


def test_leaving_out_what_only_one_class_has_is_named():
    acts = world()[0]
    sorted_by_class = dataclasses.replace(
        acts,
        groups=np.arange(len(acts)),
        columns={"part": np.where(acts.y == 1, "a", np.where(np.arange(len(acts)) % 4 == 0, "a", "b"))},
    )
    with pytest.raises(ValueError, match="without part='a' 60 rows of one class are left"):
        leave_one_out(MassMean(), sorted_by_class, "part", progress=False)


def test_a_fitted_probe_is_not_fitted_again():
    fits = []

    class Counted(MLP):
        def fit(self, acts):
            fits.append(len(acts))
            return super().fit(acts)

    train, test = world()
    recipe = Counted(hidden=2, restarts=1, steps=5)
    probe = recipe.fit(train)
    null = shuffled_null(recipe, train, test, 3, progress=False, probe=probe)
    assert len(fits) == 4 and null.observed.tolist() == aurocs(probe.score(test).numpy(), test.y).tolist()


def test_a_probe_of_another_recipe_or_of_other_rows_is_not_the_observed_one():
    train, test = world()
    recipe = MLP(hidden=2, restarts=1, steps=5)
    for rows in (train, test):
        with pytest.raises(ValueError, match=r"the probe is what MassMean\(.* gave, and not MLP\("):
            shuffled_null(recipe, train, test, 2, progress=False, probe=MassMean().fit(rows))
    named = [dataclasses.replace(part, ids=np.array([f"{k}{i}" for i in range(len(part))]))
             for k, part in enumerate((train, test))]  # fmt: skip
    for part, other in ((train, test), named):
        for wrong in (other, part.rows(slice(0, 200))):
            with pytest.raises(ValueError, match=r"give probe=recipe.fit.train., or leave it out"):
                shuffled_null(MassMean(), part, other, 2, progress=False, probe=MassMean().fit(wrong))
        null = shuffled_null(MassMean(), part, other, 2, progress=False, probe=MassMean().fit(part))
        assert (
            null.observed.tolist()
            == shuffled_null(MassMean(), part, other, 2, progress=False).observed.tolist()
        )


@pytest.mark.parametrize("nothing", [None, np.nan])
def test_missing_cells_are_no_category(nothing):
    acts, _ = planted()
    topics = np.array(list("abcd"), dtype=object)[np.arange(len(acts)) // 2 % 4]
    holed = topics.copy()
    holed[5] = nothing
    whole, with_hole = (dataclasses.replace(acts, columns={"topic": c}) for c in (topics, holed))
    by = {
        "leave_one_out": lambda rows: leave_one_out(MassMean(), rows, "topic", progress=False),
        "held_out": lambda rows: held_out(MassMean(), rows, by="topic"),
        "centring": lambda rows: MassMean(prepare=Transform(centre="mean", by="topic")).fit(rows),
        "groups": lambda rows: auroc(np.arange(len(rows)), rows.y, rows.columns["topic"]),
    }
    for ask in by.values():
        with pytest.raises(ValueError, match=r"(column 'topic' has|groups lack) 1 .*(row 5|None or NaN)"):
            ask(with_hole)
        ask(whole.with_groups(topics))


@pytest.mark.parametrize("column", ["original", "cell", "context"])
def test_rows_without_an_original_are_not_joined_as_one(column):
    texts = [f"text {word} stands here for {i} and again {word}" for i, word in enumerate("abcdefgh")]
    columns = {"original": texts, "cell": ["x", "y"] * 4, "context": ["e", "d"] * 4}
    assert len(np.unique(find_leaks(Examples(texts, columns=columns)).groups)) == 8
    with pytest.raises(ValueError, match=f"column '{column}' has 4 missing cells .first: row 1"):
        find_leaks(Examples(texts, columns=columns | {column: [columns[column][0], None] * 4}))


def test_copies_among_rows_of_a_claim_count_once():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = (rng.normal(size=(60, 8)) + 3 * y[:, None]).astype("f4")
    train = Activations.from_arrays(x, y, ids=[f"a{i}" for i in range(60)])
    z = (rng.normal(size=(60, 8)) + 3 * y[:, None]).astype("f4")
    few = Activations.from_arrays(
        np.tile(z[:6], (10, 1)), np.tile(y[:6], 10), ids=[f"z{i}" for i in range(60)]
    )
    made = claim(MassMean(), train, few, n=99, progress=False)
    assert made.auroc.n_groups == 6 and not made.made
    assert "6 held-out groups cannot carry an interval" in repr(made)
    twice = Activations.from_arrays(np.tile(z, (2, 1)), np.tile(y, 2), ids=[f"z{i}" for i in range(120)])
    assert claim(MassMean(), train, twice, n=99, progress=False).auroc.n_groups == 60
    # Counts that many rows share, and rows of their own, are taken as they come.
    own = Activations.from_arrays(z, y, ids=[f"z{i}" for i in range(60)])
    assert claim(MassMean(), train, own, n=99, progress=False).auroc.n_groups == 60
    assert copies_joined(Activations.from_arrays(z[:, :2].round(), y)).groups.tolist() == list(range(60))


def test_tokens_that_begin_captured_texts_alike_are_no_copies(make_model):
    texts = [f"the {a} {b}" for a in ("red", "tall", "old") for b in ("tree", "house", "river", "stone")]
    acts = capture(make_model(), Examples(texts, y=[0, 1] * 6), "resid_post.1", "first", progress=False)
    assert copies_joined(acts) is acts
