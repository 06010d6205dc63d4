"""Backends that compute with a copy serve what hooks do, or say by name that they do not."""

import copy
import threading

import pytest
import torch
import transformers
from torch import nn

from interventions import Add, edited
from probes import Direction, capture, load_model
from tests.conftest import VOCABULARY, build_hf, build_tokenizer

TEXTS = ["the red house is old", "a small tree"]
SMALL = {"vocab_size": VOCABULARY, "num_hidden_layers": 2, "hidden_size": 32, "state_size": 8}
WITHOUT_HEADS = {
    "Mamba": lambda: transformers.MambaForCausalLM(transformers.MambaConfig(**SMALL)),
    "FalconMamba": lambda: transformers.FalconMambaForCausalLM(transformers.FalconMambaConfig(**SMALL)),
    "Mamba2": lambda: transformers.Mamba2ForCausalLM(
        transformers.Mamba2Config(**SMALL, num_heads=4, head_dim=16, n_groups=1, expand=2)
    ),
}


@pytest.mark.parametrize("name", WITHOUT_HEADS)
def test_a_model_without_attention_is_read_through_the_bridge_as_through_hooks(name):
    torch.manual_seed(0)
    hf, tokenizer = WITHOUT_HEADS[name]().eval(), build_tokenizer("left")
    bridge = load_model(hf, tokenizer=tokenizer, backend="transformer_lens")
    plain = load_model(hf, tokenizer=tokenizer)
    assert torch.allclose(bridge.logits(TEXTS), plain.logits(TEXTS), atol=1e-5)
    both = [capture(m, TEXTS, "resid_post", progress=False).x for m in (bridge, plain)]
    assert torch.allclose(*both, atol=1e-5)


@pytest.mark.parametrize("backend", ["nnsight", "transformer_lens"])
def test_a_deep_copy_of_a_value_is_refused_with_what_to_do(backend):
    model = load_model(build_hf(), tokenizer=build_tokenizer("left"), backend=backend)
    edit = Add(Direction.from_vector(torch.ones(32), "resid_post.1"), norm=6)
    for value in (model, edited(model, edit)):
        with pytest.raises(TypeError, match=r"load_model\(copy.deepcopy\(model.hf\)"):
            copy.deepcopy(value)
    again = load_model(copy.deepcopy(model.hf), tokenizer=model.tokenizer, backend=model.backend.name)
    assert torch.allclose(edited(again, edit).logits(TEXTS), edited(model, edit).logits(TEXTS), atol=1e-5)
    copied = copy.deepcopy(load_model(build_hf(), tokenizer=build_tokenizer("left")))
    assert torch.allclose(copied.logits(TEXTS), model.logits(TEXTS), atol=1e-4)


class Locked(nn.Module):
    def __init__(self, mlp):
        super().__init__()
        self.mlp, self.lock, self.other = mlp, threading.Lock(), threading.RLock()

    def forward(self, x):
        with self.lock, self.other:
            return self.mlp(x)


def test_a_module_that_holds_a_lock_is_served_through_nnsight():
    hf = build_hf()
    plain = load_model(hf, tokenizer=build_tokenizer("left")).logits(TEXTS)
    hf.model.layers[1].mlp = Locked(hf.model.layers[1].mlp)
    for backend in ("hooks", "nnsight"):
        model = load_model(hf, tokenizer=build_tokenizer("left"), backend=backend)
        assert torch.allclose(model.logits(TEXTS), plain, atol=1e-5)
