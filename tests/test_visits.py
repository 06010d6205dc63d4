"""A pass that did not meet what was to be read or changed raises, naming it; one that did says nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from interventions import Ablate, Monitor, applied, edited
from probes import Activations, Direction, MassMean, Site, capture, capture_generated, load_model, recording
from probes.models.backends.points import Unvisited
from tests.plain_write import PlainWrite

TEXTS = ["the red house is old", "a small tree"]
# Where each backend's hooks sit.
HOOKED = {
    "hooks": lambda model: model.hf.model.layers[1],
    "transformer_lens": lambda model: model.backend.bridge.blocks[1].hook_out,
    "nnsight": lambda model: model.backend._copy.model.layers[1],
}


def blind(module):
    """Calls of this module now go past its hooks, as those of a compiled one do; what it computes
    stays the same.
    """
    module._compiled_call_impl = type(module).forward.__get__(module)


@pytest.fixture
def model(make_hf, make_tokenizer):
    return load_model(make_hf("llama"), tokenizer=make_tokenizer("left"))


def ids_of(model):
    return torch.tensor([model.encode(TEXTS[:1])[0].ids])


@pytest.fixture
def edit(model):
    draw = torch.Generator().manual_seed(0)
    return Ablate(Direction.from_vector(torch.randn(model.width, generator=draw), "resid_post.1"))


def test_every_way_of_reading_and_writing_raises_where_a_hook_is_dropped_and_names_the_site(model, edit):
    monitor = Monitor(_probe(model), Site("resid_post", 1), 0.0)
    ways = {
        "capture": lambda: capture(model, TEXTS, "resid_post", check=False),
        "logits": lambda: edited(model, edit).logits(TEXTS),
        "generate": lambda: edited(model, edit).generate(TEXTS, 3),
        "a read behind the write": lambda: capture(edited(model, edit), TEXTS, "resid_post.2", check=False),
        "capture_generated": lambda: capture_generated(
            model, TEXTS, "resid_post.1", max_new_tokens=3, check=False
        ),
        "watch": lambda: monitor.watch(model, TEXTS, max_new_tokens=3),
        "applied": lambda: _under(applied(model.hf, edit), model),
        "recording": lambda: _under(recording(model.hf, "resid_post"), model),
    }
    for way in ways.values():
        way()
    blind(model.hf.model.layers[1])
    for name, way in ways.items():
        with pytest.raises(Unvisited, match=r"never met resid_post\.1 \(the output of model\.layers\.1\)"):
            way()
            pytest.fail(f"{name} says nothing")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())


def test_what_lies_behind_the_last_read_need_not_be_met(model, edit):
    plain = capture(model, TEXTS, "resid_post.0", check=False).x
    blind(model.hf.model.layers[1])
    assert torch.equal(capture(edited(model, edit), TEXTS, "resid_post.0", check=False).x, plain)
    with recording(model.hf, "resid_post.2") as seen, torch.no_grad():
        model.hf(ids_of(model))
    assert seen["resid_post.2"].isfinite().all()


def test_a_block_that_only_some_passes_skip_is_noticed(model, edit):
    layers, whole = model.hf.model.layers, model.hf.model.layers[1].forward
    passes = []

    def sometimes(*args, **kwargs):
        passes.append(1)
        return whole(*args, **kwargs)

    layers[1].forward = sometimes
    assert edited(model, edit).generate(TEXTS[:1], 4)
    made = len(passes)
    assert made > 2

    def early_exit(module, args, kwargs):
        """The third pass takes another module in the place of the second block."""
        seen.append(1)
        if len(seen) == 3:
            blind(layers[1])

    seen = []
    handle = layers[0].register_forward_pre_hook(early_exit, with_kwargs=True)
    with pytest.raises(Unvisited, match=r"resid_post\.1"):
        edited(model, edit).generate(TEXTS[:1], 4)
    handle.remove()


@pytest.mark.parametrize("backend", HOOKED)
def test_a_write_that_is_never_called_raises_on_every_backend(backend, make_hf, make_tokenizer):
    model = load_model(make_hf("llama"), tokenizer=make_tokenizer("left"), backend=backend)
    shifted = replace(model, writes=(PlainWrite(Site("resid_post", 1), by=5.0),))
    assert not torch.allclose(shifted.logits(TEXTS), model.logits(TEXTS), atol=1e-2)
    blind(HOOKED[backend](model))
    with pytest.raises(ValueError, match=r"resid_post\.1|model\.layers\.1"):
        shifted.logits(TEXTS)


def test_other_peoples_code_need_not_make_a_pass_and_then_that_is_said(model, edit):
    with pytest.warns(UserWarning, match=r"no forward pass .* applied\(\)"), applied(model.hf, edit):
        pass
    nothing = pytest.warns(UserWarning, match=r"no forward pass .* recording\(\)")
    with nothing, recording(model.hf, "resid_post.1") as seen:
        pass
    assert not seen.passes[Site("resid_post", 1)]
    with applied(model.hf, edit), recording(model.hf, "resid_post.1"), torch.no_grad():
        model.hf(ids_of(model))  # a warning would be an error here
    with pytest.raises(ZeroDivisionError), applied(model.hf, edit):
        raise ZeroDivisionError  # what went wrong is said, and nothing else


def test_a_pass_that_raises_of_itself_keeps_its_own_error(model, edit):
    def broken(module, args, output):
        raise ZeroDivisionError("of the model's own")

    model.hf.model.layers[0].register_forward_hook(broken)
    for way in (lambda: edited(model, edit).logits(TEXTS), lambda: _under(applied(model.hf, edit), model)):
        with pytest.raises(ZeroDivisionError, match="of the model's own"):
            way()


def _under(context, model):
    with context, torch.no_grad():
        model.hf(ids_of(model))


def _probe(model):
    draw = np.random.default_rng(0)
    acts = Activations.from_arrays(
        draw.normal(size=(1, 20, model.width)), y=np.arange(20) % 2, sites=["resid_post.1"]
    )
    return MassMean().fit(acts)
