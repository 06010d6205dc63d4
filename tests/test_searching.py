"""A search finds the planted option, settles ties in the order asked for, and says when nothing moves
behaviour.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from interventions import (
    Ablate,
    Add,
    Answers,
    Goal,
    coarse_to_fine,
    edited,
    effect,
    neutral_cost,
    search,
)
from interventions.behaviours.neutral_text import Cost
from interventions.behaviours.records import Records
from interventions.effects.running import controls_of
from interventions.searching.goals import Outcome, as_goal, change, distance_from_chance, share, turned
from interventions.searching.option import Option
from interventions.searching.pushing import Push, choose_push
from interventions.searching.searched import Searched
from interventions.writes.joined import joined
from interventions.writes.lowrank import Fixed
from probes import Direction, Estimate, Examples, Model, Site
from tests.conftest import build_hf, build_tokenizer

N = 240
WORDS = ("red", "blue", "old", "tall", "small", "river", "house", "stone", "tree", "near")
PROMPTS = Examples(
    [f"the {WORDS[i % 10]} {WORDS[i // 10 % 10]} {WORDS[i // 100]}" for i in range(N)],
    y=np.arange(N) % 2,
    groups=np.arange(N) // 8,
    columns={"form": np.arange(N) // 2 % 2},
)
NOISE = np.random.default_rng(0).normal(size=(40, N))


def _records(values, labels=None):
    kinds = None if labels is None else np.asarray(labels)
    return Records.of(
        PROMPTS,
        "planted",
        "logit difference",
        values,
        labels=kinds,
        classes=("right", "wrong", "refused") if labels is not None else (),
    )


def _answers(strength, k=0):
    """Logit differences that go by y as strongly as said, with noise of the option's own."""
    return _records(strength * (2 * PROMPTS.column("y") - 1) + NOISE[k])


def _option(name, now, sites=("resid_post.1",), kl=None, spread=0.0, controls=()):
    cost = None if kl is None else Cost(*[Estimate(kl, kl - spread, kl + spread, 10, 10)] * 2, base_loss=1.0)
    return Option(name, Fixed((), name), tuple(map(Site.parse, sites)), now, tuple(controls), cost)


def _searched(*options, before=None):
    return Searched(PROMPTS, _answers(3.0) if before is None else before, options)


ENOUGH = [_answers(3.0, k) for k in range(20, 39)]  # 19 rounds of controls that do nothing


def test_the_option_that_does_it_is_found_and_stands_and_without_one_the_search_says_so():
    half, through, nothing = (
        _option("half", _answers(1, 1), controls=ENOUGH),
        _option("through", _answers(0, 2), controls=ENOUGH),
        _option("nothing", _answers(3, 0), controls=ENOUGH),
    )
    best = _searched(nothing, half, through).best("distance_from_chance")
    assert best.name == "through" and best.stands and best.equal == ("through",)
    assert best.before > 0.45 and best.value < 0.1 and best.edit is through.edit
    null = _searched(*(_option(f"null {k}", _answers(3, k)) for k in range(1, 6))).best(
        "distance_from_chance"
    )
    assert not null.stands and len(null.equal) > 1 and "within noise" in repr(null)


def test_an_option_that_random_edits_match_does_not_stand():
    moved = _option("moved", _answers(0, 1), controls=[_answers(3, 2), _answers(0, 3)])
    for controls in (ENOUGH, ENOUGH[:18]):
        alone = _searched(_option("moved", _answers(0, 1), controls=controls)).best("distance_from_chance")
        assert alone.stands == (len(controls) == 19)
    assert "18 rounds of controls cannot tell" in repr(alone)
    beside = _searched(moved).best("distance_from_chance")
    assert not beside.stands and "in 1 of 2 rounds" in beside.doubts[0]
    # The random edits of an option that was not chosen count too: with many options some of them do well.
    other = _option("other", _answers(3, 4), controls=[_answers(0, 5), _answers(3, 6)])
    chosen = _option("chosen", _answers(0.2, 7), controls=[_answers(3, 8), _answers(3, 9)])
    assert not _searched(other, chosen).best("distance_from_chance").stands


