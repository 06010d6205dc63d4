"""The part that writes of a model that also sees is read, edited, asked, saved and loaded as any other."""

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    SiglipVisionConfig,
)

from interventions import Ablate, Answers, edited
from probes import Direction, Examples, capture, load_model
from tests.conftest import VOCABULARY

TEXTS = ["the red house is old", "a tree", "delta lives near the river . true ?", "yes"]
WRITES = {
    "vocab_size": VOCABULARY + 3,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.15,
}
SEES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
IMAGE = VOCABULARY


def gemma(blocks_that_see):
    text = Gemma3TextConfig(**WRITES, head_dim=8, sliding_window=8)
    sees = SiglipVisionConfig(**SEES, num_hidden_layers=blocks_that_see)
    marks = {"image_token_index": IMAGE, "boi_token_index": IMAGE + 1, "eoi_token_index": IMAGE + 2}
    config = Gemma3Config(text_config=text, vision_config=sees, mm_tokens_per_image=4, **marks)
    return Gemma3ForConditionalGeneration(config)


def llava(blocks_that_see):
    sees = CLIPVisionConfig(**SEES, num_hidden_layers=blocks_that_see)
    config = LlavaConfig(text_config=LlamaConfig(**WRITES), vision_config=sees, image_token_index=IMAGE)
    return LlavaForConditionalGeneration(config)


def qwen(blocks_that_see):
    text = {**WRITES, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}}
    text |= {"bos_token_id": None, "eos_token_id": None, "vocab_size": VOCABULARY + 6}
    sees = {"depth": blocks_that_see, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 14}
    names = ("image", "video", "vision_start", "vision_end")
    marks = {f"{name}_token_id": IMAGE + i for i, name in enumerate(names)}
    return Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=sees, **marks))


@pytest.mark.parametrize("blocks_that_see", [1, 3])
@pytest.mark.parametrize("make", [gemma, llava, qwen])
@pytest.mark.filterwarnings("ignore:the tokenizer knows:probes.HookprobeWarning")
def test_it_is_read_edited_asked_and_loaded_as_any_other(make, blocks_that_see, make_tokenizer, tmp_path):
    torch.manual_seed(0)
    hf, tokenizer = make(blocks_that_see).eval(), make_tokenizer()
    model = load_model(hf, tokenizer=tokenizer)
    assert (model.n_blocks, model.width, model.n_heads) == (3, 32, 4)
    found = capture(model, TEXTS, "resid_post", progress=False).x
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([tokenizer(text).input_ids])
        with torch.no_grad():
            states = hf(input_ids=ids, output_hidden_states=True).hidden_states
        want = torch.stack([h[0, -1] for h in states[1:-1]])
        assert torch.allclose(found[:-1, i], want, atol=1e-5)
    edit = Ablate(Direction.from_vector(torch.ones(32), "resid_post.1", model))
    prompts = Examples(TEXTS)
    ways = [Answers(" yes", " no")(m, prompts).values for m in (model, edited(model, edit))]
    assert abs(ways[0] - ways[1]).max() > 1e-3
    assert capture(model, TEXTS, "z.1.2", progress=False).x.shape == (1, 4, 8)
    written = model.generate(TEXTS, 3)
    hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert type(again.hf) is type(hf) and again.generate(TEXTS, 3) == written
