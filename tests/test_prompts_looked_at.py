"""Ways of writing that look at the tokens of the prompts: texts are those of every prompt alone, functions
know which prompt they are asked about, and what belongs to single passes is refused.
"""

import itertools
import logging
import random
import threading
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
import pytest
import torch

from interventions import Monitor
from probes import MassMean, Site, capture, capture_generated, load_model
from tests.conftest import build_tokenizer

PROMPTS = [
    "alpha is near the old river and small",
    "blue",
    "the river is",
    "a house lives near red stone",
    "the tall tree",
    "not true",
]
SITE = Site("resid_post", 1)


@pytest.fixture
def model(make_hf):
    """Padded with its own end of text, as many people's tokenizers are."""
    hf = make_hf(initializer_range=0.3, tie_word_embeddings=False, seed=1)
    tokenizer = build_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    return load_model(hf, tokenizer=tokenizer)


def alone(model, prompt, n, **options):
    ids = torch.tensor([model.tokenizer(prompt)["input_ids"]])
    plain = {"attention_mask": torch.ones_like(ids), "max_new_tokens": n, "do_sample": False}
    with torch.no_grad():
        made = model.hf.generate(input_ids=ids, pad_token_id=2, eos_token_id=2, **plain, **options)
    new = made[0, ids.shape[1] :].tolist()
    return new[: new.index(2)] if 2 in new else new


def second_word_again(input_ids, scores):
    """Looks at a column, which is padding in a padded row."""
    return scores.scatter_add(1, input_ids[:, 1:2], torch.full((len(scores), 1), 9.0))


def at_six_different(input_ids, scores, **kwargs):
    return torch.tensor([len(set(row.tolist())) >= 6 for row in input_ids])


LOOKING = {
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 1.8},
    "repetition_penalty": {"repetition_penalty": 3.0},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "prefix_allowed_tokens_fn": {
        "prefix_allowed_tokens_fn": lambda row, ids: [i for i in range(4, 30) if i not in ids.tolist()] + [2]
    },
    "logits_processor": {"logits_processor": [second_word_again]},
    "stopping_criteria": {"stopping_criteria": [at_six_different]},
}


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("name", LOOKING)
def test_what_looks_at_the_prompt_meets_no_padding(name, batch_size, model):
    options = LOOKING[name]
    own = [alone(model, prompt, 8, **options) for prompt in PROMPTS]
    assert model.generate(PROMPTS, 8, batch_size=batch_size, return_ids=True, **options) == own
    read = capture_generated(
        model, PROMPTS, SITE, max_new_tokens=8, batch_size=batch_size, progress=False, **options
    )
    rows = [i for i, ids in enumerate(own) if ids]
    assert read.x.shape[1] == sum(map(len, own)), "every token has a state, also where a text ends early"
    assert [read.columns["token_id"][read.example == i].tolist() for i in rows] == [own[i] for i in rows]
    probe = MassMean().fit(capture(model, PROMPTS, SITE, progress=False).with_y([0, 1] * 3))
    seen = Monitor(probe, SITE, float("inf")).watch(
        model, PROMPTS, max_new_tokens=8, batch_size=batch_size, **options
    )
    texts = model.generate(PROMPTS, 8, batch_size=1, **options)
    assert [w.text for w in seen] == texts


def test_the_models_own_settings_count_where_they_act(model):
    model.hf.generation_config.encoder_repetition_penalty = 1.8
    sampled = {"do_sample": True, "top_k": 1}
    own = [alone(model, p, 6, encoder_repetition_penalty=1.8) for p in PROMPTS]
    assert model.generate(PROMPTS, 6, return_ids=True, **sampled) == own


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_a_function_of_rows_is_told_the_place_in_the_list(batch_size, model):
    allowed = {"prefix_allowed_tokens_fn": lambda row, ids: [5 + row]}
    made = model.generate(PROMPTS, 2, batch_size=batch_size, return_ids=True, **allowed)
    assert made == [[5 + i] * 2 for i in range(len(PROMPTS))]


def test_others_are_written_in_batches_as_before(model):
    decoding = model.decoding(3, {"temperature": 0.7, "do_sample": True})
    encoded = model.encode(PROMPTS)
    assert len(model.batches(encoded, decoding=decoding, side="left")) == 1

    class Blind:
        reads_prompts = False

        def __call__(self, input_ids, scores):
            return scores

    decoding = model.decoding(3, {"logits_processor": [Blind()], "stop_strings": None})
    assert len(model.batches(encoded, decoding=decoding, side="left")) == 1


