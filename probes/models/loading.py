"""Making a `Model`: by hub name, from a folder, or from an object in memory."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from probes.checks.saying import warn
from probes.models.backends.hooks import Hooks
from probes.models.backends.points import Backend
from probes.models.compiled import original
from probes.models.model import Model
from probes.models.unwrap import inner_model, known_tokens

KNOWN = 0.9  # share of its tokens that a model's tokenizer knows; some are there to fill up
BACKENDS = ("hooks", "transformer_lens", "nnsight")


def load_model(
    model: str | Path | nn.Module,
    backend: str = "hooks",
    *,
    tokenizer: Any = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: Any = None,
    revision: str | None = None,
    blocks: str | None = None,
    remote: bool = False,
    trust_remote_code: bool = False,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> Model:
    """Loads a model by hub name, folder or GGUF file, or wraps one in memory (which is never changed).

    `backend` says what runs it: "hooks" (plain PyTorch, the fastest), "transformer_lens" or "nnsight",
    which give the same numbers and are imported only then. A compiled model is run as it was before it
    was compiled. `remote=True` runs an nnsight model on NDIF by its hub name; it was tested up to the
    network. Causal language models, encoders (reading only) and PEFT adapters work. `blocks` names the
    list of transformer blocks where it cannot be found; `dtype` defaults to the checkpoint's.
    `chat_template_kwargs` go to the chat template, such as {"enable_thinking": False}. A GGUF file
    (`folder/file.gguf`, `owner/model/file.gguf`) is unpacked: what is read is the quantised model at full
    precision. Raises ValueError
    for an unknown backend, a missing tokenizer, or a path that holds no model.
    """
    if (
        isinstance(dtype, str)
        and dtype != "auto"
        and not isinstance(getattr(torch, dtype, None), torch.dtype)
    ):
        raise ValueError(f"there is no dtype {dtype!r}; write float32, bfloat16, float16 or auto")
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; there is {', '.join(BACKENDS)}")
    if remote and backend != "nnsight":
        raise ValueError(f'remote=True runs on NDIF, which needs backend="nnsight"; got backend={backend!r}')
    if remote and not isinstance(model, nn.Module):
        if not (device is dtype is device_map is None and not trust_remote_code):
            raise ValueError(
                "a remote model's device, dtype and code are the server's; leave out device, dtype,"
                " device_map and trust_remote_code"
            )
        served = _served(str(model), tokenizer, blocks, revision)
        return replace(served, chat_template_kwargs=dict(chat_template_kwargs or {}))
    _check_source(model)
    _check_tokenizer(tokenizer)
    _check_device(device)
    if not isinstance(chat_template_kwargs, Mapping | None):
        raise TypeError(
            "chat_template_kwargs are given by name, {'enable_thinking': False}, got a"
            f" {type(chat_template_kwargs).__name__}"
        )
    if isinstance(model, nn.Module):
        if not hasattr(inner_model(model), "config"):
            raise ValueError(
                f"a {type(model).__name__} is no Hugging Face model (it has no config); give a"
                " PreTrainedModel, a folder or a hub name"
            )
        if device is not None or dtype is not None or device_map is not None:
            raise ValueError(
                "the model is already in memory and is left as it is; move or cast it yourself, then pass it"
                " without device or dtype"
            )
        if tokenizer is None:
            raise ValueError("a model in memory needs its tokenizer: load_model(model, tokenizer=tokenizer)")
        name = getattr(inner_model(model).config, "_name_or_path", "") or type(original(model)).__name__
        hf = original(model)
    else:
        hf, tokenizer = _from_hub(str(model), tokenizer, dtype, device_map, revision, trust_remote_code)
        if device is not None:
            hf.to(device)  # pyright: ignore
        name, hf = str(model), hf.eval()
    _say_foreign(hf, tokenizer, name)
    runs = _backend(backend, hf, tokenizer, blocks, remote, revision)
    return Model(hf, tokenizer, name, runs, chat_template_kwargs=dict(chat_template_kwargs or {}))


def _check_source(model: Any) -> None:
    """Raises TypeError or ValueError for what is no model, nor the name or place of one."""
    if str(model).startswith("embedded:"):
        raise ValueError(
            f"{str(model)!r} is a model of this project by the name that runs know it under; here it is"
            f" load_model(model_path({str(model)!r})), with `from experiments.statements import model_path`"
        )
    if isinstance(model, nn.Module) or (isinstance(model, str | Path) and str(model).strip()):
        return
    wanted = "a hub name, a folder, a GGUF file, or a model in memory with its tokenizer"
    if isinstance(model, str):
        raise ValueError(f"load_model got an empty name, {model!r}; expected {wanted}")
    kind = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
    inside = next((n for n in ("hf", "model") if isinstance(getattr(model, n, None), nn.Module)), None)
    todo = "" if inside is None else f"; its model is .{inside} and its tokenizer .tokenizer"
    raise TypeError(f"load_model got {kind}, expected {wanted}{todo}")


def _check_tokenizer(tokenizer: Any) -> None:
    """Raises TypeError for what is no tokenizer of transformers, such as its name, whose length would pass
    for that of its vocabulary.
    """
    needed = ("decode", "get_vocab", "all_special_ids", "padding_side")
    if tokenizer is None or (
        not isinstance(tokenizer, type) and all(hasattr(tokenizer, name) for name in needed)
    ):
        return
    got = f"{tokenizer!r:.60}, a {type(tokenizer).__name__}"
    todo = "give one that transformers made"
    if isinstance(tokenizer, str | Path):
        todo = f"load it first: AutoTokenizer.from_pretrained({str(tokenizer)!r:.60})"
    elif hasattr(tokenizer, "tokenizer"):
        todo = "give its .tokenizer"
    elif type(tokenizer).__module__.startswith("tokenizers"):
        todo = "wrap it: PreTrainedTokenizerFast(tokenizer_object=tokenizer, ...)"
    raise TypeError(f"tokenizer must be a tokenizer, got {got}; {todo}")


def _check_device(device: Any) -> None:
    """Raises ValueError for a device that there is none of, and for one that holds no numbers."""
    try:
        kind = None if device is None else torch.device(device).type
    except (RuntimeError, TypeError):
        raise ValueError(f"there is no device {device!r:.60}; write cpu, cuda, cuda:0 or mps") from None
    if kind == "meta":
        raise ValueError("on the device 'meta' a model has no numbers to be read; load it on cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}, but PyTorch sees no GPU here; load the model on cpu")


def _say_foreign(hf: nn.Module, tokenizer: Any, name: str) -> None:
    """Warns of a tokenizer that knows far fewer tokens than the model: it is hardly the model's own."""
    known, there = len(tokenizer), known_tokens(hf)
    if known < KNOWN * there:
        warn(
            f"the tokenizer knows {known} tokens and the model {name!r} has {there}: they hardly belong"
            " together, and then the model reads other words than are written"
        )