def test_ties_are_settled_by_the_words_in_their_order():
    wide = _option("everywhere", _answers(0, 1), ["resid_post.0", "resid_post.1"], kl=0.1)
    late = _option("late", _answers(0, 2), ["resid_post.2"], kl=0.3)
    early = _option("early", _answers(0, 3), ["resid_post.1"], kl=0.3)
    worse = _option("worse", _answers(1, 4), ["resid_post.0"], kl=0.0)
    found = _searched(wide, late, early, worse)
    by = {"by": "distance_from_chance", "within": 0.1}
    assert set(found.best(**by).equal) == {
        "everywhere",
        "late",
        "early",
    }, "what is worse beyond noise is no tie"
    assert found.best(**by).name == "everywhere", "the cheapest first"
    assert found.best(**by, ties="fewest sites, cheapest, earliest").name == "early"
    assert found.best(**by, ties="earliest").name == "everywhere"
    assert found.best(**by, ties=["fewest sites"]).name == "late", "what is left goes by the order given"
    assert found.best(**by, ties=(Goal("block", lambda o: o.values[0]),)).name in {
        "everywhere",
        "late",
        "early",
    }
    cheap = _option("nearly as cheap", _answers(0, 5), ["resid_post.1"], kl=0.12, spread=0.05)
    near = _searched(
        _option("everywhere", _answers(0, 1), ["resid_post.0", "resid_post.1"], kl=0.1, spread=0.05), cheap
    )
    assert near.best(**by).name == "nearly as cheap", "as cheap within the interval, and fewer sites"


def test_noise_makes_equals_over_groups_and_at_their_face_the_highest_wins():
    options = [_option(f"{k}", _answers(0.4, k + 18), [f"resid_post.{k}"]) for k in range(1, 7)]
    found = _searched(*options)
    values = found.values("distance_from_chance")
    lowest = min(values, key=values.__getitem__)
    assert found.best("distance_from_chance", level=0).name == lowest
    equal = found.best("distance_from_chance").equal
    assert lowest in equal and len(equal) > 1
    assert found.best("distance_from_chance").name == min(equal)
    assert found.best("distance_from_chance", level=0, within=1).name == "1"


def test_noise_is_over_groups_of_prompts():
    """One group of thirty makes the whole difference between two options: as rows it is many, as groups it is
    one.
    """
    slipped = _answers(1.0, 1).values.copy()
    slipped[:8] += 30
    first, second = _option("steady", _answers(1.0, 1)), _option("slipped", _records(slipped))
    found = _searched(first, second)
    assert found.best("highest mean").equal == ("steady", "slipped")
    alone = Searched(
        PROMPTS.with_groups(np.arange(N)), replace(found.before, groups=np.arange(N)), found.options
    )
    assert alone.best("highest mean").equal == ("slipped",)


def test_goals_by_name_function_and_kind_of_answer():
    lost = _records(np.zeros(N), np.where(np.arange(N) % 4, "right", "wrong"))
    kept = _records(np.zeros(N), np.where(np.arange(N) % 4, "refused", "right"))
    before = _records(np.zeros(N), ["refused"] * N)
    found = _searched(_option("kept", kept), _option("lost", lost), before=before)
    assert found.best(share("right")).name == "lost" and found.best(share("right", "refused")).name == "kept"
    assert found.best(share("wrong", better="lowest"), ties=[share("right")]).name == "kept"
    assert not found.best(share("wrong", better="lowest")).stands, "fewer wrong answers than none cannot be"
    up, down = _option("up", _records(np.full(N, 1.0))), _option("down", _records(np.full(N, -2.0)))
    pushed = _searched(up, down, before=_records(np.zeros(N)))
    assert (
        pushed.best("change").name == "down"
        and pushed.best("highest mean").name == "up"
        and pushed.best("lowest mean").name == "down"
    )
    assert pushed.best(lambda o: o.values.max()).name == "up"
    with pytest.raises(ValueError, match="no goal is called 'best'"):
        found.best("best")
    with pytest.raises(ValueError, match="counts kinds of answers"):
        pushed.best(share("right"))
    with pytest.raises(ValueError, match="none is cheapest"):
        pushed.best("change", ties="cheapest")
    with pytest.raises(ValueError, match="ties cannot be settled by 'quickest'"):
        pushed.best("change", ties="quickest")


