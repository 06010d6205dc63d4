"""Edits that mean nothing are told from those that do: measures of behaviour, and where controls lie."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from interventions import Ablate, Add, Answers, Erase, effect
from interventions.behaviours.measures import Given, Kinds, MeanValue, Measure, TwoSided
from interventions.effects.meaningless import PARALLEL, meaningless, within
from probes import Direction, Examples, MassMean, capture, load_model
from probes.data.shuffling import shuffled
from probes.metrics.estimates import mean

NOUNS = 60
SITE = "resid_post.0"


def nouns_model(embed):
    """A model that carries the embedding through to the head; `embed` [nouns, 64] is that of the nouns, the
    first two axes decide between yes and no.
    """
    words = ["<pad>", "yes", "no", "the"] + [f"n{i}" for i in range(NOUNS)]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", unk_token="<pad>")
    shape = {"hidden_size": 64, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    hf = LlamaForCausalLM(LlamaConfig(vocab_size=64, tie_word_embeddings=False, **shape)).eval()
    with torch.no_grad():
        for block in hf.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        hf.model.embed_tokens.weight[4:] = embed
        hf.lm_head.weight.zero_()
        hf.lm_head.weight[1, :2], hf.lm_head.weight[2, :2] = 1.0, -1.0
    return load_model(hf, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def nouns():
    """Nouns that mean yes or no along the first axis, a bias that has nothing to do with it along the
    second, noise elsewhere.
    """
    draw = torch.Generator().manual_seed(0)
    y, bias = torch.arange(NOUNS) % 2, torch.arange(NOUNS) // 2 % 2
    embed = 0.5 * torch.randn(NOUNS, 64, generator=draw)
    embed[:, 0], embed[:, 1] = 5.0 * (2 * y - 1), 2.0 * bias - 1
    prompts = Examples([f"the n{i}" for i in range(NOUNS)], y=y.numpy())
    return nouns_model(embed), prompts


def axis(model, k):
    return Direction.from_vector(np.eye(64)[k], SITE, model)


def test_answers_decide_and_not_the_mean_of_their_logit_differences(nouns):
    model, prompts = nouns
    how = {"compare": False, "progress": False}
    coin = effect(model, Ablate(axis(model, 0)), Answers(), prompts, **how)
    assert abs(float(coin.change().value)) < 0.1 and coin.verdict().moves
    assert float(coin.shown("base")["balanced accuracy"].value) == 1.0
    assert float(coin.shown()["balanced accuracy"].value) == 0.5
    assert "changes 50.0%" in coin.verdict().sentence and "balanced accuracy 1.000" in repr(coin)

    shift = effect(model, Add(axis(model, 0), norm=1.0), Answers(), prompts, **how)
    assert shift.change().low > 0 and float(shift.moved().value) == 0
    assert shift.verdict().word == "no effect shown"
    by_mean = effect(model, Add(axis(model, 0), norm=1.0), Answers(judged_by="mean"), prompts, **how)
    assert by_mean.verdict().moves and "moves the mean logit difference" in by_mean.verdict().sentence


def test_what_a_changed_answer_is_belongs_to_the_measure():
    before, now = Given(np.array([7.0, 7, 5, -1])), Given(np.array([5.0, 7, 5, 1]))
    assert MeanValue().changed(before, now).tolist() == [True, False, False, True]
    assert TwoSided().changed(before, now).tolist() == [False, False, False, True]
    kinds = Given(before.values, np.array(list("aabb"))), Given(now.values, np.array(list("abbb")))
    assert Kinds().changed(*kinds).tolist() == [False, True, False, False]
    with pytest.raises(ValueError, match="give the Records labels"):
        Kinds().changed(before, now)
    rounding = Given(before.values + 1e-9)
    assert not MeanValue().changed(before, rounding).any()


def test_what_is_shown_depends_on_whether_the_right_answer_is_known(recwarn):
    values, groups = np.array([1.0, -1, 2, 3]), np.arange(4)
    known = TwoSided().shown(values, groups, np.array([1, 0, 1, 0]), "logit difference")
    assert float(known["balanced accuracy"].value) == 0.75 and float(known["AUROC"].value) == 0.5
    small = TwoSided().shown(values / 10 + 0.2, groups, np.array([1, 0, 1, 0]), "logit difference")
    assert float(small["balanced accuracy"].value) == 0.5  # differences below 1 are no probabilities
    assert not [str(w.message) for w in recwarn]
    for y in (None, np.ones(4, int)):
        unknown = TwoSided().shown(values, groups, y, "logit difference")
        assert list(unknown) == ["share answered positive"]
        assert float(unknown["share answered positive"].value) == 0.75
    assert list(Kinds().shown(values, groups, None, "share refused")) == ["share refused"]
    assert list(MeanValue().shown(values, groups, None, "words")) == ["mean words"]


@dataclass(frozen=True)
class Doubled:
    """A measure of one's own."""

    by_answers: bool = False

    def shown(self, values, groups, y, unit):
        return {"twice the mean": mean(2 * values, groups)}

    def changed(self, before, now):
        return now.values != before.values


