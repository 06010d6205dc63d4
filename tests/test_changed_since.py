"""What edits were made of is written to afterwards, or the model they were made for changes: refused, or
served as it was.
"""

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch import nn
from torch.nn.utils.prune import l1_unstructured

from interventions import Ablate, Add, Affine, Patch, Skip, edited
from probes import Direction, Examples, MassMean, capture, load_model
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
    "another class": lambda hf: setattr(
        hf.model.norm, "__class__", type("Other", (type(hf.model.norm),), {})
    ),
    "eps": lambda hf: setattr(hf.model.norm, "variance_epsilon", 0.5),
    "attention scaling": lambda hf: setattr(hf.model.layers[1].self_attn, "scaling", 2.0),
    "a buffer in place": lambda hf: hf.model.rotary_emb.inv_freq.mul_(2),
    "another buffer": lambda hf: setattr(hf.model.rotary_emb, "inv_freq", 2 * hf.model.rotary_emb.inv_freq),
    "pruned": lambda hf: l1_unstructured(hf.model.layers[1].mlp.up_proj, "weight", amount=0.5),
    "head tied": lambda hf: setattr(hf.lm_head, "weight", hf.model.embed_tokens.weight),
    "config": lambda hf: setattr(hf.config, "hidden_act", "gelu"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_parts_of_a_model_that_were_replaced_are_noticed_at_the_next_pass(model, change):
    rows = rows_of(model)
    changed = edited(model, Add(MassMean().fit(rows).direction(SITE), gaps=1))
    free = edited(model, Add(VECTOR, norm=1.0))  # belongs to no model in particular
    changed.logits(TEXTS)
    change(model.hf)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"changed since it was edited"):
            changed.logits(TEXTS)
    free.logits(TEXTS)


def test_the_scale_of_an_adapter_is_asked_at_the_next_pass(make_hf, make_tokenizer):
    from peft import LoraConfig, get_peft_model

    adapter = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    model = load_model(get_peft_model(make_hf(), adapter).eval(), tokenizer=make_tokenizer("left"))
    changed = edited(model, Add(MassMean().fit(rows_of(model)).direction(SITE), gaps=1))
    was = changed.logits(TEXTS)
    scaled: list[Any] = [m for m in model.hf.modules() if hasattr(m, "set_scale") and hasattr(m, "scaling")]
    for scale in (5.0, 7.0):
        for module in scaled:
            module.set_scale("default", scale)
        with pytest.raises(ValueError, match=r"q_proj: scaling\): .*their settings differ"):
            changed.logits(TEXTS)
    for module in scaled:
        module.set_scale("default", 1.0)
    assert torch.equal(changed.logits(TEXTS), was)


def test_a_hook_of_other_code_is_said_once_at_the_next_pass(model):
    changed = edited(model, Add(MassMean().fit(rows_of(model)).direction(SITE), gaps=1))
    changed.logits(TEXTS)
    model.hf.model.layers[1].register_forward_hook(lambda m, a, out: 2 * out)
    with pytest.warns(UserWarning, match=r"made with these hooks of other code on the model: none; now"):
        changed.logits(TEXTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        changed.logits(TEXTS)


def test_a_tokenizer_that_begins_texts_otherwise_is_said_at_the_next_pass(make_hf, make_tokenizer):
    tokenizer = make_tokenizer("left")
    model = load_model(make_hf(), tokenizer=tokenizer)
    changed = edited(model, Add(MassMean().fit(rows_of(model)).direction(SITE), gaps=1))
    free = edited(model, Add(VECTOR, norm=1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer.padding_side = "right"
        tokenizer.model_max_length = 64
        changed.logits(TEXTS)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
        free.logits(TEXTS)
    with pytest.warns(UserWarning, match=r"model now gets texts that begin with no special token"):
        changed.logits(TEXTS)


def test_edits_made_and_run_within_one_autocast_are_of_one_precision(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        direction = MassMean().fit(rows_of(model)).direction(SITE)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            edited(model, Add(direction, gaps=1)).logits(TEXTS)
    with pytest.warns(UserWarning, match=r"made in bfloat16 and the model .* runs in float32"):
        edited(model, Add(direction, gaps=1))
    plain = MassMean().fit(rows_of(model)).direction(SITE)
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.warns(UserWarning, match=r"made in float32 and the model .* runs in bfloat16"),
    ):
        edited(model, Add(plain, gaps=1))


def test_what_changes_no_pass_goes_on(model):
    changed = edited(model, Add(MassMean().fit(rows_of(model)).direction(SITE), gaps=1))
    was = changed.logits(TEXTS)
    model.hf.train().eval()
    model.hf.requires_grad_(False)
    model.hf.model.layers[1].register_forward_hook(lambda *_: None).remove()
    model.hf.model.layers[2] = model.hf.model.layers[2]
    model.hf.load_state_dict(model.hf.state_dict())
    model.hf.config.pad_token_id = 2
    model.hf.config.use_cache = False
    model.hf.generation_config.temperature = 0.5
    model.hf._seen = 3
    assert torch.allclose(changed.logits(TEXTS), was, atol=1e-5)
