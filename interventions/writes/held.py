"""Edits that hold rows."""

from typing import ClassVar

import torch
from torch import Tensor

from probes.data.activations import Activations
from probes.data.unwritten import Unwritten


class HoldsRows(Unwritten):
    """An edit whose numbers come from the rows in its field `HELD`: those that it was made with, so that it
    is refused where they were written to since.
    """

    CALLED: ClassVar[str] = "edit"
    REMEDY: ClassVar[str] = (
        "made, and what it does comes from there; make the edit anew of the rows as they are"
    )
    HELD: ClassVar[str]

    def _tensors(self) -> dict[str, Tensor]:
        rows: Activations | None = vars(self)[self.HELD]
        if rows is None:
            return {}
        labels = {} if rows.y is None else {f"{self.HELD}.y": torch.tensor(rows.y)}
        return {f"{self.HELD}.x": rows.x, **labels}
