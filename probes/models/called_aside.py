"""What of other people's code a model that writes calls between its passes: processors, criteria, streamers.
Passes of the model that these make themselves are theirs: no edit or reading of the writing sees them.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from probes.models.backends.around import aside


class Aside:
    """A callable that stands aside from what it is called in; its parameters are those of its own. `drew` is
    told where a call took of torch's random numbers.
    """

    def __init__(self, own: Callable[..., Any], drew: Callable[[], None] | None = None) -> None:
        self.own, self.drew = own, drew
        # Hugging Face reads the parameters off the attribute, and calls that of the class.
        self.__call__ = functools.wraps(own.__call__, updated=())(lambda *args: own(*args))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with aside():
            if self.drew is None:
                return self.own(*args, **kwargs)
            before = torch.get_rng_state()
            found = self.own(*args, **kwargs)
            if not torch.equal(before, torch.get_rng_state()):
                self.drew()
            return found


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
    passed: Mapping[str, Any], criteria: Sequence[Any], drew: Callable[[], None] | None = None
) -> tuple[dict[str, Any], tuple[Aside, ...]]:
    """The objects of one's own among what `generate` is passed, and criteria, each standing aside; `drew` is
    called where one takes of torch's random numbers.
    """
    found = dict(passed)
    if given := found.get("logits_processor"):
        # Hugging Face looks for its own by their class, where a setting makes another such.
        found["logits_processor"] = [p if _only_looks(p) else Aside(p, drew) for p in given]
    if (allowed := found.get("prefix_allowed_tokens_fn")) is not None:
        found["prefix_allowed_tokens_fn"] = Aside(allowed, drew)
    if (streamer := found.get("streamer")) is not None:
        found["streamer"] = AsideStreamer(streamer)
    return found, tuple(Aside(c, drew) for c in criteria)


def _only_looks(processor: Any) -> bool:
    """Whether it is one of Hugging Face's that holds no model to run."""
    theirs = type(processor).__module__.partition(".")[0] == "transformers"
    return theirs and not any(isinstance(v, nn.Module) for v in vars(processor).values())