def test_a_measure_of_ones_own_is_what_an_effect_shows(nouns):
    assert isinstance(Doubled(), Measure)
    model, prompts = nouns

    @dataclass(frozen=True)
    class Own:
        def __call__(self, model, prompts):
            return replace(Answers()(model, prompts), judged_by=Doubled())

    found = effect(model, Add(axis(model, 0), norm=1.0), Own(), prompts, compare=False, progress=False)
    assert list(found.shown()) == ["twice the mean"] and "twice the mean" in found.verdict().sentence
    assert found.table().columns[1] == "twice the mean" and found.verdict().moves


def test_rows_less_their_class_mean_do_not_hold_what_tells_the_classes_apart():
    draw = torch.Generator().manual_seed(0)
    y = np.arange(40) % 2
    x = torch.randn(40, 8, generator=draw) + 10 * torch.from_numpy(y)[:, None] * torch.eye(8)[0]
    apart = within(x, y)
    assert float(apart[:, 0].std()) < 2 < float(within(x, None)[:, 0].std())
    # Nothing but rounding is no direction.
    same = torch.from_numpy(y)[:, None] * torch.eye(8)[0] + 1e-7 * torch.randn(40, 8, generator=draw)
    assert not within(same, y).any()


@pytest.fixture(scope="module")
def narrow():
    """Nouns that fill three of 64 dimensions."""
    draw = torch.Generator().manual_seed(1)
    span = torch.linalg.qr(torch.randn(64, 3, generator=draw)).Q
    embed = torch.randn(NOUNS, 3, generator=draw) @ span.T
    return nouns_model(embed), Examples([f"the n{i}" for i in range(NOUNS)], y=np.arange(NOUNS) % 2), span


@pytest.mark.parametrize("known", ["train", "remembered", "nothing"])
def test_controls_lie_where_states_vary(narrow, known):
    model, prompts, span = narrow
    acts = capture(model, prompts, SITE, progress=False)
    direction = MassMean().fit(acts).direction()
    edit = Add(direction if known == "remembered" else replace(direction, exchanged=None), gaps=1)
    train = acts if known == "train" else None
    found = meaningless(model, edit, prompts, train, 20, 1, 0)
    nothing = known == "nothing"
    assert found.source == ("the covariance of h within classes" if nothing else "exchanging labels")
    units = found.frames[:, :, 0]
    assert torch.allclose(units.norm(dim=1), torch.ones(20)) and ((units @ span).norm(dim=1) > 0.999).all()
    first = meaningless(model, edit, prompts, train, 3, 1, 0).frames
    assert torch.allclose(first, found.frames[:3], atol=1e-6) and not torch.allclose(
        found.frames[0], found.frames[1]
    )
    others = meaningless(model, edit, prompts, train, 20, 1, 1).frames
    assert torch.allclose(others, found.frames) == (known == "remembered")


