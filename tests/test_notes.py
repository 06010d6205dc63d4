"""What somebody notes on a model, and what its passes keep on it, makes no other model of it; what its code
reads does.
"""

import logging
import threading

import numpy as np
import pytest
import torch

from interventions import Add, edited
from probes import Examples, MassMean, capture, load_model
from tests.conftest import build_hf, build_tokenizer
from tests.wrapped import AroundMLP

TEXTS = ["alpha beta the river is old"]
ROWS = Examples(["alpha beta", "old tree", "blue river", "stone near"] * 2, y=[0, 1] * 4)


class Around(AroundMLP):
    """Somebody's wrapper of an MLP."""

    def __init__(self, mlp):
        super().__init__(mlp)
        self.seen, self.gain, self.by = 0, 1.0, "seen"

    def forward(self, x):
        return self.mlp(x) * self.gain


class Longest(Around):
    def forward(self, x):
        self.seen = x.shape[1]
        return super().forward(x)


class Counts(Around):
    def forward(self, x):
        self.seen += 1
        self._kept(x)
        return super().forward(x)

    def _kept(self, x):
        self.last = float(x.mean())
        setattr(self, "mean", self.last)  # noqa: B010


class ByName(Around):
    def forward(self, x):
        setattr(self, self.by, self.seen + 1)
        return super().forward(x)


def wrapped(kind):
    def put(hf):
        hf.model.layers[1].mlp = kind(hf.model.layers[1].mlp)

    return put


def hooked(hf):
    def count(module, args, output):
        module.calls += 1

    hf.model.layers[1].calls = 0
    hf.model.layers[1].register_forward_hook(count)


KEPT = {
    "a length": wrapped(Longest),
    "a count": wrapped(Counts),
    "by name": wrapped(ByName),
    "a hook": hooked,
}


@pytest.mark.parametrize("backend", ["hooks", "nnsight", "transformer_lens"])
@pytest.mark.parametrize("put", KEPT.values(), ids=KEPT)
def test_what_passes_keep_makes_no_other_model(put, backend):
    hf = build_hf()
    put(hf)
    model = load_model(hf, tokenizer=build_tokenizer("left"), backend=backend)
    found = MassMean().fit(capture(model, ROWS, "resid_post.0", progress=False))
    direction = found.direction("resid_post.0")
    changed = edited(model, Add(direction, gaps=1))
    first = changed.logits(TEXTS)
    changed.logits(["old"])
    assert torch.equal(edited(model, Add(direction, gaps=1)).logits(TEXTS), first)
    assert model.fingerprint.as_dict() == found.receipt["model"]


NOTES = {
    "a number": lambda hf: setattr(hf, "step", 7),
    "a word": lambda hf: setattr(hf, "my_note", "x"),
    "numbers of blocks": lambda hf: [setattr(b, "index", i) for i, b in enumerate(hf.model.layers)],
    "a list": lambda hf: setattr(hf, "notes", ["x"]),
    "a private one": lambda hf: setattr(hf.model.layers[0], "_note", 1),
    "a function": lambda hf: setattr(hf, "describe", lambda: "x"),
    "in the config": lambda hf: setattr(hf.config, "note", "x"),
    "a list in the config": lambda hf: setattr(hf.config, "tags", ["x"]),
    "a buffer": lambda hf: hf.register_buffer("seen_so_far", torch.zeros(1), persistent=False),
}


@pytest.mark.parametrize("backend", ["hooks", "nnsight", "transformer_lens"])
@pytest.mark.parametrize("note", NOTES.values(), ids=NOTES)
def test_notes_make_no_other_model(note, backend):
    hf = build_hf()
    model = load_model(hf, tokenizer=build_tokenizer("left"), backend=backend)
    found = MassMean().fit(capture(model, ROWS, "resid_post.1", progress=False))
    direction = found.direction("resid_post.1")
    changed = edited(model, Add(direction, gaps=1))
    first = changed.logits(TEXTS)
    note(hf)
    assert torch.equal(changed.logits(TEXTS), first)
    assert torch.equal(edited(model, Add(direction, gaps=1)).logits(TEXTS), first)


