"""Pages to read: templates of this folder, with what is put into them escaped."""

import base64
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jinja2

from probes.markup.terminal import terminal

NUMBER = re.compile(r"\d[eE][-+]?\d|\b(?:nan|inf)\b", re.IGNORECASE)
LETTER = re.compile(r"[^\W\d_]")


def page(template: str, /, **values: Any) -> str:
    """A page made from one of the templates beside this file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters["worded"] = worded
    return environment.get_template(template).render(**values)


def worded(rows: Sequence[Sequence[Any]]) -> list[int]:
    """Which columns hold words, and stand left; numbers stand right, also as 1e-05, nan and inf."""
    said = [[re.sub(NUMBER, "", str(value)) for value in row] for row in rows]
    return [i for i, column in enumerate(zip_longest(*said, fillvalue="")) if any(map(LETTER.search, column))]


def _visible(value: Any) -> Any:
    """Control characters of a text as escapes: a page is copied from, and some are not HTML at all."""
    return terminal(value) if type(value) is str else value


def embedded(images: Mapping[str, bytes]) -> dict[str, str]:
    """PNG images as they stand within a page, which then needs no other file."""
    return {name: base64.b64encode(image).decode() for name, image in images.items()}
