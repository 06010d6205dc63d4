"""Directions: signs, angles, projections, the tokens they promote, saving."""

import numpy as np
import pytest
import torch

from probes import Activations, Direction, cosine_map
from probes.fitting.directions import final_norm_gain


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
    for direction in (a, -a):
        calibrated = direction.calibrated(Activations.from_arrays(x, [0, 1, 0, 1], sites=["resid_post.1"]))
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


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox"])
def test_promoted_tokens_are_those_whose_logits_rise(make_model, family):
    """Pushing the final residual far along the direction ends in the ranking that the logit lens gives."""
    model = make_model(family)
    d = Direction.from_vector(
        torch.randn(model.width, generator=torch.Generator().manual_seed(0)),
        f"resid_post.{model.n_blocks - 1}",
    )
    from interventions import Add, edited

    head = model.hf.get_output_embeddings().weight.detach()
    lens = head @ (
        final_norm_gain(model) * (d.unit - (d.unit.mean() if family in ("gpt2", "gpt_neox") else 0))
    )
    after = edited(model, Add(d, norm=1e4)).logits(["a tree"])[0]
    top = d.tokens(model, 3)["promoted"]
    assert np.corrcoef(lens, after)[0, 1] > 0.9
    assert model.tokenizer.decode([int(lens.argmax())]) in [t for t, _ in top]
    assert len(top) == 3 and top[0][1] >= top[1][1]


def test_an_encoder_has_no_tokens_to_promote(make_model):
    model = make_model("bert")
    d = Direction.from_vector(torch.ones(model.width), "resid_post.0")
    with pytest.raises(ValueError, match="logit lens needs a causal language model"):
        d.tokens(model)
