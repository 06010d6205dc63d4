"""Directions chosen over tokens and blocks: the scores are those of plain hooks, the choice follows the
filters, what is planted is found, and where nothing is nothing is chosen.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import pyplot

from experiments.organism import folder
from experiments.organism.requests import REFUSAL, make_request_world, requests
from experiments.organism.requests_measure import as_examples
from interventions import WRITERS, Ablate, RefusalLogOdds, effect, select_direction
from interventions.display.selection_plots import selection_map
from interventions.searching.selecting import Candidate, Selected
from probes import Examples, Site, load_model
from probes.markup.values import draw
from tests.conftest import build_hf, build_tokenizer
from tests.typechecks import unchecked

PLACES = [(-2, 1), (-1, 1), (-2, 2), (-1, 2)]  # token from the end, block whose input is read
WORDS = ("red", "blue", "old", "small", "tall", "house", "river", "stone")


def chats(subject):
    texts = [f"the {w} {subject} is near" for w in WORDS]
    return [[{"role": "user", "content": text}] for text in texts]


def prompts(rows):
    asked = [chat for subject in ("tree", "alpha") for chat in (chats(subject)[k] for k in rows)]
    return Examples(asked, y=np.repeat([1, 0], len(rows)))


TRAIN, VALIDATION = prompts(range(5)), prompts(range(5, 8))


@pytest.fixture(scope="module")
def model():
    return load_model(build_hf("llama"), tokenizer=build_tokenizer(chat=True))


class Plain:
    """The same by hand: one chat at a time through the Hugging Face model, with hooks of its own."""

    def __init__(self, model):
        self.hf, self.tokenizer = model.hf, model.tokenizer
        self.blocks = model.hf.model.layers

    def ids(self, chat):
        text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return torch.tensor([self.tokenizer(text, add_special_tokens=False)["input_ids"]])

    @torch.no_grad()
    def inputs(self, chat):
        return self.hf(self.ids(chat), output_hidden_states=True).hidden_states

    def difference(self, token, block):
        rows = [self.inputs(chat)[block][0, token] for chat in TRAIN.texts]
        return torch.stack(rows[:5]).mean(0) - torch.stack(rows[5:]).mean(0)

    @torch.no_grad()
    def logits(self, chat, handles):
        try:
            return self.hf(self.ids(chat)).logits[0, -1].double()
        finally:
            for handle in handles:
                handle.remove()

    def added(self, chat, vector, block):
        def push(module, args, kwargs):
            return (args[0] + vector, *args[1:]), kwargs

        return self.logits(chat, [self.blocks[block].register_forward_pre_hook(push, with_kwargs=True)])

    def without(self, chat, vector):
        unit = vector / vector.norm()

        def clean(module, args, output):
            h = output[0] if isinstance(output, tuple) else output
            h = h - (h @ unit)[..., None] * unit
            return (h, *output[1:]) if isinstance(output, tuple) else h

        parts = [self.hf.model.embed_tokens, *(m for b in self.blocks for m in (b.self_attn, b.mlp))]
        return self.logits(chat, [part.register_forward_hook(clean) for part in parts])

    def odds(self, logits, words):
        p = logits.softmax(0)[[self.tokenizer.convert_tokens_to_ids(w) for w in words]].sum()
        return float((p / (1 - p)).log())


@pytest.mark.filterwarnings("ignore:refusing first tokens is lower:probes.HookprobeWarning")
def test_scores_are_those_of_plain_hooks(model):
    behaviour = RefusalLogOdds(("no tree", "not", "no"))
    how = {"tokens": (-2, -1), "sites": ["resid_pre.1", "resid_pre.2"], "progress": False}
    found = select_direction(model, TRAIN, VALIDATION, behaviour, most_kl=1e9, least_induced=-1e9, **how)
    assert len(found.candidates) == 4
    assert {c.passed_over for c in found.candidates if c.removed >= found.having} <= {"takes nothing out"}
    assert found.passed == tuple(c for c in found.candidates if c.removed < found.having)
    assert found.strongest.induced == max(c.induced for c in found.candidates)
    plain, words = Plain(model), ("no", "not")
    having, lacking = VALIDATION.texts[:3], VALIDATION.texts[3:]
    by_place = {(c.token, c.site.block): c for c in found.candidates}
    for token, block in PLACES:
        one, vector = by_place[token, block], plain.difference(token, block)
        assert one.direction.gap == pytest.approx(float(vector.norm()), rel=1e-4)
        induced = [plain.odds(plain.added(c, vector, block), words) for c in lacking]
        removed = [plain.odds(plain.without(c, vector), words) for c in having]
        kls = []
        for chat in lacking:
            was, now = (f.log_softmax(0) for f in (plain.logits(chat, []), plain.without(chat, vector)))
            kls.append(float((was.exp() * (was - now)).sum()))
        assert one.induced == pytest.approx(np.mean(induced), abs=1e-4)
        assert one.removed == pytest.approx(np.mean(removed), abs=1e-4)
        assert one.kl == pytest.approx(np.mean(kls), abs=1e-5)
    assert found.having == pytest.approx(
        np.mean([plain.odds(plain.logits(c, []), words) for c in having]), abs=1e-4
    )
    # The same candidates pass and the same one wins where filters stop early.
    middle, cost = np.median([c.induced for c in found.candidates]), max(c.kl for c in found.candidates)
    some = select_direction(
        model, TRAIN, VALIDATION, behaviour, most_kl=cost * 0.99, least_induced=middle, **how
    )
    stay = [c for c in found.passed if c.induced >= middle and c.kl <= cost * 0.99]
    assert 0 < len(stay) < 4 and {(c.token, c.site) for c in some.candidates if not c.passed_over} == {
        (c.token, c.site) for c in stay
    }
    best = min(stay, key=lambda c: c.removed)
    assert (some.best.token, some.best.site) == (best.token, best.site)
    assert some.direction.receipt["at"] == str(best.token) and some.direction.site == best.site
    assert some.table()["passed over"].iloc[0] == "" and len(some.table()) == 4
    assert "candidates passed, best: token" in repr(some)


@pytest.mark.filterwarnings("ignore:refusing first tokens is lower:probes.HookprobeWarning")
def test_where_the_behaviour_is_there_already_nothing_passes_unless_one_says_how_far_it_should_go(model):
    how = {"tokens": (-1,), "sites": ["resid_pre.1", "resid_pre.2"], "progress": False, "most_kl": 1e9}
    odds = RefusalLogOdds(("no tree", "not", "no"))

    def likely(asked, rows):
        found = odds(asked, rows)
        return replace(found, values=found.values + 20)

    there = select_direction(model, TRAIN, VALIDATION, likely, **how)
    assert there.lacking > 0 and {c.passed_over for c in there.candidates} == {"nothing to induce"}
    with pytest.raises(ValueError, match=r"raise it to between the two"):
        _ = there.best
    asked = select_direction(model, TRAIN, VALIDATION, likely, least_induced=0, **how)
    assert {c.passed_over for c in asked.candidates} <= {"", "takes nothing out"}


@pytest.mark.filterwarnings("ignore:refusing first tokens is lower:probes.HookprobeWarning")
def test_tokens_behind_the_instruction_and_first_blocks_are_what_is_tried(model):
    found = select_direction(model, TRAIN, VALIDATION, RefusalLogOdds(("no",)), progress=False)
    n = model.n_blocks
    places = {(c.token, str(c.site)) for c in found.candidates}
    assert places == {(t, f"resid_pre.{b}") for t in (-2, -1) for b in range(max(1, int(0.8 * n)))}
    flat = [c for c in found.candidates if c.site == Site("resid_pre", 0)]
    assert all(c.direction is None and c.passed_over == "no direction" for c in flat), "the same tokens"
    texts = Examples([f"the {w} is {x}" for x in ("tree", "house") for w in WORDS], y=[1] * 8 + [0] * 8)
    others = Examples(["the yes is tree", "the yes is house"], y=[1, 0])
    plain = select_direction(model, texts, others, RefusalLogOdds(("no",)), progress=False)
    assert {c.token for c in plain.candidates} == {-1}


def test_what_decides_refusals_is_found_and_under_tossed_labels_nothing_is():
    model, table = load_model(folder("route")), requests(make_request_world())
    rows = as_examples(table.iloc[::12]).with_groups(np.arange(len(table.iloc[::12])))
    train, validation, test = rows.split((0.5, 0.2, 0.3), seed=0)
    behaviour = RefusalLogOdds((REFUSAL.split()[0],))
    found = select_direction(model, train, validation, behaviour, most_kl=1.0, progress=False)
    assert found.having > 2 and found.lacking < -2 and found.best.removed < 0
    asked = test.rows(np.asarray(test.y) == 1).some(30)
    moved = effect(
        model, Ablate(found.direction, sites=WRITERS), behaviour, asked, compare=False, progress=False
    )
    assert moved.verdict().moves and moved.now.share("refused").value < 0.2
    tossed = train.with_y(np.random.default_rng(0).permutation(np.asarray(train.y)))
    nothing = select_direction(model, tossed, validation, behaviour, most_kl=1.0, progress=False)
    with pytest.raises(
        ValueError, match=r"none of the \d+ candidates passed: .*\d+ induces too little.* the highest"
    ):
        _ = nothing.direction
    assert "none passed" in repr(nothing)
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interventions.searching.selecting._measured", lambda *given: asked.append(given))
        with pytest.raises(ValueError, match=r"is lower where the property is .* exchange the labels"):
            select_direction(
                model, train, validation.with_y(1 - np.asarray(validation.y)), behaviour, progress=False
            )
    assert not asked, "before anything is tried"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda t, v: {"train": list(t.texts)}, TypeError, "train takes Examples with labels y, got a list"),
        (lambda t, v: {"train": replace(t, y=None)}, ValueError, "needs labels but y is None"),
        (lambda t, v: {"validation": v.rows(np.asarray(v.y) == 1)}, ValueError, "one class only"),
        (lambda t, v: {"validation": t}, ValueError, "10 validation prompts are train prompts too"),
        (lambda t, v: {"tokens": (0,)}, ValueError, "counted from the end"),
        (lambda t, v: {"tokens": ()}, ValueError, "tokens is empty"),
        (lambda t, v: {"tokens": ["last"]}, ValueError, "counted from the end, -1 the last, got 'last'"),
        (lambda t, v: {"tokens": (-1.5,)}, ValueError, "counted from the end, -1 the last, got -1.5"),
        (lambda t, v: {"tokens": "last"}, TypeError, "several numbers from the end, .* got 'last'"),
        (lambda t, v: {"tokens": -1}, TypeError, "several numbers from the end, .* got -1"),
        (lambda t, v: {"tokens": (-40,)}, ValueError, "there is none at -40|no token"),
        (lambda t, v: {"most_kl": None}, ValueError, "most_kl must be a finite number"),
    ],
)
def test_what_cannot_be_chosen_among_is_refused(model, change, error, words):
    given = {"train": TRAIN, "validation": VALIDATION} | change(TRAIN, VALIDATION)
    train, validation = given.pop("train"), given.pop("validation")
    with unchecked(), pytest.raises(error, match=words):
        select_direction(model, train, validation, RefusalLogOdds(("no",)), progress=False, **given)


def test_the_map_has_a_colour_for_each_place_measured_and_frames_the_best(model):
    pyplot.close("all")
    places = [
        Candidate(t, Site("resid_pre", b), None, 1.0, float(t * b), 0.1, "" if b else "costs too much")
        for t in (-2, -1)
        for b in (0, 1, 2)
    ]
    found = Selected(tuple(places), 3.0, -3.0, "refusing", "nats")
    ax = draw(found)
    (image,) = ax.get_images()
    assert image.get_array().tolist() == [[0, -2, -4], [0, -1, -2]]
    (frame,) = ax.patches
    assert frame.get_xy() == (1.5, -0.5), "token -2 at block 2"
    assert len(ax.get_lines()) == 4 and "nats" in ax.figure.axes[1].get_ylabel()
    with pytest.raises(ValueError, match="show must be one of removed, induced, kl"):
        selection_map(found, "cost")
    assert "4 of 6 candidates passed" in found._repr_html_()
    pyplot.close("all")


def test_a_map_of_candidates_of_which_none_passed_says_so():
    def of(*numbers):
        low = [
            Candidate(-1, Site("resid_pre", b), None, -1.0, *n, "induces too little")
            for b, n in enumerate(numbers)
        ]
        dear = Candidate(-1, Site("resid_pre", 9), None, 1.0, np.nan, 0.7, "costs too much")
        return Selected((*low, dear), 3.0, -3.0, "refusing", "nats")

    none = of((np.nan, np.nan), (np.nan, np.nan))
    title = "none of the 3 candidates passed\ninduces too little: 2\ncosts too much: 1"
    for show, bars in (("removed", 0), ("induced", 1)):
        ax = selection_map(none, show)
        assert ax.get_title() == title and len(ax.figure.axes) == 1 + bars and not ax.patches
    one = replace(
        none, candidates=(*none.candidates, Candidate(-1, Site("resid_pre", 3), None, 1.0, -1.0, 0.0))
    )
    assert selection_map(one).get_title() == "" and len(selection_map(one).figure.axes) == 2
    pyplot.close("all")


def test_a_table_of_candidates_shows_the_best_first():
    places = [Candidate(-1, Site("resid_pre", b), None, 1.0, r, 0.0, w) for b, r, w in
              ((1, 2.0, ""), (2, -1.0, ""), (3, np.nan, "costs too much"))]  # fmt: skip
    found = Selected(tuple(places), 3.0, -3.0, "refusing", "nats")
    assert found.best is places[1] and list(found.table()["removed"])[:2] == [-1.0, 2.0]
    assert list(found.table()["passed over"]) == ["", "", "costs too much"]


def test_none_passed_says_what_stopped_most_and_how_near_the_nearest_came():
    def of(*stopped):
        places = [Candidate(-1, Site("resid_pre", b), None, *numbers) for b, numbers in enumerate(stopped)]
        return Selected(tuple(places), 3.0, -3.0, "refusing", "nats")

    low, dear = "induces too little", "costs too much"
    nan = float("nan")
    one = of((-1.0, nan, nan, low), (-0.5, nan, nan, low), (1.0, nan, 0.7, dear))
    with pytest.raises(
        ValueError, match=r"2 induces too little; 1 costs too much\. the highest .* to -0\.5;"
    ):
        _ = one.best
    assert one.passed == ()
    with pytest.raises(ValueError, match=r"none of the 3 places has a direction"):
        _ = one.strongest
    other = of((-1.0, nan, nan, low), (2.0, nan, 0.9, dear), (1.0, nan, 0.7, dear))
    with pytest.raises(ValueError, match=r"2 costs too much; .* the cheapest costs 0\.7 nats: raise most_kl"):
        _ = other.best
