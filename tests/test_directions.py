"""Directions: signs, angles, projections, the tokens they promote, saving."""

import copy
import pickle
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from interventions import Ablate, Add, edited
from probes import Activations, Direction, Examples, MassMean, capture, cosine_map
from probes.vectors import write_gguf


@pytest.fixture
def pair():
    a = Direction.from_vector([3.0, 0.0, 4.0], "resid_post.1")
    b = Direction.from_vector([0.0, 0.0, 2.0], "resid_post.1")
    return a, b


def test_negation_cosine_and_projection(pair):
    a, b = pair
    assert torch.equal((-a).unit, -a.unit) and (-a).cosine_to(a) == pytest.approx(-1)
    assert a.cosine_to(b) == pytest.approx(0.8)
    rest = a.orthogonal_to(b)
    assert rest.cosine_to(b) == pytest.approx(0, abs=1e-6) and rest.unit.tolist() == [1, 0, 0]
    assert np.allclose(cosine_map([a, b, -b]), [[1, 0.8, -0.8], [0.8, 1, -1], [-0.8, -1, 1]], atol=1e-6)
    with pytest.raises(ValueError, match="parallel"):
        a.orthogonal_to(-a)
    with pytest.raises(ValueError, match=r"resid_post\.1 and resid_post\.2"):
        a.orthogonal_to(Direction.from_vector([0.0, 0.0, 2.0], "resid_post.2"))


def test_gap_is_measured_on_labelled_rows(pair):
    a, _ = pair
    x = torch.tensor([[0.0, 0, 0], [6, 0, 8], [0, 1, 0], [6, 1, 8]])
    assert a.gap is None
    acts = Activations.from_arrays(x, [0, 1, 0, 1], sites=["resid_post.1"])
    for direction in (a, -a):
        with (
            pytest.warns(UserWarning, match="towards the rows labelled 0")
            if direction is not a
            else nullcontext()
        ):
            calibrated = direction.calibrated(acts)
        assert calibrated.gap == pytest.approx(10) and calibrated.unit.equal(direction.unit), (
            "a distance, whichever way it points"
        )


@pytest.mark.parametrize("vector", [[0.0, 0.0], [np.nan, 1.0], [[1.0]]])
def test_vectors_without_a_direction_are_refused(vector):
    with pytest.raises(ValueError, match="one finite vector that is not zero"):
        Direction.from_vector(vector, "resid_post.0")


def test_saving_keeps_everything(pair, tmp_path):
    a, _ = pair
    loaded = Direction.load(a.save(tmp_path / "d.safetensors"))
    assert repr(loaded) == repr(a) and torch.equal(loaded.unit, a.unit) and loaded.site == a.site


CENTRING = ["gpt2", "gpt_neox", "opt", "bloom", "falcon"]


@pytest.mark.parametrize("family", ["llama", "gemma2", *CENTRING])
def test_promoted_tokens_are_those_whose_logits_rise(make_model, family):
    """Against the model's own logits under a large push forth and back, where the norm's scale is settled."""
    model = make_model(family)
    site = f"resid_post.{model.n_blocks - 1}"
    slanted = torch.randn(model.width, generator=torch.Generator().manual_seed(0)) + 0.5
    for vector, same_everywhere in ((slanted, False), (torch.ones(model.width), True)):
        d = Direction.from_vector(vector, site)
        up, down = (edited(model, Add(d, norm=by)).logits(["a tree"])[0] for by in (1e5, -1e5))
        found = d.tokens(model, model.hf.config.vocab_size)["promoted"]
        said = torch.tensor([v for _, v in found])
        if same_everywhere and family in CENTRING:
            assert said.abs().max() < 1e-4, "a LayerNorm lets nothing of it through"
            continue
        assert said.abs().max() > 1e-2
        made = (up - down).float() - (up - down).float().mean()
        order = made.argsort(descending=True)
        assert np.corrcoef(said, made[order])[0, 1] > 0.999
        top = [model.tokenizer.decode([int(i)]) for i in order[:3]]
        assert [t for t, _ in found[:3]] == top


def test_an_encoder_has_no_tokens_to_promote(make_model):
    model = make_model("bert")
    d = Direction.from_vector(torch.ones(model.width), "resid_post.0")
    with pytest.raises(ValueError, match="logit lens needs a causal language model"):
        d.tokens(model)


WAYS_TO_WRITE = {
    "in place": lambda t: t.mul_(-1),
    "through numpy": lambda t: np.multiply(t.numpy(), -1, out=t.numpy()),
    "through data": lambda t: t.data.mul_(-1),
}


@pytest.mark.parametrize("way", WAYS_TO_WRITE)
def test_a_direction_that_was_written_into_is_refused_where_it_is_used(way, make_model, tmp_path):
    model = make_model()
    texts = [f"{a} {b}" for a in ("red", "tall", "old") for b in ("tree", "house", "river", "door")]
    acts = capture(model, Examples(texts, y=[0, 1] * 6), "resid_post.1", progress=False)
    direction, other = MassMean().fit(acts).direction(), MassMean().fit(acts).direction()
    add, ablate = Add(direction, gaps=1), Ablate(direction)
    WAYS_TO_WRITE[way](direction.unit)
    uses = (
        lambda: Add(direction, gaps=1),
        lambda: edited(model, add),
        lambda: edited(model, ablate),
        lambda: direction.save(tmp_path / "direction"),
        lambda: write_gguf(tmp_path / "x.gguf", [direction], "llama"),
        lambda: direction.calibrated(acts),
        lambda: cosine_map([other, direction]),
        lambda: other.cosine_to(direction),
        lambda: -direction,
        lambda: direction.tokens(model),
    )
    for use in uses:
        with pytest.raises(ValueError, match=r"the direction's unit was changed in place since it was made"):
            use()
    for copied in (copy.copy(other), copy.deepcopy(other), pickle.loads(pickle.dumps(other))):
        edited(model, Add(copied, gaps=1)).logits(texts[:2])
    other.save(tmp_path / "other")
    edited(model, Ablate(Direction.load(tmp_path / "other"))).logits(texts[:2])


def test_a_direction_that_points_towards_label_0_is_said_and_chance_is_not():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = rng.normal(size=(60, 8)).astype("f4")
    x[:, 0] += 2 * y
    acts = Activations.from_arrays(x, y, sites=["resid_post.1"])
    towards = MassMean().fit(acts).direction()
    towards.calibrated(acts)
    with pytest.warns(UserWarning, match=r"labelled 1 lie 2\.\d+ lower .*gaps=1\) moves towards label 0"):
        back = (-towards).calibrated(acts)
    assert back.gap == pytest.approx(towards.gap)
    lower = 0
    for _ in range(40):  # across it both signs are chance
        other = rng.normal(size=8)
        other[0] = 0
        found = Direction.from_vector(other, "resid_post.1")
        lower += float((acts.x[0][y == 1] @ found.unit).mean() - (acts.x[0][y == 0] @ found.unit).mean()) < 0
        found.calibrated(acts)
    assert lower > 10
    two = Activations.from_arrays(x[:2], y[:2], sites=["resid_post.1"])
    (-towards).calibrated(two)  # of one row a class nothing is known
