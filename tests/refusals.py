"""Bad inputs as tables: a row is a name, a call on the bench, and words that its message must hold, which
say what arrived and what was expected.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from probes import Activations, Direction, Examples, MassMean, PairActivations, Pairs, capture, load_model
from tests.conftest import WORDS, build_hf, build_tokenizer
from tests.typechecks import unchecked

SITE = "resid_post.1"
MACHINE_ROOM = (
    "not supported between",
    "has no attribute",
    "unexpected keyword",
    "out of bounds",
    "not iterable",
)
Row = tuple[str, Callable[[Any], Any], tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Bench:
    """What a user has at hand: a model, prompts of two classes, hidden states, what was fitted on them."""

    model: Any
    texts: list[str]
    ex: Examples
    pairs: Pairs
    acts: Activations
    train: Activations
    test: Activations
    yes_no: PairActivations
    probe: Any
    d: Direction


@cache
def bench() -> Bench:
    """Made once a process; no call may change it."""
    model = load_model(build_hf(), tokenizer=build_tokenizer(chat=True))
    ends = ("house", "river")
    texts = [
        f"{a} {b} {ends[(i + k) % 2]}" for i, a in enumerate(WORDS[:6]) for k, b in enumerate(WORDS[6:10])
    ]
    y = np.array([t.endswith("house") for t in texts]).astype(int)
    ex = Examples(
        texts, y=y, columns={"topic": [t.split()[0] for t in texts], "place": [t.split()[1] for t in texts]}
    )
    acts = capture(model, ex, "resid_post", progress=False)
    train, test = acts.split((0.5, 0.5), seed=0)
    pairs = Pairs([f"{t} yes" for t in texts], [f"{t} no" for t in texts], y=y)
    noise = np.random.default_rng(0).normal(size=(2, 24, 6))
    yes_no = PairActivations.from_arrays(noise[0] + y[:, None], noise[1] - y[:, None], y)
    probe = MassMean().fit(train)
    return Bench(model, texts[:4], ex, pairs, acts, train, test, yes_no, probe, probe.direction(SITE))


def refuses(call: Callable[[Bench], Any], says: tuple[str, ...]) -> None:
    """The call raises an error in the user's words, all of `says` among them."""
    with unchecked(), pytest.raises((ValueError, TypeError, OSError)) as caught:
        call(bench())
    said = str(caught.value)
    missing = [word for word in says if word not in said]
    assert not missing, f"{missing} not in: {said}"
    assert not any(word in said for word in MACHINE_ROOM), said
