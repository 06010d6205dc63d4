"""What a model gives back is refused where it is not numbers, and left alone where it is."""

import numpy as np
import pytest
import torch

from interventions import Add, Answers, Refusal, RefusalLogprob, edited
from probes import Direction, Examples, load_model

TEXTS = ["the red house", "a tree", "delta lives near the river ."]
ASKED = {
    "logits": lambda model: model.logits(TEXTS),
    "generate": lambda model: model.generate(TEXTS, 3),
    "sampled": lambda model: model.generate(TEXTS, 3, do_sample=True),
    "answers": lambda model: Answers(" yes", " no")(model, Examples(TEXTS)),
    "continuations": lambda model: RefusalLogprob(("no tree",))(model, Examples(TEXTS)),
    "completions": lambda model: Refusal(max_new_tokens=2)(model, Examples(TEXTS)),
}


OTHERS = [(name, backend) for name in ("logits", "generate") for backend in ("transformer_lens", "nnsight")]


@pytest.mark.parametrize(("name", "backend"), [*((name, "hooks") for name in ASKED), *OTHERS])
def test_overflow_under_an_edit_is_refused_and_a_fitting_edit_is_not(name, backend, make_hf, make_tokenizer):
    ask = ASKED[name]
    model = load_model(make_hf("llama").half(), backend, tokenizer=make_tokenizer())
    push = Direction.from_vector(np.ones(model.width), "resid_post.1")
    ask(edited(model, Add(push, norm=1.0)))
    with pytest.raises(ValueError, match=r"logits are NaN or infinite.* under these edits"):
        ask(edited(model, Add(push, norm=1e6)))


def test_weights_that_are_nan_are_refused_and_tokens_that_are_ruled_out_are_not(make_model):
    model = make_model()
    end = model.tokenizer.eos_token_id
    assert len(model.generate(TEXTS, 2, suppress_tokens=[end])) == 3
    with torch.no_grad():
        model.hf.get_output_embeddings().weight[3] = float("nan")
    with pytest.raises(ValueError, match="logits are NaN or infinite, so they say nothing;"):
        model.generate(TEXTS, 2)
