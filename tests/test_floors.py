"""Too few draws or units to reach a level is said as that, and not as nothing found."""

from dataclasses import replace

import numpy as np
import pytest

from probes import Activations, MassMean
from probes.controls import claim, shuffled_null
from probes.data.shuffling import exchangeable
from probes.evidence.permutation import Null
from probes.evidence.reads import LabelsRead
from probes.evidence.shortcuts import compare_tokens
from probes.metrics.estimates import Estimate
from probes.metrics.floors import cannot_tell, least_p, too_coarse


def planted(groups: int, shift: float = 4.0, seed: int = 0):
    """Groups of two rows of one label each, that lie far apart."""
    r = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), 2)
    y = group % 2
    x = r.normal(size=(len(y), 4)).astype("float32")
    x[:, 0] += shift * y
    return Activations.from_arrays(x, y, groups=group)


def test_the_least_p_is_one_draw_in_all_or_one_labelling():
    assert least_p(19) == 0.05 and least_p(999, 20) == 0.05 and least_p(9, 20) == 0.1
    assert not cannot_tell(least_p(19), 0.05) and cannot_tell(least_p(18), 0.05)
    assert "19 draws or more" in too_coarse(least_p(10), 0.05, 10)
    assert "more units" in too_coarse(least_p(999, 6), 0.05, 999)


def test_labellings_are_counted_as_they_are_exchanged():
    y = np.array([0, 0, 0, 1, 1, 1])
    rows = np.arange(6)
    assert exchangeable(y, rows, None).labellings() == pytest.approx(20)
    # Three groups of two rows of one label, and one group that mixes them.
    y, groups = np.array([0, 0, 0, 0, 1, 1, 0, 1]), np.array([0, 0, 1, 1, 2, 2, 3, 3])
    assert exchangeable(y, groups, None).labellings() == pytest.approx(3 * 2)
    assert exchangeable(np.arange(10_000) % 2, np.arange(10_000), None).labellings() == np.inf


@pytest.mark.parametrize(("groups", "shuffles"), [(40, 9), (6, 199)], ids=["few shuffles", "few groups"])
def test_a_null_too_coarse_says_so_and_a_finer_one_finds_what_is_there(groups, shuffles):
    null = shuffled_null(
        MassMean(), planted(groups), planted(groups if groups < 40 else 40, seed=1), shuffles
    )
    assert null.observed[0] > 0.95
    assert null.cannot_tell() == (shuffles == 9), "of 6 groups in both parts 20 x 20 labellings differ"
    assert null.cannot_tell(1e-3)
    fine = shuffled_null(MassMean(), planted(40), planted(40, seed=1), 99)
    assert not fine.cannot_tell() and fine.p_value <= 0.05


def test_a_claim_under_too_few_shuffles_could_not_be_told():
    train, test = planted(40), planted(40, seed=1)
    test = replace(test, ids=np.array([f"test {i}" for i in range(len(test))]), groups=test.groups + 100)
    few = claim(MassMean(), train, test, n=9, progress=False)
    assert not few.made and "from too few shuffles or units to tell" in few.sentence
    assert any("19 draws or more are needed" in reason for reason in few.why_not_more)
    assert claim(MassMean(), train, test, n=99, progress=False).made
    nothing = claim(
        MassMean(), planted(40, 0), replace(test, x=planted(40, 0, seed=2).x), n=99, progress=False
    )
    assert not nothing.made and "as chance would have it" in nothing.sentence


def test_a_reading_under_too_few_shuffles_is_not_called_chance():
    strong, weak = (
        LabelsRead(Estimate(np.array([v]), np.array([v - 0.05]), np.array([v + 0.05]), 100, 50), {})
        for v in (0.95, 0.5)
    )
    assert strong.word(0, 0.1, 0.6, least_p=0.1) == "too few shuffles"
    assert strong.word(0, 0.2, 0.6, least_p=0.01) == "at chance"
    assert weak.word(0, 0.1, 0.6, least_p=0.1) == "at chance", "its interval alone says so"


def test_tokens_of_few_groups_are_not_called_balanced():
    tokens = ["a", "a", "b", "b"]
    few = compare_tokens(tokens, [0, 0, 1, 1])
    assert few.word == "cannot tell" and not few and "give more groups" in few.sentence
    assert compare_tokens(tokens * 10, [0, 0, 1, 1] * 10).word == "different tokens"
    assert compare_tokens(["a", "b"] * 20, [0, 0, 1, 1] * 10).word == "balanced"


def test_other_choices_of_categories_too_few_to_tell_are_said():
    from experiments.detect_route_reading import Detection, claims

    class Report:
        def __init__(self):
            self.said = []

        def claim(self, sentence):
            self.said.append(sentence)

    class Found:
        categories = np.array([1.0])

    found, topics = {}, Null(np.full((39, 1), 0.55), np.array([1.0]))
    for name, others in (("few", 10), ("many", 99)):
        null = Null(np.full((others, 1), 0.5), np.array([1.0]))
        found[name] = Detection((), Found(), null, topics)  # pyright: ignore
    none = Null(np.full((99, 1), 0.5), np.array([0.4]))
    found["none"] = Detection((), Found(), none, topics)  # pyright: ignore
    found["blind"] = Detection((), Found(), none, none)  # pyright: ignore
    report = Report()
    claims(report, found)  # pyright: ignore
    said = "\n".join(report.said)
    assert "decodable in few, many, none (no policy is found across categories in none)" in said
    assert "blind: that categories are decodable is not shown: AUROC 0.40" in said
    assert "many: what separates" in said
    assert "few: whether a policy carries over" in said and "could not be told" in said


def test_classes_are_called_balanced_only_where_a_token_could_tell_little():
    rng, balanced = np.random.default_rng(0), {"telling, few": 0, "telling, many": 0, "alike, many": 0}
    for _ in range(40):
        for kind in balanced:
            y = np.arange(24 if kind.endswith("few") else 1000) % 2
            share = np.where(y == 1, 0.75, 0.25) if kind.startswith("telling") else 0.5
            tokens = np.where(rng.random(len(y)) < share, "a", "b").tolist()
            balanced[kind] += bool(compare_tokens(tokens, y, n=39))
    assert balanced["telling, few"] == balanced["telling, many"] == 0 and balanced["alike, many"] >= 32, (
        balanced
    )
    few = compare_tokens(["a", "b", "b", "a"] * 4 + ["a"], [*[0, 1] * 8, 0])
    assert few.word == "cannot tell" and "leave room for" in few.sentence
    assert compare_tokens(["a", "b", "b", "a"] * 4, [0, 1] * 8).word == "balanced", "made so"