DECIDING = {
    "set by its class": (lambda hf: None, lambda hf: setattr(hf.model.layers[1].self_attn, "scaling", 0.5)),
    "read by attention": (
        lambda hf: None,
        lambda hf: setattr(hf.model.layers[1].self_attn, "is_causal", False),
    ),
    "in the config": (lambda hf: None, lambda hf: setattr(hf.config, "rms_norm_eps", 0.5)),
    "of a wrapper that counts": (wrapped(Counts), lambda hf: setattr(hf.model.layers[1].mlp, "gain", 2.0)),
    "read by a hook": (
        lambda hf: hf.model.layers[1].register_forward_hook(lambda m, a, out: out * getattr(m, "gain", 1)),
        lambda hf: setattr(hf.model.layers[1], "gain", 2.0),
    ),
}


@pytest.mark.parametrize(("put", "change"), DECIDING.values(), ids=DECIDING)
def test_what_decides_makes_another_model(put, change):
    hf = build_hf()
    put(hf)
    model = load_model(hf, tokenizer=build_tokenizer("left"))
    direction = MassMean().fit(capture(model, ROWS, "resid_post.1", progress=False)).direction("resid_post.1")
    changed = edited(model, Add(direction, gaps=1))
    changed.logits(TEXTS)
    change(hf)
    for ask in (lambda: changed.logits(TEXTS), lambda: edited(model, Add(direction, gaps=1))):
        with pytest.raises(ValueError, match=r"their (settings|config) differs?"):
            ask()


def running_mean(hf):
    mean = torch.zeros(32)

    def hook(module, args, out):
        mean.add_(out.mean((0, 1)))

    hf.model.layers[1].register_forward_hook(hook)


def running_array(hf):
    mean = np.zeros(32)

    def hook(module, args, out):
        mean[:] += out.mean((0, 1)).numpy()

    hf.model.layers[1].register_forward_hook(hook)


class Ticks:
    def __init__(self):
        self.n = 0

    def tick(self):
        self.n += 1

    def hook(self, module, args, out):
        self.tick()

    def __call__(self, module, args, out):
        self.tick()


KEEPING = {
    "a tensor": running_mean,
    "an array": running_array,
    "a second method": lambda hf: hf.model.layers[1].register_forward_hook(Ticks().hook),
    "an object": lambda hf: hf.model.layers[1].register_forward_hook(Ticks()),
}


@pytest.mark.parametrize("put", KEEPING.values(), ids=KEEPING)
def test_a_hook_that_keeps_a_running_mean_stays_the_same_hook(put):
    hf = build_hf()
    put(hf)
    model = load_model(hf, tokenizer=build_tokenizer("left"))
    before = model.fingerprint.as_dict()
    capture(model, ROWS, "resid_post.0", progress=False)
    assert model.fingerprint.as_dict() == before


class Logs(Around):
    def __init__(self, mlp):
        super().__init__(mlp)
        self.log, self.lock = logging.getLogger("notes"), threading.Lock()

    def forward(self, x):
        with self.lock:
            self.log.debug("a pass")
            return super().forward(x)


@pytest.mark.parametrize("backend", ["hooks", "nnsight", "transformer_lens"])
def test_loggers_and_locks_are_nothing_to_look_into(backend):
    hf = build_hf()
    wrapped(Logs)(hf)
    model = load_model(hf, tokenizer=build_tokenizer("left"), backend=backend)
    direction = MassMean().fit(capture(model, ROWS, "resid_post.0", progress=False)).direction("resid_post.0")
    edited(model, Add(direction, gaps=1)).logits(TEXTS)
    model.logits(TEXTS)
