"""Values that hold tensors and say one thing together: written to in place, they are refused where they are
used.
"""

from typing import Any, ClassVar

from torch import Tensor

from probes.data.digest import digest

READ = 1 << 20
"""Numbers up to which a tensor is read again: writes through numpy or `.data` are not counted by torch."""


class Unwritten:
    """Remembers its tensors as they were when it was made; `_as_made` is asked wherever they are used.

    A subclass gives `_tensors()` and calls `_counted()` when it is made.
    """

    CALLED: ClassVar[str] = "value"
    REMEDY: ClassVar[str] = "make a new one"

    def _tensors(self) -> dict[str, Tensor]:
        """Tensors by name."""
        raise NotImplementedError

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copies and what comes out of a pickle count from there on: making their tensors writes to them."""
        vars(self).update(state)
        self._counted()

    def _counted(self) -> None:
        object.__setattr__(self, "_made", _state_of(self._tensors()))

    def _as_made(self) -> None:
        """Raises ValueError where a tensor was written to since: what else is held was measured before."""
        now = _state_of(self._tensors())
        changed = [name for name, state in vars(self)["_made"].items() if now.get(name) != state]
        if changed:
            raise ValueError(
                f"the {self.CALLED}'s {changed[0]} was changed in place since it was {self.REMEDY}"
            )


def _state_of(tensors: dict[str, Tensor]) -> dict[str, tuple[int, str]]:
    """How often each was written to, which those made in inference mode do not count, and what small ones
    hold.
    """
    return {
        name: (
            0 if t.is_inference() else t._version,
            digest([("", t)]) if t.numel() <= READ and t.device.type == "cpu" else "",
        )
        for name, t in tensors.items()
    }
