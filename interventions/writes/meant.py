"""The weights that edits were made for, asked for again where they have changed since."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from probes.data.begun import put_around
from probes.models.stamp import Stamp


@dataclass(eq=False)
class Meant:
    """Edits on a model as it was: a call asks the edits again, by `ask`, whether they belong to it, if
    anything about the model is another since (`Stamp`): weights, modules, their settings, hooks, adapters; or
    if its tokenizer begins or ends texts otherwise, or has another chat template, other special tokens or
    other arguments for it. Costs a few percent of the shortest pass of a toy where nothing is.

    Raises ValueError where they do not.
    """

    hf: nn.Module
    ask: Callable[[], Any]
    tokenizer: Any = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stamp, self.begun = Stamp.of(self.hf), self._begins()

    def __call__(self) -> None:
        what, begun = self.stamp.changed(self.hf), self._begins()
        if not what and begun == self.begun:
            return
        now, self.begun = Stamp.of(self.hf), begun
        try:
            self.ask()
        except ValueError as error:
            raise ValueError(
                f"the model was changed since it was edited ({what or 'tokenizer'}): {error}"
            ) from error
        self.stamp = now

    def _begins(self) -> tuple[Any, ...]:
        """How texts begin and end, and what the chat template is given, whose rendering is for `ask`."""
        template = getattr(self.tokenizer, "chat_template", None)
        given = () if template is None else (self.tokenizer.special_tokens_map, repr(dict(self.arguments)))
        return put_around(self.tokenizer), template, given
