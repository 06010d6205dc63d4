"""What hooks of other code write to modules of a model, any way at all, its copies compute with; and hooks
find on the model's own modules what the passes of copies keep.
"""

import functools

import pytest
import torch

from probes import load_model
from tests.conftest import build_hf, build_tokenizer
from tests.wrapped import AroundMLP

TEXTS = ["alpha beta the river"]
IDS = torch.tensor([build_tokenizer()(TEXTS[0])["input_ids"]])
COPIES = ("nnsight", "transformer_lens")


class Gain(AroundMLP):
    """Somebody's wrapper of an MLP, which keeps what it saw."""

    def __init__(self, mlp):
        super().__init__(mlp)
        self.gain, self.table, self.list = 1.0, {"g": 1.0}, [1.0]
        self.register_buffer("b", torch.ones(1), persistent=False)

    def forward(self, x):
        self.last = x.norm(dim=-1, keepdim=True)
        return self.mlp(x) * self.gain * self.table["g"] * self.list[0] * self.b


def note(module, value):
    module.gain = value


class Called:
    def __call__(self, module, args):
        module.gain = 3.0


class Through:
    def put(self, module):
        module.gain = 3.0

    def hook(self, module, args):
        self.put(module)


def wrapped(hf):
    return hf.model.layers[1].mlp


def before(hook, block=1):
    return lambda hf: hf.model.layers[block].mlp.register_forward_pre_hook(hook)


def elsewhere(hf):
    hf.model.layers[0].register_forward_pre_hook(lambda m, args: note(wrapped(hf), 3.0))


def new_buffer(module, args):
    module.b = torch.full((1,), 3.0)


def in_the_middle(hf):
    """Written behind what was read once, as `forward` keeps something else meanwhile."""
    wrapped(hf).mlp.register_forward_hook(lambda m, args, out: note(wrapped(hf), 3.0))


PUT = {
    "by name": before(lambda m, args: setattr(m, "gain", 3.0)),
    "a helper": before(lambda m, args: note(m, 3.0)),
    "an object": before(Called()),
    "a method": before(Through().hook),
    "a partial": before(functools.partial(lambda v, m, args: note(m, v), 3.0)),
    "a table": before(lambda m, args: m.table.__setitem__("g", 3.0)),
    "a list": before(lambda m, args: m.list.__setitem__(0, 3.0)),
    "a buffer": before(new_buffer),
    "the attributes": before(lambda m, args: vars(m).update(gain=3.0)),
    "another module": elsewhere,
    "in the middle": in_the_middle,
}


@pytest.mark.parametrize("backend", COPIES)
@pytest.mark.parametrize("put", PUT.values(), ids=PUT)
def test_what_hooks_write_reaches_the_copy(put, backend):
    one, two = build_hf(), build_hf()
    for hf in (one, two):
        hf.model.layers[1].mlp = Gain(wrapped(hf))
        put(hf)
    with torch.no_grad():
        want = two(input_ids=IDS).logits[0, -1]
    try:
        model = load_model(one, tokenizer=build_tokenizer("left"), backend=backend)
        got = model.logits(TEXTS)[0]
    except ValueError as error:  # a bridge stays what it was made of
        assert backend == "transformer_lens" and "was changed after its bridge was made" in str(error)
    else:
        assert torch.allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("backend", COPIES)
def test_hooks_find_what_the_pass_of_a_copy_keeps(backend):
    hf = build_hf()
    hf.model.layers[1].mlp = Gain(wrapped(hf))
    wrapped(hf).register_forward_hook(lambda m, args, out: out / m.last)
    with torch.no_grad():
        want = hf(input_ids=IDS).logits[0, -1]
        hf(input_ids=IDS.flip(1))  # keeps another
    model = load_model(hf, tokenizer=build_tokenizer("left"), backend=backend)
    assert torch.allclose(model.logits(TEXTS)[0], want, atol=1e-4)
    assert torch.allclose(model.logits(TEXTS)[0], want, atol=1e-4)


@pytest.mark.parametrize("backend", COPIES)
def test_passes_of_a_copy_with_hooks_put_nothing_else_on_the_model(backend):
    hf = build_hf()
    hf.model.layers[1].register_forward_hook(lambda m, args, out: out * 1.5)
    names = {name: (set(vars(m)), *map(id, m._parameters.values())) for name, m in hf.named_modules()}
    load_model(hf, tokenizer=build_tokenizer("left"), backend=backend).logits(TEXTS)
    assert names == {name: (set(vars(m)), *map(id, m._parameters.values())) for name, m in hf.named_modules()}
