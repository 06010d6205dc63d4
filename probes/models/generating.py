"""What may be asked of `Model.generate`: options under which its texts or its edits would be others than
asked for are refused by name.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from probes.models.unwrap import inner_model


def check_options(hf: nn.Module, options: Mapping[str, Any], placed: bool) -> None:
    """Raises ValueError for options that `generate` cannot keep, given or in the model's own generation
    config; `placed` says whether edits at single prompt positions act.
    """
    if options.get("return_dict_in_generate"):
        raise ValueError(
            "generate returns texts, so return_dict_in_generate=True has no place; for scores or states call"
            " model.hf.generate, within applied(model.hf, edit) for edits"
        )
    if options.get("max_length") is not None:
        raise ValueError(
            f"max_length={options['max_length']} counts the prompt too and gives way to max_new_tokens; say"
            " how many tokens are to be written, as max_new_tokens=..."
        )
    if (_setting(hf, options, "num_return_sequences") or 1) != 1:
        raise ValueError(
            "generate returns one text a prompt; for several samples give the prompt several times"
        )
    if placed:
        _check_positions(hf, options)


def _check_positions(hf: nn.Module, options: Mapping[str, Any]) -> None:
    """Edits at prompt positions count the columns of the model's own passes, in their order."""
    if (_setting(hf, options, "num_beams") or 1) != 1:
        raise ValueError(
            "beams reorder the rows, so edits at single prompt positions would go astray; use num_beams=1"
            " or at='all'"
        )
    assistant = options.get("assistant_model")
    itself = assistant is not None and inner_model(assistant) is inner_model(hf)
    name = "assistant_model" if itself else "assistant_early_exit"
    if itself or _setting(hf, options, name) is not None:
        raise ValueError(
            f"{name} lets the model draft its own text, so edits at single prompt positions would go astray;"
            " leave it out or use at='all'"
        )


def _setting(hf: nn.Module, options: Mapping[str, Any], name: str) -> Any:
    """An option as Hugging Face `generate` finds it: given, in the config given, else in the model's own."""
    if name in options:
        return options[name]
    given = options.get("generation_config")
    return getattr(inner_model(hf).generation_config if given is None else given, name, None)