def test_goals_give_what_they_say():
    y = np.array([0, 0, 1, 1])
    outcome = Outcome(
        np.array([-1.0, 1, 1, 1]), np.array([-1.0, -1, 1, -1]), y=y, columns={"form": np.array([0, 1, 0, 1])}
    )
    assert distance_from_chance.value(outcome) == pytest.approx(0.25), "balanced accuracy .75, AUROC .75"
    assert distance_from_chance.in_cells("form").value(outcome) == pytest.approx(0.5), (
        "the worst form is told apart perfectly"
    )
    assert turned.value(outcome) == pytest.approx(np.mean([2 / 3, 0])) and change.gain(-2.0, 1.0) == 3
    assert math.isnan(distance_from_chance.value(outcome.rows(np.array([0, 1]))))
    assert as_goal("turned") is turned and as_goal(np.ptp).better == "highest"
    with pytest.raises(ValueError, match="no y"):
        distance_from_chance.value(Outcome(np.zeros(2), np.zeros(2)))
    with pytest.raises(ValueError, match="no column 'shape'"):
        turned.in_cells("shape").value(outcome)
    with pytest.raises(ValueError, match="expected highest, lowest, farthest"):
        Goal("x", np.ptp, "smallest")


def test_prompts_that_were_not_measured_are_left_out_everywhere():
    gaps = _answers(0, 1).values.copy()
    gaps[:40] = np.nan
    found = _searched(_option("gaps", _records(gaps)), _option("whole", _answers(3, 2)))
    assert len(found.rows) == N - 40 and found.best("distance_from_chance").name == "gaps"
    assert found.table().before.iloc[0] == pytest.approx(found.before.values[40:].mean())
    with pytest.raises(ValueError, match="none of the 240 prompts was measured"):
        _searched(_option("none", _records(np.full(N, np.nan)))).best("change")


def test_the_table_has_a_row_an_option():
    found = _searched(
        _option("a", _answers(0, 1), kl=0.2, controls=[_answers(3, 2)]),
        _option("b", _answers(1, 3), ["resid_post.0", "resid_post.2"], kl=0.1, controls=[_answers(3, 4)]),
    )
    table = found.table("distance_from_chance", "turned").set_index("option")
    assert (
        table.sites.tolist() == [1, 2]
        and table.earliest.tolist() == ["resid_post.1", "resid_post.0"]
        and table.KL.tolist() == [0.2, 0.1]
    )
    assert table["distance from chance"].to_dict() == found.values("distance_from_chance")
    assert (
        (table.low <= table.change).all()
        and (table["random low"] <= table["random high"]).all()
        and "a" in repr(found)
    )


def test_searches_are_put_together_by_option_and_by_prompt():
    first, second = _searched(_option("a", _answers(0, 1))), _searched(_option("b", _answers(1, 2)))
    assert first.with_options_of(second).names == ("a", "b") and first.with_options_of(second).only(
        ["b"]
    ).names == ("b",)
    with pytest.raises(KeyError, match="no option is called 'c'; there are a"):
        first["c"]
    with pytest.raises(ValueError, match="other options"):
        first.with_rows_of(second)

    def of(rows):
        part = PROMPTS.rows(rows)
        now = Records.of(part, "planted", "logit difference", first["a"].now.values[rows])
        base = Records.of(part, "planted", "logit difference", first.before.values[rows])
        return Searched(part, base, (_option("a", now),))

    halves = of(np.arange(0, N, 2)).with_rows_of(of(np.arange(1, N, 2)))
    assert halves.values("distance_from_chance") == pytest.approx(first.values("distance_from_chance"))
    with pytest.raises(ValueError, match="other prompts"):
        first.with_options_of(of(np.arange(10)))
    with pytest.raises(ValueError, match="differ in behaviour"):
        Records.concat([first.before, _records(np.zeros(N), ["right"] * N)])


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("llama")


def _raises_yes(model, site="resid_post.2"):
    yes, no = (model.tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in ("yes", "no"))
    head = model.hf.get_output_embeddings().weight.detach()
    return Direction.from_vector(head[yes] - head[no], site, model)


