"""Probes of the corners beside probes of all cells, a coin's letters, and shifts within groups: planted
answers for each.
"""

import numpy as np
import pytest
import torch

from probes import Activations, Examples, Logistic, auroc, capture
from probes.awareness import crossed_prompts, fit_awareness
from probes.awareness.coin import letters_by_coin
from probes.awareness.conclusion import concluded
from probes.awareness.context import SHARES, format_shift, read_context
from probes.awareness.trained_on import context_sites, corners, from_all_cells, from_corners
from probes.awareness.versions import version_numbers
from probes.metrics.paired import shift_within_groups

# Some worlds tell the context by nothing that is written.
pytestmark = pytest.mark.filterwarnings(r"ignore:\d+ texts have both labels:probes.HookprobeWarning")


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
        [
            f"{a} tree is {w} {v}"
            for a in ("red", "near", "house", "stone")
            for w in ("old", "tall", "small")
            for v in ("blue", "alpha", "beta", "gamma")
        ],
        groups=np.arange(48) // 2,
        ids=np.arange(48),
    )
    found = letters_by_coin(make_model(), Logistic(), plain, ("yes", "no"), "resid_post.1")
    assert found.with_answer.value > 0.95 and found.artefact and 0.2 < found.without_answer.value < 0.8


def test_the_numbers_of_a_frozen_probe_are_those_of_its_scores_and_few_prompts_give_no_recall(make_model):
    model = make_model()
    texts = [
        f"{a} {b} {w} ."
        for a in ("red tree", "blue house", "old stone")
        for b in ("is tall", "is small")
        for w in ("yes", "no")
    ]
    many = Examples(
        [f"{i // 12} {t}" for i, t in enumerate(texts * 20)],
        y=[0, 1] * 120,
        groups=np.arange(240) // 12,
        ids=np.arange(240),
    )
    train, calibration, test = many.split((0.2, 0.3, 0.5), seed=0)
    probe = fit_awareness(model, train, calibration, "resid_post.1", "logistic")
    few = version_numbers(probe, model, test, n_boot=50)
    z = probe.score_texts(model, test)
    assert (
        few.auroc.value == auroc(z, test.y, test.groups).value > 0.95 and few.recall is None and few.settled
    )
    assert (test.y == 0).sum() < 100 <= (many.y == 0).sum()
    enough = version_numbers(probe, model, many, n_boot=50)
    assert enough.recall is not None and enough.recall.value > 0.9
    turned = np.isin(calibration.groups, np.unique(calibration.groups)[:3])
    half_wrong = calibration.with_y(np.where(turned, 1 - calibration.y, calibration.y))
    unsettled = fit_awareness(model, train, half_wrong, "resid_post.1", "logistic")
    assert not version_numbers(unsettled, model, test, n_boot=50).settled


@pytest.mark.parametrize(
    ("decodable", "context", "form", "word"),
    [
        (True, True, True, "decodable and used"),
        (True, True, False, "decodable and used"),
        (True, False, True, "decodable, behaviour goes by the format"),
        (True, False, False, "decodable but unused"),
        (False, True, False, "used, but not shown decodable"),
        (False, False, True, "not decodable"),
    ],
)
def test_what_is_concluded_goes_by_reading_and_editing_together(decodable, context, form, word):
    assert concluded(decodable, context, form) == word


def test_texts_asked_as_a_chat_are_messages_of_a_user_with_all_else_as_it_was():
    plain = Examples(["a b", "c"], y=[1, 0], groups=["x", "y"], columns={"k": [1, 2]})
    asked = plain.as_chat()
    assert asked.texts == ([{"role": "user", "content": "a b"}], [{"role": "user", "content": "c"}])
    assert asked.ids.tolist() == plain.ids.tolist() and asked.groups.tolist() == ["x", "y"]
    assert asked.y.tolist() == [1, 0] and asked.column("k").tolist() == [1, 2]
    assert asked.as_chat().texts == asked.texts, "messages stay messages"


