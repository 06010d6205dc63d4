"""Models whose blocks hold no attention, or not all of them: their blocks are found, and their states held
against Hugging Face's record, which is of what comes out of the blocks (Mamba) or of what goes in (Jamba).
"""

import pytest
import torch
import transformers

from interventions import Add, edited
from probes import Direction, capture, load_model
from probes.models.selfcheck import SelfCheckError
from tests.conftest import VOCABULARY, build_tokenizer

TEXTS = ["alpha beta", "old tree near the river", "blue"]
SIZES = {"vocab_size": VOCABULARY, "num_hidden_layers": 4, "hidden_size": 32}
IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
HEADS = {"intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
KINDS = {
    "Mamba": {"state_size": 8},
    "Mamba2": {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2},
    "Jamba": HEADS
    | {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "expert_layer_offset": 1}
    | {"expert_layer_period": 2, "mamba_d_state": 8, "mamba_dt_rank": 4, "use_mamba_kernels": False},
}
BLOCKS = {"Mamba": "backbone.layers", "Mamba2": "backbone.layers", "Jamba": "model.layers"}


def built(kind):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES, **IDS, **KINDS[kind])
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


@pytest.fixture(params=KINDS)
def model(request):
    return load_model(built(request.param), tokenizer=build_tokenizer("left"))


def outputs(hf, path, text):
    """What comes out of every block at the last token, by plain hooks on one text."""
    kept = []
    handles = [
        block.register_forward_hook(lambda m, a, out: kept.append(out if torch.is_tensor(out) else out[0]))
        for block in hf.get_submodule(path)
    ]
    with torch.no_grad():
        hf(input_ids=torch.tensor([build_tokenizer()(text)["input_ids"]]))
    for handle in handles:
        handle.remove()
    return torch.stack([h[0, -1] for h in kept])


def test_blocks_are_found_and_their_states_are_those_of_plain_hooks(model):
    assert model.backend.blocks == BLOCKS[type(model.hf).__name__.removesuffix("ForCausalLM")]
    got = capture(model, TEXTS, "resid_post", progress=False)
    for row, text in enumerate(TEXTS):
        want = outputs(model.hf, model.backend.blocks, text)
        assert torch.allclose(got.x[:, row], want, atol=1e-4)
    assert got.receipt["self_check"]["differences"]["hook = hidden_states"] < 1e-5


def test_sites_within_blocks_are_refused_by_name(model):
    for site in ("attn_out", "mlp_out.1", "z"):
        with pytest.raises(ValueError, match="not proven for"):
            capture(model, TEXTS, site, progress=False)


def test_edits_act_while_it_writes(model):
    edit = Add(Direction.from_vector(torch.ones(32), "resid_post.1"), norm=8)
    under = edited(model, edit)
    assert not torch.allclose(under.logits(TEXTS), model.logits(TEXTS), atol=1e-2)
    for text in TEXTS[:2]:
        assert under.generate([text], 3) == under.generate([text], 3, use_cache=False)


@pytest.mark.parametrize("kind", KINDS)
def test_states_that_are_not_those_recorded_are_refused(kind, monkeypatch):
    """The record of outputs is no way around the check."""
    from probes.models import selfcheck

    model = load_model(built(kind), tokenizer=build_tokenizer("left"))
    plain = selfcheck._read
    shifted = lambda *args: [[h * 1.01 for h in row] for row in plain(*args)]  # noqa: E731
    monkeypatch.setattr(selfcheck, "_read", shifted)
    with pytest.raises(SelfCheckError, match="hook = hidden_states"):
        capture(model, TEXTS, "resid_post", progress=False)