def test_a_search_on_a_model_measures_what_the_pieces_measure(model):
    some, texts = PROMPTS.rows(np.arange(0, N, 10)), ["the old house", "a small tree near the river"]
    d = _raises_yes(model)
    options = {
        "yes": Add(d, norm=20),
        "nothing": Add(d.random_like(3), norm=0.01),
        ("two", 1): [Ablate(d), Add(d, norm=1)],
    }
    found = search(model, options, Answers(), some, neutral=texts, n_controls=2, progress=False)
    assert found.names == tuple(options) and found["yes"].sites == (Site("resid_post", 2),)
    assert np.array_equal(found["yes"].now.values, Answers()(edited(model, options["yes"]), some).values)
    controls = controls_of(model, options["yes"], some, 2, 0)[1]
    assert np.array_equal(found["yes"].controls[1].values, Answers()(edited(model, controls[1]), some).values)
    assert np.array_equal(
        found["two", 1].now.values, Answers()(edited(model, *options["two", 1]), some).values
    )
    assert found["yes"].kl.value == neutral_cost(model, edited(model, options["yes"]), texts).kl.value
    best = found.best("change")
    assert best.name == "yes" and len(best.doubts) == 1 and "cannot tell: ask `effect`" in best.doubts[0]
    assert not found.only(["nothing"]).best("change").stands
    assert effect(model, best.edit, Answers(), some).change().low > 0


def test_a_search_explains_what_it_cannot_do(model):
    d = _raises_yes(model)
    with pytest.raises(ValueError, match="no options given"):
        search(model, {}, Answers(), PROMPTS)
    with pytest.raises(ValueError, match="n_controls=-1"):
        search(model, {"a": Ablate(d)}, Answers(), PROMPTS, n_controls=-1)
    with pytest.raises(ValueError, match="records of other prompts"):
        search(model, {"a": Ablate(d)}, Answers(), PROMPTS, before=Answers()(model, PROMPTS.rows([0, 1])))
    with pytest.raises(ValueError, match="no edits given"):
        search(model, {"a": []}, Answers(), PROMPTS)


def test_records_of_another_behaviour_or_unit_are_never_taken_for_the_unedited_ones(model):
    some = PROMPTS.rows(slice(0, 16))
    options, yes = {"a": Ablate(_raises_yes(model))}, Answers()(model, some)
    how = {"n_controls": 0, "progress": False}
    assert search(model, options, Answers(), some, before=yes, **how)["a"].now.behaviour == yes.behaviour
    with pytest.raises(ValueError, match=r"another behaviour .positive=' yes'.*now positive=' no'"):
        search(model, options, Answers(" no", " yes"), some, before=yes, **how)
    for other in (replace(yes, unit="nats"), replace(yes, labels=np.full(16, "a"), classes=("a",))):
        with pytest.raises(ValueError, match="cannot stand beside"):
            search(model, options, Answers(), some, before=other, **how)
    first, second = (search(model, options, b, some, **how) for b in (Answers(), Answers(" no", " yes")))
    with pytest.raises(ValueError, match="cannot stand beside"):
        first.with_options_of(second)


@dataclass(frozen=True, eq=False)
class Curve:
    """Answers that a projection along one direction weakens, by how much depends on the block."""

    by_block: np.ndarray
    unit: torch.Tensor
    asked: list

    def __call__(self, model, prompts):
        left, k = 3.0, 0
        for write in model.writes:
            along = float((write.change.U[:, 0] @ self.unit) ** 2)
            left, k = left * (1 - along * self.by_block[write.site.block]), write.site.block + 1
        self.asked.append(k)
        return Records.of(
            prompts, "curve", "logit difference", left * (2 * prompts.column("y") - 1) + 0.02 * NOISE[k]
        )


@pytest.fixture(scope="module")
def deep():
    return Model.of(build_hf("llama", num_hidden_layers=30), build_tokenizer())


def _bump(peak):
    return np.exp(-((np.arange(30) - peak) ** 2) / 30)


def _slope(peak):
    """Falls at once on one side and slowly on the other, so that the peak lies just outside of the best run
    of blocks.
    """
    block = np.arange(30)
    return (
        np.where(block < 9, 0.0, 1 - (block - 9) / 30) if peak == 9 else np.where(block > 15, 0.0, block / 15)
    )


