"""Knobs that cannot be meant are refused before anything is loaded or measured."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from probes.checks.settings import check_count, check_number

LEAST = {"limit": 1, "controls": 0, "shuffles": 0, "restarts": 1, "policies": 0, "maps": 0, "k": 1}
LEAST |= {"max_new_tokens": 1, "seed": 0}


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
        elif name == "neutral" and not Path(value).is_file():  # which is read after hours of measuring
            raise ValueError(f"no file {value}; --{name} takes a JSON list, or one text a line")