@pytest.mark.parametrize(
    "name",
    [
        *("position_ids", "inputs_embeds", "attention_mask", "input_ids", "cache_position"),
        *("token_type_ids", "negative_prompt_ids", "pixel_values"),
    ],
)
def test_what_belongs_to_single_passes_is_refused(name, model):
    options: dict[str, Any] = {name: torch.zeros(1, 3, dtype=torch.long)}
    probe = MassMean().fit(capture(model, PROMPTS, SITE, progress=False).with_y([0, 1] * 3))
    monitor = Monitor(probe, SITE, 0.0)
    calls = [
        lambda: model.generate(PROMPTS[1:2], 2, **options),
        lambda: capture_generated(model, PROMPTS[1:2], SITE, max_new_tokens=2, progress=False, **options),
        lambda: monitor.watch(model, PROMPTS[1:2], max_new_tokens=2, **options),
        lambda: list(monitor.stream(model, PROMPTS[1], max_new_tokens=2, **options)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=rf"{name}= is no option here \(got a tensor of shape \(1, 3\)"):
            call()
    with pytest.raises(ValueError, match="prompts are sorted by length"):
        model.generate(PROMPTS, 2, attention_mask=[[1, 1, 1]])


def test_options_that_are_none_say_nothing(model):
    nothing = dict.fromkeys(("attention_mask", "input_ids", "position_ids", "logits_processor", "streamer"))
    assert model.generate(PROMPTS, 3, **nothing) == model.generate(PROMPTS, 3)
    read = {"max_new_tokens": 3, "progress": False}
    own, told = (capture_generated(model, PROMPTS, SITE, **read, **more) for more in ({}, nothing))
    assert torch.equal(own.x, told.x) and own.receipt["generation"] == told.receipt["generation"]


# --- what remembers
# --------------------------------------------------------------------


def word(scores, k):
    return scores.index_fill(1, torch.tensor([4 + k % 20]), 99.0)


class Counting:
    """Another word at every call."""

    def __init__(self):
        self.calls = 0

    def __call__(self, input_ids, scores):
        self.calls += 1
        return word(scores, self.calls)


class SinceStart:
    """Takes the length of the first prompt it sees for that of every one."""

    start = None

    def __call__(self, input_ids, scores):
        if self.start is None:
            self.start = input_ids.shape[1]
        return word(scores, [0, 1, 2][input_ids.shape[1] - self.start])


class Slots:
    __slots__ = ("calls",)

    def __init__(self):
        self.calls = 0

    __call__ = Counting.__call__


class Holding:
    """Holds one thing, and asks it for a word."""

    def __init__(self, held, ask):
        self.held, self.ask = held, ask

    def __call__(self, input_ids, scores):
        return word(scores, self.ask(self))


def listed(self):
    self.held.append(1)
    return len(self.held)


def mapped(self):
    self.held["k"] += 1
    return self.held["k"]


def replaced(self):
    self.held = self.held + 1
    return int(self.held)


def in_place(self):
    self.held += 1
    return int(self.held[0])


def closure(held):
    calls = 0

    def count(input_ids, scores):
        nonlocal calls
        calls += 1
        held.append(calls)
        return word(scores, calls + len(held))

    return count


def with_default(input_ids, scores, held=()):
    held.append(1)
    return word(scores, len(held))


def defaulted():
    made = FunctionType(with_default.__code__, with_default.__globals__)
    made.__defaults__ = ([],)
    return made


REMEMBERING = {
    "counts": Counting,
    "takes the first": SinceStart,
    "slots": Slots,
    "method": lambda: Counting().__call__,
    "within another": lambda: Holding(
        Counting(), lambda o: (o.held(None, torch.zeros(1, 30)), o.held.calls)[1]
    ),
    "list": lambda: Holding([], listed),
    "mapping": lambda: Holding({"k": 0}, mapped),
    "tensor replaced": lambda: Holding(torch.zeros(1), replaced),
    "tensor in place": lambda: Holding(torch.zeros(1), in_place),
    "array": lambda: Holding(np.zeros(1), in_place),
    "count": lambda: Holding(itertools.count(), lambda o: next(o.held)),
    "iterator": lambda: Holding(iter([3, 1, 4, 1, 5, 9]), lambda o: next(o.held)),
    "random": lambda: Holding(random.Random(0), lambda o: o.held.randrange(20)),
    "numpy's": lambda: Holding(np.random.default_rng(0), lambda o: int(o.held.integers(20))),
    "torch's": lambda: Holding(
        torch.Generator().manual_seed(0), lambda o: int(torch.randint(20, (1,), generator=o.held))
    ),
    "closure": lambda: closure([]),
    "default": defaulted,
    "partial": lambda: partial(with_default, held=[]),
}


@pytest.mark.parametrize("make", REMEMBERING.values(), ids=REMEMBERING)
def test_what_remembers_meets_every_batch_as_it_was_given(make, model, recwarn):
    own = [alone(model, prompt, 3, logits_processor=[make()]) for prompt in PROMPTS]
    given = {"logits_processor": [make()]}
    assert model.generate(PROMPTS, 3, return_ids=True, **given) == own
    read = capture_generated(
        model, PROMPTS, SITE, max_new_tokens=2, progress=False, logits_processor=[make()]
    )
    for i, ids in enumerate(own):
        assert read.columns["token_id"][read.example == i].tolist() == ids[:2]
    assert not recwarn.list


def test_what_remembers_sees_every_call_and_draws_no_number_twice(model, recwarn):
    asked, counting, shown = [], Counting(), []

    def never(input_ids, scores, **kwargs):
        asked.append(len(input_ids))
        return torch.zeros(len(input_ids), dtype=torch.bool)

    def any_token(row, ids):
        shown.append(row)
        return list(range(4, 30))

    batches = len({len(model.tokenizer(p)["input_ids"]) for p in PROMPTS})
    model.generate(PROMPTS, 3, stopping_criteria=[never], logits_processor=[counting], min_new_tokens=3)
    assert counting.calls == 3 * batches and sum(asked) == 3 * len(PROMPTS)
    model.generate(PROMPTS, 3, prefix_allowed_tokens_fn=any_token)
    assert sorted(shown) == sorted(list(range(len(PROMPTS))) * 3)
    drawn = []
    for own in (lambda ids, scores: scores, Counting()):
        torch.manual_seed(0)
        model.generate(PROMPTS, 3, do_sample=True, logits_processor=[own])
        drawn.append(torch.rand(1))
    assert drawn[0] == drawn[1] and not recwarn.list


def test_a_processor_and_a_criterion_that_share_what_they_hold_go_on_sharing_it(model):
    class Ends:
        def __init__(self, seen):
            self.seen = seen

        def __call__(self, input_ids, scores, **kwargs):
            return torch.full((len(input_ids),), len(self.seen) >= 2)

    def made():
        seen = []
        return {"logits_processor": [Holding(seen, listed)], "stopping_criteria": [Ends(seen)]}

    own = [alone(model, prompt, 4, **made()) for prompt in PROMPTS]
    assert model.generate(PROMPTS, 4, return_ids=True, **made()) == own
    assert {len(ids) for ids in own} == {2}


CALLS = 0


def of_the_file(input_ids, scores):
    global CALLS
    CALLS += 1
    return scores


class OfTheClass:
    calls = 0

    def __call__(self, input_ids, scores):
        type(self).calls += 1
        return scores


def drawing(input_ids, scores):
    return word(scores, random.randrange(20))


WITHOUT_A_COPY = {
    "global": (lambda: of_the_file, r"in a global name"),
    "class": (OfTheClass, r"an attribute of a class"),
    "Python's numbers": (lambda: drawing, r"or a module"),
    "generator": (
        lambda: Holding((i for i in range(99)), lambda o: next(o.held)),
        r"it reaches a generator, of which there is no copy",
    ),
}


@pytest.mark.parametrize(("make", "why"), WITHOUT_A_COPY.values(), ids=WITHOUT_A_COPY)
def test_what_remembers_where_no_copy_reaches_says_so(make, why, model):
    with pytest.warns(UserWarning, match=rf"changed while a batch of prompts was written \(.*{why}") as said:
        model.generate(PROMPTS, 3, logits_processor=[make()])
    assert len(said) == 1, "once a call"


class Lazy:
    """Makes what it needs at its first call."""

    def __init__(self):
        self.allowed, self.strength, self.words = None, 2.0, {4: 1.0}

    def __call__(self, input_ids, scores):
        if self.allowed is None:
            self.allowed, self.size = torch.ones(scores.shape[-1]), scores.shape[-1]
        return scores * self.allowed * self.strength


def test_what_remembers_nothing_and_single_batches_stay_quiet(model, recwarn):
    from transformers import SequenceBiasLogitsProcessor

    class Held:
        """What has no copy, and does not change."""

        def __init__(self):
            self.lock, self.log, self.words = threading.Lock(), logging.getLogger("x"), model.tokenizer

        def __call__(self, input_ids, scores):
            with self.lock:
                return scores

    for own in (
        Lazy(),
        Held(),
        second_word_again,
        SequenceBiasLogitsProcessor([[[4], 1.0]]),
        lambda ids, scores: scores,
    ):
        model.generate(PROMPTS, 3, logits_processor=[own])
    model.generate(["blue", "river"], 3, logits_processor=[Counting()])
    for prompt in PROMPTS:
        model.generate([prompt], 3, logits_processor=[Counting()])
    assert not recwarn.list


def test_one_that_fails_on_what_it_keeps_of_other_batches_decides_nothing_and_is_in_the_log(model, caplog):
    class OnlyShorter:
        longest = None

        def __call__(self, input_ids, scores):
            if self.longest is not None and input_ids.shape[1] < self.longest - 1:
                raise KeyError("another batch")
            self.longest = input_ids.shape[1]
            return word(scores, 0)

    own = [alone(model, prompt, 2, logits_processor=[OnlyShorter()]) for prompt in PROMPTS]
    with caplog.at_level("INFO"):
        found = model.generate(PROMPTS, 2, return_ids=True, logits_processor=[OnlyShorter()])
    assert found == own and "OnlyShorter failed beside its copy" in caplog.text
    assert "KeyError('another batch')" in caplog.text