@pytest.mark.parametrize(
    ("peak", "shape"), [*((k, _bump) for k in (0, 4, 11, 15, 29)), (9, _slope), (15, _slope)]
)
def test_coarse_to_fine_finds_the_best_of_thirty_blocks_with_about_eleven_measurements(deep, peak, shape):
    unit = Direction.from_vector(torch.eye(32)[3], "resid_post.0", deep).unit
    curve = Curve(shape(peak), unit, [])
    by = Goal("mean answer", lambda o: float(np.abs(o.values).mean()), "lowest")

    def make(site):
        return Ablate(Direction.from_vector(unit, site, deep))

    found = coarse_to_fine(
        deep,
        make,
        deep.sites("resid_post")[::-1],
        curve,
        PROMPTS,
        by=by,
        level=0,
        n_controls=0,
        progress=False,
    )
    assert found.best(by, level=0).name == f"resid_post.{peak}"
    assert len(found) <= 2 * math.sqrt(30) + 2 and len(curve.asked) == len(found) + 1, (
        "each once, and the unedited model once"
    )
    assert list(found.names) == sorted(found.names, key=lambda name: Site.parse(name).order)


def test_a_coarse_search_of_a_model_in_which_nothing_acts_says_so_and_few_sites_are_all_measured(deep):
    unit = torch.eye(32)[3]
    curve = Curve(np.zeros(30), unit, [])

    def make(site):
        return Ablate(Direction.from_vector(unit, site, deep))

    found = coarse_to_fine(
        deep, make, "resid_post", curve, PROMPTS, by="distance_from_chance", n_controls=0, progress=False
    )
    best = found.best("distance_from_chance")
    assert "within noise" in best.doubts[0] and len(best.equal) > 3
    few = [f"resid_post.{b}" for b in range(8)]
    assert coarse_to_fine(
        deep, make, few, curve, PROMPTS, by="change", n_controls=0, progress=False
    ).names == tuple(few)


def test_several_edits_are_one_in_order(model):
    d = _raises_yes(model)
    both = joined([Ablate(d), Add(d, norm=2)])
    assert [w.site.block for w in both.compile(model)] == [2, 2] and " then " in repr(both)
    assert joined(both) is both


@dataclass(frozen=True, eq=False)
class Pushed:
    """Answers that a shift moves, by as much as its length times what its block is worth, up and down."""

    worth: dict
    start: np.ndarray

    def __call__(self, model, prompts):
        moves = [(float(w.change.c[0]), self.worth[w.site.block]) for w in model.writes]
        shift = sum(dose * worth[dose < 0] for dose, worth in moves)
        rows = np.array([i for i, text in enumerate(PROMPTS.texts) if text in set(prompts.texts)])
        return Records.of(prompts, "pushed", "logit difference", self.start[rows] + shift)


def test_a_push_is_chosen_where_it_turns_most_and_as_weak_as_turns_enough(model):
    start = np.where(np.arange(N) % 2, 1.5, -0.7) + 0.1 * NOISE[0]
    behaviour = Pushed({0: (0.1, 0.1), 1: (1.0, 1.0), 2: (0.5, 0.5)}, start)
    doses = (-4, -2, -1, -0.5, 0, 0.5, 1, 2, 4)

    def make(site, dose):
        return Add(Direction.from_vector(torch.eye(32)[0], site, model), norm=dose)

    sites = model.sites("resid_post")
    found = choose_push(model, make, sites, doses, behaviour, PROMPTS, level=0, progress=False)
    assert found == Push(Site("resid_post", 1), 1.0, -2.0)
    written = [str(site) for site in sites]
    assert choose_push(model, make, written, doses, behaviour, PROMPTS, level=0, progress=False) == found
    little = choose_push(
        model, make, sites, (-1.2, -1, 0.3, 0.65), behaviour, PROMPTS, level=0, progress=False
    )
    assert (little.up, little.down) == (0.65, -1.0), "the one that turns most; down none does, so the weakest"
    upwards = Pushed({0: (0.1, 0.1), 1: (1.5, 0.0), 2: (1.0, 1.0)}, start)
    found = choose_push(model, make, sites, doses, upwards, PROMPTS, level=0, progress=False)
    assert found.site == Site("resid_post", 2), "both ways count"
    low = Pushed(behaviour.worth, -np.abs(start))
    one_way = choose_push(model, make, sites[::-1], doses, low, PROMPTS, level=0, progress=False)
    assert one_way.site == Site("resid_post", 1) and one_way.down == -0.5, "no answer is left to turn down"
    with pytest.raises(ValueError, match="above and below 0"):
        choose_push(model, make, sites, (1, 2), behaviour, PROMPTS)