def test_the_site_of_the_context_is_chosen_within_formats_where_the_format_gives_it_away(halves):
    known, _ = halves
    # One row in ten breaks the tie between context and format, so that the format alone reads almost all.
    mostly = known.rows(corners(known) | (np.arange(len(known)) % 10 == 0))
    of_format, of_context = states_of(mostly, 0, 9, 0), states_of(mostly, 2, 0, 1)
    x = torch.cat([of_format.x, of_context.x])
    rows = {"y": mostly.y, "groups": mostly.groups, "columns": dict(of_format.columns)}
    seen = Activations.from_arrays(x, sites=["resid_post.0", "resid_post.1"], **rows)
    assert str(context_sites(Logistic(), seen).site) == "resid_post.1"
    nothing = {"context": mostly.column("context"), "format": np.repeat("casual", len(mostly))}
    blind = Activations.from_arrays(x, sites=seen.sites, **rows | {"columns": nothing})
    assert str(context_sites(Logistic(), blind).site) == "resid_post.0", "without formats it reads the format"


def worded(tasks: int, last: str, seed: int) -> Examples:
    """The crossed design in the words of the test tokenizer: the first word is the format, and the last one
    goes by the context, or is drawn for the task or for the row.
    """
    draw = np.random.default_rng(seed)
    words = ["house", "tree", "stone", "river", "old", "tall", "small", "near"]
    design = [(c, f) for c in ("evaluation", "deployment") for f in ("benchmark", "casual")]
    texts = []
    for _ in range(tasks):
        task, of_task = " ".join(draw.choice(words, 5)), draw.choice(["red", "blue"])
        for context, form in design:
            by = {"context": "red" if context == "evaluation" else "blue", "task": of_task}
            by["row"] = draw.choice(["red", "blue"])
            texts.append(f"{'a' if form == 'benchmark' else 'the'} {task} {by[last]}")
    columns = {"context": [c for c, _ in design] * tasks, "format": [f for _, f in design] * tasks}
    groups = np.repeat(np.arange(tasks), 4) + 1000 * seed
    ids = np.arange(4 * tasks) + 10_000 * seed
    return Examples(texts, y=[1, 1, 0, 0] * tasks, groups=groups, columns=columns, ids=ids)


def test_a_reading_of_the_context_is_made_of_its_parts_and_finds_none_where_none_is_stated(make_model):
    model = make_model()
    how = {"at": "last", "versions": ("logistic", "mean difference"), "letters": ("yes", "no"), "n_boot": 60}
    known, test = worded(20, "context", 1), worded(20, "context", 2)
    plain = worded(12, "task", 3)
    found = read_context(model, known, test, "resid_post", plain=plain, seed=4, **how)
    seen = capture(model, known, "resid_post", "last")
    site = context_sites(Logistic(), seen, 4).site
    assert found.chosen.site == site and found.sites == tuple(map(str, seen.sites))
    acts = capture(model, test, site, "last")
    own = from_all_cells(Logistic(), test, acts, n_boot=60, seed=4)
    published = from_corners(Logistic(), known, seen[site], test, acts, n_boot=60, seed=4)
    assert found.all_cells.stratified.value == own.stratified.value
    assert found.runs["probe, corners"].stratified.value == published.probe.stratified.value
    assert found.runs["text, corners"] is found.corners.text and list(found.versions) == list(how["versions"])
    assert found.all_cells.stratified.value > 0.9 and found.versions["logistic"].auroc.value > 0.9

    train, calibration = known.split(SHARES, seed=4)
    frozen = fit_awareness(model, train, calibration, site, "logistic", at="last")
    assert found.unstated is not None and found.unstated.value == format_shift(frozen, model, plain).value
    assert found.letter is not None and found.letter.with_answer.value > 0.9
    shown = [
        " ".join(t for t, special in zip(s.tokens, s.special, strict=True) if not special)
        for s in found.strips
    ]
    assert shown == [test.texts[0], test.texts[2]], "one of either context"

    silent = read_context(model, worded(20, "row", 5), worded(20, "row", 6), "resid_post.1", **how)
    assert silent.unstated is None and silent.letter is None
    assert not silent.all_cells.verdict and silent.all_cells.stratified.low < 0.5


def test_a_format_shift_is_what_the_format_adds_and_small_where_a_probe_reads_something_else(make_model):
    model, known, plain = make_model(), worded(24, "context", 1), worded(24, "task", 3)
    train, calibration = known.split((0.5, 0.5), seed=0)
    form = [(rows.column("format") == "benchmark").astype(int) for rows in (train, calibration)]
    of_form = fit_awareness(
        model, train.with_y(form[0]), calibration.with_y(form[1]), "resid_post.1", "logistic", at="last"
    )
    of_context = fit_awareness(model, train, calibration, "resid_post.1", "logistic", at="last")
    # A format that stands in front of six other words leaves its trace at the end in any model.
    assert format_shift(of_form, model, plain).low > 3 * abs(format_shift(of_context, model, plain).value)
