"""A write of a test's own: a function of the hidden state at a site and position. Subclasses say what
it does.
"""

from dataclasses import dataclass

from probes import Position, Site


@dataclass(frozen=True)
class PlainWrite:
    site: Site
    at: Position = Position("all")  # noqa: RUF009
    by: float = 1.0
    label: str = "plain"
    width: int = 32
    keeps_norm: bool = False

    @property
    def needs_prompts(self):
        return self.at.kind != "all"

    def __call__(self, h):
        return h + self.by

    def on(self, batch):
        return lambda h, first: self(h)

    def as_data(self):
        return None

    def identity(self):
        return None
