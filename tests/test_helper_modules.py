"""What code of one's own reaches through `import helper` counts as if it stood beside it: in stores, in
fingerprints and among what a processor remembers.
"""

import importlib
import sys
import warnings

import pytest
import torch

from interventions import edited
from interventions.writes.lowrank import SiteEdit
from probes import Examples, capture
from probes.data.positions import Position
from probes.data.sites import Site

SITE = Site.parse("resid_post.1")
TEXTS = Examples(["alpha beta", "old tree", "blue"])
PROMPTS = ["alpha beta", "the river is old small", "blue"]
HELPER = """
n = 0
SCALE = 2.0
def scale(h): return h * SCALE
def bump():
    global n
    n += 1
    return n
"""
USING = """
import torch
import helper_of_mine as H
import outer_of_mine
class Mine:
    width, keeps_norm, kind = 32, False, "mine"
    def delta(self, h): return H.scale(h) - h
    def numbers(self): return ()
class Within(Mine):
    def delta(self, h):
        import helper_of_mine
        return helper_of_mine.scale(h) - h
class Nested(Mine):
    def delta(self, h): return outer_of_mine.inner.scale(h) - h
def force(scores, i):
    scores = scores.clone()
    scores[:, 4 + i] = 1e4
    return scores
class InModule:
    def __call__(self, ids, scores): return force(scores, H.bump())
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.n = 0
    def forward(self, ids, scores):
        self.n += 1
        return force(scores, self.n)
class Holds:
    def __init__(self):
        self.net = torch.nn.Linear(1, 1)
        with torch.no_grad(): self.net.weight.fill_(0)
    def __call__(self, ids, scores):
        with torch.no_grad(): self.net.weight.add_(1)
        return force(scores, int(self.net.weight))
class Noise:
    def __call__(self, ids, scores): return force(scores, int(torch.randint(20, (1,))))
class Reads:
    def __call__(self, ids, scores): return force(scores, int(H.SCALE))
def hook(module, args, output): return output * H.SCALE
def counting(module, args, output): H.bump()
"""


@pytest.fixture
def model(make_model):
    return make_model("llama", side="left")


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Modules of one's own, as files that lie beside."""
    for name, text in (
        ("helper_of_mine", HELPER),
        ("outer_of_mine", "import helper_of_mine as inner\n"),
        ("using_of_mine", USING),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("using_of_mine")
    for name in ("helper_of_mine", "outer_of_mine", "using_of_mine"):
        sys.modules.pop(name, None)


class Edit:
    def __init__(self, change):
        self.change = change

    def compile(self, model):
        return (SiteEdit(SITE, Position.parse("all"), self.change, "own"),)


@pytest.mark.parametrize("name", ["Mine", "Within", "Nested"])
@pytest.mark.parametrize("what", ["scale", "SCALE"])
def test_rows_under_a_change_whose_helper_changed_are_read_anew(model, mine, tmp_path, name, what):
    change, store = getattr(mine, name)(), str(tmp_path / "store")
    first = capture(edited(model, Edit(change)), TEXTS, SITE, store=store, progress=False).load()
    again = capture(edited(model, Edit(change)), TEXTS, SITE, store=store, progress=False).load()
    assert torch.equal(again.x, first.x)
    setattr(mine.H, what, 4.0 if what == "SCALE" else lambda h: h * 4)
    got = capture(edited(model, Edit(change)), TEXTS, SITE, store=store, progress=False).load()
    want = capture(edited(model, Edit(change)), TEXTS, SITE, progress=False)
    assert torch.allclose(got.x, want.x, atol=1e-5) and not torch.allclose(got.x, first.x, atol=1e-2)


def test_a_hook_whose_helper_changed_is_another(model, mine):
    handle = model.hf.model.layers[0].register_forward_hook(mine.hook)
    own = model.fingerprint.state.hooks
    assert model.fingerprint.state.hooks == own
    mine.H.SCALE = 3.0
    assert model.fingerprint.state.hooks != own
    handle.remove()
    handle = model.hf.model.layers[0].register_forward_hook(mine.counting)
    own = model.fingerprint.state.hooks
    model.logits(PROMPTS)
    assert mine.H.n and model.fingerprint.state.hooks == own, "one that counts stays what it is"
    handle.remove()


def written(model, mine, name):
    alone = []
    for prompt in PROMPTS:
        torch.manual_seed(0)
        mine.H.n = 0
        alone += model.generate([prompt], 3, logits_processor=[getattr(mine, name)()], return_ids=True)
    torch.manual_seed(0)
    mine.H.n = 0
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        together = model.generate(PROMPTS, 3, logits_processor=[getattr(mine, name)()], return_ids=True)
    return together == alone, any("keeps changed" in str(w.message) for w in seen)


@pytest.mark.parametrize("name", ["InModule", "Noise"])
def test_a_processor_that_remembers_where_copies_share_is_said(model, mine, name):
    same, said = written(model, mine, name)
    assert said and not same


@pytest.mark.parametrize("name", ["Net", "Holds", "Reads"])
def test_a_processor_that_is_or_holds_a_module_is_as_it_was_given(model, mine, name):
    same, said = written(model, mine, name)
    assert same and not said


def test_a_processor_that_holds_the_model_is_not_copied(model):
    class Asks:
        def __init__(self):
            self.model, self.n = model.hf, 0

        def __call__(self, ids, scores):
            self.n += 1
            assert self.model is model.hf
            return scores

    assert model.generate(PROMPTS, 2, logits_processor=[Asks()]) == model.generate(PROMPTS, 2)
