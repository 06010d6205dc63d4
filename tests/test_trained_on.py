"""Probes of the corners beside probes of all cells, a coin's letters, and shifts within groups: planted
answers for each."""

import numpy as np
import pytest
import torch

from probes import Activations, Examples, Logistic, auroc
from probes.awareness import crossed_prompts, fit_awareness
from probes.awareness.coin import letters_by_coin
from probes.awareness.trained_on import corners, from_all_cells, from_corners
from probes.awareness.versions import version_numbers
from probes.metrics.paired import shift_within_groups


def states_of(prompts: Examples, context: float, form: float, seed: int) -> Activations:
    """Hidden states of one site whose first axis holds the context and whose second the format."""
    x = torch.randn(len(prompts), 10, generator=torch.Generator().manual_seed(seed))
    x[:, 0] += context * torch.from_numpy(prompts.column("context") == "evaluation")
    x[:, 1] += form * torch.from_numpy(prompts.column("format") == "benchmark")
    columns = {name: prompts.column(name) for name in ("context", "format", "fold")}
    return Activations.from_arrays(x, y=prompts.y, groups=prompts.groups, columns=columns)


@pytest.fixture(scope="module")
def halves():
    payloads = [f"say what {a} {b} is" for a in "abcdefgh" for b in "klmnopqr"]
    return crossed_prompts(payloads, seed=1).split((0.5, 0.5), seed=0)


def test_a_probe_of_the_corners_takes_the_format_along_and_one_of_all_cells_does_not(halves):
    known, test = halves
    assert corners(known).mean() == 0.5
    both = {(c, f) for c, f in zip(known.column("context"), known.column("format"), strict=True)}
    kept = known.rows(corners(known))
    there = {(c, f) for c, f in zip(kept.column("context"), kept.column("format"), strict=True)}
    assert len(both) == 4 and there == {("evaluation", "benchmark"), ("deployment", "casual")}

    seen, acts = states_of(known, 5, 5, 0), states_of(test, 5, 5, 1)
    published = from_corners(Logistic(), known, seen, test, acts, n_boot=100)
    fair = from_all_cells(Logistic(), test, acts, n_boot=100)
    assert (
        published.probe.verdict.word == "reads both"
        and fair.verdict.word == "reads context"
        and bool(fair.verdict)
    )
    # The bare text of these prompts shows the format too, and passes no gate.
    assert not published.text.verdict and "characters" in published.probe.surface
    assert fair.transfer and fair.folds, "one format alone and held-out vocabularies stand beside"


def test_states_without_context_open_no_gate_whatever_they_are_fitted_on(halves):
    known, test = halves
    seen, acts = states_of(known, 0, 5, 0), states_of(test, 0, 5, 1)
    assert from_corners(Logistic(), known, seen, test, acts, n_boot=100).probe.verdict.word == "reads format"
    nothing = [from_all_cells(Logistic(), test, states_of(test, 0, 0, k), n_boot=100) for k in range(3)]
    assert not any(t.verdict for t in nothing) and nothing[0].verdict.word == "chance"


def test_probes_of_one_format_stand_beside_and_do_not_carry_over_where_the_other_turns_the_context_round(
    halves,
):
    _, test = halves
    acts = states_of(test, 0, 0, 1)
    x = acts.x[0].clone()
    side = torch.from_numpy(np.where(test.column("format") == "benchmark", 1.0, -1.0)).float()
    x[:, 0] += 6 * side * torch.from_numpy(test.column("context") == "evaluation")
    columns = dict(acts.columns)
    turned = Activations.from_arrays(x, y=acts.y, groups=acts.groups, columns=columns)
    transfer = from_all_cells(Logistic(), test, turned, n_boot=20).transfer
    assert transfer["benchmark", "benchmark"].value > 0.95 and transfer["benchmark", "casual"].value < 0.05


def test_one_vocabulary_is_not_held_out(halves):
    _, test = halves
    one = test.rows(test.column("fold") == test.column("fold")[0])
    assert not from_all_cells(Logistic(), one, states_of(one, 5, 0, 1), n_boot=20).folds


def test_a_shift_within_groups_is_free_of_what_groups_differ_by():
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 4)
    first = np.tile([True, False, True, False], 40)
    level = draw.normal(size=40)[groups] * 100
    noise = draw.normal(size=160) * 0.1
    found = shift_within_groups(level + 2.0 * first + noise, first, groups)
    assert found.value == pytest.approx(2.0, abs=0.1) and found.low > 1.9 and found.n == found.n_groups == 40
    null = shift_within_groups(level + noise, first, groups)
    assert null.low < 0 < null.high and abs(null.value) < 0.1
    with pytest.raises(ValueError, match="group 3 has rows of one kind only"):
        shift_within_groups(level, first & (groups != 3), groups)


def test_a_letter_that_a_coin_chose_is_read_and_nothing_is_without_it(make_model):
    plain = Examples(
        [f"red tree is {w} {v}" for w in ("old", "tall", "small") for v in ("blue", "alpha", "beta", "gamma")]
        * 2,
        groups=np.arange(24) // 2,
        ids=np.arange(24),
    )
    found = letters_by_coin(make_model(), Logistic(), plain, ("yes", "no"), "resid_post.1", n_boot=100)
    assert found.with_answer.value > 0.95 and found.artefact and 0.2 < found.without_answer.value < 0.8


def test_the_numbers_of_a_frozen_probe_are_those_of_its_scores_and_few_prompts_give_no_recall(make_model):
    model = make_model()
    texts = [
        f"{a} {b} {w} ."
        for a in ("red tree", "blue house", "old stone")
        for b in ("is tall", "is small")
        for w in ("yes", "no")
    ]
    many = Examples(texts * 20, y=[0, 1] * 120, groups=np.arange(240) // 12, ids=np.arange(240))
    train, calibration, test = many.split((0.3, 0.2, 0.5), seed=0)
    probe = fit_awareness(model, train, calibration, "resid_post.1", "logistic")
    few = version_numbers(probe, model, test, n_boot=50)
    z = probe.score_texts(model, test)
    assert (
        few.auroc.value == auroc(z, test.y, test.groups).value > 0.95 and few.recall is None and few.settled
    )
    assert (test.y == 0).sum() < 100 <= (many.y == 0).sum()
    enough = version_numbers(probe, model, many, n_boot=50)
    assert enough.recall is not None and enough.recall.value > 0.9
    turned = np.isin(calibration.groups, np.unique(calibration.groups)[:2])
    half_wrong = calibration.with_y(np.where(turned, 1 - calibration.y, calibration.y))
    unsettled = fit_awareness(model, train, half_wrong, "resid_post.1", "logistic")
    assert not version_numbers(unsettled, model, test, n_boot=50).settled


def test_texts_asked_as_a_chat_are_messages_of_a_user_with_all_else_as_it_was():
    plain = Examples(["a b", "c"], y=[1, 0], groups=["x", "y"], columns={"k": [1, 2]})
    asked = plain.as_chat()
    assert asked.texts == ([{"role": "user", "content": "a b"}], [{"role": "user", "content": "c"}])
    assert asked.ids.tolist() == plain.ids.tolist() and asked.groups.tolist() == ["x", "y"]
    assert asked.y.tolist() == [1, 0] and asked.column("k").tolist() == [1, 2]
    assert asked.as_chat().texts == asked.texts, "messages stay messages"