def _served(name: str, tokenizer: Any, blocks: str | None, revision: str | None) -> Model:
    """A model on NDIF by its hub name; only config and tokenizer are fetched."""
    from probes.models.backends.nnsight import NNsight

    tokenizer = tokenizer or _tokenizer(name, {"revision": revision})
    backend = NNsight.remote(name, tokenizer, blocks, revision)
    return Model(backend.hf, tokenizer, name, backend)


def _backend(
    name: str, hf: nn.Module, tokenizer: Any, blocks: str | None, remote: bool, revision: str | None
) -> Backend:
    # Imported here, because each of the two libraries takes seconds to import and nnsight patches torch.
    if name == "transformer_lens":
        from probes.models.backends.transformer_lens import TransformerLens

        return TransformerLens(hf, tokenizer, blocks)
    if name == "nnsight":
        from probes.models.backends.nnsight import NNsight

        return NNsight(hf, tokenizer, blocks, remote, revision)
    return Hooks(hf, blocks)


def _from_hub(
    name: str, tokenizer: Any, dtype: Any, device_map: Any, revision: str | None, trust_remote_code: bool
) -> tuple[nn.Module, Any]:
    import transformers

    name, file = _file_in(name)
    folder = Path(name).expanduser()
    if not folder.exists() and (name.startswith(("/", "~", ".")) or name.count("/") > 1):
        raise ValueError(
            f"there is no folder {name}; give a folder with a model, or a hub name (owner/model)"
        )
    if (
        folder.is_dir()
        and file is None
        and not any((folder / f).is_file() for f in ("config.json", "adapter_config.json"))
    ):
        raise ValueError(
            f"{name} is a folder without config.json (or adapter_config.json), so it holds no model"
        )
    if folder.is_file() and file is None:
        raise ValueError(f"{name} is a file; give the folder that it lies in, or a GGUF file")
    if folder.exists():
        name = str(folder)
    common: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    if file is not None:
        return _from_gguf(name, file, tokenizer, common, dtype, device_map)
    weights = common | {"dtype": dtype or "auto"} | ({} if device_map is None else {"device_map": device_map})
    if (folder / "adapter_config.json").is_file():
        from peft import AutoPeftModelForCausalLM, PeftConfig

        base = PeftConfig.from_pretrained(name).base_model_name_or_path
        own = (folder / "tokenizer_config.json").is_file()
        hf = AutoPeftModelForCausalLM.from_pretrained(name, **weights)  # pyright: ignore[reportArgumentType]
        return hf, tokenizer or _tokenizer(name if own else str(base), common)
    config = transformers.AutoConfig.from_pretrained(name, **common)
    heads = ("ForCausalLM", "LMHeadModel")
    named = config.architectures or []
    causal = any(a.endswith(heads) for a in named)
    seeing = hasattr(config, "text_config") and any(a.endswith("ForConditionalGeneration") for a in named)
    auto: Any = transformers.AutoModel
    if causal or seeing:
        auto = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForImageTextToText
    hf = auto.from_pretrained(name, config=config, **weights)
    return hf, tokenizer or _tokenizer(name, common)


