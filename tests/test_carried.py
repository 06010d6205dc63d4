"""A direction goes from one model to another through a map of the same prompts, and through no other map."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import transformers

from interventions.behaviours.records import Records
from interventions.effects.carried import Carried, carried
from probes import Activations, Direction, Examples, Model
from tests.conftest import build_tokenizer

N, WIDTH = 300, 16
DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(N, WIDTH))
TURN = np.linalg.qr(DRAW.normal(size=(WIDTH, WIDTH)))[0]
GIVER = Direction.from_vector(np.eye(WIDTH)[0], "resid_post.0")
RECEIVER = Direction.from_vector(TURN[0], "resid_post.0")
PROMPTS = Examples(["red", "blue"])


def states(x: np.ndarray) -> Activations:
    return Activations.from_arrays(torch.from_numpy(x).float(), y=np.arange(N) % 2, sites=["resid_post.0"])


@dataclass(frozen=True)
class Looking:
    """Answers change their kind, or their sign, when what is ablated lies along the receiver's direction."""

    kinds: bool = True
    seen: list = field(default_factory=list)

    def __call__(self, model, prompts):
        (write,) = model.writes or (None,)
        along = 0.0 if write is None else abs(float(write.change.U[:, 0] @ RECEIVER.unit))
        self.seen.append(along)
        values = np.full(len(prompts), 1.0 if along > 0.9 else -1.0)
        labels = np.array(["b" if along > 0.9 else "a"] * len(prompts))
        kinds = {"labels": labels, "classes": ("a", "b")} if self.kinds else {}
        return Records.of(prompts, "looking", "share", values, **kinds)


@pytest.fixture(scope="module")
def model():
    config = transformers.LlamaConfig(
        hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=32
    )
    return Model.of(transformers.LlamaForCausalLM(config).eval(), build_tokenizer())


@pytest.mark.parametrize("kinds", [True, False], ids=["kinds of answers", "signs"])
def test_a_direction_is_carried_by_paired_prompts_and_not_by_other_maps(model, kinds):
    giving, receiving = states(ROWS), states(ROWS @ TURN)
    found = carried(GIVER, giving, RECEIVER, receiving, model, Looking(kinds), PROMPTS, 5, 0)
    assert found.changed == found.own == 1 and found.cosine > 0.99
    assert max(found.shuffled) == max(found.rotated) == found.raw == 0
    assert found.p_value == pytest.approx(1 / 6)
    again = carried(GIVER, giving, RECEIVER, receiving, model, Looking(kinds), PROMPTS, 5, 0)
    assert again == found


def test_models_of_other_widths_can_give_too_and_have_no_vector_in_common(model):
    wide = np.concatenate([ROWS, DRAW.normal(size=(N, 4))], 1)
    giver = Direction.from_vector(np.eye(WIDTH + 4)[0], "resid_post.0")
    found = carried(giver, states(wide), RECEIVER, states(ROWS @ TURN), model, Looking(), PROMPTS, 3, 0)
    assert found.changed == 1 and max(found.rotated) == 0 and np.isnan(found.raw)


def test_rows_of_other_prompts_are_refused(model):
    backwards = states(ROWS @ TURN).rows(np.arange(N)[::-1])
    with pytest.raises(ValueError, match="different prompts"):
        carried(GIVER, states(ROWS), RECEIVER, backwards, model, Looking(), PROMPTS, 2, 0)


def test_p_is_that_of_the_kind_of_map_that_does_more():
    assert Carried(0.0, 0.5, 1.0, 0.0, (0.1, 0.5, 0.9), (0.0, 0.0, 0.0)).p_value == 3 / 4
    assert Carried(0.0, 0.5, 1.0, 0.0, (0.0, 0.0, 0.0), (0.5, 0.0, 0.0)).p_value == 2 / 4