def test_a_direction_remembers_what_exchanged_labels_give_on_its_rows(narrow, tmp_path):
    model, prompts, _ = narrow
    acts = capture(model, prompts, SITE, progress=False)
    probe = MassMean().fit(acts)
    direction = probe.direction()
    assert direction.exchanged is not None and direction.exchanged.shape == (20, 64)
    given = meaningless(model, Ablate(direction), prompts, acts, 20, 1, 0)
    own = meaningless(model, Ablate(direction), prompts, None, 20, 1, 0)
    assert torch.allclose(given.frames, own.frames, atol=2e-3)  # half precision
    more = meaningless(model, Ablate(direction), prompts, None, 30, 1, 0).frames
    assert torch.allclose(more[:20], own.frames)
    assert torch.linalg.matrix_rank(more[20:, :, 0], atol=0.05) == 3
    # An oracle by hand: class means taken off, labels exchanged, means subtracted.
    x, y = acts.x[0].double(), torch.from_numpy(acts.y)
    left = torch.where((y == 1)[:, None], x - x[y == 1].mean(0), x - x[y == 0].mean(0))
    rng = np.random.default_rng(0)
    for k in range(3):
        label = torch.from_numpy(shuffled(np.asarray(acts.y), acts.groups, rng))
        by_hand = left[label == 1].mean(0) - left[label == 0].mean(0)
        by_hand = by_hand / by_hand.norm()
        shared = abs(np.corrcoef(label, acts.y)[0, 1])
        found = direction.exchanged[k].double()
        assert torch.allclose(found, (1 - shared) * by_hand, atol=2e-3)
        control = (1 - shared**2) ** 0.5 * by_hand + shared * direction.unit.double()
        assert torch.allclose(own.frames[k, :, 0].double(), control / control.norm(), atol=2e-3)
    saved = Direction.load(direction.save(tmp_path / "direction.safetensors"))
    assert saved.exchanged is not None and torch.equal(saved.exchanged, direction.exchanged)
    again = type(probe).load(probe.save(tmp_path / "probe.safetensors"))
    assert torch.equal(again.exchanged, probe.exchanged)
    other = axis(model, 5)
    rest = direction.orthogonal_to(other).exchanged
    assert rest is not None and float((rest.float() @ other.unit).abs().max()) < 1e-3
    calibrated = Direction.from_vector(direction.unit, SITE, model).calibrated(acts).exchanged
    assert calibrated is not None and torch.equal(calibrated, direction.exchanged)
    eraser = Erase.fit(acts)
    assert torch.allclose(eraser.exchanged[acts.sites[0]], direction.exchanged.float(), atol=2e-3)
    found = meaningless(model, eraser, prompts, None, 20, 1, 0)
    assert found.source == own.source and found.cosines is not None and np.median(found.cosines) < PARALLEL
    assert Direction.from_vector(direction.unit, SITE, model).exchanged is None


