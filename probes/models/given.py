"""A model where one belongs, refused in words where something else stands."""

from typing import Any

from probes.models.model import Model


def check_model(given: Any, what: str) -> None:
    """Raises TypeError unless it is a `Model`: a Hugging Face model, its name and a backend's are none."""
    if not isinstance(given, Model):
        raise TypeError(
            f"{what} takes a Model, got a {type(given).__name__}; make one: load_model(name), or"
            " load_model(hf_model, tokenizer=tokenizer)"
        )
