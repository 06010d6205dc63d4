"""What code of one's own reaches, told: alike in every process, also behind what is kept once called and in
modules that no name of the code stands for; and what has no copy or no lasting hash.
"""

import functools
import logging
import os
import random
import re
import subprocess
import sys
import threading
import types
import warnings
import weakref

import numpy as np
import numpy.random as npr
import pandas as pd
import pytest
import scipy.stats
import torch

from interventions import edited
from interventions.writes.lowrank import SiteEdit
from interventions.writes.own import code_of
from probes import Examples, capture
from probes.data.positions import Position
from probes.data.sites import Site
from probes.models import telling
from probes.models.reached import anew, reached

SITE = Site.parse("resid_post.1")
TEXTS = Examples(["alpha beta", "old tree", "blue"])
PROMPTS = ["alpha beta", "the river is old small", "blue"]

SETS = """
import dataclasses, enum
from interventions.writes.own import code_of
from probes.models.reached import reached
class Kind(enum.Enum):
    A, B, C = "a", "b", "c"
class Words(set): pass
@dataclasses.dataclass(frozen=True)
class Switches:
    on: frozenset = frozenset({"clip", "log", "scale", "norm"})
def f(h): return h
def g(h): return -h
KINDS = {"gelu", "relu", "silu", "tanh"}
class Mine:
    def delta(self, h): return h if "gelu" in KINDS else -h
held = [KINDS, Switches(), Words(KINDS), {Kind.A, Kind.B, Kind.C}, {("a", 1), ("b", 2)}, {frozenset(KINDS)},
        {f, g}, {1.5, None, "x", b"y"}, {"table": {"of", "sets"}}]
print([reached(h, lasting=True).told for h in held], code_of(Mine()))
"""


def test_sets_are_told_alike_in_every_process():
    told = set()
    for seed in "123":
        env = {**os.environ, "PYTHONHASHSEED": seed}
        ran = subprocess.run([sys.executable, "-c", SETS], capture_output=True, text=True, env=env)
        assert ran.returncode == 0, ran.stderr
        told.add(ran.stdout)
    assert len(told) == 1


def test_functions_of_no_module_are_told():
    told = [reached(eval(f"lambda h: h * {by}", {}), lasting=True).told for by in (2, 2, 3)]
    assert told[0] and told[0] == told[1] != told[2]


def test_other_sets_are_told_apart():
    class Words(set):
        pass

    kinds = [{"a"}, {"b"}, {"a", "b"}, frozenset({"a"}), Words({"a"}), {("a",)}, {1}, {1.5}, set(), {None}]
    told = [reached(k, lasting=True).told for k in kinds]
    assert all(told) and len(set(told)) == len(told)


def test_what_holds_itself_is_told():
    class Node:
        def __init__(self, n):
            self.me, self.all, self.n = self, [self], n
            self.within = {self}

    told = [reached(Node(n), lasting=True).told for n in (1, 1, 2)]
    assert told[0] and told[0] == told[1] != told[2]
    cycle = [1]
    cycle.append(cycle)
    assert reached(cycle, lasting=True).told


def test_an_array_is_read_once_however_often_it_is_met(monkeypatch):
    asked = []
    plain = telling.of_an_array
    monkeypatch.setattr(telling, "of_an_array", lambda x, *more: asked.append(id(x)) or plain(x, *more))
    table = np.arange(1000.0)
    functions = [eval("lambda h: h * table", {"table": table, "__name__": "mine"}) for _ in range(5)]
    before = reached(functions, lasting=True).told
    assert len(asked) == 1
    table[7] += 1e-9
    assert reached(functions, lasting=True).told not in ("", before)
    kinds = [table, table.astype("float32"), table.reshape(10, 100), np.array(["a", "b"]), np.zeros((0, 3))]
    kinds += [np.array(["2020-01-01"], "datetime64[D]"), np.array([None, 1], dtype=object), table[::2]]
    told = [reached(k, lasting=True).told for k in kinds]
    assert all(told) and len(set(told)) == len(told)


