"""The door into figures: names and answers as they are, and nothing in them that matplotlib would obey."""

from typing import Any

from probes.markup.terminal import terminal


def drawn(text: Any) -> str:
    r"""The text as matplotlib shall draw it: control characters as escapes, dollar signs as dollar signs.

    Between two of them it would read mathematics, and raise where that is none. A leading underscore, which
    keeps a name out of legends, gets a space before it.
    """
    shown = terminal(text).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
