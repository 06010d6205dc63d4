"""What passes and hooks move on modules of one's own is no setting, by whatever way they move it; the same
names elsewhere, what passes put back, and what a class says, decide as before.
"""

import collections
import functools
import queue
import threading
import types

import pytest
import torch
from torch import nn

from interventions import Add, edited
from probes import Examples, MassMean, capture, load_model
from probes.data.code_writes import writes_of
from probes.models.moved import in_passes, moved_by
from tests.conftest import build_hf, build_tokenizer
from tests.wrapped import AroundMLP

TEXTS = ["alpha beta the river is old"]
ROWS = Examples(["alpha beta", "old tree", "blue river", "stone near"] * 2, y=[0, 1] * 4)
BACKENDS = ("hooks", "nnsight", "transformer_lens")


class Around(AroundMLP):
    """Somebody's wrapper of an MLP."""

    by = 1.0

    def __init__(self, mlp):
        super().__init__(mlp)
        self.gain, self.kept, self.late, self.n = 1.0, 1.0, None, 0
        self.register_buffer("whole", torch.ones(1, dtype=torch.long), persistent=False)
        self.register_buffer("large", torch.ones(2**17), persistent=False)
        self.start()

    def start(self):
        pass

    def keep(self, x):
        pass

    def forward(self, x):
        self.keep(x)
        kept = self.kept
        if self.late is None:
            self.late = 1.0
        try:
            self.kept = 0.0
            by = self.whole * self.by * self.large[7] * self.__dict__.get("put", 1.0)
            return self.mlp(x) * self.gain * kept * self.late * by
        finally:
            self.kept = kept


class Meter:
    def __init__(self):
        self.total, self.seen = 0, []

    def step(self, n):
        self._more(n)

    def _more(self, n):
        self.total += n
        self.seen.append(n)

    def __call__(self, n):
        self.total = n


class Table(Around):
    def start(self):
        self.stats = {"n": 0}

    def keep(self, x):
        self.stats["n"] += 1


class Seen(Around):
    def start(self):
        self.lengths, self.kinds = [], set()

    def keep(self, x):
        self.lengths.append(x.shape[1])
        self.kinds.add(x.shape[1])


class Cache(Around):
    def start(self):
        self._cache = {}

    def keep(self, x):
        cache = self._cache
        if x.shape[1] not in cache:
            cache[x.shape[1]] = torch.ones(x.shape[1])


class Defaults(Around):
    def start(self):
        self._cache = {}

    def keep(self, x):
        self._cache.setdefault(x.shape[1], torch.ones(x.shape[1]))


class Counter(Around):
    def start(self):
        self.counter, self.last = collections.Counter(), collections.deque(maxlen=3)

    def keep(self, x):
        self.counter["calls"] += 1
        self.last.append(x.shape[1])


class Keeper:
    def __init__(self):
        self.lengths = []

    def look(self, n):
        self.lengths.append(n)


class Metered(Around):
    def start(self):
        self.meter, self.length, self.keeper = Meter(), Meter(), Keeper()

    def keep(self, x):
        self.meter.step(1)
        self.length(x.shape[1])
        self.keeper.look(x.shape[1])


class Within(Around):
    def start(self):
        self.meter = Meter()

    def keep(self, x):
        self.meter.total += 1


class InPlace(Around):
    def start(self):
        self.sum = torch.zeros(1)

    def keep(self, x):
        self.sum.add_(x.shape[1])


def bump(module):
    module.n += 1


class Helped(Around):
    def keep(self, x):
        bump(self)


class ByTable(Around):
    def keep(self, x):
        self.__dict__["n"] = self.__dict__.get("n", 0) + 1


class Counts(Around):
    def forward(self, x):
        self.n += 1
        return self.mlp(x)


class Super(Counts):
    def forward(self, x):
        return super().forward(x) * 1.0


class Called(Around):
    def __call__(self, *args):
        self.n += 1
        return super().__call__(*args)


class Lazy(Around):
    @functools.cached_property
    def scale(self):
        return 1.0

    def keep(self, x):
        assert self.scale


def counting(m, args, out):
    m.stats["n"] = m.stats.get("n", 0) + 1
    m.seen.append(out.shape[1])


def hooked(mlp):
    mlp.stats, mlp.seen = {}, []
    mlp.register_forward_hook(counting)
    return mlp


def held_by_another(mlp):
    block = Around(mlp)
    mlp.register_forward_hook(lambda m, args, out: bump(block))
    return block


def in_a_loop(mlp):
    blocks = nn.ModuleList([Around(mlp)])

    def hook(m, args, out):
        for block in blocks:
            block.n += 1

    mlp.register_forward_hook(hook)
    return blocks[0]


