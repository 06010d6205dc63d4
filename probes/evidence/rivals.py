"""Rivals of a probe: anybody's scores of the same rows, turned the right way up, and how far the probe is
ahead of the best of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from probes.metrics.estimates import Estimate

Line = Float[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Rivals:
    """What each rival reaches, which is best, and the probe's value over that of the best."""

    values: dict[str, Estimate]
    best: str | None = None
    difference: Estimate | None = None


def compared(
    lines: Mapping[str, Line],
    value: Callable[[Line], Estimate],
    over: Callable[[Line], Estimate],
) -> Rivals:
    """Takes the value of every rival's line, and the probe's `over` that of the best one."""
    values = {name: value(line) for name, line in lines.items()}
    best = best_of(values)
    return Rivals(values) if best is None else Rivals(values, best, over(lines[best]))


def best_of(values: Mapping[str, Estimate]) -> str | None:
    """The name with the highest value, the first of equals; None where there are none."""
    return max(values, key=lambda name: values[name].value, default=None)


def best_item(values: Mapping[str, Estimate]) -> tuple[str, Estimate]:
    """The highest value and its name, the first of equals; raises ValueError where there are none."""
    best = best_of(values)
    if best is None:
        raise ValueError("nothing to choose from: there are no values; measure at least one")
    return best, values[best]


def upright(line: Line, auroc: float) -> Line:
    """A rival's scores so that higher means positive: who reads the label upside down reads it too."""
    return line if auroc >= 0.5 else -line
