"""What of other people's code a model that writes calls between its passes: processors, criteria, streamers.
Passes of the model that these make themselves are theirs: no edit or reading of the writing sees them.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from probes.models.backends.around import aside


class Aside:
    """A callable that stands aside from what it is called in; its parameters are those of its own."""

    def __init__(self, own: Callable[..., Any]) -> None:
        self.own = own
        # Hugging Face reads the parameters off the attribute, and calls that of the class.
        self.__call__ = functools.wraps(own.__call__, updated=())(lambda *args: own(*args))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with aside():
            return self.own(*args, **kwargs)


@dataclass(frozen=True, eq=False)
class AsideStreamer:
    """A streamer that stands aside: Hugging Face calls `put` and `end`."""

    own: Any

    def put(self, value: Any) -> None:
        with aside():
            self.own.put(value)

    def end(self) -> None:
        with aside():
            self.own.end()


def called_aside(
    passed: Mapping[str, Any], criteria: Sequence[Any]
) -> tuple[dict[str, Any], tuple[Aside, ...]]:
    """The objects of one's own among what `generate` is passed, and criteria, each standing aside."""
    found = dict(passed)
    if given := found.get("logits_processor"):
        # Hugging Face looks for its own by their class, where a setting makes another such.
        found["logits_processor"] = [p if _only_looks(p) else Aside(p) for p in given]
    if (allowed := found.get("prefix_allowed_tokens_fn")) is not None:
        found["prefix_allowed_tokens_fn"] = Aside(allowed)
    if (streamer := found.get("streamer")) is not None:
        found["streamer"] = AsideStreamer(streamer)
    return found, tuple(map(Aside, criteria))


def _only_looks(processor: Any) -> bool:
    """Whether it is one of Hugging Face's that holds no model to run."""
    theirs = type(processor).__module__.partition(".")[0] == "transformers"
    return theirs and not any(isinstance(v, nn.Module) for v in vars(processor).values())
