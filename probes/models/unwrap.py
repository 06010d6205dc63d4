"""The Hugging Face model behind whatever wraps it: its blocks, its body without the head, its modules
in evaluation.
"""

import copy
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from probes.models.compiled import eagerly, original, uncompile_forwards

LANGUAGE = {"language_model", "text_model"}  # what the part that writes is called beside others
_evaluating: Counter[int] = Counter()
_switching = threading.Lock()


def inner_model(hf: nn.Module) -> nn.Module:
    """The Hugging Face model itself, out of `torch.compile` and of a PEFT wrapper (whose adapters act from
    inside its modules).
    """
    hf = original(hf)
    if isinstance(hf, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise ValueError(
            f"a {type(hf).__name__} runs copies of the model, which hooks do not see; give the model inside,"
            " .module"
        )
    if hasattr(hf, "get_base_model") and hasattr(hf, "peft_config"):
        if any(c.is_prompt_learning for c in hf.peft_config.values()):  # pyright: ignore
            raise ValueError(
                "prompt-tuning adapters add virtual tokens, so token positions would be off; merge or remove"
                " the adapter"
            )
        return original(hf.get_base_model())  # pyright: ignore
    return hf


def text_config(model: nn.Module) -> Any:
    """The settings of the language model, which models that see pictures too keep inside their own."""
    config: Any = model.config
    inside = getattr(config, "text_config", None)
    return config if inside is None or hasattr(config, "num_hidden_layers") else inside


def find_blocks(hf: nn.Module, path: str | None = None) -> str:
    """Where the list of transformer blocks is; `path` names it for architectures where the search
    finds none or several.
    """
    inner = inner_model(hf)
    if path is not None:
        try:
            found = inner.get_submodule(path) if isinstance(path, str) else None
        except AttributeError:
            raise ValueError(
                f"blocks={path!r} names nothing in a {type(inner).__name__}; name the ModuleList of"
                " transformer blocks as named_modules() does"
            ) from None
        if not isinstance(found, nn.ModuleList):
            raise ValueError(
                f"blocks={path!r} is a {type(found).__name__}, expected the ModuleList of transformer blocks"
            )
        return path
    config: Any = inner.config
    # The flag stays set on a lone encoder that was taken out of its model; that one is its own encoder.
    whole: Any = inner
    paired = getattr(config, "is_encoder_decoder", False)
    if paired and whole.get_encoder() is not inner and hasattr(inner, "get_decoder"):
        raise ValueError(
            f"{type(inner).__name__} is an encoder-decoder, which has two stacks; pass its encoder"
            " (model.get_encoder()) instead"
        )
    n = getattr(text_config(inner), "num_hidden_layers", None)
    lists = {name: m for name, m in inner.named_modules() if isinstance(m, nn.ModuleList) and len(m) == n}
    # A block list holds modules of one class that contain attention; nested lists (experts) lie deeper. Where
    # none does, any list of as many counts: of recurrent blocks, or of these and others in turn.
    attending = {
        name: m
        for name, m in lists.items()
        if len({type(b) for b in m}) == 1 and any("att" in s.lower() for s, _ in m[0].named_modules())
    }
    lists = attending or lists
    if text_config(inner) is not config:
        # Beside the tower that sees, which may have as many blocks.
        language = {k: m for k, m in lists.items() if set(k.split(".")) & LANGUAGE}
        lists = language or lists
    shallow = min((name.count(".") for name in lists), default=0)
    lists = {name: m for name, m in lists.items() if name.count(".") == shallow}
    if len(lists) != 1:
        raise ValueError(
            f"cannot tell which modules of {type(inner).__name__} are its {n} blocks (candidates:"
            f" {sorted(lists) or 'none'}); name them with load_model(..., blocks='path.to.layers')"
        )
    return next(iter(lists))


@contextmanager
def evaluating(hf: nn.Module) -> Generator[None]:
    """Dropout off, no gradients, nothing compiled; every module's training flag is put back as it was, by
    the last thread that needs them off.
    """
    with _switching:
        training = [m for m in hf.modules() if m.training or id(m) in _evaluating]
        for m in training:
            _evaluating[id(m)] += 1
            m.training = False
    try:
        with torch.no_grad(), eagerly(hf):
            yield
    finally:
        with _switching:
            for m in training:
                _evaluating[id(m)] -= 1
                if not _evaluating[id(m)]:
                    del _evaluating[id(m)]
                    m.training = True


def sharing_copy(hf: nn.Module, also: Iterable[Any] = ()) -> nn.Module:
    """Another model object on the very same weights, and on what else is given `also`, for code that leaves
    traces on the modules it touches; costs no memory to speak of.
    """
    hooks = (
        fn for m in hf.modules() for of in (m._forward_pre_hooks, m._forward_hooks) for fn in of.values()
    )
    # What a hook of other code gathers, it gathers in one place.
    owners = (getattr(fn, "__self__", fn) for fn in hooks)
    made = (
        t for m in hf.modules() for t in vars(m).values() if isinstance(t, torch.Tensor)
    )  # pruned weights
    same = (
        *hf.parameters(),
        *hf.buffers(),
        *made,
        *also,
        *(o for o in owners if not isinstance(o, nn.Module)),
    )
    shared = {id(o): o for o in same}
    try:
        found = copy.deepcopy(hf, dict(shared))
    except TypeError:  # a queue, a thread, a module of code
        found = copy.deepcopy(hf, shared | {id(o): o for o in _not_to_copy(hf, shared)})
    uncompile_forwards(found)
    return found


def _not_to_copy(hf: nn.Module, shared: dict[int, Any]) -> Iterator[Any]:
    """What modules hold that cannot be copied, for what lies in it; the copy has the very same."""
    own = vars(nn.Module()).keys()
    for module in hf.modules():
        for name, value in vars(module).items():
            if name not in own and not isinstance(value, nn.Module):
                try:
                    copy.deepcopy(value, dict(shared))
                except TypeError:
                    yield value


def without_head(hf: nn.Module) -> nn.Module:
    """The part of a model that makes hidden states, where an output head follows it."""
    inner = inner_model(hf)
    if hf.get_output_embeddings() is None or not inner.can_generate():  # pyright: ignore
        return inner
    body = getattr(inner, inner.base_model_prefix, None)  # pyright: ignore
    return body if isinstance(body, nn.Module) else inner


def of_every_pass(hf: nn.Module) -> nn.Module:
    """The module that every pass of a model runs: OPT's and BART's language models go past their body, to the
    decoder that is all it holds.
    """
    body = without_head(hf)
    while len(held := list(body.children())) == 1 and not isinstance(held[0], nn.ModuleList | nn.ModuleDict):
        body = held[0]
    return body


def known_tokens(hf: nn.Module) -> int:
    """How many tokens a model has embeddings for; its config says so where these are of one's own making."""
    inner = inner_model(hf)
    weight = getattr(inner.get_input_embeddings(), "weight", None)  # pyright: ignore
    return int(text_config(inner).vocab_size if weight is None else weight.shape[0])


def fan_in(linear: nn.Module) -> int:
    """Width of what a linear map takes; GPT-2's keep their weight the other way round."""
    return int(getattr(linear, "in_features", None) or linear.weight.shape[0])  # pyright: ignore


def offloaded(hf: nn.Module) -> bool:
    """Whether some weights come and go during a pass, which an early ending would leave in place."""
    places = {str(d) for d in getattr(hf, "hf_device_map", {}).values()}
    return bool({"cpu", "disk"} & places) and len(places) > 1


def input_device(hf: nn.Module) -> torch.device:
    """Where a model takes its tokens; a model without weights runs elsewhere and takes them from the CPU."""
    found = next(hf.parameters()).device
    return torch.device("cpu") if found.type == "meta" else found
