"""Pages to read: templates of this folder, with what is put into them escaped."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from probes.markup.terminal import terminal


def page(template: str, /, **values: Any) -> str:
    """A page made from one of the templates beside this file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    return environment.get_template(template).render(**values)


def _visible(value: Any) -> Any:
    """Control characters of a text as escapes: a page is copied from, and some are not HTML at all."""
    return terminal(value) if type(value) is str else value


def embedded(images: Mapping[str, bytes]) -> dict[str, str]:
    """PNG images as they stand within a page, which then needs no other file."""
    return {name: base64.b64encode(image).decode() for name, image in images.items()}
