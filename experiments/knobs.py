"""Knobs that cannot be meant are refused before anything is loaded or measured."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from interventions.behaviours.neutral_text import read_texts
from interventions.effects.running import MIN_CONTROLS
from probes.checks.settings import check_count, check_number

LEAST = {"limit": 1, "shuffles": 1, "restarts": 1, "policies": 1, "maps": 0, "k": 1}
LEAST |= {"controls": MIN_CONTROLS, "max_new_tokens": 1, "seed": 0}


def check_knobs(config: Any) -> None:
    """Raises ValueError for counts below what an experiment can do anything with, doses that are no finite
    numbers, and files that are not there, all named as the flags are.
    """
    for name in (f.name for f in fields(config)):
        value = getattr(config, name)
        if value is None:
            continue
        if name in LEAST:
            check_count(name, value, LEAST[name])
        elif name == "doses":
            for dose in value:
                check_number("each of doses", dose)
        elif name == "neutral":  # which is used after hours of measuring
            if not Path(value).is_file():
                raise ValueError(f"no file {value}; --{name} takes a JSON list, or one text a line")
            read_texts(Path(value))


def refuse_unused(config: Any, names: Sequence[str], why: str) -> None:
    """Raises ValueError for a knob that was turned and has no part in a run, which would say in its
    settings what it did not do.
    """
    usual = {f.name: f.default for f in fields(config)}
    turned = [name for name in names if getattr(config, name) != usual[name]]
    if turned:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in turned)
        raise ValueError(f"{flags} would change nothing here: {why}")
