"""Three doors by which texts leave, to pages, figures and the terminal; none reads markup from data.

- `html(value)`: a piece of a page, every text in it escaped; `@html.register(Class)` says how a class looks
- `Displayed`: the base of values that notebooks show so; `draw(value, ax)`: their pictures, registered alike
- `tag`, `table`, `grid`, `listed`, `verdict`: what pages are made of; `strip`, `shaded`: tokens in a line
- `drawn(text)`: a text in a figure, no mathematics read from it
- `terminal(text)`: control characters made visible, so that none reaches the terminal as a command
- `progress_bar(what, shown)`: how far a long loop is, a bar, or off a terminal a line every 30 seconds

Imports nothing of ours; the looks themselves are in the display rooms.
"""

from probes.markup.drawn import drawn
from probes.markup.pieces import Markup, grid, joined, listed, table, tag, verdict
from probes.markup.progress import progress_bar
from probes.markup.terminal import terminal
from probes.markup.tokens import readable, shaded, strip
from probes.markup.values import Displayed, draw, html

__all__ = [
    "Displayed",
    "Markup",
    "draw",
    "drawn",
    "grid",
    "html",
    "joined",
    "listed",
    "progress_bar",
    "readable",
    "shaded",
    "strip",
    "table",
    "tag",
    "terminal",
    "verdict",
]
