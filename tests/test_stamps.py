"""What a model holds besides weights, changed behind the back of its copy: the copy follows or is refused,
and receipts, stores and edited values say another model.
"""

import functools
import types

import numpy as np
import pytest
import torch

from interventions import Add, edited
from probes import Examples, MassMean, capture, load_model
from probes.models import held as held_by
from probes.models.looked_at import look
from probes.models.stamp import Stamp
from tests.conftest import build_hf, build_tokenizer
from tests.wrapped import AroundMLP

TEXTS = ["alpha beta the river"]
ROWS = Examples(["alpha beta", "old tree", "blue river", "stone near"] * 2, y=[0, 1] * 4)
BACKENDS = ("hooks", "nnsight", "transformer_lens")


class Slots:
    __slots__ = ("g",)


class Scaled(AroundMLP):
    """Anybody's wrapper of an MLP, and all that it may hold."""

    def __init__(self, mlp):
        super().__init__(mlp)
        self.fn, self._gain = lambda h: h, 1.0
        self.table, self.list, self.own = {"a": {"b": 1.0}}, [1.0], types.SimpleNamespace(g=1.0)
        self.vector, self.array = torch.zeros(32), np.ones(1, np.float32)
        self.slots, self.deep, self.set = Slots(), {1: {1: {1: {1: {1: {1: 1.0}}}}}}, {("a", 1)}
        self.slots.g, self.tensors = 1.0, [torch.ones(1)]

    def forward(self, x):
        by = self._gain * self.table["a"]["b"] * self.list[0] * self.own.g * float(self.array[0])
        by = by * self.slots.g * self.deep[1][1][1][1][1][1] * (1 if self.set else 3) * self.tensors[0]
        return self.fn(self.mlp(x)) * by + self.vector


def in_wrapper(change):
    return "llama", lambda hf: change(hf.model.layers[1].mlp)


def prepared_around(hf):
    old = hf.prepare_inputs_for_generation

    @functools.wraps(old)
    def others(ids, **kwargs):
        made = old(ids, **kwargs)
        return made | {"input_ids": torch.full_like(made["input_ids"], 7)}

    hf.prepare_inputs_for_generation = others


CHANGES = {
    "a function": in_wrapper(lambda w: setattr(w, "fn", lambda h: h * 3)),
    "a private number": in_wrapper(lambda w: setattr(w, "_gain", 3.0)),
    "a table within a table": in_wrapper(lambda w: w.table["a"].update(b=3.0)),
    "a list": in_wrapper(lambda w: w.list.__setitem__(0, 3.0)),
    "an object": in_wrapper(lambda w: setattr(w.own, "g", 3.0)),
    "an array": in_wrapper(lambda w: w.array.fill(3.0)),
    "a tensor": in_wrapper(lambda w: setattr(w, "vector", torch.ones(32))),
    "a tensor in place": in_wrapper(lambda w: w.vector.add_(1)),
    "a tensor past its version": in_wrapper(lambda w: w.vector.data.add_(1)),
    "a tensor in a list, past its version": in_wrapper(lambda w: w.tensors[0].data.mul_(3)),
    "a slot": in_wrapper(lambda w: setattr(w.slots, "g", 3.0)),
    "a table six deep": in_wrapper(lambda w: w.deep[1][1][1][1][1].update({1: 3.0})),
    "a set": in_wrapper(lambda w: w.set.clear()),
    "a private method put on": (
        "gemma2",
        lambda hf: setattr(hf.model.layers[1].input_layernorm, "_norm", lambda x: x * 0.3),
    ),
    "a list in the config": (
        "gemma2",
        lambda hf: hf.config.layer_types.__setitem__(slice(None), ["full_attention"] * 3),
    ),
    "a table in the config": ("llama", lambda hf: hf.config.rope_parameters.update(rope_theta=3.0)),
    "how texts are prepared, around the old": ("llama", lambda hf: prepared_around(hf)),
    "how texts are prepared": (
        "llama",
        lambda hf: setattr(hf, "prepare_inputs_for_generation", lambda ids, **kwargs: {"input_ids": ids * 0}),
    ),
}


def made(family, backend):
    hf = build_hf(family)
    if family == "llama":
        hf.model.layers[1].mlp = Scaled(hf.model.layers[1].mlp)
    return hf, load_model(hf, tokenizer=build_tokenizer("left"), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("family", "change"), CHANGES.values(), ids=CHANGES)
