"""Looking at what a position selects: `show_tokens(model, examples, at)` prints the texts with the
picked tokens marked.
"""

from probes.reading.show import ShownText, TokenView, show_tokens

__all__ = ["ShownText", "TokenView", "show_tokens"]
