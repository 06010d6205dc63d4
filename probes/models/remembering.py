"""Processors and criteria of one's own that count calls or keep what they saw: prompts are written batch by
batch, and none may meet what is remembered of the batch before.
"""

import logging
import random
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.checks.saying import warn
from probes.models.reached import Reached, anew, reached

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Memory:
    """The objects of one call, with a copy of them as they were given, or the kind of what has none."""

    first: Reached | None = None
    said: bool = False
    drawn: bool = False

    def drew(self) -> None:
        """One of them took of torch's random numbers, where nothing samples."""
        self.drawn = True

    def for_batch(self, objects: Sequence[Any]) -> list[Any]:
        """The objects as a batch is to meet them: as they were given. Those that remember the batch before go
        on seeing every call, unless they are Hugging Face's, and copies of what was given decide. Warns, once
        a call, where there is no copy, or copies share what is remembered.
        """
        own = list(objects)
        if not own:
            return own
        now = reached(own)
        if self.first is None:
            self.first = now
            self.copies, self.without = _copied(own)  # together, since they may share what they hold
            self.shared = reached(self.copies, placed=False).told
            return list(objects)
        if self.drawn:
            self._say(own, "it draws of torch's random numbers, which are everybody's")
        if now.told and now.told == self.first.told:
            return list(objects)
        if self.without:
            self._say(own, f"it reaches a {self.without}, of which there is no copy")
            return list(objects)
        fresh, _ = _copied(self.copies)
        if reached(fresh, placed=False).told != self.shared:
            self._say(own, "in a global name, an attribute of a class or a module, which copies share")
            return list(objects)
        # Hugging Face knows its own by their class.
        return [copy if _theirs(o) else Both(copy, o) for o, copy in zip(own, fresh, strict=True)]

    def _say(self, own: Sequence[Any], why: str) -> None:
        if self.said:
            return
        self.said = True
        names = ", ".join(dict.fromkeys(_name(o) for o in own if not _theirs(o))) or _name(own[0])
        warn(
            f"what {names} keeps changed while a batch of prompts was written ({why}), and the batches of a"
            " call follow one another, longest prompts first: it is in no order of the list, and what is done"
            " to a prompt may depend on those before. Keep it in attributes of the object, which is taken as"
            " it was given for every batch, or give one prompt a call with an object made anew"
        )


@dataclass(eq=False)
class Both:
    """`decides` gives the answer, and `sees` is called beside it, so that it holds what it was shown. Where
    it fails, since what it remembers of other batches does not fit this one, nothing is lost that decides
    anything: it is shown no more of the batch, and the log says so.
    """

    decides: Callable[..., Any]
    sees: Callable[..., Any]
    failed: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        beside = [a.clone() if isinstance(a, Tensor) else a for a in args]
        found = self.decides(*args, **kwargs)
        if not self.failed:
            with _no_numbers_drawn():
                self._show(beside, kwargs)
        return found

    def _show(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        try:
            self.sees(*args, **kwargs)
        except Exception as error:  # whatever code of one's own raises; it decides nothing here
            self.failed = True
            _log.info(
                "%s failed beside its copy, on a batch that is not its first: %r", _name(self.sees), error
            )


@contextmanager
def _no_numbers_drawn() -> Generator[None]:
    """Random numbers drawn within are drawn again afterwards."""
    python, numpy, torches = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torches)


def _copied(o: Any) -> tuple[Any, str]:
    try:
        return anew(o), ""
    except TypeError as error:
        return None, str(error)
    except Exception as error:  # objects refuse to be copied in ways of their own
        return None, f"{type(o).__name__} ({type(error).__name__})"


def _theirs(o: Any) -> bool:
    return type(o).__module__.partition(".")[0] == "transformers"


def _name(o: Any) -> str:
    called: Callable[..., Any] = o
    return getattr(called, "__name__", type(o).__name__)
