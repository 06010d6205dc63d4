"""A key that is sent to its server and seen nowhere else."""

import json
from typing import Any, NoReturn
from urllib.parse import quote

SHORTEST = 8
"""Shorter keys are placeholders such as EMPTY, which may be ordinary words."""


class Secret:
    """A key that shows itself to no one who does not call `reveal`."""

    def __init__(self, value: str) -> None:
        value = value.strip()  # keys read from files end in a line break
        if (
            not value or not value.isascii() or not value.isprintable()
        ):  # HTTP libraries would quote such a key in their error
            raise ValueError(
                "the API key is empty or holds characters that no HTTP header can carry; look at where it"
                " comes from"
            )
        self.reveal = lambda: value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __deepcopy__(self, memo: Any) -> "Secret":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a key is not pickled; give the name of an environment variable (api_key_env) and let every"
            " process read its own"
        )

    def hide(self, text: str) -> str:
        """The text without the key, however a server wrote it: as it is, or escaped for JSON or an address.

        To be called before a text is cut: what is left of a key in two pieces is not found. Placeholders
        stay (see `SHORTEST`).
        """
        key = self.reveal()
        if len(key) < SHORTEST:
            return text
        escaped = json.dumps(key)[1:-1]
        for form in (key, escaped, escaped.replace("/", "\\/"), quote(key), quote(key, safe="")):
            text = text.replace(form, "[key]")
        return text
