"""Tiny seeded models and tokenizers, made from config: nothing is downloaded, every weight matters."""

from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

import tests.typechecks  # noqa: F401 - before the library, whose functions it checks from then on

# isort: split
import probes

# Each of their tests takes seconds; begun first, none is left to one worker at the end.
SLOW_FILES = (
    "test_notebooks.py",
    "test_awareness_experiments.py",
    "test_detect_route.py",
    "test_experiments.py",
    "test_store_faults.py",
    "test_categories.py",
    "test_meaningless.py",
    "test_tracking.py",
    "test_site.py",
)

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
_TEXT = (
    "alpha beta gamma delta the a not is was lives near old red blue tall small river house stone tree yes no"
    " true false ? . user assistant"
)
WORDS = _TEXT.split()
CHAT = (
    "{{ bos_token }}{% for m in messages %} {{ m['role'] }} {{ m['content'] }} </s>{% endfor %}{% if"
    " add_generation_prompt %} assistant{% endif %}"
)
VOCABULARY = len(SPECIALS) + len(WORDS)

_COMMON = {
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.15,
}
_GATED = {"hidden_size": 32, "intermediate_size": 48, "num_key_value_heads": 2}
_PLAIN = {"intermediate_size": 48}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _GATED),
    "gpt2": ("GPT2", {"hidden_size": 24}),
    "qwen2": ("Qwen2", _GATED | {"hidden_size": 40}),
    # Sliding windows shorter than the texts, so that a mask built from the wrong positions shows.
    "gemma2": ("Gemma2", _GATED | {"head_dim": 8, "sliding_window": 4}),
    "gpt_neox": ("GPTNeoX", _PLAIN | {"hidden_size": 48}),
    "bert": ("Bert", _PLAIN | {"hidden_size": 32}),
    "deberta": (
        "DebertaV2",
        _PLAIN
        | {
            "hidden_size": 40,
            "relative_attention": True,
            "position_buckets": 8,
            "pos_att_type": ["p2c", "c2p"],
            "norm_rel_ebd": "layer_norm",
        },
    ),
    "roberta": ("Roberta", _PLAIN | {"hidden_size": 24, "max_position_embeddings": 66}),
    "qwen3": ("Qwen3", _GATED | {"head_dim": 8}),
    "gemma3": (
        "Gemma3",
        _GATED
        | {
            "head_dim": 12,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "mistral": ("Mistral", _GATED | {"sliding_window": 4}),
    "phi3": ("Phi3", _GATED),
    "olmo2": ("Olmo2", _GATED),
    "opt": ("OPT", {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48}),
    "bloom": ("Bloom", {"hidden_size": 32}),
    "falcon": (
        "Falcon",
        {"hidden_size": 32, "multi_query": True, "parallel_attn": True, "bias": True, "alibi": False},
    ),
    "mixtral": (
        "Mixtral",
        _GATED | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    ),
    "qwen3_moe": (
        "Qwen3Moe",
        _GATED | {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24},
    ),
    "t5": (
        "T5",
        {
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 3,
            "num_heads": 4,
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 12,
        },
    ),
}
ENCODERS = ("bert", "deberta", "roberta", "t5")


def build_tokenizer(
    side: str = "right", encoder: bool = False, chat: bool = False, **kwargs: Any
) -> PreTrainedTokenizerFast:
    """One word is one token; `<s>` goes in front and, for encoders, `</s>` behind."""
    inner = Tokenizer(WordLevel({w: i for i, w in enumerate((*SPECIALS, *WORDS))}, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    inner.post_processor = TemplateProcessing(
        single="<s> $A </s>" if encoder else "<s> $A", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    specials = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"} | kwargs
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, padding_side=side, **specials)
    if chat:
        tokenizer.chat_template = CHAT
    return tokenizer


def build_hf(family: str = "llama", head: str | None = None, seed: int = 0, **overrides: Any) -> Any:
    """A Hugging Face model with random weights: a causal LM for decoders, the bare model for encoders."""
    name, own = FAMILIES[family]
    ids = {"vocab_size": VOCABULARY, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    config = getattr(transformers, "Gemma3TextConfig" if family == "gemma3" else f"{name}Config")(
        **(ids | _COMMON | own | overrides)
    )
    heads = {"gpt2": "LMHeadModel", "t5": "EncoderModel"} | dict.fromkeys(
        ("bert", "deberta", "roberta"), "Model"
    )
    head = head if head is not None else heads.get(family, "ForCausalLM")
    torch.manual_seed(seed)
    hf = getattr(transformers, f"{name}{head}")(config).eval()
    with torch.no_grad():
        for p in hf.parameters():
            if p.ndim == 1:  # norms start as ones and zeros, which would hide a norm too many
                p.add_(0.2 * torch.randn_like(p))
    return hf


def plain_states_of(hf: Any, tokenizer: Any, texts: list[str]) -> list[dict[str, torch.Tensor]]:
    """The oracle: hidden states [pos, d] by site of one unpadded text at a time, by plain Hugging Face."""
    base = hf.get_base_model() if hasattr(hf, "peft_config") else hf
    lists = [
        m
        for _, m in base.named_modules()
        if isinstance(m, torch.nn.ModuleList) and len(m) == base.config.num_hidden_layers
    ]
    kept: list[Any] = []
    # hidden_states[-1] lies behind the final norm in decoders, so the last block is read at the block itself.
    handle = lists[0][-1].register_forward_hook(lambda module, args, output: kept.append(output))
    found = []
    try:
        for text in texts:
            kept.clear()
            with torch.no_grad():
                states = hf(
                    input_ids=torch.tensor([tokenizer(text)["input_ids"]]), output_hidden_states=True
                ).hidden_states
            last = kept[0] if isinstance(kept[0], torch.Tensor) else kept[0][0]
            posts = [*states[1:-1], last]
            named = {f"resid_pre.{b}": h[0] for b, h in enumerate(states[:-1])} | {
                f"resid_post.{b}": h[0] for b, h in enumerate(posts)
            }
            found.append(named)
    finally:
        handle.remove()
    return found


def pytest_configure(config: pytest.Config) -> None:
    """What the library says is an error in tests, unless it is expected where it is said."""
    config.addinivalue_line("filterwarnings", "error::probes.HookprobeWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in SLOW_FILES)


@pytest.fixture
def without_type_checks():
    """The library as its users run it: what they hand over meets its own errors, not those of the tests'
    checks.
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    return build_tokenizer


@pytest.fixture(scope="session")
def make_hf() -> Callable[..., Any]:
    return build_hf


@pytest.fixture(scope="session")
def plain_states() -> Callable[..., list[dict[str, torch.Tensor]]]:
    return plain_states_of


@pytest.fixture(scope="session")
def make_model(
    make_hf: Callable[..., Any], make_tokenizer: Callable[..., Any]
) -> Callable[..., probes.Model]:
    def make(family: str = "llama", side: str = "right", **overrides: Any) -> probes.Model:
        return probes.load_model(
            make_hf(family, **overrides), tokenizer=make_tokenizer(side, encoder=family in ENCODERS)
        )

    return make


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Different lengths, neither sorted nor grouped by length, with one text twice."""
    generator = torch.Generator().manual_seed(1)
    lengths = (7, 1, 40, 3, 3, 18, 2, 25)
    found = [
        " ".join(WORDS[i] for i in torch.randint(len(WORDS), (n,), generator=generator)) for n in lengths
    ]
    return [*found, found[3]]


@pytest.fixture
def with_lora(make_hf):
    from peft import LoraConfig, get_peft_model

    def wrap(family="llama", seed=0, **options):
        torch.manual_seed(seed)
        return get_peft_model(
            make_hf(family),
            LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, **options),
        ).eval()

    return wrap
