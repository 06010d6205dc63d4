"""What edits were made of is written to afterwards, or the model they were made for changes: refused, or
served as it was.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from interventions import Ablate, Add, Affine, Patch, Skip, edited
from probes import Direction, Examples, MassMean, capture
from tests.conftest import build_hf

TEXTS = ["the red house", "a small tree", "the river is old", "a house"]
SITE = "resid_post.1"


@pytest.fixture
def model(make_model):
    return make_model()


def rows_of(model):
    return capture(model, Examples(TEXTS, y=[0, 1, 0, 1]), [SITE, "mlp_out.1"], progress=False)


VECTOR = Direction.from_vector(np.ones(32), SITE)
HOLDING = {
    "patch": Patch,
    "affine": lambda rows: Affine(VECTOR, rows),
    "skip": lambda rows: Skip("mlp_out.1", mean_of=rows),
    "ablate": lambda rows: Ablate(VECTOR, mean_of=rows),
}


@pytest.mark.parametrize("make", HOLDING.values(), ids=HOLDING)
@pytest.mark.parametrize("write", [lambda x: x.mul_(2), lambda x: x.data.mul_(2)], ids=["torch", "data"])
def test_rows_that_were_written_to_make_no_edit(model, make, write):
    rows = rows_of(model)
    edit = make(rows)
    before = edited(model, edit)
    was = before.logits(TEXTS)
    write(rows.x)
    with pytest.raises(ValueError, match=r"x was changed in place since it was made, .*make the edit anew"):
        edited(model, edit)
    assert torch.equal(before.logits(TEXTS), was), "an edited model keeps what it took"
    edited(model, make(rows))  # made of the rows as they are now


def test_labels_that_were_written_to_are_no_reference(model):
    rows = rows_of(model)
    edit = Affine(VECTOR, rows)
    assert rows.y is not None
    rows.y[:] = 1 - rows.y
    with pytest.raises(ValueError, match=r"the edit's reference\.y was changed in place"):
        edited(model, edit)


def test_rows_that_nobody_wrote_to_go_on(model):
    rows = rows_of(model)
    edits = [make(rows) for make in HOLDING.values()]
    for edit in edits:
        edited(model, edit).logits(TEXTS)
        edited(model, copy.deepcopy(edit))
    rows[SITE].x.mul_(2)  # copies
    rows.rows([1, 3]).x.mul_(2)
    for edit in edits:
        edited(model, edit)


CHANGES = {
    "another block": lambda hf: hf.model.layers.__setitem__(2, build_hf(seed=3).model.layers[2]),
    "blocks in another order": lambda hf: hf.model.layers.insert(0, hf.model.layers.pop(1)),
    "another norm": lambda hf: setattr(hf.model, "norm", nn.Identity()),
    "another forward": lambda hf: setattr(hf.model.layers[2].mlp, "forward", lambda x: 0 * x),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_parts_of_a_model_that_were_replaced_are_noticed_at_the_next_pass(model, change):
    rows = rows_of(model)
    changed = edited(model, Add(MassMean().fit(rows).direction(SITE), gaps=1))
    free = edited(model, Add(VECTOR, norm=1.0))  # belongs to no model in particular
    changed.logits(TEXTS)
    change(model.hf)
    with pytest.raises(ValueError, match=r"changed since it was edited"):
        changed.logits(TEXTS)
    free.logits(TEXTS)


def test_what_changes_no_pass_goes_on(model):
    changed = edited(model, Add(MassMean().fit(rows_of(model)).direction(SITE), gaps=1))
    was = changed.logits(TEXTS)
    model.hf.train().eval()
    model.hf.requires_grad_(False)
    model.hf.model.layers[1].register_forward_hook(lambda *_: None).remove()
    model.hf.model.layers[2] = model.hf.model.layers[2]
    model.hf.load_state_dict(model.hf.state_dict())
    assert torch.allclose(changed.logits(TEXTS), was, atol=1e-5)
