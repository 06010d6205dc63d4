"""The weights that edits were made for, asked for again where they have changed since."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from probes.models.stamp import Stamp


@dataclass(eq=False)
class Meant:
    """Edits on a model as it was: a call asks the edits again, by `ask`, whether they belong to it, if
    anything about the model is another since (`Stamp`): weights, modules, their settings, hooks, adapters.
    Costs about a percent of a short pass where nothing is.

    Raises ValueError where they do not.
    """

    hf: nn.Module
    ask: Callable[[], Any]

    def __post_init__(self) -> None:
        self.stamp = Stamp.of(self.hf)

    def __call__(self) -> None:
        if not (what := self.stamp.changed(self.hf)):
            return
        now = Stamp.of(self.hf)
        try:
            self.ask()
        except ValueError as error:
            raise ValueError(f"the model was changed since it was edited ({what}): {error}") from error
        self.stamp = now