class Holds:
    def __init__(self, block):
        self.block = block

    def __call__(self, m, args, out):
        self.block.n += 1


def by_what_holds_it(mlp):
    block = Around(mlp)
    mlp.register_forward_hook(Holds(block))
    return block


class OfAnObject:
    def __init__(self):
        self.calls = 0

    def __call__(self, m, args, out):
        self.calls += 1
        self.count(m)

    def count(self, m):
        m.n = m.n + 1


def by_an_object(mlp):
    block = Around(mlp)
    block.register_forward_hook(OfAnObject())
    return block


KINDS = (Table, Seen, Cache, Defaults, Counter, Metered, Within, InPlace, Helped, ByTable, Super, Called)
KINDS += (Lazy, hooked, by_an_object)


def with_wrapper(make, backend="hooks", block=1):
    hf = build_hf()
    hf.model.layers[block].mlp = make(hf.model.layers[block].mlp)
    return hf, load_model(hf, tokenizer=build_tokenizer("left"), backend=backend)


def plain_pass(hf):
    with torch.no_grad():
        hf(input_ids=torch.tensor([[0, 5, 6, 7, 8, 9, 10]]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_what_passes_move_makes_no_other_model(make, backend):
    hf, model = with_wrapper(make, backend)
    before = model.fingerprint.as_dict()
    found = MassMean().fit(capture(model, ROWS, "resid_post.0", progress=False))
    direction = found.direction("resid_post.0")
    changed = edited(model, Add(direction, gaps=1))
    first = changed.logits(TEXTS)
    plain_pass(hf)
    changed.logits(["old red house"])
    assert torch.equal(edited(model, Add(direction, gaps=1)).logits(TEXTS), first)
    assert model.fingerprint.as_dict() == before == found.receipt["model"]


@pytest.mark.parametrize("make", [held_by_another, in_a_loop, by_what_holds_it])
def test_a_hook_may_count_on_another_module(make):
    hf, model = with_wrapper(make)
    direction = MassMean().fit(capture(model, ROWS, "resid_post.0", progress=False)).direction("resid_post.0")
    changed = edited(model, Add(direction, gaps=1))
    changed.logits(TEXTS)
    plain_pass(hf)
    changed.logits(["old red house"])


def gain(other, value):
    """Called as an attribute of `Around` is, and called by nothing there."""
    other.gain = value


def keeps_elsewhere(hf):
    stats = types.SimpleNamespace()

    def keep(m, args, out):
        stats.gain = float(out.abs().mean())

    hf.model.layers[0].register_forward_hook(keep)


def keeps_there(hf):
    hf.model.layers[0].register_forward_hook(lambda m, args, out: setattr(m, "gain", 1))


def of_the_class(wrapper):
    kind = type(wrapper)

    def forward(self, x):
        return self.mlp(x) * 3

    kind.forward = forward


BLIND = {
    "a name that a hook keeps on an object": (keeps_elsewhere, lambda w: setattr(w, "gain", 3.0)),
    "a name that a hook keeps on another module": (keeps_there, lambda w: setattr(w, "gain", 3.0)),
    "put back by a pass": (lambda hf: None, lambda w: setattr(w, "kept", 3.0)),
    "of the class": (lambda hf: None, lambda w: setattr(type(w), "by", 3.0)),
    "code of the class": (lambda hf: None, of_the_class),
    "a large buffer": (lambda hf: None, lambda w: w.large.mul_(3)),
    "put into its table": (lambda hf: None, lambda w: w.__dict__.update(put=3.0)),
    "a name that a function of the file has, and keeps elsewhere": (
        lambda hf: None,
        lambda w: setattr(w, "gain", 3.0),
    ),
    "a buffer of whole numbers": (lambda hf: None, lambda w: w.whole.mul_(3)),
}


@pytest.mark.parametrize(("put", "change"), BLIND.values(), ids=BLIND)
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_decides_is_looked_at_whatever_else_is_moved(put, change, backend):
    class Own(Around):
        pass

    hf = build_hf()
    hf.model.layers[1].mlp = Own(hf.model.layers[1].mlp)
    put(hf)
    model = load_model(hf, tokenizer=build_tokenizer("left"), backend=backend)
    direction = MassMean().fit(capture(model, ROWS, "resid_post.1", progress=False)).direction("resid_post.1")
    changed = edited(model, Add(direction, gaps=1))
    changed.logits(TEXTS)
    change(hf.model.layers[1].mlp)
    with pytest.raises(ValueError, match=r"their settings differ|was changed after its bridge was made"):
        changed.logits(TEXTS)
    with pytest.raises(ValueError, match=r"their settings differ"):
        edited(load_model(hf, tokenizer=model.tokenizer), Add(direction, gaps=1))


@pytest.mark.parametrize("backend", ("nnsight", "transformer_lens"))
def test_a_copy_does_not_go_on_with_what_its_pass_filled_in(backend):
    hf, model = with_wrapper(Around, backend)
    model.logits(TEXTS)
    model.logits(["old"])
    hf.model.layers[1].mlp.late = 3.0
    if backend == "transformer_lens":
        with pytest.raises(ValueError, match="was changed after its bridge was made"):
            model.logits(TEXTS)
    else:
        want = load_model(hf, tokenizer=model.tokenizer).logits(TEXTS)
        assert torch.allclose(model.logits(TEXTS), want, atol=1e-5)


def test_code_that_says_the_same_in_other_words_is_the_same_class():
    def made(doc):
        source = f"def forward(self, x):\n    {doc!r}\n\n    # comment\n    return self.mlp(x)"
        exec(source, found := {"__name__": __name__})
        return type("Own", (Around,), {"forward": found["forward"]})

    keys = [with_wrapper(made(doc))[1].fingerprint.as_dict() for doc in ("It runs.", "It runs the MLP.")]
    assert keys[0] == keys[1]


HELD = {
    "a queue": queue.Queue,
    "one in a table": lambda: {"jobs": queue.Queue()},
    "a module of code": lambda: torch.nn.functional,
    "an event": threading.Event,
    "a generator": lambda: (i for i in range(3)),
}


class Passing(AroundMLP):
    def forward(self, x):
        return self.mlp(x)


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
def test_modules_may_hold_what_cannot_be_copied(held):
    hf = build_hf()
    hf.model.layers[1].mlp = Passing(hf.model.layers[1].mlp)
    hf.model.layers[1].mlp.held = held()
    model = load_model(hf, tokenizer=build_tokenizer("left"))
    read = capture(model, TEXTS, "resid_post.1", progress=False).x[0, 0]
    ids = torch.tensor([model.encode(TEXTS)[0].ids])
    plain = hf(input_ids=ids, output_hidden_states=True).hidden_states[2][0, -1]
    assert torch.allclose(read, plain, atol=1e-5)


def test_embeddings_may_be_of_ones_own_making():
    hf = build_hf()
    plain = load_model(hf, tokenizer=build_tokenizer("left")).logits(TEXTS)
    hf.model.embed_tokens = nn.Sequential(hf.get_input_embeddings(), nn.Identity())
    model = load_model(hf, tokenizer=build_tokenizer("left"))
    assert torch.allclose(model.logits(TEXTS), plain, atol=1e-6)
    assert len(capture(model, TEXTS, "resid_pre.0", progress=False)) == 1


def test_gradient_checkpointing_and_compiling_make_no_other_model():
    hf, model = with_wrapper(Around, "transformer_lens")
    before = model.fingerprint.key
    hf.gradient_checkpointing_enable()
    hf.gradient_checkpointing_disable()
    hf.compile(backend="eager")
    model.logits(TEXTS)
    assert model.fingerprint.key == before


class Writes:
    def write(self, x, other):
        if self.once is None:
            self.once = 1
        if self.grows is None or self.grows < len(x):
            self.grows = len(x)
        old = self.back
        try:
            self.back = 2
        finally:
            self.back = old
        try:
            self.never = 1
        finally:
            self.count += 1
        self.a, self.b[0 if x else 1] = x, [y for y in x]
        held = self.held
        held["x"]["y"] = 1
        self.child.gain = other.gain = 3
        self.sums[0:1] += x.mean(0).numpy(force=True)
        del self.gone["x"]


def test_writes_are_told_by_where_they_go():
    found = writes_of(Writes.write.__code__)
    ways = {(p.root, *p.way) for p in found.sets}
    names = ("once", "grows", "back", "never", "count", "a")
    assert ways == {*(("self", n) for n in names), ("self", "child", "gain"), ("other", "gain")}
    assert {p.way for p in found.moves} == {("b",), ("held", "[]"), ("sums",), ("gone",)}
    assert {p.way for p in found.fills} == {("once",)} and {p.way for p in found.restores} == {("back",)}


def test_whether_gradients_are_wanted_is_no_number():
    assert moved_by(torch.ones(2), "mul_") and not moved_by(torch.ones(2), "requires_grad_")


def test_what_a_value_is_tells_whether_a_method_moves_it():
    class Own(nn.Module):
        def forward(self, x):
            self.value.add(1)
            self.array.sort()
            return x

    moved = in_passes(Own)
    assert moved.moves("value", set()) and not moved.moves("value", torch.ones(1))
    assert not moved.moves("array", torch.ones(2)) and moved.moves("array", [2, 1])
