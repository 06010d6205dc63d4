"""A model whose answers depend on who sits beside it in the batch is noticed wherever it answers."""

import numpy as np
import pytest
import torch
from transformers import RwkvConfig, RwkvForCausalLM

from interventions import Add, Answers, Monitor, applied
from probes import Direction, Examples, MassMean, capture, load_model, recording
from tests.conftest import VOCABULARY

PROMPTS = ["the red", "a tall tree lives near the blue river", "no", "old stone house"]


@pytest.fixture
def without_mask(make_tokenizer):
    torch.manual_seed(0)
    shape = {"vocab_size": VOCABULARY, "hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 3}
    return load_model(RwkvForCausalLM(RwkvConfig(**shape)).eval(), tokenizer=make_tokenizer())


ASKED = {
    "logits": lambda model, texts, **how: model.logits(texts, **how).numpy(),
    "generate": lambda model, texts, **how: model.generate(texts, 4, **how),
    "answers": lambda model, texts, **how: Answers(" yes", " no")(model, Examples(texts), **how).values,
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_a_model_that_takes_no_mask_is_asked_one_text_at_a_time_or_not_at_all(ask, without_mask, make_model):
    with pytest.raises(ValueError, match="reads texts in a padded batch otherwise than alone"):
        ask(without_mask, PROMPTS)
    assert len(ask(without_mask, PROMPTS, batch_size=1)) == len(PROMPTS)
    same_length = ["the red house", "a tall tree"]
    assert len(ask(without_mask, same_length)) == 2
    model = make_model("llama")
    together, alone = ask(model, PROMPTS), ask(model, PROMPTS, batch_size=1)
    assert together == alone if isinstance(together, list) else np.allclose(together, alone, atol=1e-4)


def test_a_monitor_is_told_too(without_mask):
    rows = capture(without_mask, Examples(PROMPTS, y=[0, 1, 0, 1]), "resid_post.1", batch_size=1, check=False)
    probe = MassMean().fit(rows)
    with pytest.raises(ValueError, match="padded batch"):
        Monitor(probe, probe.sites[0], 1e9).watch(without_mask, PROMPTS, max_new_tokens=2)


def test_nobody_sees_the_passes_that_find_it_out(make_model):
    model = make_model("llama")
    edit = Add(Direction.from_vector(torch.ones(model.width), "resid_post.1", model), norm=5.0)
    with recording(model.hf, "resid_post.1") as seen, applied(model.hf, edit):
        model.logits(PROMPTS)
    assert len(seen.passes[next(iter(seen.passes))]) == 1
