"""Hooks of other code act on a copy of the model as on the model: with its own modules. What stands in front
of the whole model is met by captures too.
"""

import functools
import warnings

import numpy as np
import pytest
import torch

from interventions import Add, Monitor, edited
from probes import Direction, Examples, MassMean, Site, capture, load_model
from tests.conftest import build_hf, build_tokenizer

TEXTS = ["alpha beta the river"]
COPIES = ("nnsight", "transformer_lens")


def loaded(hf, backend="hooks"):
    return load_model(hf, tokenizer=build_tokenizer("left"), backend=backend)


def of_hf(hf):
    with torch.no_grad():
        return hf(input_ids=torch.tensor([build_tokenizer()(TEXTS[0])["input_ids"]])).logits[0, -1]


def looks_up(hf):
    names = {module: name for name, module in hf.named_modules()}
    hf.model.layers[1].register_forward_hook(lambda m, a, out: out * (2.0 if names[m].endswith("1") else 1.0))


def compares(hf):
    own = hf.model.layers[1]
    for block in hf.model.layers:
        block.register_forward_hook(lambda m, a, out: out * 2 if m is own else None)


def in_front(hf):
    own = hf.model.layers[1]
    hf.model.layers[1].register_forward_pre_hook(lambda m, a: (a[0] * (2 if m is own else 5), *a[1:]))


def with_keywords(hf):
    own = hf.model.layers[1]

    def hook(module, args, kwargs, out):
        return out * 2 if module is own else out * 5

    own.register_forward_hook(hook, with_kwargs=True)


HOOKS = [(put, backend) for put in (looks_up, compares, with_keywords) for backend in COPIES]


# The bridge shows inputs in front of hooks that change them, and is refused there.
@pytest.mark.parametrize(("put", "backend"), [*HOOKS, (in_front, "nnsight")])
def test_a_hook_is_called_with_the_modules_of_the_model(put, backend):
    hf = build_hf()
    put(hf)
    assert torch.allclose(loaded(hf, backend).logits(TEXTS)[0], of_hf(hf), atol=1e-4)


@pytest.mark.parametrize("backend", COPIES)
def test_what_a_hook_keeps_is_kept_on_the_model(backend):
    hf = build_hf()
    block = hf.model.layers[1]

    class Gathers(torch.nn.Module):
        def hook(self, module, args, out):
            self.kept = out.detach()

    gathers = Gathers()
    block.register_forward_hook(lambda m, a, out: setattr(m, "last", out.detach()))
    block.register_forward_hook(gathers.hook)
    model = loaded(hf, backend)
    model.logits(TEXTS)
    block.last = gathers.kept = None
    model.logits(TEXTS)
    assert block.last is not None and torch.equal(block.last, gathers.kept)


def test_the_bridge_makes_no_change_where_hooks_of_other_code_are():
    hf = build_hf()
    handle = hf.model.layers[1].register_forward_hook(lambda m, a, out: out * 1.5)
    here, there = (Add(Direction.from_vector(np.ones(32), f"resid_post.{b}"), norm=3.0) for b in (1, 0))
    ours, plain = loaded(hf, "transformer_lens"), loaded(hf)
    with pytest.raises(ValueError, match=r"hooks of other code .*through TransformerLens an edit"):
        edited(ours, here).logits(TEXTS)
    assert torch.allclose(edited(ours, there).logits(TEXTS), edited(plain, there).logits(TEXTS), atol=1e-4)
    handle.remove()


def swapped(kwargs):
    return kwargs | {"input_ids": torch.where(kwargs["input_ids"] == 5, 6, kwargs["input_ids"])}


def before_all(hf):
    hf.register_forward_pre_hook(lambda m, a, k: (a, swapped(k)), with_kwargs=True)


def put_over(hf):
    old = hf.forward
    hf.forward = functools.wraps(old)(lambda *args, **kwargs: old(*args, **swapped(kwargs)))


def of_its_own_class(method):
    def put(hf):
        kind = type(hf)

        def louder(self, *args, **kwargs):
            made = self.get_input_embeddings()(kwargs.pop("input_ids")) * 3
            return getattr(kind, method)(self, *args, inputs_embeds=made, **kwargs)

        hf.__class__ = type("Louder", (kind,), {method: louder})

    return put


BEFORE = (before_all, of_its_own_class("forward"), of_its_own_class("__call__"))
BEFORE = [*((put, backend) for put in BEFORE for backend in ("hooks", "nnsight")), (put_over, "hooks")]


@pytest.mark.parametrize(("put", "backend"), BEFORE)
def test_captures_meet_what_stands_in_front_of_the_whole_model(put, backend):
    hf = build_hf()
    plain = capture(loaded(hf), TEXTS, "resid_post.1", progress=False).x
    put(hf)
    kept = []
    handle = hf.model.layers[1].register_forward_hook(lambda m, a, out: kept.append(out[0, -1].detach()))
    of_hf(hf)
    handle.remove()
    got = capture(loaded(hf, backend), TEXTS, "resid_post.1", progress=False).x
    assert torch.allclose(got[0, 0], kept[0], atol=1e-5) and not torch.allclose(got, plain, atol=1e-2)


def test_weights_of_which_the_bridge_has_copies_are_looked_at():
    hf = build_hf("gpt_neox")
    model = loaded(hf, "transformer_lens")
    model.logits(TEXTS)
    model.logits(TEXTS)
    hf.gpt_neox.layers[1].attention.query_key_value.weight.data.mul_(1.5)
    with pytest.raises(ValueError, match="weights were moved or changed"):
        model.logits(TEXTS)


def test_a_monitor_scores_in_full_precision_within_autocast():
    model = loaded(build_hf())
    rows = Examples(["alpha beta", "old tree", "blue river", "stone near"] * 2, y=[0, 1] * 4)
    monitor = Monitor(
        MassMean().fit(capture(model, rows, "resid_post.1", progress=False)), Site("resid_post", 1), 0.0
    )
    with torch.autocast("cpu", dtype=torch.bfloat16), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the precision
        (seen,) = monitor.watch(model, ["alpha"], max_new_tokens=3)
    assert seen.scores.dtype == np.float64 and len(seen.scores) >= 3
