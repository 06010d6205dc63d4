"""Looking at tokens and rows, in notebooks as pictures.

- `show_tokens(model, examples, at)`: the texts with the tokens marked that a position picks
- `probed_tokens(model, probe, texts)`: a probe's score of every token, as strips to point at, by block
  (`plots.token_map`), by place (`.by_place()`), and the tokens that score highest (`.top()`)
- `projected(acts, "pca")` or `"lda"`: rows as points by site
"""

from probes.evidence.probed_tokens import ProbedTokens, probed_tokens
from probes.evidence.projections import Projected, projected
from probes.evidence.token_findings import PlaceReading, TopToken, TopTokens
from probes.reading.show import ShownText, TokenView, show_tokens

__all__ = [
    "PlaceReading",
    "ProbedTokens",
    "Projected",
    "ShownText",
    "TokenView",
    "TopToken",
    "TopTokens",
    "probed_tokens",
    "projected",
    "show_tokens",
]
