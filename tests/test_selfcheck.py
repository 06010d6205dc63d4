"""The check on a model's first use passes on sound models and names what is wrong with the others."""

from dataclasses import replace

import pytest
import torch

from probes import Examples, MassMean, Site, capture, load_model
from probes.models.backends.hooks import ModuleTree
from probes.models.model import Model
from probes.models.selfcheck import SelfCheckError, self_check
from tests.conftest import ENCODERS, FAMILIES

TEXTS = ["the red house is old .", "river", "a tall tree lives near the blue river"]
CHECKS = ["batched = single", "left = right padding", "hook = hidden_states"]


@pytest.mark.parametrize("family", FAMILIES)
def test_sound_models_pass_far_below_the_threshold(family, make_model):
    found = capture(make_model(family), TEXTS, "resid_post.0").receipt["self_check"]
    assert list(found["differences"]) == CHECKS
    assert max(found["differences"].values()) <= 2e-6 < found["threshold"] == 1e-5
    assert found["beginning-of-text tokens"] == 1
    assert found["template round trip"] == "no chat template"


@pytest.mark.parametrize(("dtype", "threshold"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_half_precision_has_its_own_threshold(family, dtype, threshold, make_hf, make_tokenizer):
    model = load_model(make_hf(family).to(dtype), tokenizer=make_tokenizer(encoder=family in ENCODERS))
    found = self_check(model, model.encode(TEXTS))
    assert found["threshold"] == threshold
    assert max(found["differences"].values()) < threshold


def without(name):
    whole = Model.inputs
    return lambda self, batch: {k: v for k, v in whole(self, batch).items() if k != name}


def shifted(self, site, layout=None):
    block = min(site.block + 1, 2) if site.kind == "resid_pre" else site.block
    return real_point(self, replace(site, block=block), layout)


real_point = ModuleTree.point


@pytest.mark.parametrize(
    ("family", "fault", "check"),
    [
        ("gpt2", lambda m: m.setattr(Model, "inputs", without("position_ids")), "left = right padding"),
        ("bert", lambda m: m.setattr(Model, "inputs", without("attention_mask")), "batched = single"),
        ("t5", lambda m: m.setattr(Model, "inputs", without("attention_mask")), "batched = single"),
        ("llama", lambda m: m.setattr(ModuleTree, "point", shifted), "hook = hidden_states"),
    ],
    ids=["no position ids", "no mask (BERT)", "no mask (T5)", "off by one block"],
)
def test_a_fault_is_named_with_its_size_and_nothing_is_captured(
    family, fault, check, make_model, monkeypatch
):
    model = make_model(family)
    fault(monkeypatch)
    with pytest.raises(
        SelfCheckError,
        match=(
            rf"the self-check '{check}' failed .*: resid_\w+\.\d of a text of \d+ tokens .* off by"
            r" [0-9.]+e[-+]0[0-2] relative RMS, at most 1e-05"
        ),
    ):
        capture(model, TEXTS)
    again = capture(model, TEXTS, check=False)
    assert again.receipt["self_check"] == "skipped"
    monkeypatch.undo()
    assert max(capture(model, TEXTS).receipt["self_check"]["differences"].values()) <= 2e-6, (
        "a failure must not be remembered"
    )


def test_texts_of_one_length_are_padded_for_the_check(make_model, monkeypatch):
    model = make_model("gpt2")
    monkeypatch.setattr(Model, "inputs", without("position_ids"))
    for texts in (["river"], ["the red", "a tree"]):
        with pytest.raises(SelfCheckError, match="left = right padding"):
            capture(model, texts)


def test_a_model_is_checked_once_also_under_edits(make_model, monkeypatch):
    model = make_model()
    runs = []
    real = type(model.backend).run
    monkeypatch.setattr(
        type(model.backend), "run", lambda self, *a, **k: runs.append(1) or real(self, *a, **k)
    )
    capture(model, TEXTS, "resid_post.0")
    first = len(runs)
    capture(replace(model, name="another name"), TEXTS, "resid_post.0")
    assert (first, len(runs)) == (7, 8), "five passes and one of the pair; then one of its own"


def test_an_edited_model_is_checked_without_its_edits(make_model):
    from tests.test_capture import Shift

    model = replace(make_model(), writes=(Shift(Site("resid_pre", 1)),))
    assert capture(model, TEXTS).receipt["self_check"]["differences"]["hook = hidden_states"] <= 1e-6


def test_the_receipt_stays_with_the_probe_and_its_file(make_model, tmp_path):
    acts = capture(make_model(), Examples(TEXTS, y=[0, 1, 1]))
    probe = MassMean().fit(acts)
    assert probe.receipt["self_check"] == acts.receipt["self_check"]
    assert (
        type(probe).load(probe.save(tmp_path / "probe.safetensors")).receipt["self_check"]
        == acts.receipt["self_check"]
    )


def test_a_chat_template_is_tried(make_hf, make_tokenizer):
    tokenizer = make_tokenizer(chat=True)
    model = load_model(make_hf(), tokenizer=tokenizer)
    assert self_check(model, model.encode(TEXTS))["template round trip"] in ("exact", "up to spaces")
    tokenizer.chat_template = "{{ bos_token }} user"
    deaf = load_model(make_hf(), tokenizer=tokenizer)
    with pytest.raises(SelfCheckError, match="loses what the user says"):
        self_check(deaf, deaf.encode(TEXTS))


def test_states_that_are_not_finite_are_left_to_the_capture(make_model):
    model = make_model()
    with torch.no_grad():
        model.hf.model.layers[2].mlp.down_proj.weight[0] = float("nan")
    assert capture(model, TEXTS, "resid_post.1").x.isfinite().all()
    with pytest.raises(ValueError, match=r"NaN or infinite values at resid_post\.2"):
        capture(model, TEXTS)
