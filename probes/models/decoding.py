"""How a model writes: the generation settings in force, whoever names them, and those set aside."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from probes.checks.settings import check_count
from probes.models.called_aside import called_aside
from probes.models.ends import Ends
from probes.models.remembering import Memory
from probes.models.unwrap import inner_model

# What acts where nothing is said, as in Hugging Face `generate`; all other settings are then off (None).
UNSAID: dict[str, Any] = {
    "do_sample": False,
    "use_cache": True,
    "early_stopping": False,
    "num_beams": 1,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "length_penalty": 1.0,
    "diversity_penalty": 0.0,
    "output_scores": False,
    "return_dict_in_generate": False,
    "remove_invalid_values": False,
    "num_assistant_tokens": 20,
    "num_assistant_tokens_schedule": "constant",
    "assistant_confidence_threshold": 0.4,
    "assistant_lookbehind": 10,
    "target_lookbehind": 10,
}
OFF = {"guidance_scale": 1, "renormalize_logits": False, "use_mtp": False, "token_healing": False}
"""Values that switch a setting off, besides None and what is in `UNSAID`."""

# Where texts end and how passes are stored: not which token is chosen.
OF_THE_MODEL = (
    *("eos_token_id", "stop_strings", "bos_token_id", "decoder_start_token_id", "cache_implementation"),
    *("cache_config", "max_cache_len", "prefill_chunk_size"),
)
# These change no text, or only together with another setting that is named.
PASSIVE = ("do_sample", "use_cache", "pad_token_id", "disable_compile", "compile_config")
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")
# Lengths are said in the call, outputs are token ids.
OF_THE_CALL = (
    *("max_length", "min_length", "max_new_tokens", "return_dict_in_generate", "output_scores"),
    *("output_logits", "output_attentions", "output_hidden_states", "is_assistant"),
)


@dataclass(frozen=True, eq=False)
class Decoding:
    """One way of writing, fixed before anything is run.

    `settings` are the generation settings in force and `passed` what is no setting (processors, a draft
    model); both go to Hugging Face `generate`. `ends` are the tokens that end a text, `criteria` whatever
    else does. `set_aside` are settings of the model's own generation config that do not act. With `late`
    the last token of every row is read too (`Ends`). `memory` is what objects of one's own remembered.
    """

    settings: Mapping[str, Any]
    passed: Mapping[str, Any]
    ends: frozenset[int]
    criteria: tuple[Any, ...]
    set_aside: Mapping[str, Any]
    late: bool = False
    memory: Memory = field(default_factory=Memory)

    @classmethod
    def of(
        cls, hf: nn.Module, tokenizer: Any, pad_id: int, max_new_tokens: int, options: Mapping[str, Any]
    ) -> "Decoding":
        """Greedy unless the options say `do_sample`: then only what they name acts, and of the model's own
        generation config only where its texts end. Where they say to sample, the model's own settings fill in
        what they leave open.
        """
        max_new_tokens = check_count("max_new_tokens", max_new_tokens)
        asked, passed = asked_of(options)
        own = {k: v for k, v in config_of(hf).items() if k not in asked}
        if not asked.get("do_sample") and asked.get("temperature") == 0:
            del asked["temperature"]  # another word for greedy
        acting = own if asked.get("do_sample") else {k: v for k, v in own.items() if k in OF_THE_MODEL}
        settings = acting | {"do_sample": False, "pad_token_id": pad_id} | asked
        settings["max_new_tokens"] = max_new_tokens
        ends = _tokens(asked["eos_token_id"] if "eos_token_id" in asked else _own_ends(own, tokenizer))
        words = passed.pop("tokenizer", None) or tokenizer
        if "assistant_tokenizer" in passed or settings.get("token_healing"):
            passed["tokenizer"] = words
        criteria: list[Any] = list(passed.pop("stopping_criteria", None) or ())
        if settings.get("stop_strings"):
            criteria.append(_stop_strings(words, settings["stop_strings"]))
        aside = {k: v for k, v in own.items() if k not in acting and k not in PASSIVE and in_force(k, v)}
        return cls(settings, passed, ends, tuple(criteria), aside)

    @property
    def several_texts_or_tokens(self) -> bool:
        """Whether a pass may write several tokens a row, or keep several texts a prompt."""
        beams = (self.settings.get("num_beams") or 1) != 1
        drafts = ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp")
        both = {**self.settings, **self.passed}
        return beams or any(in_force(name, both.get(name)) for name in drafts)

    def begun(self, rows: int, width: int, more: Sequence[Any] = ()) -> tuple[dict[str, Any], Ends]:
        """What Hugging Face `generate` is told for one batch of prompts, and where its rows end.

        Every setting is said, so that the generation config of a copy (another backend's) decides nothing.
        """
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        drew = None if self.settings.get("do_sample") else self.memory.drew
        passed, criteria = called_aside(self.passed, (*self.criteria, *more), drew)
        ends = Ends(self.ends, criteria, rows, width, self.late)
        off = dict.fromkeys(_settings_of(GenerationConfig()))
        said = {k: UNSAID.get(k) if v is None else v for k, v in (off | dict(self.settings)).items()}
        # Of two ways to say how short a text may be, one stays unsaid.
        said["min_length"] = None if said.get("min_new_tokens") else 0
        said |= {"eos_token_id": sorted(self.ends) or None, "stop_strings": None}
        # Compiled passes would not meet the hooks that read and change.
        said["disable_compile"] = True
        processors = LogitsProcessorList([ends.looked_at, *(passed.pop("logits_processor", None) or ())])
        also = {"stopping_criteria": StoppingCriteriaList([ends]), "logits_processor": processors}
        return said | passed | also, ends

    def receipt(self) -> dict[str, Any]:
        """Every setting in force by its name, `ends` among them, and under `set_aside` those of the model's
        generation config that do not act.
        """
        sampled = bool(self.settings.get("do_sample"))
        shown = {"do_sample": sampled, "max_new_tokens": self.settings["max_new_tokens"]}
        shown |= {k: v for k, v in self.settings.items() if in_force(k, v) and (sampled or k not in SAMPLING)}
        if sampled:
            shown |= {k: self.settings.get(k, UNSAID[k]) for k in ("temperature", "top_k", "top_p")}
        shown |= {k: v for k, v in self.passed.items() if v is not None} | {"eos_token_id": sorted(self.ends)}
        custom = [type(c).__name__ for c in self.criteria if type(c).__name__ != "StopStringCriteria"]
        shown |= {"stopping_criteria": custom} if custom else {}
        return {k: plain(v) for k, v in sorted(shown.items())} | (
            {"set_aside": {k: plain(v) for k, v in sorted(self.set_aside.items())}} if self.set_aside else {}
        )


def _stop_strings(tokenizer: Any, texts: Any) -> Any:
    from transformers import StopStringCriteria

    try:
        return StopStringCriteria(tokenizer, texts)
    except ValueError as error:
        raise ValueError(
            f"stop_strings={texts!r} cannot be looked for under this tokenizer, whose tokens are no pieces"
            f" of text that join ({error}); give stopping_criteria instead, or cut the texts afterwards"
        ) from error


def in_force(name: str, value: Any) -> bool:
    """Whether a setting with this value does anything."""
    return value is not None and value != UNSAID.get(name) and not (name in OFF and value == OFF[name])


def end_tokens(hf: nn.Module, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a generated text, as the model's generation settings name them, or else its
    tokenizer. There are none where neither names one: texts then end at their limit only.
    """
    return _tokens(_own_ends(config_of(hf), tokenizer))


def _own_ends(own: Mapping[str, Any], tokenizer: Any) -> Any:
    found = own.get("eos_token_id")
    return tokenizer.eos_token_id if found is None else found


def _tokens(ends: Any) -> frozenset[int]:
    return frozenset() if ends is None else frozenset(int(i) for i in torch.as_tensor(ends).reshape(-1))


def asked_of(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The generation settings that a call names, by keyword or in a config given, and what is no setting."""
    from transformers import GenerationConfig

    known = _settings_of(GenerationConfig())
    config = options.get("generation_config")
    said = {} if config is None else {k: v for k, v in _settings_of(config).items() if k in known}
    asked = {k: v for k, v in said.items() if v is not None} | {k: options[k] for k in options if k in known}
    rest = {k: v for k, v in options.items() if k not in known and k != "generation_config" and v is not None}
    return {k: v for k, v in asked.items() if k not in OF_THE_CALL}, rest


def _settings_of(config: Any) -> dict[str, Any]:
    notes = ("transformers_version", "continuous_batching_config")
    return {k: v for k, v in vars(config).items() if not k.startswith("_") and k not in notes}


def config_of(hf: nn.Module) -> dict[str, Any]:
    """What a model's own generation config says of how texts are made."""
    own = getattr(inner_model(hf), "generation_config", None)
    said = {} if own is None else _settings_of(own)
    # Files of models have notes of their own, which do nothing.
    known = _settings_of(type(own)()) if own is not None else {}
    return {k: v for k, v in said.items() if v is not None and k in known and k not in OF_THE_CALL}


def plain(value: Any) -> Any:
    """A value as JSON can hold it; objects by their kind and name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence | Set):
        return [plain(v) for v in value]
    named = getattr(value, "name_or_path", "")
    return f"{type(value).__name__} {named}".strip()
