"""What a probe reads besides its own label: planted labels that it reads, one that it does not, and the
words for it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from probes import CRC, Activations, Estimate, MassMean, PairActivations
from probes.evidence.markers import marked_twins, marker_moves
from probes.evidence.method_reading import method_reading
from probes.evidence.opposites import HALVES, pairs_of_opposites
from probes.evidence.permutation import shuffled_null
from probes.evidence.reads import LabelsRead, labels_read, lowest_loss
from probes.testing import planted


def estimate(*values: float, reach: float = 0.02) -> Estimate:
    value = np.array(values)
    return Estimate(value, value - reach, value + reach, 100, 50)


def test_a_label_that_goes_with_the_probes_own_is_seen_and_an_unrelated_one_is_not():
    draw = np.random.default_rng(0)
    y, tag = np.arange(400) % 2, draw.permutation(np.arange(400) % 2)
    # The first site holds the tag and next to nothing of y, the second y alone.
    x = draw.normal(size=(2, 400, 6)).astype(np.float32)
    x[0, :, 0] += 5 * tag + 0.5 * y
    x[1, :, 1] += 5 * y
    acts = Activations.from_arrays(torch.from_numpy(x), y=y)
    fitted_on_both = dataclasses.replace(acts, y=np.where(draw.random(400) < 0.7, tag, y))
    upside_down, noise = 1 - tag, draw.permutation(y)
    read = labels_read(
        MassMean().fit(fitted_on_both), acts, {"tag": tag, "no tag": upside_down, "noise": noise}
    )
    assert read.rivals(0) == read.preferred(0) == ("tag", "no tag") and read.strongest(0) in ("tag", "no tag")
    assert read.rivals(1) == read.preferred(1) == ()
    assert read.own.value[0] < 0.7 < 0.95 < read.own.value[1] and 0.4 < read.others["noise"].value[1] < 0.6
    assert read.others["tag"].value[0] == pytest.approx(1 - read.others["no tag"].value[0])


def test_a_method_is_read_where_validation_labels_choose_beside_its_null_and_other_labels():
    draw = np.random.default_rng(0)
    y, tag = np.arange(400) % 2, draw.permutation(np.arange(400) % 2)
    x = draw.normal(size=(3, 400, 6)).astype(np.float32)
    x[0, :, 0] += 5 * tag
    x[1, :, 1] += 5 * y
    groups = np.arange(400) // 4
    acts = Activations.from_arrays(torch.from_numpy(x), y=y, groups=groups, columns={"tag": tag})
    parts = acts.split((0.5, 0.2, 0.3), seed=0)
    found = method_reading(MassMean(), parts, {"tag": parts[2].column("tag")}, 40, seed=1)
    assert found.site == acts.sites[1] and found.reads.own.value[found.at] > 0.95
    assert found.p == pytest.approx(1 / 41) and found.polarity is None and found.liked is None
    assert abs(found.reads.others["tag"].value[found.at] - 0.5) < 0.15
    null = shuffled_null(MassMean(), parts[0], parts[2], 40, 1)
    assert (found.null.by_site == null.by_site).all()

    drawn = draw.permutation(100)[groups] % 2
    nothing = method_reading(MassMean(), acts.with_y(drawn).split((0.5, 0.2, 0.3), seed=0), {}, 40)
    assert nothing.p > 0.05 and not nothing.reads.others


def test_a_method_of_pairs_has_a_polarity_report_and_a_site_that_its_own_loss_likes():
    acts, _ = planted(paired=True)
    parts = acts.split((0.5, 0.2, 0.3), seed=0)
    found = method_reading(CRC(), parts, {}, 20)
    assert found.polarity is not None and found.polarity.sites == tuple(acts.sites)
    assert found.liked == lowest_loss(found.probe)


@pytest.mark.parametrize(
    ("own", "other", "p", "baseline", "degenerate", "word"),
    [
        (0.95, 0.55, 0.01, 0.6, False, "reads its label"),
        (0.95, 0.55, 0.01, 0.93, False, "no more than a baseline"),
        (0.95, 0.97, 0.01, 0.93, False, "reads other labels"),
        (0.75, 0.2, 0.01, 0.6, False, "reads other labels"),
        (0.75, 0.3, 0.01, 0.6, False, "reads its label"),
        (0.95, 0.55, 0.06, 0.6, False, "at chance"),
        (0.51, 0.97, 0.01, 0.4, False, "at chance"),
        (0.95, 0.55, 0.01, 0.6, True, "degenerate"),
    ],
)
def test_the_word_for_a_reading_follows_from_its_numbers(own, other, p, baseline, degenerate, word):
    read = LabelsRead(estimate(0.5, own), {"other": estimate(0.5, other)})
    assert read.word(1, p, baseline, degenerate) == word


def test_without_other_labels_nothing_rivals_the_own_one():
    read = LabelsRead(estimate(0.9), {})
    assert read.strongest(0) is None and read.rivals(0) == read.preferred(0) == ()
    # An interval that comes near .5 is no clear reading, and less than a tenth is not preferred to chance.
    near = LabelsRead(estimate(0.5), {"other": estimate(0.61)})
    assert near.rivals(0) == () and near.preferred(0) == ("other",)
    assert LabelsRead(estimate(0.5), {"other": estimate(0.59)}).preferred(0) == ()


def test_the_site_a_loss_likes_best_has_a_direction_and_probes_without_a_loss_are_refused():
    pairs, _ = planted(paired=True)
    probe = CRC().fit(pairs)
    assert lowest_loss(probe) == int(probe.losses.argmin())
    best = int(probe.losses.argmin())
    flat = probe.units.clone()
    flat[best] = 0
    other = lowest_loss(dataclasses.replace(probe, units=flat))
    assert other != best and probe.losses[other] == probe.losses[[i for i in range(3) if i != best]].min()
    with pytest.raises(ValueError, match="keeps no training losses"):
        lowest_loss(dataclasses.replace(probe, losses=torch.full((3,), torch.nan)))


def test_a_probe_of_a_word_moves_under_the_marker_and_one_of_meaning_does_not():
    n, draw = 60, torch.Generator().manual_seed(0)
    statements = [f"a{i} is {word}kind ." for i in range(n) for word in ("", "not ")]
    y, held = torch.arange(2 * n) % 2, torch.arange(2 * n) % 2
    twins = marked_twins(statements, np.arange(2 * n) // 2, "ttt")

    def read(meaning: torch.Tensor, word: torch.Tensor) -> PairActivations:
        """Two sites: the first holds what a statement means, the second whether a word was put in."""
        signs = torch.stack([meaning, word]).float() * 2 - 1
        base = torch.randn(2, len(meaning), 5, generator=draw) * 0.1
        apart = torch.zeros(2, len(meaning), 5)
        apart[:, :, 0] = signs
        return PairActivations.from_arrays(base + apart, base - apart, y=meaning)

    rows = read(y, held)
    ones = torch.ones(n, dtype=torch.long)
    # A marker says nothing: the marked statement means what the plain one does.
    marked, noop = read(torch.cat([y[twins.plain]]), ones), read(y[twins.plain], ones)
    probe = CRC().fit(rows)
    meaning, word = (marker_moves(probe, site, rows, twins, marked, noop) for site in rows.sites)
    assert meaning.negation.mean() > 0.5 > 0.1 > meaning.marker.mean()
    assert word.negation.mean() > 0.5 and word.marker.mean() > 0.5 > 0.1 > word.marker_in_both.mean()
    assert len(meaning.marker) == len(twins) == n
    # Each change is between two texts of its own: here the marker in the plain statement turns its meaning
    # round.
    turned = marker_moves(probe, rows.sites[0], rows, twins, marked, read(1 - y[twins.plain], ones))
    assert turned.marker_in_both.mean() > 0.5 > 0.1 > turned.marker.mean()


def test_pairs_of_opposites_are_whole_and_one_of_each_is_true():
    table = pd.DataFrame(
        {
            "statement": [
                *("a is kind", "a is not kind", "b is old", "b isn't old", "c", "d", "e", "e"),
                *("f is", "f no", "h is", "h not", "h is", "i not"),
            ],
            "label": [1, 0, 0, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1, 0],
            "pair": [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6],
            "topic": ["x", "x", "x", "x", "y", "y", *["z"] * 8],
        }
    )
    found = pairs_of_opposites(table)
    # Pair 2 has one label twice, pair 3 one statement twice, 5 and 6 share a statement.
    assert found.pair_id.tolist() == [0, 0, 1, 1, 4, 4] and found.negated.tolist() == [0, 1, 0, 1, 0, 1]
    assert found.group.tolist() == found.pair_id.tolist() and list(found.index) == list(range(6))
    assert pairs_of_opposites(table, group="topic").group.tolist() == ["x"] * 4 + ["z"] * 2
    halves = pd.concat([table.iloc[::2], table.iloc[1::2]])
    assert pairs_of_opposites(halves, pair=HALVES).statement.tolist() == [
        "a is kind", "b is old", "f is", "a is not kind", "b isn't old", "f no",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="13 rows have no halves"):
        pairs_of_opposites(halves.iloc[:13], pair=HALVES)
    for column, names in (("pair", "pair"), ("statement", "pair"), ("label", "pair"), ("topic", HALVES)):
        holed = table.astype(object)
        holed.loc[3, column] = None
        with pytest.raises(ValueError, match=f"column '{column}' has 1 missing cells .first: row 3"):
            pairs_of_opposites(holed, pair=names, group="topic")
    with pytest.raises(ValueError, match="column 'statement' differs between a statement and its opposite"):
        pairs_of_opposites(table, group="statement")
    with pytest.raises(
        ValueError, match="no pair of the 14 rows has one statement of label 0 and one of label 1"
    ):
        pairs_of_opposites(table.assign(label=1))