def test_rows_that_differ_in_one_way_only_are_not_a_control_of_it(narrow):
    model, _, _ = narrow
    texts = [f"n{2 + i // 2} the n{i % 2}" for i in range(20)]
    word = Examples(texts, y=np.arange(20) % 2, groups=np.arange(20) // 2)
    acts = capture(model, word, SITE, progress=False)
    edit = Add(MassMean().fit(acts).direction(), gaps=1)
    found = meaningless(model, edit, word, acts, 20, 1, 0)
    assert found.source == "the covariance of h over all tokens"
    assert "so exchanging labels gives no direction" in found.note
    assert found.cosines is not None and np.median(found.cosines) < PARALLEL
    unlabelled = meaningless(model, edit, replace(word, y=None), None, 20, 1, 0)
    assert unlabelled.source == found.source and "the same direction again" in unlabelled.note
    assert MassMean().fit(acts).direction().exchanged is None  # nothing is left of rows that do not differ


def test_tossed_labels_seldom_move_behaviour_and_the_planted_direction_does():
    # Only three dimensions are used, so that every difference of means moves the answers, and a random vector
    # of the same length hardly does.
    draw = torch.Generator().manual_seed(2)
    embed = torch.zeros(NOUNS, 64)
    embed[:, :4] = torch.randn(NOUNS, 4, generator=draw) @ torch.randn(4, 4, generator=draw)
    model = nouns_model(embed)
    prompts = Examples([f"the n{i}" for i in range(NOUNS)])
    answers = Answers()
    before = answers(model, prompts)
    acts = capture(model, prompts, SITE, progress=False)
    how = {"before": before, "compare": False, "progress": False}
    moved = {"train given": 0, "remembered": 0, "nothing known": 0}
    for run in range(20):
        tossed = acts.with_y(np.random.default_rng(run).permutation(np.arange(NOUNS) % 2))
        fitted = MassMean().fit(tossed).direction()
        forgot = replace(fitted, exchanged=None)
        for way, direction in (("train given", forgot), ("remembered", fitted), ("nothing known", forgot)):
            train = tossed if way == "train given" else None
            found = effect(model, Ablate(direction), answers, prompts, train=train, seed=run, **how)
            moved[way] += found.verdict().moves
    assert max(moved.values()) <= 4, moved  # at 5% more than 4 of 20 come once in 400
    truth = acts.with_y((before.values > 0).astype(int))
    planted = Direction.from_vector(np.eye(64)[0] + np.eye(64)[1], SITE, model)
    assert effect(model, Ablate(planted), answers, prompts, train=truth, **how).verdict().moves


@pytest.mark.parametrize(("groups", "positive"), [(3, 1), (4, 2), (5, 1), (6, 3), (60, 30)])
@pytest.mark.filterwarnings("ignore:MassMean at .* one coordinate drowns:probes.HookprobeWarning")
def test_few_groups_show_nothing_and_many_do(groups, positive):
    # Names without meaning in a space of few dimensions, in which the model answers along one: whichever
    # labels they get, the difference of means moves answers.
    draw = torch.Generator().manual_seed(3)
    embed = 0.02 * torch.randn(NOUNS, 64, generator=draw)
    member = np.arange(NOUNS) % groups
    embed[:, :8] += torch.randn(groups, 8, generator=draw)[member]
    model = nouns_model(embed)
    prompts = Examples([f"the n{i}" for i in range(NOUNS)], groups=member)
    acts = capture(model, prompts, SITE, progress=False)
    answers = Answers(judged_by="mean")
    how = {"before": answers(model, prompts), "compare": False, "progress": False}
    moved = 0
    for run in range(12):
        label = np.random.default_rng(run).permutation(np.arange(groups) < positive).astype(int)
        tossed = MassMean().fit(acts.with_y(label[member])).direction()
        edit = Add(replace(tossed, gap=None), norm=1.0)
        moved += effect(model, edit, answers, prompts, seed=run, **how).verdict().moves
    assert moved <= 3, f"{moved} of 12 tossed labels move behaviour"  # at 5% more come once in 450
    if groups == NOUNS:
        planted = acts.with_y((how["before"].values > 0).astype(int))
        edit = Add(replace(MassMean().fit(planted).direction(), gap=None), norm=1.0)
        assert effect(model, edit, answers, prompts, **how).verdict().moves


def test_a_vector_from_elsewhere_is_not_said_to_do_nothing_because_its_controls_are_like_it():
    embed = 0.3 * torch.randn(NOUNS, 64, generator=torch.Generator().manual_seed(4))
    embed[:, 0] = 5.0 * (2.0 * (torch.arange(NOUNS) % 2) - 1)
    model = nouns_model(embed)
    prompts = Examples([f"the n{i}" for i in range(NOUNS)])
    how = {"compare": False, "progress": False}
    tilted = Direction.from_vector(np.eye(64)[0] + 0.8 * np.eye(64)[2], SITE, model)
    found = effect(model, Add(tilted, norm=12.0), Answers(), prompts, **how).verdict()
    assert found.word == "not told apart from random edits", found
    assert "may hide a real effect" in repr(found) and "give train=" in repr(found)
    train = capture(model, replace(prompts, y=np.arange(NOUNS) % 2), SITE, progress=False)
    assert effect(model, Add(tilted, norm=12.0), Answers(), prompts, train=train, **how).verdict().moves
