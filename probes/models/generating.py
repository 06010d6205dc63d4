"""What may be asked of a model that writes: options under which its texts, the rows read from them or its
edits would be others than asked for are refused by name.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from probes.checks.saying import warn
from probes.models.decoding import OF_THE_MODEL, PASSIVE, SAMPLING, Decoding, config_of, in_force
from probes.models.unwrap import inner_model

SEVERAL_TOKENS = "writes several tokens a pass"
FROM_THE_HUB = "runs a way of decoding that is downloaded"
ANOTHER_PASS: dict[str, str] = {
    "num_beams": "lets beams change places",
    "num_beam_groups": "lets beams change places",
    "constraints": "lets beams change places",
    "force_words_ids": "lets beams change places",
    "num_return_sequences": "gives several texts a prompt",
    "use_cache": "reads the prompt again for every token",
    "prompt_lookup_num_tokens": SEVERAL_TOKENS,
    "assistant_model": SEVERAL_TOKENS,
    "assistant_early_exit": SEVERAL_TOKENS,
    "use_mtp": SEVERAL_TOKENS,
    "speculation_type": SEVERAL_TOKENS,
    "guidance_scale": "runs a second pass beside each one",
    "penalty_alpha": FROM_THE_HUB,
    "dola_layers": FROM_THE_HUB,
    "custom_generate": "runs a way of decoding of its own",
    "token_healing": "writes the prompt's end anew",
    "forced_eos_token_id": "depends on how many tokens are asked for, and reading asks for one more",
}
"""Settings under which a pass is not one new token of every prompt, and why."""


UNKEPT = {
    "return_dict_in_generate": (
        "generate returns texts, so return_dict_in_generate={} has no place; for scores or states call"
        " model.hf.generate, within applied(model.hf, edit) for edits"
    ),
    "max_length": (
        "max_length={} counts the prompt too and gives way to max_new_tokens; say how many tokens are to be"
        " written, as max_new_tokens=..."
    ),
    "min_length": "min_length={} counts the prompt and its padding too; say min_new_tokens=... instead",
    "past_key_values": (
        "past_key_values={:.40} holds tokens that are not in the prompts; give the whole prompts"
    ),
}
"""Options that have no place in a call, and what to say instead."""
OF_A_PASS = (
    *("input_ids", "inputs", "inputs_embeds", "attention_mask", "position_ids", "cache_position"),
    *("token_type_ids", "negative_prompt_ids", "negative_prompt_attention_mask", "encoder_outputs"),
    *("decoder_input_ids", "decoder_attention_mask", "decoder_inputs_embeds", "head_mask", "labels"),
)
"""What a forward pass is given row by row."""


def check_options(
    hf: nn.Module, options: Mapping[str, Any], decoding: Decoding, placed: bool, max_new_tokens: int
) -> None:
    """Raises ValueError for options that `generate` cannot keep, given or in the model's own generation
    config; `placed` says whether edits at single prompt positions act. Warns of settings of the model's own
    config that would change a text and are set aside.
    """
    config = options.get("generation_config")
    said = {name: options.get(name, getattr(config, name, None)) for name in UNKEPT}
    for name, why in UNKEPT.items():
        if said[name]:
            raise ValueError(why.format(str(said[name])))
    _refuse_inputs(decoding)
    length = getattr(config, "max_new_tokens", None)
    if length not in (None, max_new_tokens):
        raise ValueError(
            f"the generation config asks for {length} new tokens and the call for {max_new_tokens}; say"
            f" max_new_tokens={length} in the call"
        )
    if {**decoding.settings, **decoding.set_aside}.get("num_return_sequences", 1) not in (None, 1):
        raise ValueError(
            "generate returns one text a prompt; for several samples give the prompt several times"
        )
    if not decoding.settings.get("do_sample"):
        for name in SAMPLING:
            zero = name == "temperature" and options.get(name) == 0
            if in_force(name, options.get(name)) and not zero:
                raise ValueError(
                    f"{name}={options[name]} acts on samples only, and texts are greedy unless do_sample=True"
                )
    elif decoding.settings.get("temperature") == 0:
        raise ValueError(
            "nothing can be sampled at temperature=0, which means greedy; leave do_sample=True out, or give a"
            " temperature above 0"
        )
    if placed:
        _check_positions(hf, decoding)
    _say_set_aside(decoding)


def check_rows(decoding: Decoding, what: str) -> None:
    """Raises ValueError where passes are not one new token of every prompt, so that tokens would get the
    states of others; `what` is the call that reads. A setting of the model's own config counts.
    """
    asked = {**decoding.settings, **decoding.passed}
    paged = asked.get("cache_implementation") == "paged"
    bad = {k: asked[k] for k in ANOTHER_PASS if in_force(k, asked.get(k))}
    own = {k: v for k, v in decoding.set_aside.items() if k in ANOTHER_PASS}
    for name, value in (bad | own | ({"cache_implementation": "paged"} if paged else {})).items():
        why = ANOTHER_PASS.get(name, "runs many requests in one pass")
        where = " (in the model's generation config)" if name in own else ""
        named = value if isinstance(value, str | int | float) else type(value).__name__
        raise ValueError(
            f"{name}={named}{where} would change which row is which token: it {why}. {what} reads one new"
            " token of every prompt a pass; leave it out, or set it off in the call, and give a prompt"
            " several times for several samples"
        )


def _refuse_inputs(decoding: Decoding) -> None:
    """Raises ValueError for what belongs to single passes: whatever is said by name, and any other tensor."""
    for name, value in decoding.passed.items():
        tensor = isinstance(value, Tensor)
        if (tensor or name in OF_A_PASS) and value is not None:
            held = f"a tensor of shape {tuple(value.shape)}" if tensor else f"a {type(value).__name__}"
            raise ValueError(
                f"{name}= is no option here (got {held}): prompts are sorted by length, padded and cut into"
                " batches, so tokens, masks and positions are made here and rows of your own would meet"
                " other prompts. Give the prompts as texts or lists of token ids (model.tokenise), or call"
                " model.hf.generate, within applied(model.hf, edit) for edits"
            )


def _check_positions(hf: nn.Module, decoding: Decoding) -> None:
    """Edits at prompt positions count the columns of the model's own passes, in their order."""
    asked = {**decoding.set_aside, **decoding.settings, **decoding.passed}
    if in_force("num_beams", asked.get("num_beams")):
        raise ValueError(
            "beams reorder the rows, so edits at single prompt positions would go astray; use num_beams=1"
            " or at='all'"
        )
    assistant = asked.get("assistant_model")
    itself = assistant is not None and inner_model(assistant) is inner_model(hf)
    for name in ("assistant_model", "assistant_early_exit", "use_mtp"):
        if itself if name == "assistant_model" else in_force(name, asked.get(name)):
            raise ValueError(
                f"{name} lets the model draft its own text, so edits at single prompt positions would go"
                " astray; leave it out or use at='all'"
            )
    for name in ("guidance_scale", "penalty_alpha", "dola_layers", "custom_generate", "token_healing"):
        if in_force(name, asked.get(name)):
            raise ValueError(
                f"{name} {ANOTHER_PASS[name]}, so edits at single prompt positions would go astray; leave it"
                " out or use at='all'"
            )


def own_choices(hf: nn.Module) -> dict[str, Any]:
    """What a model's own generation config says of which tokens are chosen, for callers that draw tokens
    themselves: without its sampling settings and ways of decoding.
    """
    left = (*SAMPLING, *ANOTHER_PASS, *PASSIVE, *OF_THE_MODEL)
    return {k: v for k, v in config_of(hf).items() if k not in left and in_force(k, v)}


def _say_set_aside(decoding: Decoding) -> None:
    acting = {k: v for k, v in decoding.set_aside.items() if k not in (*SAMPLING, "max_time")}
    if acting:
        named = ", ".join(f"{k}={v!r:.40}" for k, v in sorted(acting.items()))
        warn(
            f"texts are greedy, so the model's own generation config is set aside: {named}; give these as"
            " options, or do_sample=True, to have them act"
        )
