"""A model in a GGUF file is read as the model that it was written from."""

from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch
import transformers
from transformers import Qwen2Config, Qwen2ForCausalLM

from probes import Direction, capture, load_model
from probes.vectors import read_gguf, write_gguf
from tests.conftest import VOCABULARY

TEXTS = ["the red house is old", "a tree"]
PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def their_name(name: str) -> str:
    if name in WHOLE:
        return WHOLE[name]
    _, _, block, *part, kind = name.split(".")
    return f"blk.{block}.{PARTS['.'.join(part)]}.{kind}"


@pytest.fixture
def written(tmp_path):
    """A small model and the file that llama.cpp's own writer makes of it."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    hf = Qwen2ForCausalLM(config).eval()
    path = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(VOCABULARY)
    for name, tensor in hf.state_dict().items():
        writer.add_tensor(their_name(name), np.ascontiguousarray(tensor.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return hf, path


def test_a_gguf_file_is_the_model_and_can_be_saved(written, make_tokenizer, tmp_path):
    hf, path = written
    tokenizer = make_tokenizer()
    want, got = (load_model(each, tokenizer=tokenizer) for each in (hf, path))
    assert got.name == str(path) and got.n_blocks == 2
    states = [capture(model, TEXTS, "resid_post", progress=False).x for model in (want, got)]
    assert torch.allclose(*states, atol=1e-5) and states[0].std() > 0.1
    got.hf.save_pretrained(tmp_path / "plain")
    again = load_model(tmp_path / "plain", tokenizer=tokenizer)
    assert torch.equal(again.logits(TEXTS), got.logits(TEXTS))
    got.fingerprint.check(again.fingerprint, "the probe")


def test_what_is_missing_is_named(written, tmp_path, monkeypatch):
    _, path = written
    with pytest.raises(ValueError, match=r"there is no file .*other\.gguf"):
        load_model(tmp_path / "other.gguf")
    with pytest.raises(ValueError, match="holds no tokenizer; give one with"):
        load_model(path)
    monkeypatch.setattr("probes.models.loading.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"hookprobe\[formats\]"):
        load_model(path)


def test_a_control_vector_is_told_from_a_model(tmp_path):
    direction = Direction.from_vector(np.ones(8), "resid_post.1")
    path = write_gguf(tmp_path / "v.gguf", [replace(direction, gap=2.0)])
    with pytest.raises(
        ValueError, match=r"v\.gguf holds a control vector, which is no model: .*read_gguf\(path\)"
    ):
        load_model(path)
    assert read_gguf(path)[0].gap == pytest.approx(2.0)


def test_a_file_on_the_hub_is_looked_for_in_its_repository(monkeypatch):
    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        raise OSError("no network")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", download)
    with pytest.raises(OSError, match="no network"):
        load_model("owner/model/small.Q4_1.gguf", revision="main")
    assert (asked["name"], asked["gguf_file"]) == ("owner/model", "small.Q4_1.gguf")
    assert asked["revision"] == "main" and asked["quantization_config"].dequantize
    with pytest.raises(ValueError, match=r"there is no file small\.gguf; give a GGUF file, or one on"):
        load_model("small.gguf")
