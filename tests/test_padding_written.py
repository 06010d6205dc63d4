"""Models whose layers keep a state: one whose cached passes take no mask is noticed where it writes."""

import pytest
import torch
import transformers

from interventions import Monitor
from probes import Examples, MassMean, capture, capture_generated, load_model
from tests.conftest import VOCABULARY, build_tokenizer

TEXTS = ["alpha beta", "old tree near the river is small", "blue", "the red house is tall gamma delta stone"]
BASE = {"vocab_size": VOCABULARY, "num_hidden_layers": 4, "hidden_size": 32, "bos_token_id": 0}
BASE |= {"pad_token_id": 1, "eos_token_id": 2, "intermediate_size": 48, "num_attention_heads": 4}
KINDS = {
    "MiniMax": {
        "num_key_value_heads": 2,
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "num_local_experts": 2,
        "head_dim": 8,
        "block_size": 4,
    },
    "RecurrentGemma": {
        "num_key_value_heads": 1,
        "lru_width": 32,
        "attention_window_size": 16,
        "block_types": ["recurrent", "attention"],
    },
    "Lfm2": {
        "num_key_value_heads": 2,
        "layer_types": ["conv", "full_attention", "conv", "full_attention"],
    },
    "Qwen3Next": {
        "num_key_value_heads": 2,
        "head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
}


def made(kind):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**BASE, **KINDS[kind])
    hf = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    return load_model(hf, tokenizer=build_tokenizer("left"))


WRITES = {
    "generate": lambda m, texts, **how: m.generate(texts, 4, **how),
    "captured": lambda m, texts, **how: capture_generated(
        m, texts, "resid_post.1", max_new_tokens=4, progress=False, **how
    ),
}


@pytest.mark.parametrize("write", WRITES)
def test_one_that_takes_the_mask_only_once_writes_one_text_at_a_time_or_not_at_all(write):
    model = made("MiniMax")
    rows = capture(model, Examples(TEXTS, y=[0, 1, 0, 1]), "resid_post.1", progress=False)
    model.logits(TEXTS)  # reading is right
    with pytest.raises(
        ValueError, match=r"writes texts in a padded batch otherwise than alone.*batch_size=1"
    ):
        WRITES[write](model, TEXTS)
    WRITES[write](model, TEXTS, batch_size=1)
    WRITES[write](model, ["alpha beta", "old tree"])
    with pytest.raises(ValueError, match=r"writes texts in a padded batch"):
        Monitor(MassMean().fit(rows), rows.sites[0], 1e9).watch(model, TEXTS, max_new_tokens=2)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "MiniMax"])
def test_others_write_together_what_they_write_alone(kind):
    model = made(kind)
    assert model.generate(TEXTS, 6) == [model.generate([t], 6)[0] for t in TEXTS]
