"""Making a TransformerBridge on the weights of a Hugging Face model that stays as it is."""

import copy
from typing import Any

import torch
from torch import nn

from probes.models.backends.alike import Alike, one_for_both
from probes.models.backends.foreign_hooks import on_originals, without_ours

TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
"""Relative RMS by which a site of the bridge may differ from the original: it computes attention in
another order.
"""

INSTEAD = 'use backend="hooks", which reads the model as it is'
MISSING = 'the TransformerLens backend needs transformer-lens 4.3: pip install "hookprobe[transformer-lens]"'


class _Headed(nn.Module):
    """A bare model in the place where the bridge looks for it: inside a model with a head."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.config = body.config
        self.prefix = str(body.base_model_prefix)
        self.add_module(self.prefix, body)

    def forward(self, **inputs: Any) -> Any:
        return self.get_submodule(self.prefix)(**inputs)


def refuse(hf: nn.Module) -> None:
    """Raises ValueError for models of which a bridge could show something else than what they compute."""
    name, config = type(hf).__name__, getattr(hf, "config", None)
    dtypes = {p.dtype for p in hf.parameters()}
    if hasattr(hf, "peft_config"):
        raise ValueError(
            f"{name} carries an adapter, and switching it would not reach the bridge; merge it"
            f" (merge_and_unload) or {INSTEAD}"
        )
    if getattr(config, "quantization_config", None) is not None or not dtypes <= TOLERANCE.keys():
        raise ValueError(
            f"{name} is quantised ({', '.join(sorted(map(str, dtypes)))}), and the bridge computes with plain"
            f" weights; {INSTEAD}"
        )
    places = {str(d) for d in getattr(hf, "hf_device_map", {}).values()}
    if len(places) > 1:
        raise ValueError(
            f"{name} is spread over {', '.join(sorted(places))}, and the bridge is for one device; {INSTEAD}"
        )


def twin(hf: nn.Module) -> Any:
    """A copy of the module tree whose parameters and buffers are other objects on the same memory."""
    # Other objects, because some of TransformerLens' adapters give a parameter new data.
    memo: dict[int, Any] = {
        id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in hf.parameters()
    }
    memo |= {id(b): b.detach() for b in hf.buffers()} | {id(o): o for o in one_for_both(hf)}
    return without_ours(copy.deepcopy(hf, memo))


def boot(hf: nn.Module, tokenizer: Any = None) -> tuple[Any, Alike | None]:
    """A TransformerBridge on the weights of `hf`, which stays as it is, and what keeps the two alike where
    there are hooks of other code; raises ValueError where TransformerLens has none for it.
    """
    try:
        from transformer_lens.model_bridge.sources import build_bridge_from_module, detect_tokenizer_bos_eos
    except ImportError as error:
        raise ImportError(MISSING) from error

    name, model = type(hf).__name__, twin(hf)
    alike = on_originals(model, hf)
    bare = model.base_model is model
    known = _known_as(name, bare)

    def without_head(adapter: Any) -> None:
        inside = f"{model.base_model_prefix}."
        for component, bridge in list(adapter.component_mapping.items()):
            if bare and not bridge.name.startswith(inside):
                del adapter.component_mapping[component]

    try:
        # As TransformerLens itself does; other implementations hide the masks its attention needs.
        model.set_attn_implementation("eager")
        whole_model = (_Headed(model) if bare else model).eval()
        bridge = build_bridge_from_module(
            whole_model, known, hf_config=model.config, post_adapter_hook=without_head
        )
    except Exception as error:
        raise ValueError(
            f"TransformerLens cannot make a bridge for this {name} ({type(error).__name__}: {error});"
            f" {INSTEAD}"
        ) from error
    if tokenizer is not None:
        # Not given above, where it would be loaded a second time by its name, from the hub or a folder that
        # need not exist.
        bridge.tokenizer = copy.deepcopy(tokenizer)
        bridge.cfg.tokenizer_prepends_bos, bridge.cfg.tokenizer_appends_eos = detect_tokenizer_bos_eos(
            bridge.tokenizer
        )
    if alike is not None:
        alike.begin()
    return bridge, alike


def _known_as(name: str, bare: bool) -> str:
    """The class under which TransformerLens knows a model, for a bare one that with a head; raises
    ValueError where there is none.
    """
    try:
        from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
    except ImportError as error:
        raise ImportError(MISSING) from error

    heads = ("ForCausalLM", "LMHeadModel", "ForMaskedLM")
    names = [name.removesuffix("Model") + head for head in heads] if bare else [name]
    known = next((n for n in names if n in SUPPORTED_ARCHITECTURES), None)
    if known is None:
        raise ValueError(f"TransformerLens has no bridge for {name}; {INSTEAD}")
    return known
