"""What cannot be meant is refused at once, in words that name it and the call that works; a close neighbour
of the right thing works.
"""

import numpy as np
import pytest
import torch
from torch import nn

from interventions import Ablate, Add, Answers, applied, edited
from probes import Direction, MassMean, Site, capture, load_model
from probes.data.examples import Examples
from tests.typechecks import unchecked

TEXTS = ["the red house", "a small tree", "the river is old", "a house"]
SITE = "resid_post.1"


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture
def direction(model):
    return Direction.from_vector(np.eye(model.width)[0], SITE, model)


REFUSED = {
    "edit of a vector": (lambda m, d: Ablate(d.unit).compile(m), "goes along a Direction, got a Tensor"),
    "edit of a probe": (lambda m, d: edited(m, Ablate(fitted(m))), r"Direction, got a LinearProbe.*probe\."),
    "no edit": (lambda m, d: edited(m), "no edits given"),
    "no edit in a list": (lambda m, d: edited(m, []), "no edits given"),
    "a direction for an edit": (
        lambda m, d: edited(m, d),
        r"a Direction is no edit; say what to do.*Ablate\(",
    ),
    "a vector for an edit": (lambda m, d: edited(m, d.unit), "a Tensor is no edit; make a direction of it"),
    "a probe for an edit": (lambda m, d: edited(m, fitted(m)), "no edit; take its direction"),
    "a class for an edit": (lambda m, d: edited(m, Add), r"Add is a kind of edit; .*Add\(direction\)"),
    "another model edited": (lambda m, d: edited(m.hf, Ablate(d)), r"takes a Model.*load_model\("),
    "a Model applied": (lambda m, d: applied(m, Ablate(d)).__enter__(), r"applied\(model\.hf"),
    "another model captured": (lambda m, d: capture(m.hf, TEXTS), r"reads a Model.*load_model\("),
    "bool states": (lambda m, d: capture(m, TEXTS, dtype=torch.bool), "dtype=torch.bool cannot hold"),
    "complex states": (lambda m, d: capture(m, TEXTS, dtype=torch.complex64), "dtype=torch.complex64"),
    "whole states": (lambda m, d: capture(m, TEXTS, dtype=torch.int8), "dtype=torch.int8 cannot hold"),
    "half a text": (lambda m, d: capture(m, TEXTS, batch_size=2.5), "batch_size is a whole number.*2.5"),
    "no batch": (lambda m, d: capture(m, TEXTS, batch_size=0), "batch_size is a whole number.*0"),
    "one string as texts": (lambda m, d: m.logits("the house"), "one string|single string|list of texts"),
    "an empty answer": (lambda m, d: Answers("", " no"), "text that is not empty.*''"),
    "no answer": (lambda m, d: Answers(None, " no"), "text that is not empty.*None"),
    "no such folder": (lambda m, d: load_model("/no/such/folder"), "there is no folder /no/such/folder"),
    "no such dtype": (lambda m, d: load_model("x", dtype="float33"), "there is no dtype 'float33'"),
    "no model": (lambda m, d: load_model(nn.Linear(2, 2), tokenizer=m.tokenizer), "a Linear is no Hugging"),
}


def fitted(model):
    return MassMean().fit(capture(model, Examples(TEXTS, y=[0, 1, 0, 1]), SITE))


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_meant_is_refused_in_words(what, model, direction):
    call, said = REFUSED[what]
    with unchecked(), pytest.raises((ValueError, TypeError), match=said):
        call(model, direction)


def test_close_neighbours_of_the_right_thing_work(model, direction):
    one = edited(model, Ablate(direction))
    for given in ([Ablate(direction)], (Ablate(direction),)):
        assert torch.equal(edited(model, given).logits(TEXTS), one.logits(TEXTS))
    with applied(model.hf, [Ablate(direction)]):
        inside = model.logits(TEXTS)
    assert torch.allclose(inside, one.logits(TEXTS), atol=1e-5)
    with unchecked():
        site = Site("resid_post", np.int64(1))  # pyright: ignore
        assert len(capture(model, TEXTS, SITE, batch_size=np.int64(2))) == len(TEXTS)  # pyright: ignore
    assert site == Site.parse(SITE) and type(site.block) is int and str(site) == SITE
    asked = Answers(" tree", " house")(model, ["the red"])
    assert np.array_equal(asked.values, Answers(" tree", " house")(model, Examples(["the red"])).values)