@pytest.mark.parametrize("n", [100, 151_936])
def test_every_number_of_a_vocabulary_is_read(n):
    """Also written past torch's count of writes, and far beyond the numbers of which a digest is made."""
    counts, scores = np.zeros(n), torch.zeros(n)
    for held, write in ((counts, counts.__setitem__), (scores, scores.data.__setitem__)):
        told = [reached(held).told]
        for place in (n // 2, n // 2 + 1):
            write(place, 1.0)
            told.append(reached(held).told)
        assert all(told) and len(set(told)) == 3


def test_draws_from_the_state_of_numpy_are_told_by_whatever_name():
    for draw in (
        npr.rand,
        lambda: pd.Series(range(9)).sample(1),
        lambda: scipy.stats.norm.rvs(),
        random.random,
    ):
        before = [reached(eval("lambda h: m", {"m": m})).told for m in (npr, pd, scipy, random)]
        draw()
        after = [reached(eval("lambda h: m", {"m": m})).told for m in (npr, pd, scipy, random)]
        changed = [a != b for a, b in zip(before, after, strict=True)]
        assert changed == ([False] * 3 + [True] if draw is random.random else [True] * 3 + [False])


HELPER = """
import functools
@functools.lru_cache
def table(n): return 2. * n
@functools.cache
def other(n): return 2. * n
def scale(h): return h * 2
class Held:
    def scale(self, h): return scale(h)
n = 0
def bump():
    global n
    n += 1
    return n
"""
EXPRESSIONS = {
    "kept once called": "helper.table(1) * h",
    "cache": "helper.other(1) * h",
    "attribute": "self.h.scale(h)",
    "table": "TABLE['a'].scale(h)",
    "list": "LIST[0].scale(h)",
    "getattr": "getattr(helper, 'scale')(h)",
    "vars": "vars(helper)['scale'](h)",
    "closure": "closed(h)",
    "default": "given(h)",
    "import": "inside(h)",
    "importlib": "importlib.import_module('helper').scale(h)",
    "descriptor": "self.by * h",
    "metaclass": "type(self).meta(h)",
}
USING = """
import helper, importlib
class By:
    def __get__(self, held, kind): return helper.table(1)
class Meta(type):
    def meta(cls, h): return helper.scale(h)
TABLE, LIST = {{'a': helper}}, [helper]
def close(m): return lambda h: m.scale(h)
closed = close(helper)
def given(h, m=helper): return m.scale(h)
def inside(h):
    from helper import scale
    return scale(h)
class Mine(metaclass=Meta):
    width, keeps_norm, kind, h, by = 32, False, 'mine', helper, By()
    def delta(self, h): return {} - h
    def numbers(self): return ()
"""


@pytest.fixture
def helper(monkeypatch):
    def made(source):
        module = types.ModuleType("helper")
        exec(source, module.__dict__)
        monkeypatch.setitem(sys.modules, "helper", module)
        return module

    return made


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_change_whose_helper_says_something_else_is_another(helper, expression):
    def told(source):
        helper(source)
        names = {"__name__": "mine"}
        exec(USING.format(EXPRESSIONS[expression]), names)
        return code_of(names["Mine"]())

    first = told(HELPER)
    assert first and told(HELPER) == first
    assert told(HELPER.replace("2. * n", "5. * n").replace("h * 2", "h * 5")) not in (None, first)
    # What the code does not name counts for nothing.
    assert told(HELPER + "unused = 3\n") == first


@pytest.fixture
def model(make_model):
    return make_model("llama", side="left")


def force(scores, i):
    scores = scores.clone()
    scores[:, 4 + int(i) % 20] = 1e4
    return scores


def written(model, make, before=lambda: None, **options):
    """Whether texts are those of every prompt alone, and what is said."""
    alone = []
    for prompt in PROMPTS:
        torch.manual_seed(0)
        before()
        alone += model.generate([prompt], 3, logits_processor=[make()], return_ids=True, **options)
    torch.manual_seed(0)
    before()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        together = model.generate(PROMPTS, 3, logits_processor=[make()], return_ids=True, **options)
    return together == alone, [str(w.message) for w in seen if "keeps changed" in str(w.message)]


@pytest.mark.parametrize("held", ["attribute", "table"])
def test_a_processor_that_counts_in_a_module_that_it_holds_is_said(model, helper, held):
    module = helper(HELPER)
    table = {"h": module}

    class Holds:
        def __init__(self):
            self.held = module if held == "attribute" else None

        def __call__(self, ids, scores):
            return force(scores, (self.held or table["h"]).bump())

    same, said = written(model, Holds, before=lambda: setattr(module, "n", 0))
    assert said and not same


DRAWS = {
    "a distribution": lambda: torch.distributions.Normal(0.0, 9.0).sample().abs(),
    "poisson": lambda: torch.poisson(torch.tensor(9.0)),
    "geometric": lambda: torch.zeros(1).geometric_(0.1),
    "gumbel": lambda: torch.nn.functional.gumbel_softmax(torch.zeros(20), hard=True).argmax(),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_processor_that_draws_of_torchs_numbers_is_said(model, name):
    same, said = written(model, lambda: lambda ids, scores: force(scores, DRAWS[name]()))
    assert not same and len(said) == 1 and "draws of torch's random numbers" in said[0]


def test_a_processor_with_a_generator_of_its_own_says_nothing(model):
    class Own:
        def __init__(self):
            self.draw = torch.Generator().manual_seed(3)

        def __call__(self, ids, scores):
            return force(scores, torch.randint(0, 20, (1,), generator=self.draw))

    class Plain:
        def __call__(self, ids, scores):
            return scores

    assert written(model, Plain) == (True, [])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model.generate(PROMPTS, 3, logits_processor=[Plain()], do_sample=True)
    assert not [w for w in seen if "keeps changed" in str(w.message)]
    same, _ = written(model, Own)
    assert same


HELD = {
    "pattern": lambda: re.compile("a+b"),
    "lock": threading.Lock,
    "lock that is held again": threading.RLock,
    "condition": threading.Condition,
    "logger": lambda: logging.getLogger("mine"),
    "weak reference": lambda: weakref.ref(Site),
    "kept once called": lambda: functools.lru_cache(lambda n: n),
}


@pytest.mark.parametrize("name", HELD)
def test_what_remembers_nothing_keeps_no_processor_from_being_copied(model, name):
    class Holds:
        def __init__(self):
            self.held, self.n = HELD[name](), 0

        def __call__(self, ids, scores):
            self.n += 1
            return force(scores, self.n)

    assert written(model, Holds) == (True, [])
    anew(Holds())


LOG, PATTERN, LOCK = logging.getLogger("mine"), re.compile("a"), threading.Lock()
ADAPTER = logging.LoggerAdapter(LOG, {})
log = object.__new__(type("Unsaid", (), {"__reduce_ex__": None}))  # beside torch.log
t = log


class Node:
    def __init__(self):
        self.me = self


NODE = Node()


class Mine:
    width, keeps_norm, kind = 32, False, "mine"

    def numbers(self):
        return ()


class Logs(Mine):
    def delta(self, h):
        LOG.debug("x")
        ADAPTER.debug("y")
        return 0 * h


class Locks(Mine):
    def delta(self, h):
        with LOCK:
            return 0 * h


class Matches(Mine):
    def delta(self, h):
        return 0 * h if PATTERN.match("a") else h


class Holds(Mine):
    def delta(self, h):
        return 0 * h if NODE.me else h


class Attributes(Mine):
    t = 2

    def delta(self, h):
        return torch.log(h.abs() + 1) * self.t


class Reaches(Mine):
    def delta(self, h):
        return h if log else -h


class Fields(Mine):
    def __init__(self):
        self.by = 2

    def delta(self, h):
        return h * self.by


def captured(model, change, store):
    class Edit:
        def compile(self, model):
            return (SiteEdit(SITE, Position.parse("all"), change, "own"),)

    return capture(edited(model, Edit()), TEXTS, SITE, store=str(store), progress=False).load()


@pytest.mark.parametrize("kind", [Logs, Locks, Matches, Holds, Attributes])
def test_a_change_that_uses_it_goes_into_a_store(model, tmp_path, kind):
    first = captured(model, kind(), tmp_path)
    assert torch.equal(captured(model, kind(), tmp_path).x, first.x)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Reaches, r"\(it reaches a Unsaid, which is no data\)"),
        (Fields, r"\(Fields has fields, and its numbers\(\) are none\)"),
    ],
)
def test_one_that_does_not_is_told_what_was_met(model, tmp_path, kind, why):
    with pytest.raises(ValueError, match=rf"does not say what it does as data {why}"):
        captured(model, kind(), tmp_path)