def test_a_copy_does_not_go_on_with_what_the_model_was(family, change, backend):
    hf, model = made(family, backend)
    model.logits(TEXTS)
    before = model.fingerprint.key
    change(hf)
    if backend == "transformer_lens":
        with pytest.raises(ValueError, match="was changed after its bridge was made"):
            model.logits(TEXTS)
    else:
        plain = load_model(hf, tokenizer=model.tokenizer)
        assert torch.allclose(model.logits(TEXTS), plain.logits(TEXTS), atol=1e-5)
        assert model.generate(TEXTS, 2) == plain.generate(TEXTS, 2)
    assert model.fingerprint.key != before


@pytest.mark.parametrize(("family", "change"), CHANGES.values(), ids=CHANGES)
def test_edits_made_before_are_asked_again(family, change):
    hf, model = made(family, "hooks")
    direction = MassMean().fit(capture(model, ROWS, "resid_post.1", progress=False)).direction("resid_post.1")
    changed = edited(model, Add(direction, gaps=1))
    changed.logits(TEXTS)
    change(hf)
    for ask in (lambda: changed.logits(TEXTS), lambda: edited(model, Add(direction, gaps=1))):
        with pytest.raises(ValueError, match=r"their (settings|config) differs?"):
            ask()


def test_a_block_that_stands_twice_is_told_from_another(make_tokenizer):
    hf = build_hf()
    blocks = hf.model.layers
    blocks[2] = blocks[0]
    model = load_model(hf, tokenizer=make_tokenizer("left"), backend="nnsight")
    model.logits(TEXTS)
    stamp = Stamp.of(hf)
    blocks[2] = blocks[1]
    assert stamp.changed(hf) == "model.layers: modules within"
    with torch.no_grad():
        ids = torch.tensor([model.encode(TEXTS)[0].ids])
        want = hf(input_ids=ids, use_cache=False).logits[0, -1]
    assert torch.allclose(model.logits(TEXTS)[0], want, atol=1e-5)


def test_rows_of_another_model_are_not_served(tmp_path, make_tokenizer):
    texts = Examples(["alpha beta the river is old a tree", "old tree near the small stone house is"])
    hf, model = made("gemma2", "nnsight")
    capture(model, texts, "resid_post.1", progress=False)
    CHANGES["a list in the config"][1](hf)
    store = str(tmp_path / "s")
    capture(model, texts, "resid_post.1", store=store, progress=False)
    fresh = [load_model(hf, tokenizer=model.tokenizer, backend=b) for b in ("nnsight", "hooks")]
    got = capture(fresh[0], texts, "resid_post.1", store=store, progress=False).load()
    assert torch.allclose(got.x, capture(fresh[1], texts, "resid_post.1", progress=False).x, atol=1e-5)


def test_what_stays_is_not_taken_for_another():
    hf, model = made("llama", "hooks")
    stamp = Stamp.of(hf)
    model.logits(TEXTS)
    model.generate(TEXTS, 2)
    hf.train().eval()
    hf.model.layers[1].mlp._gain = 1.0
    hf.note = 1
    assert stamp.changed(hf) == ""
    hf.other = 2
    assert stamp.changed(hf) == ""


def test_large_values_are_looked_at_in_part():
    pictures = [look(v) for v in ([*range(10**6)], {i: i for i in range(10**5)}, set(range(10**5)))]
    assert all(len(picture) < 300 for picture in pictures)
    known = [*range(10**6)]
    before = look(known)
    known.append(1)
    assert look(known) != before


@pytest.mark.parametrize("made", [torch.zeros, np.zeros])
def test_large_arrays_that_functions_hold_are_read_again_where_they_seem_to_be_others(made, monkeypatch):
    large = made((512, 512))

    def function(x):
        return x + large

    counted, theirs = [], held_by.whole
    monkeypatch.setattr(held_by, "whole", lambda value: counted.append(1) or theirs(value))
    first = held_by.held(function)
    assert held_by.held(function) == first and len(counted) == 1
    for change in (lambda: large[3].__setitem__(slice(None), 1), lambda: large[:, 7].__setitem__(..., 2)):
        before = held_by.held(function)
        change()
        assert held_by.held(function) != before