def _file_in(name: str) -> tuple[str, str | None]:
    """The folder or hub name, and the GGUF file in it where one is named behind it."""
    if not name.endswith(".gguf"):
        return name, None
    path = Path(name).expanduser()
    if path.is_file():
        return str(path.parent), path.name
    if name.startswith(("/", "~", ".")) or name.count("/") < 2:
        raise ValueError(
            f"there is no file {name}; give a GGUF file, or one on the hub (owner/model/file.gguf)"
        )
    owner, model, file = name.split("/", 2)
    return f"{owner}/{model}", file


def _from_gguf(
    name: str, file: str, tokenizer: Any, common: dict[str, Any], dtype: Any, device_map: Any
) -> tuple[nn.Module, Any]:
    """The model with its weights unpacked, as if it had been saved so."""
    import transformers

    if find_spec("gguf") is None:
        raise ImportError('reading GGUF files needs the gguf package: pip install "hookprobe[formats]"')
    if not hasattr(transformers, "GgufConfig"):
        raise ImportError(
            f"reading GGUF files needs a newer transformers (5.23 does), found {transformers.__version__}"
        )
    common = common | {"gguf_file": file}
    weights: dict[str, Any] = {"dtype": dtype or "auto"}
    weights |= {} if device_map is None else {"device_map": device_map}
    weights["quantization_config"] = transformers.GgufConfig(dequantize=True)
    auto: Any = transformers.AutoModelForCausalLM
    try:
        hf = auto.from_pretrained(name, **common, **weights)
    except ValueError as error:
        if "controlvector" not in str(error):
            raise
        raise ValueError(
            f"{file} holds a control vector, which is no model: probes.vectors.read_gguf(path) gives its"
            " directions, one a block, and Add(direction, gaps=1) adds one to a model"
        ) from error
    return hf, tokenizer or _tokenizer(name, common)


def _tokenizer(name: str, common: dict[str, Any]) -> Any:
    import transformers

    message = f"{name} holds no tokenizer; give one with load_model(..., tokenizer=...)"
    try:
        found = transformers.AutoTokenizer.from_pretrained(name, **common)
    except (OSError, ValueError) as error:
        raise ValueError(message) from error
    # transformers 5 makes an empty tokenizer of the model's class when the folder has none.
    if not set(found.get_vocab().values()) - set(found.all_special_ids):
        raise ValueError(message)
    return found
