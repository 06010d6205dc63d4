"""What cannot be meant, and what was nearly right, is said in words of the call that was made."""

import numpy as np
import pytest
import torch

from interventions import ExactMatch, Refusal, edited
from interventions.edits import Add
from probes import Activations, Direction, Examples, MassMean, auroc, capture, capture_generated
from probes.metrics import mean_difference
from probes.vectors import read_lm_eval
from tests.typechecks import unchecked

TEXTS = ["the red house", "a small tree", "the river is old", "a house"]
SITE = "resid_post.1"


@pytest.mark.parametrize("behaviour", [ExactMatch(), Refusal()], ids=["ExactMatch", "Refusal"])
def test_a_completion_that_is_no_text_is_named(behaviour, make_model):
    prompts = Examples(TEXTS, columns={"answer": ["red", "small", "old", "house"]})
    for odd, named in ((None, r"completion 2 is None, a NoneType"), (3, r"completion 2 is 3, a int")):
        with unchecked(), pytest.raises(TypeError, match=named):
            behaviour(make_model(), prompts, given=["a", "b", odd, "d"])
    assert len(behaviour(make_model(), prompts, given=["a", "b", "", "d"]).values) == 4


def test_means_of_other_numbers_of_rows_have_no_difference():
    s = np.random.default_rng(0).normal(size=60)
    for now, then in ((s, s[:59]), (s[:1], s), (s[None], s)):
        with pytest.raises(
            ValueError, match=r"now has shape .* and then has .*; give both for the same rows"
        ):
            mean_difference(now, then)
    assert mean_difference(s + 1, s).value == pytest.approx(1)


def test_states_beyond_half_precision_name_the_argument(make_model, tmp_path):
    model = make_model()
    loud = edited(model, Add(Direction.from_vector(np.ones(model.width), SITE), norm=1e6))
    calls = (
        lambda **how: capture(loud, TEXTS, SITE, progress=False, **how),
        lambda **how: capture_generated(loud, TEXTS, SITE, max_new_tokens=2, progress=False, **how),
        lambda **how: capture(loud, TEXTS, SITE, progress=False, store=tmp_path / "s", **how),
    )
    for call in calls:
        with pytest.raises(
            ValueError, match=r"dtype=torch\.float16 holds: leave dtype= out, or take torch\.bf"
        ):
            call(dtype=torch.float16)
        call(dtype=torch.bfloat16)


@pytest.mark.parametrize(
    "junk", [b"\x80\x02x", bytes(range(256)), b"PK\x03\x04junk", b"\x93NUMPY\x01\x00v\x00"]
)
def test_bytes_that_are_no_steering_file_are_said(junk, tmp_path):
    (tmp_path / "x.pt").write_bytes(junk)
    with pytest.raises(ValueError, match=r"x\.pt is incomplete, or holds more than tensors"):
        read_lm_eval(tmp_path / "x.pt")


def test_random_bytes_are_no_steering_file(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(300):
        (tmp_path / "x.pt").write_bytes(bytes([0x80, 2]) + rng.integers(0, 256, 40, dtype=np.uint8).tobytes())
        with pytest.raises(ValueError, match=r"x\.pt is "):
            read_lm_eval(tmp_path / "x.pt")


@pytest.mark.parametrize("kind", [">f4", ">f8", ">i4", ">f2"])
def test_numbers_in_the_other_order_of_bytes_are_numbers(kind):
    rng = np.random.default_rng(0)
    x, y = (10 * rng.normal(size=(40, 8))).astype(kind), (np.arange(40) % 2).astype(">i4")
    given = Activations.from_arrays(x, y)
    native = Activations.from_arrays(x.astype(x.dtype.newbyteorder("=")), np.arange(40) % 2)
    assert torch.equal(given.x, native.x) and given.y.tolist() == native.y.tolist()
    assert MassMean().fit(given).score(given).equal(MassMean().fit(native).score(native))
    assert auroc(x[:, 0], y).value == auroc(native.x[0][:, 0], native.y).value
    assert torch.equal(
        Direction.from_vector(x[0], SITE).unit, Direction.from_vector(native.x[0][0], SITE).unit
    )
